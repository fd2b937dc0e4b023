package metrics

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// scrapesMax bounds the scrapes that run at once; whoever comes on top is answered 503.
	scrapesMax = 4
	// scrapeTimeout is how long a scrape may take before it is answered 503.
	scrapeTimeout = 10 * time.Second
)

// Config configures Metrics.
type Config struct {
	// Loops is the number of event loops, so of shards; at least 1.
	Loops int
	// CloseReasons, RejectReasons and AuthVerdicts are the labels that Shard.Closed, Shard.Rejected
	// and Shard.Verdict count by, at most 64 each. Policies and SlowReasons are those of
	// Shard.SlowConsumer, at most 4 and 8.
	CloseReasons, RejectReasons []string
	AuthVerdicts                []string
	// TLSOutcomes are the labels of Snapshot.TLS.Outcomes, in their order.
	TLSOutcomes           []string
	Policies, SlowReasons []string
	// Version is the version of the program.
	Version string
	// Snapshot is called for every scrape, from any goroutine and from several at once. It must
	// not block. Nil means that there is nothing but the shards.
	Snapshot func() Snapshot
	// Logger receives panics of Snapshot; nil means slog.Default().
	Logger *slog.Logger
}

// Metrics holds the shards and shows them. Its methods may be called from any goroutine.
type Metrics struct {
	shards  []Shard
	handler http.Handler
}

// New makes the metrics of a gateway, and with them those of the Go runtime and of the process. It
// panics if Config breaks its bounds: its labels are constants of the program.
func New(cfg Config) *Metrics {
	cfg.check()
	m := &Metrics{shards: make([]Shard, cfg.Loops)}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		newCollector(cfg, m.shards),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesMax,
		Timeout:             scrapeTimeout,
	})
	return m
}

// Shard returns the counters of a loop, by its index.
func (m *Metrics) Shard(loop int) *Shard { return &m.shards[loop] }

// Handler serves a scrape in the text format of Prometheus. If Config.Snapshot panics, the answer
// is 500.
func (m *Metrics) Handler() http.Handler { return m.handler }

// check panics if a bound of the Config is broken.
func (c *Config) check() {
	if c.Loops < 1 {
		panic(fmt.Sprintf("metrics: %d loops", c.Loops))
	}
	for _, set := range []struct {
		name   string
		labels []string
		max    int
	}{
		{"CloseReasons", c.CloseReasons, reasonsMax},
		{"RejectReasons", c.RejectReasons, reasonsMax},
		{"AuthVerdicts", c.AuthVerdicts, reasonsMax},
		{"TLSOutcomes", c.TLSOutcomes, reasonsMax},
		{"Policies", c.Policies, policies},
		{"SlowReasons", c.SlowReasons, slowReasons},
	} {
		if len(set.labels) > set.max {
			panic(fmt.Sprintf("metrics: %d %s, room for %d", len(set.labels), set.name, set.max))
		}
		seen := map[string]bool{}
		for _, l := range set.labels {
			if l == "" || seen[l] {
				panic(fmt.Sprintf("metrics: %s: %q is empty or there twice", set.name, l))
			}
			seen[l] = true
		}
	}
}
