package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// The text has at most linesMax lines of at most columnsMax columns. The notes get what is left.
const (
	linesMax       = 25
	columnsMax     = 80
	suspicionsMax  = 3
	unmetMax       = 3
	latenciesMax   = 7
	errorsMax      = 4
	notesMax       = 3
	linesElsewhere = 8 // verdict, plan, the head of the latencies, delivery, costs
)

// Together they must leave no line for the notes at worst.
const _ = uint(linesMax - linesElsewhere - suspicionsMax - unmetMax - latenciesMax - errorsMax)

// WriteText writes the result for people: the verdict first, at most 25 lines of 80 columns.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Verdict())
	for _, s := range first(r.Suspicions, suspicionsMax) {
		fmt.Fprintf(&b, "  %s\n", s)
	}
	for _, a := range first(r.unmet(), unmetMax) {
		fmt.Fprintf(&b, "  not met: %s, but it is %s\n", a.Text, a.shown())
	}
	r.writePlan(&b)
	r.writeLatencies(&b)
	r.writeDelivery(&b)
	r.writeErrors(&b)
	r.writeCosts(&b)
	left := linesMax - strings.Count(b.String(), "\n")
	for _, n := range first(r.Notes, min(notesMax, left)) {
		fmt.Fprintf(&b, "note        %s\n", n)
	}
	for line := range strings.Lines(b.String()) {
		line = cut(strings.TrimSuffix(line, "\n"), columnsMax) + "\n"
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	return nil
}

// unmet lists the assertions that were not met.
func (r *Result) unmet() (list []Assertion) {
	for _, a := range r.Assertions {
		if !a.Passed {
			list = append(list, a)
		}
	}
	return list
}

// Verdict says in a line what the run is worth.
func (r *Result) Verdict() string {
	if len(r.unmet()) > 0 {
		return "FAILED: an assertion was not met"
	}
	if len(r.Suspicions) > 0 {
		return "SUSPECT: the generator may have been the bottleneck"
	}
	return "VALID"
}

func (r *Result) writePlan(b *strings.Builder) {
	loop := "closed loop"
	if r.Plan.OpenLoop {
		loop = number(r.Plan.Rate) + "/s planned"
	}
	fmt.Fprintf(b, "%-11s %s, %s\n", r.Scenario, cut(r.Target, 50), loop)
	fmt.Fprintf(b, "connections %s of %s; %s B messages; %.1f s\n",
		number(float64(r.Achieved.Connections)), number(float64(r.Plan.Connections)),
		number(float64(r.Plan.Bytes)), r.Seconds)
	fmt.Fprintf(b, "messages    %s sent, %s received, %s/s\n", number(float64(r.Achieved.Sent)),
		number(float64(r.Achieved.Received)), number(r.Achieved.Rate))
}

// order is how latencies are listed; others follow by name.
var order = []string{"corrected", "raw", "open", "back", "connect", "tls", "upgrade", "first",
	"spread_first", "spread_median", "spread_last"}

func (r *Result) writeLatencies(b *strings.Builder) {
	if len(r.Latencies) == 0 {
		return
	}
	fmt.Fprintf(b, "%-15s%9s%9s%9s%9s%9s%9s%9s\n",
		"latency", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max")
	for _, name := range first(r.latencyNames(), latenciesMax) {
		l := r.Latencies[name]
		shown := cut(strings.ReplaceAll(name, "_", " "), 13)
		fmt.Fprintf(b, "  %-13s%9s%9s%9s%9s%9s%9s%9s\n", shown, duration(l.Mean),
			duration(l.P50), duration(l.P90), duration(l.P99), duration(l.P999),
			duration(l.P9999), duration(l.Max))
	}
}

// latencyNames are those of the distributions, as they are listed.
func (r *Result) latencyNames() []string {
	return slices.SortedFunc(maps.Keys(r.Latencies), func(a, b string) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b))
	})
}

func place(name string) int {
	if i := slices.Index(order, name); i >= 0 {
		return i
	}
	return len(order)
}

func (r *Result) writeDelivery(b *strings.Builder) {
	if d := r.Delivery; d != nil {
		fmt.Fprintf(b, "delivery    %s of %s; %s lost, %s repeated, %s reordered, %s changed\n",
			number(float64(d.Received)), number(float64(d.Expected)), number(float64(d.Lost)),
			number(float64(d.Repeated)), number(float64(d.Reorder)), number(float64(d.Broken)))
	}
}

func (r *Result) writeErrors(b *strings.Builder) {
	if len(r.Errors) == 0 {
		b.WriteString("errors      none\n")
		return
	}
	for i, class := range first(r.errorClasses(), errorsMax) {
		label := ""
		if i == 0 {
			label = "errors"
		}
		fmt.Fprintf(b, "%-11s %s x %s\n", label, number(float64(r.Errors[class])), class)
	}
}

// errorClasses are those of the errors, the most frequent first.
func (r *Result) errorClasses() []string {
	return slices.SortedFunc(maps.Keys(r.Errors), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.Errors[b], r.Errors[a]), cmp.Compare(a, b))
	})
}

func (r *Result) writeCosts(b *strings.Builder) {
	if s := r.Server; s != nil {
		fmt.Fprintf(b, "server      %.2f us CPU per message, %s RSS", s.CPUPerMessage,
			memory(s.RSS))
		if s.RSSPerConn > 0 {
			fmt.Fprintf(b, ", %.0f B per connection", s.RSSPerConn)
		}
		fmt.Fprintf(b, " (%s)\n", s.Source)
	}
	g := r.Generator
	fmt.Fprintf(b, "generator   %.0f %% of its CPU, %s RSS", 100*g.CPUShare, memory(g.RSS))
	if g.SendLag != nil {
		fmt.Fprintf(b, ", send lag p99 %s", duration(g.SendLag.P99))
	}
	b.WriteString("\n")
}

// Line is the live line of a second, without a newline. On a terminal it stays below 80 columns.
func (p Point) Line(terminal bool) string {
	if terminal {
		return fmt.Sprintf("%5.1fs  %s conns  %s/s sent  %s/s received  p99 %s  %s errors", p.At,
			number(float64(p.Connections)), number(float64(p.Sent)), number(float64(p.Received)),
			duration(p.P99), number(float64(p.Errors)))
	}
	return fmt.Sprintf("at=%.1fs connections=%d sent=%d received=%d p99_us=%.0f errors=%d", p.At,
		p.Connections, p.Sent, p.Received, p.P99, p.Errors)
}

// duration writes microseconds with a unit that suits them.
func duration(us float64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%.0fus", us)
	case us < 10_000:
		return fmt.Sprintf("%.2fms", us/1000)
	case us < 1_000_000:
		return fmt.Sprintf("%.0fms", us/1000)
	case us < 100e6:
		return fmt.Sprintf("%.2fs", us/1e6)
	case us < 1e12:
		return fmt.Sprintf("%.0fs", us/1e6)
	}
	return fmt.Sprintf("%.0es", us/1e6)
}

// number writes a number with its thousands apart, or what is too large for that as a power of ten.
func number(v float64) string {
	if math.Abs(v) >= 1e15 {
		return fmt.Sprintf("%.2e", v)
	}
	if v >= 100 {
		v = math.Round(v)
	}
	if v != float64(int64(v)) {
		return fmt.Sprintf("%.2f", v)
	}
	text := fmt.Sprint(int64(v))
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func memory(n int64) string {
	if n < 10<<20 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// cut shortens a text to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-3]) + "..."
}

func first[T any](list []T, n int) []T { return list[:min(n, len(list))] }
