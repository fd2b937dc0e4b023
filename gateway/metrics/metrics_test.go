package metrics

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// enums are label sets as full as they may be.
func enums(loops int) Config {
	names := func(prefix string, n int) (l []string) {
		for i := range n {
			l = append(l, fmt.Sprintf("%s_%d", prefix, i))
		}
		return l
	}
	return Config{
		Loops: loops, Version: "v1.2.3",
		CloseReasons: names("closed", reasonsMax), RejectReasons: names("rejected", reasonsMax),
		AuthVerdicts: names("verdict", reasonsMax), TLSOutcomes: names("outcome", 15),
		Policies: names("policy", policies), SlowReasons: names("slow", slowReasons),
	}
}

func fullSnapshot(loops int) Snapshot {
	s := Snapshot{
		Accept:     Accept{Accepted: 11, Turned: 12, Failed: 13, Starved: 3},
		Workers:    Workers{Running: 4, Ready: 5, Queued: 6, Executed: 7, Panics: 8},
		Broadcasts: Broadcasts{Channels: 14, Waiting: 15},
		Auth: Auth{Queues: []AuthQueue{
			{Service: "none", Waiting: 21, Running: 22, Dropped: 23},
			{Service: "hook", Waiting: 24, Running: 25, Dropped: 26},
		}},
		CompressionMemory: 16,
		LogDropped:        17,
		Audit:             Audit{Written: 18, Waiting: 19, Failed: 20},
		Admin:             Admin{Conns: 21, Evicted: 22, Denied: 23, Limited: 24},
		Drain:             DrainClosing,
		Reload:            Reload{Failed: true, Loaded: time.UnixMilli(1_700_000_000_250)},
	}
	for i := range loops {
		s.Loops = append(s.Loops, Loop{
			Conns: 100 + i, Queued: 200, Turns: uint64(300 + i), Events: 400, Reads: 500,
			Writes: 600, BytesIn: 700, BytesOut: 800, Unsent: 900, LastTurn: 250 * time.Millisecond,
		})
	}
	return s
}

// scrapeText returns the samples of the gateway's metrics as they are served.
func scrapeText(t *testing.T, m *Metrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	samples := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		samples[line[:i]] = strings.TrimSpace(line[i+1:])
	}
	return samples
}

func expect(t *testing.T, samples map[string]string, want map[string]string) {
	t.Helper()
	for series, value := range want {
		if got, ok := samples[series]; !ok {
			t.Errorf("%s is missing", series)
		} else if got != value {
			t.Errorf("%s is %s, want %s", series, got, value)
		}
	}
}

func TestEveryShardFieldIsShown(t *testing.T) {
	m := New(enums(2))
	for i := range 2 {
		s := m.Shard(i)
		for j, c := range []*Counter{
			&s.Handshakes, &s.ReceivedText, &s.ReceivedBinary, &s.ReceivedPings,
			&s.ReceivedPongs, &s.ReceivedCloses, &s.MessagesSent, &s.ControlSent, &s.Broadcasts,
			&s.Deliveries, &s.Panics, &s.CompressionDeclined, &s.InflatedFrom, &s.InflatedTo,
			&s.DeflatedFrom, &s.DeflatedTo, s.Closed(3), s.Rejected(4), s.RateLimited(ScopeAcceptIP),
			s.SlowConsumer(2, 1),
		} {
			c.Inc()
			c.Add(uint64(10*j + i))
		}
	}
	value := func(j int) string { return fmt.Sprint(20*j + 3) } // both shards
	expect(t, scrapeText(t, m), map[string]string{
		`sluice_handshakes_total`:                                           value(0),
		`sluice_messages_received_total{opcode="text"}`:                     value(1),
		`sluice_messages_received_total{opcode="binary"}`:                   value(2),
		`sluice_messages_received_total{opcode="ping"}`:                     value(3),
		`sluice_messages_received_total{opcode="pong"}`:                     value(4),
		`sluice_messages_received_total{opcode="close"}`:                    value(5),
		`sluice_messages_sent_total`:                                        value(6),
		`sluice_control_frames_sent_total`:                                  value(7),
		`sluice_broadcasts_total`:                                           value(8),
		`sluice_deliveries_total`:                                           value(9),
		`sluice_panics_total`:                                               value(10),
		`sluice_compression_declined_total`:                                 value(11),
		`sluice_inflate_in_bytes_total`:                                     value(12),
		`sluice_inflate_out_bytes_total`:                                    value(13),
		`sluice_deflate_in_bytes_total`:                                     value(14),
		`sluice_deflate_out_bytes_total`:                                    value(15),
		`sluice_connections_closed_total{reason="closed_3"}`:                value(16),
		`sluice_connections_closed_total{reason="closed_4"}`:                "0",
		`sluice_handshake_rejected_total{reason="rejected_4"}`:              value(17),
		`sluice_rate_limited_total{scope="accept_ip"}`:                      value(18),
		`sluice_rate_limited_total{scope="message"}`:                        "0",
		`sluice_rate_limited_total{scope="control"}`:                        "0",
		`sluice_rate_limited_total{scope="accept"}`:                         "0",
		`sluice_rate_limited_total{scope="connections_ip"}`:                 "0",
		`sluice_slow_consumer_total{policy="policy_2",reason="slow_1"}`:     value(19),
		`sluice_slow_consumer_total{policy="policy_1",reason="slow_2"}`:     "0",
		`sluice_build_info{goversion="` + goVersion + `",version="v1.2.3"}`: "1",
	})
}

func TestSnapshotIsShown(t *testing.T) {
	cfg := enums(2)
	cfg.Snapshot = func() Snapshot { return fullSnapshot(2) }
	expect(t, scrapeText(t, New(cfg)), map[string]string{
		`sluice_connections`:                             "201",
		`sluice_connections_opened_total`:                "11",
		`sluice_connections_dropped_total`:               "12",
		`sluice_accept_errors_total{kind="descriptors"}`: "3",
		`sluice_accept_errors_total{kind="other"}`:       "10",
		`sluice_received_bytes_total`:                    "1400",
		`sluice_sent_bytes_total`:                        "1600",
		`sluice_write_queue_bytes`:                       "400",
		`sluice_unsent_bytes`:                            "1800",
		`sluice_compression_memory_bytes`:                "16",
		`sluice_broadcast_queue_bytes`:                   "15",
		`sluice_channels`:                                "14",
		`sluice_loop_turns_total{loop="0"}`:              "300",
		`sluice_loop_turns_total{loop="1"}`:              "301",
		`sluice_loop_lag_seconds{loop="1"}`:              "0.25",
		`sluice_loop_events_total`:                       "800",
		`sluice_read_calls_total`:                        "1000",
		`sluice_write_calls_total`:                       "1200",
		`sluice_workers_running`:                         "4",
		`sluice_workers_ready`:                           "5",
		`sluice_workers_queued`:                          "6",
		`sluice_workers_tasks_total`:                     "7",
		`sluice_worker_panics_total`:                     "8",
		`sluice_log_dropped_total`:                       "17",
		`sluice_audit_events_total`:                      "18",
		`sluice_audit_events_pending`:                    "19",
		`sluice_audit_errors_total`:                      "20",
		`sluice_admin_connections`:                       "21",
		`sluice_admin_evicted_total`:                     "22",
		`sluice_admin_denied_total{reason="token"}`:      "23",
		`sluice_admin_denied_total{reason="limited"}`:    "24",
		`sluice_drain_state`:                             "2",
		`sluice_config_last_reload_successful`:           "0",
		`sluice_config_last_reload_timestamp_seconds`:    "1.70000000025e+09",
	})
}

func TestWithoutSnapshot(t *testing.T) {
	samples := scrapeText(t, New(Config{Loops: 1, Version: "bad \xff"}))
	expect(t, samples, map[string]string{
		`sluice_connections`:                                               "0",
		`sluice_config_last_reload_successful`:                             "1",
		`sluice_config_last_reload_timestamp_seconds`:                      "0",
		`sluice_accept_errors_total{kind="other"}`:                         "0",
		`sluice_build_info{goversion="` + goVersion + `",version="bad ?"}`: "1",
	})
	if _, ok := samples["go_goroutines"]; !ok {
		t.Error("the Go runtime is missing")
	}
	if _, ok := samples["process_start_time_seconds"]; !ok && runtime.GOOS == "linux" {
		t.Error("the process is missing")
	}
}

func TestStarvedAheadOfFailed(t *testing.T) {
	cfg := enums(1)
	cfg.Snapshot = func() Snapshot { return Snapshot{Accept: Accept{Failed: 2, Starved: 3}} }
	expect(t, scrapeText(t, New(cfg)), map[string]string{
		`sluice_accept_errors_total{kind="other"}`: "0",
	})
}

var goVersion = runtime.Version()

func TestHistogram(t *testing.T) {
	rows := []struct {
		name string
		d    time.Duration
		le   string // of the first bucket that has it
		sum  string
	}{
		{"negative", -time.Second, "0.0001", "0"},
		{"zero", 0, "0.0001", "0"},
		{"at_bound", 100 * time.Microsecond, "0.0001", "0.0001"},
		{"past_bound", 100*time.Microsecond + 1, "0.00025", "0.000100001"},
		{"last_bound", 5 * time.Second, "5", "5"},
		{"beyond", 5*time.Second + 1, "+Inf", "5.000000001"},
		{"hours", 2 * time.Hour, "+Inf", "7200"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			m := New(enums(2))
			m.Shard(1).HandshakeSeconds.Observe(r.d)
			m.Shard(0).BroadcastSeconds.Observe(r.d)
			samples := scrapeText(t, m)
			for _, name := range []string{"handshake_duration", "broadcast_delay"} {
				expect(t, samples, map[string]string{
					"sluice_" + name + "_seconds_count":                     "1",
					"sluice_" + name + "_seconds_sum":                       r.sum,
					"sluice_" + name + `_seconds_bucket{le="` + r.le + `"}`: "1",
					"sluice_" + name + `_seconds_bucket{le="+Inf"}`:         "1",
				})
			}
			hits := 0
			for series, v := range samples {
				if strings.HasPrefix(series, "sluice_handshake_duration_seconds_bucket") && v == "1" {
					hits++
				}
			}
			if want := bucketsFrom(r.le); hits != want {
				t.Errorf("in %d buckets, want %d", hits, want)
			}
		})
	}
}

// bucketsFrom is how many buckets are at least as wide as le.
func bucketsFrom(le string) int {
	for i, b := range histogramBounds {
		if fmt.Sprint(b.Seconds()) == le {
			return len(histogramBounds) - i + 1
		}
	}
	return 1
}

// TestLint checks names, units and help texts against the rules of Prometheus, and that what is
// collected is what is described.
func TestLint(t *testing.T) {
	cfg := enums(2)
	cfg.Snapshot = func() Snapshot { return fullSnapshot(2) }
	c := newCollector(cfg, make([]Shard, 2))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(gathered) != len(c.families) {
		t.Errorf("%d metrics gathered, %d described", len(gathered), len(c.families))
	}
}

// TestNames pins what dashboards and alerts rely on: name, type and help of every metric.
func TestNames(t *testing.T) {
	cfg := enums(1)
	cfg.Snapshot = func() Snapshot { return fullSnapshot(1) }
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(cfg, make([]Shard, 1)))
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range gathered {
		kind := strings.ToLower(f.GetType().String())
		fmt.Fprintf(&got, "%s %s\n\t%s\n", f.GetName(), kind, f.GetHelp())
	}
	const file = "testdata/metrics.txt"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s does not list the metrics any more; they are now:\n%s", file, got.String())
	}
}

// TestI03_series_are_bounded counts the series with every label set as large as it may be.
func TestI03_series_are_bounded(t *testing.T) {
	const seriesMax, loops = 500, 16
	cfg := enums(loops)
	cfg.Snapshot = func() Snapshot { return fullSnapshot(loops) }
	m := New(cfg)
	before := len(scrapeText(t, m))
	for i := range loops {
		s := m.Shard(i)
		for r := range uint8(reasonsMax) {
			s.Closed(r).Inc()
			s.Rejected(r).Inc()
		}
		for d := time.Duration(1); d < time.Hour; d *= 2 {
			s.HandshakeSeconds.Observe(d)
			s.BroadcastSeconds.Observe(d)
		}
	}
	after := len(scrapeText(t, m))
	if before != after {
		t.Errorf("%d series at first, %d after use", before, after)
	}
	if after > seriesMax {
		t.Errorf("%d series, want at most %d", after, seriesMax)
	}
	t.Logf("%d series with %d loops", after, loops)
}

func TestP04_panic_in_snapshot(t *testing.T) {
	cfg := enums(1)
	broken := true
	cfg.Snapshot = func() Snapshot {
		if broken {
			panic("secret cause")
		}
		return Snapshot{}
	}
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	m := New(cfg)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status %d, want 500", w.Code)
	}
	for _, leak := range []string{"secret", "goroutine", ".go:"} {
		if strings.Contains(w.Body.String(), leak) {
			t.Errorf("the answer shows %q:\n%s", leak, w.Body)
		}
	}
	if !strings.Contains(log.String(), "secret cause") || !strings.Contains(log.String(), "stack") {
		t.Errorf("the log does not say why: %s", log.String())
	}
	broken = false
	scrapeText(t, m)
}

func TestConfigBounds(t *testing.T) {
	rows := []struct {
		name   string
		change func(*Config)
	}{
		{"no_loops", func(c *Config) { c.Loops = 0 }},
		{"close_reasons", func(c *Config) { c.CloseReasons = append(c.CloseReasons, "more") }},
		{"reject_reasons", func(c *Config) { c.RejectReasons = append(c.RejectReasons, "more") }},
		{"policies", func(c *Config) { c.Policies = append(c.Policies, "more") }},
		{"slow_reasons", func(c *Config) { c.SlowReasons = append(c.SlowReasons, "more") }},
		{"empty_label", func(c *Config) { c.CloseReasons = []string{""} }},
		{"label_twice", func(c *Config) { c.Policies = []string{"a", "a"} }},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			cfg := enums(1)
			r.change(&cfg)
			New(cfg)
		})
	}
}

func TestShardsShareNoCacheLine(t *testing.T) {
	const line = 64
	m := New(enums(2))
	end := uintptr(unsafe.Pointer(m.Shard(0))) + unsafe.Sizeof(Shard{})
	next := uintptr(unsafe.Pointer(&m.Shard(1).Handshakes))
	if next < end+line {
		t.Errorf("%d bytes between the counters of two shards, want %d", next-end, line)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	s := New(enums(1)).Shard(0)
	allocs := testing.AllocsPerRun(1000, func() {
		s.ReceivedText.Inc()
		s.MessagesSent.Add(3)
		s.Closed(1).Inc()
		s.SlowConsumer(1, 1).Inc()
		s.RateLimited(ScopeControl).Inc()
		s.HandshakeSeconds.Observe(3 * time.Millisecond)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// TestScrapesWhileCounting is for the race detector, and sees that nothing is lost.
func TestScrapesWhileCounting(t *testing.T) {
	const writers, each = 4, 2000
	m := New(enums(2))
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			s := m.Shard(w % 2)
			for range each {
				s.Deliveries.Inc()
				s.BroadcastSeconds.Observe(time.Millisecond)
			}
		})
	}
	for range 5 {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		io.Copy(io.Discard, w.Body)
	}
	done.Wait()
	expect(t, scrapeText(t, m), map[string]string{
		`sluice_deliveries_total`:              fmt.Sprint(writers * each),
		`sluice_broadcast_delay_seconds_count`: fmt.Sprint(writers * each),
		`sluice_broadcast_delay_seconds_sum`:   fmt.Sprint(writers * each / 1000),
	})
}

func BenchmarkInc(b *testing.B) {
	s := New(enums(1)).Shard(0)
	for b.Loop() {
		s.MessagesSent.Inc()
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, d := range []time.Duration{50 * time.Microsecond, 3 * time.Millisecond, time.Minute} {
		b.Run(d.String(), func(b *testing.B) {
			s := New(enums(1)).Shard(0)
			for b.Loop() {
				s.HandshakeSeconds.Observe(d)
			}
		})
	}
}

func BenchmarkScrape(b *testing.B) {
	cfg := enums(2)
	cfg.Snapshot = func() Snapshot { return fullSnapshot(2) }
	h := New(cfg).Handler()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}
