package report

import (
	"strings"
	"testing"
)

func TestAssertions(t *testing.T) {
	rows := []struct {
		text   string
		actual float64
		passed bool
	}{
		{"p50<2ms", 1000, true},
		{"p50<500us", 1000, false},
		{"mean>1us", 1000, true},
		{"p90<=1s", 1800, true},
		{"p99.9>=1ms", 1998, true},
		{"p99.99<3ms", 1999, true},
		{"max<1ms", 1999, false},
		{" raw.p99 < 2ms ", 1485, true},
		{"connect.p50<1ms", 450, true},
		{"back.p99<5s", 0, false}, // there is none: it was not met
		{"rate>=5k", 5000, true},
		{"rate>5k", 5000, false},
		{"rate<=5k", 5000, true},
		{"rate<1m", 5000, true},
		{"connections==1000", 1000, true},
		{"errors==0", 0, true},
		{"errors<1%", 0, true},
		{"lost==0", 0, false}, // an echo loses nothing and knows nothing of it
		{"cpu_per_message<6", 5.2, true},
		{"rss_per_connection<500", 473, true},
		{"rss<1m", 20 << 20, false},
	}
	for _, row := range rows {
		c, err := ParseAssertion(row.text)
		if err != nil {
			t.Errorf("%s: %v", row.text, err)
			continue
		}
		r := sample("echo")
		r.Assert([]Check{c})
		a := r.Assertions[0]
		if a.Passed != row.passed || a.Actual < 0.99*row.actual || a.Actual > 1.01*row.actual {
			t.Errorf("%s: %v, %v; want %v, %v", row.text, a.Actual, a.Passed, row.actual, row.passed)
		}
	}
}

func TestAssertionInPercentOfWhatWasSent(t *testing.T) {
	r := sample("fanout")
	r.Errors = map[string]uint64{"a": 400, "b": 200}
	c, err := ParseAssertion("errors<1%")
	if err != nil {
		t.Fatal(err)
	}
	if r.Assert([]Check{c}); r.Assertions[0].Passed || r.Assertions[0].Actual != 1.2 {
		t.Errorf("%+v", r.Assertions[0])
	}
}

func TestAssertionsOfParts(t *testing.T) {
	if _, err := ParseAssertion("lurkers.p99<1s"); err == nil {
		t.Error("an unknown distribution was taken")
	}
	c, err := ParseAssertion("lurkers.p99<1s", "lurkers")
	if err != nil {
		t.Fatal(err)
	}
	r := sample("soak")
	r.Latencies["lurkers"] = ramp(100)
	if r.Assert([]Check{c}); !r.Assertions[0].Passed {
		t.Errorf("%+v", r.Assertions[0])
	}
}

func TestAssertionsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":            "is not like",
		"p99":         "is not like",
		"p99<":        "is not like",
		"p99<fast":    "is not like",
		"p99<20 m s":  "is not like",
		"p99=20ms":    "is not like",
		"p99<-1ms":    "is not like",
		"p98<20ms":    `no figure "p98"`,
		"latency<1ms": `no figure "latency"`,
		"x.p99<1ms":   `no figure "x.p99"`,
		"p99<1.2.3ms": "not a number",
	} {
		if _, err := ParseAssertion(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseAssertion(f *testing.F) {
	for _, s := range []string{"p99<20ms", "errors<1%", "connect.p99.99>=3s", "rate>50k", "<", "p99<.s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseAssertion(text)
		if err != nil {
			return
		}
		again, err := ParseAssertion(c.text)
		if err != nil || again != c {
			t.Errorf("%q is %+v, again %+v, %v", text, c, again, err)
		}
		r := sample("echo")
		r.Assert([]Check{c})
		if len(r.Assertions) != 1 {
			t.Errorf("%q: %+v", text, r.Assertions)
		}
	})
}

func TestComparison(t *testing.T) {
	base, other := sample("echo"), sample("echo")
	other.Latencies["corrected"] = ramp(2200)
	other.Achieved.Rate = 4000
	other.Errors = map[string]uint64{"closed: 1008": 3}
	c := Compare(base, other)
	rows := []struct {
		text   string
		failed bool
	}{
		{"p99>+5%", true}, {"p99>+15%", false}, {"p99<-5%", false},
		{"rate<-10%", true}, {"rate<-25%", false}, {"rate>+0%", false},
		{"errors>+5%", true}, // from none to some
		{"raw.p99>+1%", false},
		{"lost>+5%", true}, // not in both
	}
	for _, row := range rows {
		r, err := ParseRegression(row.text)
		if err != nil {
			t.Errorf("%s: %v", row.text, err)
			continue
		}
		if failed := c.Failed([]Regression{r}); (len(failed) == 1) != row.failed {
			t.Errorf("%s: %q", row.text, failed)
		}
	}
	var b strings.Builder
	if err := c.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.golden", b.String())
	for _, text := range []string{"", "p99", "p99>5ms", "p98>+5%", "p99>+-5%"} {
		if _, err := ParseRegression(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestComparisonSaysWhatItIsWorth(t *testing.T) {
	for want, change := range map[string]func(*Result){
		"scenarios": func(r *Result) { r.Scenario = "idle" },
		"machines":  func(r *Result) { r.Machine.Cores = 64 },
		"plans":     func(r *Result) { r.Plan.Rate = 1 },
		"SUSPECT":   func(r *Result) { r.Suspicions = []string{"x"} },
	} {
		other := sample("echo")
		change(other)
		notes := strings.Join(Compare(sample("echo"), other).Notes, "; ")
		if !strings.Contains(notes, want) {
			t.Errorf("notes %q, want %q", notes, want)
		}
	}
	if notes := Compare(sample("echo"), sample("echo")).Notes; len(notes) > 0 {
		t.Errorf("notes %q", notes)
	}
}
