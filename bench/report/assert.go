package report

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Check is a condition on a figure of a result.
type Check struct {
	text     string
	figure   string
	operator string
	bound    float64
	percent  bool // of the messages sent
}

var assertion = regexp.MustCompile(
	`^\s*([A-Za-z_0-9.-]+?)\s*(<=|>=|==|<|>)\s*([0-9.]+)\s*(us|ms|s|%|k|m)?\s*$`)

var units = map[string]float64{
	"": 1, "us": 1, "ms": 1e3, "s": 1e6, "%": 1, "k": 1e3, "m": 1e6,
}

// ParseAssertion parses a condition like "p99<20ms", "connect.p50<1s", "errors<1%", "lost==0" or
// "rate>=50k". latencies are names of distributions besides the usual ones.
func ParseAssertion(text string, latencies ...string) (Check, error) {
	m := assertion.FindStringSubmatch(text)
	if m == nil {
		return Check{}, fmt.Errorf("assertion %q is not like p99<20ms, errors<1%% or lost==0", text)
	}
	bound, err := strconv.ParseFloat(m[3], 64)
	if err != nil {
		return Check{}, fmt.Errorf("assertion %q: %q is not a number", text, m[3])
	}
	c := Check{
		text: strings.TrimSpace(text), figure: m[1], operator: m[2], bound: bound * units[m[4]],
		percent: m[4] == "%",
	}
	if latency, _ := split(c.figure); !known(c.figure) && !slices.Contains(latencies, latency) {
		return Check{}, fmt.Errorf("assertion %q: there is no figure %q; there are %s, and "+
			"connect.p99 and the like", text, c.figure, strings.Join(figureNames(), ", "))
	}
	return c, nil
}

// figure is a number of a result that can be asserted and compared.
type figure struct {
	name string
	of   func(*Result) (v float64, ok bool)
}

func figures() []figure {
	always := func(f func(*Result) float64) func(*Result) (float64, bool) {
		return func(r *Result) (float64, bool) { return f(r), true }
	}
	delivery := func(f func(*Delivery) uint64) func(*Result) (float64, bool) {
		return func(r *Result) (float64, bool) {
			if r.Delivery == nil {
				return 0, false
			}
			return float64(f(r.Delivery)), true
		}
	}
	server := func(f func(*Server) float64) func(*Result) (float64, bool) {
		return func(r *Result) (float64, bool) {
			if r.Server == nil {
				return 0, false
			}
			return f(r.Server), true
		}
	}
	return []figure{
		{"rate", always(func(r *Result) float64 { return r.Achieved.Rate })},
		{"connections", always(func(r *Result) float64 { return float64(r.Achieved.Connections) })},
		{"errors", always(func(r *Result) float64 { return float64(r.errorCount()) })},
		{"lost", delivery(func(d *Delivery) uint64 { return d.Lost })},
		{"repeated", delivery(func(d *Delivery) uint64 { return d.Repeated })},
		{"reordered", delivery(func(d *Delivery) uint64 { return d.Reorder })},
		{"broken", delivery(func(d *Delivery) uint64 { return d.Broken })},
		{"cpu_per_message", server(func(s *Server) float64 { return s.CPUPerMessage })},
		{"rss", server(func(s *Server) float64 { return float64(s.RSS) })},
		{"rss_per_connection", server(func(s *Server) float64 { return s.RSSPerConn })},
	}
}

// quantiles of a latency.
var quantiles = []struct {
	name string
	of   func(*Latency) float64
}{
	{"mean", func(l *Latency) float64 { return l.Mean }},
	{"p50", func(l *Latency) float64 { return l.P50 }},
	{"p90", func(l *Latency) float64 { return l.P90 }},
	{"p99", func(l *Latency) float64 { return l.P99 }},
	{"p99.9", func(l *Latency) float64 { return l.P999 }},
	{"p99.99", func(l *Latency) float64 { return l.P9999 }},
	{"max", func(l *Latency) float64 { return l.Max }},
}

func figureNames() (names []string) {
	for _, q := range quantiles {
		names = append(names, q.name)
	}
	for _, f := range figures() {
		names = append(names, f.name)
	}
	return names
}

// split separates the distribution from the quantile: "connect.p99.9"; corrected if none is named.
func split(name string) (latency, quantile string) {
	for _, q := range quantiles {
		if before, ok := strings.CutSuffix(name, "."+q.name); ok {
			return before, q.name
		}
	}
	return "corrected", name
}

func known(name string) bool {
	latency, quantile := split(name)
	for _, q := range quantiles {
		if q.name == quantile && (latency == "corrected" || place(latency) < len(order)) {
			return true
		}
	}
	for _, f := range figures() {
		if f.name == name {
			return true
		}
	}
	return false
}

// Figure is a number by the name that assertions use. ok is false if the result has none.
func (r *Result) Figure(name string) (v float64, ok bool) {
	for _, f := range figures() {
		if f.name == name {
			return f.of(r)
		}
	}
	latency, quantile := split(name)
	l := r.Latencies[latency]
	if l == nil {
		return 0, false
	}
	for _, q := range quantiles {
		if q.name == quantile {
			return q.of(l), true
		}
	}
	return 0, false
}

func (r *Result) errorCount() (n uint64) {
	for _, c := range r.Errors {
		n += c
	}
	return n
}

// Assert fills in the assertions. A figure that the result does not have fails.
func (r *Result) Assert(checks []Check) {
	r.Assertions = nil
	for _, c := range checks {
		v, ok := r.Figure(c.figure)
		if c.percent && r.Achieved.Sent > 0 {
			v = 100 * v / float64(r.Achieved.Sent)
		}
		r.Assertions = append(r.Assertions, Assertion{
			Text: c.text, Actual: v, Passed: ok && compare(v, c.operator, c.bound),
		})
	}
}

// shown is the figure of an assertion as people read it.
func (a Assertion) shown() string {
	if m := assertion.FindStringSubmatch(a.Text); m != nil && isLatency(m[1]) {
		return duration(a.Actual)
	}
	return number(a.Actual)
}

// isLatency reports whether a figure is a time.
func isLatency(figure string) bool {
	_, name := split(figure)
	for _, q := range quantiles {
		if q.name == name {
			return true
		}
	}
	return false
}

func compare(v float64, operator string, bound float64) bool {
	switch operator {
	case "<":
		return v < bound
	case "<=":
		return v <= bound
	case ">":
		return v > bound
	case ">=":
		return v >= bound
	}
	return v == bound
}
