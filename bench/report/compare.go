package report

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Row is a figure of two results.
type Row struct {
	Name        string
	Base, Other float64
}

// Change is by how much the figure differs, in percent of the base. What there was none of in the
// base has grown without bound.
func (r Row) Change() float64 {
	switch {
	case r.Base == r.Other:
		return 0
	case r.Base == 0:
		return math.Inf(1)
	}
	return 100 * (r.Other - r.Base) / r.Base
}

// Comparison is what two results have in common.
type Comparison struct {
	Rows  []Row
	Notes []string // why the comparison may mean little
}

// Compare puts the figures of two results side by side.
func Compare(base, other *Result) Comparison {
	var c Comparison
	names := figureNames()
	for _, latency := range order[1:] {
		names = append(names, latency+".p50", latency+".p99")
	}
	for _, name := range names {
		b, ok := base.Figure(name)
		o, too := other.Figure(name)
		if ok && too {
			c.Rows = append(c.Rows, Row{name, b, o})
		}
	}
	note := func(differ bool, text string) {
		if differ {
			c.Notes = append(c.Notes, text)
		}
	}
	note(base.Scenario != other.Scenario, "the scenarios differ")
	note(base.Machine.CPU != other.Machine.CPU || base.Machine.Cores != other.Machine.Cores ||
		base.Machine.Kernel != other.Machine.Kernel, "the machines differ")
	note(base.Plan != other.Plan, "the plans differ")
	note(len(base.Suspicions)+len(other.Suspicions) > 0, "a run is SUSPECT")
	return c
}

// WriteText writes a table of 80 columns.
func (c Comparison) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-22s %16s %16s %10s\n", "", "base", "other", "change")
	for _, r := range c.Rows {
		show := number
		if isLatency(r.Name) {
			show = duration
		}
		change := fmt.Sprintf("%+.1f %%", r.Change())
		if r.Change() > 1e6 {
			change = "new"
		}
		fmt.Fprintf(&b, "%-22s %16s %16s %10s\n", r.Name, show(r.Base), show(r.Other), change)
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Regression is a change that is not to happen.
type Regression struct {
	text, figure, operator string
	percent                float64
}

var regression = regexp.MustCompile(`^\s*([a-z_0-9.]+?)\s*(<|>)\s*([+-]?[0-9.]+)\s*%\s*$`)

// ParseRegression parses a change like "p99>+5%" or "rate<-10%".
func ParseRegression(text string) (Regression, error) {
	m := regression.FindStringSubmatch(text)
	if m == nil {
		return Regression{}, fmt.Errorf("%q is not like p99>+5%% or rate<-10%%", text)
	}
	percent, err := strconv.ParseFloat(m[3], 64)
	if err != nil || !known(m[1]) {
		return Regression{}, fmt.Errorf("%q: there is no figure %q; there are %s", text, m[1],
			strings.Join(figureNames(), ", "))
	}
	return Regression{strings.TrimSpace(text), m[1], m[2], percent}, nil
}

// Failed lists the regressions that have happened. A figure that is missing counts as one.
func (c Comparison) Failed(list []Regression) (failed []string) {
	for _, r := range list {
		found := false
		for _, row := range c.Rows {
			if row.Name == r.figure {
				found = true
				if compare(row.Change(), r.operator, r.percent) {
					failed = append(failed, fmt.Sprintf("%s: %+.1f %%", r.text, row.Change()))
				}
			}
		}
		if !found {
			failed = append(failed, r.text+": no such figure in both results")
		}
	}
	return failed
}
