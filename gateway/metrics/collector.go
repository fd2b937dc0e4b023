package metrics

import (
	"errors"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// namespace is what the name of every metric of the gateway begins with.
const namespace = "sluice"

// family is a metric with all its series.
type family struct {
	name, help string
	labels     []string
	collect    func(*scrape)

	kind prometheus.ValueType // of what scrape.emit sends
	desc *prometheus.Desc
}

// collector sums the shards up when it is scraped. It implements prometheus.Collector.
type collector struct {
	shards   []Shard
	snapshot func() Snapshot
	log      *slog.Logger
	families []family
}

// errPanic stands in the answer to a scrape that panicked. The cause is only in the log: a scraper
// need not see a stack.
var errPanic = errors.New("panic while collecting")

// scrape is one run of a collector.
type scrape struct {
	shards []Shard
	state  Snapshot
	family *family // whose turn it is
	out    chan<- prometheus.Metric
}

func newCollector(cfg Config, shards []Shard) *collector {
	c := &collector{
		shards: shards, snapshot: cfg.Snapshot, log: cfg.Logger, families: families(&cfg),
	}
	if c.snapshot == nil {
		c.snapshot = func() Snapshot { return Snapshot{} }
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	for i := range c.families {
		f := &c.families[i]
		f.kind = prometheus.GaugeValue
		if strings.HasSuffix(f.name, "_total") {
			f.kind = prometheus.CounterValue
		}
		f.desc = prometheus.NewDesc(namespace+"_"+f.name, f.help, f.labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for i := range c.families {
		out <- c.families[i].desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	defer func() {
		if v := recover(); v != nil {
			c.log.Error("panic in a scrape; it failed", "event", "panic", "panic", v,
				"stack", string(debug.Stack()))
			out <- prometheus.NewInvalidMetric(c.families[0].desc, errPanic)
		}
	}()
	x := &scrape{shards: c.shards, state: c.snapshot(), out: out}
	for i := range c.families {
		x.family = &c.families[i]
		x.family.collect(x)
	}
}

// emit sends one series. The labels are the values of the family's, in their order.
func (x *scrape) emit(value float64, labels ...string) {
	x.out <- prometheus.MustNewConstMetric(x.family.desc, x.family.kind, value, labels...)
}

// total adds up one counter of every shard.
func (x *scrape) total(of func(*Shard) *Counter) float64 {
	var n uint64
	for i := range x.shards {
		n += of(&x.shards[i]).Load()
	}
	return float64(n)
}

// What follows makes the collect functions of families.

// sum is one counter of all shards.
func sum(of func(*Shard) *Counter) func(*scrape) {
	return func(x *scrape) { x.emit(x.total(of)) }
}

// sumEach is a row of counters of all shards, by label.
func sumEach(labels []string, of func(*Shard, int) *Counter) func(*scrape) {
	return func(x *scrape) {
		for i, label := range labels {
			x.emit(x.total(func(s *Shard) *Counter { return of(s, i) }), label)
		}
	}
}

// histogram is one histogram of all shards.
func histogram(of func(*Shard) *Histogram) func(*scrape) {
	return func(x *scrape) {
		d := sumHistograms(x.shards, of)
		x.out <- prometheus.MustNewConstHistogram(x.family.desc, d.count, d.seconds, d.buckets)
	}
}

// state is a value of the snapshot.
func state[T int | int64 | uint64 | DrainState | MemoryState](of func(*Snapshot) T) func(*scrape) {
	return func(x *scrape) { x.emit(float64(of(&x.state))) }
}

// loops is a value of all loops together.
func loops[T int | int64 | uint64](of func(*Loop) T) func(*scrape) {
	return func(x *scrape) {
		var n T
		for i := range x.state.Loops {
			n += of(&x.state.Loops[i])
		}
		x.emit(float64(n))
	}
}

// eachLoop is a value of every loop, by its index.
func eachLoop(of func(*Loop) float64) func(*scrape) {
	return func(x *scrape) {
		for i := range x.state.Loops {
			x.emit(of(&x.state.Loops[i]), strconv.Itoa(i))
		}
	}
}

// eachQueue is a value of every queue of credentials, by its service.
func eachQueue(of func(*AuthQueue) float64) func(*scrape) {
	return func(x *scrape) {
		for i := range x.state.Auth.Queues {
			q := &x.state.Auth.Queues[i]
			x.emit(of(q), q.Service)
		}
	}
}

// slowConsumers is what became of slow consumers, by policy and reason.
func slowConsumers(policies, reasons []string) func(*scrape) {
	return func(x *scrape) {
		for p, policy := range policies {
			for r, reason := range reasons {
				of := func(s *Shard) *Counter { return s.SlowConsumer(uint8(p), uint8(r)) }
				x.emit(x.total(of), policy, reason)
			}
		}
	}
}

// acceptErrors tells being out of descriptors, which has a cure, from all else.
func acceptErrors(x *scrape) {
	a := &x.state.Accept
	// The two are not counted in one step, so Starved may be ahead.
	x.emit(float64(a.Failed-min(a.Starved, a.Failed)), "other")
	x.emit(float64(a.Starved), "descriptors")
}

// adminDenials tells the tokens that were wrong from those that were not looked at.
func adminDenials(x *scrape) {
	x.emit(float64(x.state.Admin.Denied), "token")
	x.emit(float64(x.state.Admin.Limited), "limited")
}

// lastReloadTime is in seconds since 1970, 0 if unknown.
func lastReloadTime(x *scrape) {
	if t := x.state.Reload.Loaded; !t.IsZero() {
		x.emit(float64(t.UnixMilli()) / 1e3)
		return
	}
	x.emit(0)
}

// buildInfo is 1, with the versions as labels.
func buildInfo(version string) func(*scrape) {
	version = strings.ToValidUTF8(version, "?") // anything else would fail every scrape
	return func(x *scrape) { x.emit(1, version, runtime.Version()) }
}
