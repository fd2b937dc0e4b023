package report

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/HdrHistogram/hdrhistogram-go"
)

var update = flag.Bool("update", false, "write the golden files")

// digits is the precision of the histograms here, as of the generator's.
const digits = 3

// histogram holds values that a function of 0 <= p < 1 gives.
func histogram(n int, value func(p float64) int64) *hdrhistogram.Histogram {
	h := hdrhistogram.New(1, int64(time.Hour/time.Microsecond), digits)
	for i := range n {
		h.RecordValue(value(float64(i) / float64(n)))
	}
	return h
}

// ramp is an even distribution of microseconds up to max.
func ramp(max float64) *Latency {
	return NewLatency(histogram(1000, func(p float64) int64 { return 1 + int64(p*max) }))
}

// sample is a result of a scenario with everything that it may have.
func sample(scenario string) *Result {
	r := &Result{
		Schema: SchemaVersion, Scenario: scenario, Target: "ws://127.0.0.1:8080/echo",
		Command: []string{"sluice-bench", scenario},
		Started: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), Seconds: 10,
		Machine:   Machine{CPU: "AMD EPYC", Cores: 2, Kernel: "6.18", Go: "go1.26.8", Commit: "abc"},
		Plan:      Plan{Connections: 1000, Rate: 5000, InFlight: 1, Bytes: 128, OpenLoop: true},
		Achieved:  Achieved{Connections: 1000, Sent: 50_000, Received: 50_000, Rate: 5000},
		Latencies: map[string]*Latency{"connect": ramp(900), "upgrade": ramp(1200)},
		Server: &Server{
			CPUSeconds: 0.3, CPUPerMessage: 5.2, RSS: 20 << 20, RSSPerConn: 473, Source: "/proc",
		},
		Generator: Generator{CPUSeconds: 2, CPUShare: 0.2, RSS: 30 << 20, SendLag: ramp(200), Processes: 1},
		Series:    []Point{{At: 1, Connections: 1000, Sent: 5000, Received: 4999, P50: 200, P99: 900, Max: 1000}},
	}
	switch scenario {
	case "echo", "soak":
		r.Latencies["corrected"], r.Latencies["raw"] = ramp(2000), ramp(1500)
	case "fanout", "slow":
		r.Latencies["corrected"], r.Latencies["raw"] = ramp(2000), ramp(1500)
		for _, name := range []string{"spread_first", "spread_median", "spread_last"} {
			r.Latencies[name] = ramp(3000)
		}
		r.Delivery = &Delivery{Expected: 1000, Received: 990, Lost: 10, Repeated: 1, Reorder: 2}
		r.Notes = []string{"the server disconnected 10 of 10 slow readers, the first after 1.2 s"}
	case "storm":
		r.Plan.OpenLoop = false
		r.Latencies["open"], r.Latencies["back"] = ramp(300_000), ramp(320_000)
		r.Latencies["tls"], r.Latencies["first"] = ramp(5000), ramp(700)
		r.Errors = map[string]uint64{"connect: refused": 3, "handshake: 503": 1}
	}
	return r
}

// monstrous makes everything of a result as large as it may ever be.
func monstrous(r *Result) {
	r.Target = "wss://" + strings.Repeat("é-very-long-host.", 12) + "example/" + strings.Repeat("x", 99)
	r.Plan = Plan{1 << 40, 1e18, 1 << 30, 1 << 40, true}
	r.Achieved = Achieved{1 << 40, 1e18, math.MaxUint64, 1e18, 1 << 60, 1 << 60}
	for i := range 12 {
		hours := NewLatency(histogram(9, func(float64) int64 { return 3_599_000_000 }))
		r.Latencies[fmt.Sprintf("part_with_a_long_name_%d", i)] = hours
	}
	for _, l := range r.Latencies {
		l.Mean, l.P9999, l.Max = 1e18, 1e16, 1e19
	}
	r.Errors = map[string]uint64{}
	for i := range 40 {
		r.Errors[fmt.Sprintf("class %d: %s", i, strings.Repeat("long ", 30))] = math.MaxUint64
	}
	r.Delivery = &Delivery{1e18, 1e18, 1e18, 1e18, 1e18, 1e18}
	r.Server = &Server{1e9, 1e9, math.MaxInt64, 1e12, "/metrics"}
	r.Generator.CPUShare, r.Generator.RSS = 1e6, math.MaxInt64
	for range 9 {
		r.Notes = append(r.Notes, strings.Repeat("note ", 40))
		r.Suspicions = append(r.Suspicions, strings.Repeat("suspicion ", 20))
		r.Assertions = append(r.Assertions, Assertion{Text: strings.Repeat("p99", 40), Actual: 1e18})
	}
}

// TestText compares the text of every scenario with what has been looked at, and its bounds with
// the worst that there may be.
func TestText(t *testing.T) {
	for _, scenario := range []string{"echo", "idle", "fanout", "storm", "slow", "soak"} {
		t.Run(scenario, func(t *testing.T) {
			r := sample(scenario)
			golden(t, scenario+".golden", text(t, r))
			monstrous(r)
			golden(t, scenario+"-monstrous.golden", text(t, r))
		})
	}
}

// text is the text of a result, which must keep its bounds.
func text(t *testing.T, r *Result) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) > 25 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is now:\n%s", path, got)
	}
}

func TestLiveLineFitsTheTerminal(t *testing.T) {
	huge := Point{At: 86400, Connections: 1 << 30, Sent: 1e12, Received: 1e12, Errors: 1e9, P99: 1e9}
	for _, p := range []Point{{}, sample("echo").Series[0], huge} {
		if line := p.Line(true); len(line) >= 80 && p != huge {
			t.Errorf("%d columns: %s", len(line), line)
		} else if len(line) > 120 {
			t.Errorf("%d columns: %s", len(line), line)
		}
		if strings.Contains(p.Line(false), "\n") {
			t.Error("the plain line is not a line")
		}
	}
}

func TestJudge(t *testing.T) {
	rows := []struct {
		name   string
		change func(*Result)
		want   string // in the suspicion; empty for a valid run
	}{
		{"valid", func(r *Result) {}, ""},
		{"lag_is_small_beside_latency", func(r *Result) {
			r.Generator.SendLag, r.Latencies["corrected"] = ramp(3000), ramp(60_000)
		}, ""},
		{"send_lag", func(r *Result) { r.Generator.SendLag = ramp(4000) }, "sent up to"},
		{"cpu", func(r *Result) { r.Generator.CPUShare = 0.95 }, "used 95 %"},
		{"gc", func(r *Result) { r.Generator.GCPause = 11_000 }, "collector took 11ms"},
		{"rate", func(r *Result) {
			r.Achieved.Sent, r.Generator.CPUShare = 40_000, 0.6
		}, "sent 40,000 of 50,000"},
		{"few_messages_are_rounded", func(r *Result) {
			r.Plan.Rate, r.Seconds, r.Achieved.Sent, r.Generator.CPUShare = 10, 0.96, 9, 0.6
		}, ""},
		{"server_held_it_up", func(r *Result) {
			// A thousand connections whose answers take a second cannot send 5000 a second.
			r.Achieved.Sent, r.Latencies["raw"] = 10_000, ramp(2e6)
		}, ""},
		{"closed_loop_has_no_plan", func(r *Result) {
			r.Plan.OpenLoop, r.Achieved.Sent = false, 1
		}, ""},
		{"connections", func(r *Result) { r.Achieved.Connections = 999 }, "held 999 of 1000"},
		{"server_refused_connections", func(r *Result) {
			r.Achieved.Connections, r.Errors = 999, map[string]uint64{"handshake: 503": 1}
		}, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r := sample("echo")
			row.change(r)
			r.Judge()
			r.Judge() // it says nothing twice
			switch {
			case row.want == "" && len(r.Suspicions) > 0:
				t.Errorf("suspicions %q", r.Suspicions)
			case row.want == "" && r.Verdict() != "VALID":
				t.Errorf("verdict %q", r.Verdict())
			case row.want != "" && (len(r.Suspicions) != 1 || !strings.Contains(r.Suspicions[0], row.want)):
				t.Errorf("suspicions %q, want %q", r.Suspicions, row.want)
			case row.want != "" && !strings.HasPrefix(r.Verdict(), "SUSPECT"):
				t.Errorf("verdict %q", r.Verdict())
			}
		})
	}
}

// halves are two results that have what one run would have had.
func halves(one *hdrhistogram.Histogram, a, b *hdrhistogram.Histogram) (whole, left, right *Result) {
	make := func(h *hdrhistogram.Histogram, part uint64) *Result {
		r := sample("fanout")
		n := uint64(h.TotalCount())
		r.Latencies = map[string]*Latency{"corrected": NewLatency(h)}
		r.Errors = map[string]uint64{"closed: 1008": part}
		r.Achieved = Achieved{int(part), n, n, float64(n), n, n}
		r.Plan.Connections, r.Plan.Rate = int(part), float64(n)
		r.Delivery = &Delivery{n, n - part, part, part, part, 0}
		r.Series = []Point{{At: 1, Connections: int(part), Sent: n, Received: n, Errors: part}}
		return r
	}
	return make(one, 20), make(a, 10), make(b, 10)
}

func TestTwoMergedHalvesEqualOneRun(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	one, a, b := histogram(0, nil), histogram(0, nil), histogram(0, nil)
	for i := range 200_000 {
		v := 1 + int64(random.ExpFloat64()*5000)
		one.RecordValue(v)
		[]*hdrhistogram.Histogram{a, b}[i%2].RecordValue(v)
	}
	want, left, right := halves(one, a, b)
	got, err := Merge([]*Result{left, right})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range figureNames() {
		g, ok := got.Figure(name)
		w, _ := want.Figure(name)
		if !ok || math.Abs(g-w) > math.Pow(10, -digits)*w && name != "cpu_per_message" {
			t.Errorf("%s is %v, of one run %v", name, g, w)
		}
	}
	if len(got.Series) != 1 || got.Series[0] != want.Series[0] {
		t.Errorf("series %+v, want %+v", got.Series, want.Series)
	}
	if got.Achieved != want.Achieved || *got.Delivery != *want.Delivery ||
		got.Errors["closed: 1008"] != 20 || got.Generator.Processes != 2 {
		t.Errorf("merged is %+v, want %+v", got, want)
	}
	if n := left.Latencies["corrected"].hist.TotalCount(); n != a.TotalCount() {
		t.Error("merging has changed a half")
	}
}

func TestMergeRefuses(t *testing.T) {
	if _, err := Merge(nil); err == nil {
		t.Error("nothing was merged")
	}
	if _, err := Merge([]*Result{sample("echo"), sample("idle")}); err == nil {
		t.Error("different scenarios were merged")
	}
}

// TestKnownDistribution records a distribution whose quantiles are known by its formula, and reads
// them back from the published form.
func TestKnownDistribution(t *testing.T) {
	const n, mean, stall = 1_000_000, 400.0, 250_000
	// Exponential, with a stall for the slowest two of a thousand.
	value := func(p float64) int64 {
		if p >= 0.998 {
			return stall
		}
		return 1 + int64(-mean*math.Log(1-p))
	}
	l := NewLatency(histogram(n, value))
	l.hist = nil // as if it had been read
	h, err := l.Histogram()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct{ p, published float64 }{
		{50, l.P50}, {90, l.P90}, {99, l.P99}, {99.9, l.P999}, {99.99, l.P9999}, {100, l.Max},
	} {
		want := float64(value(math.Min(q.p/100, 1) - 1e-6))
		for _, got := range []float64{q.published, float64(h.ValueAtQuantile(q.p))} {
			if math.Abs(got-want) > math.Pow(10, -digits)*want+1 {
				t.Errorf("p%v is %v, want %v", q.p, got, want)
			}
		}
	}
}
