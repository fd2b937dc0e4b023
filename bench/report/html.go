package report

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

// uPlot 1.6.32 is what its package has, but for the address in its first comment: a report links to
// nothing outside.
//
//go:embed page
var page embed.FS

// WriteHTML writes the result as one page that needs nothing else, not even a network.
func (r *Result) WriteHTML(w io.Writer) error {
	text, err := page.ReadFile("page/page.html")
	if err != nil {
		return err
	}
	t, err := template.New("page").Funcs(template.FuncMap{
		"number": func(v any) string {
			if n, ok := v.(uint64); ok {
				return number(float64(n))
			}
			return number(v.(float64))
		},
		"duration": duration,
	}).Parse(string(text))
	if err != nil {
		return err
	}
	p := &pageData{
		Result: r, Mood: r.mood(), Facts: r.facts(), Latencies: r.latencyRows(),
		Errors: r.errorRows(), Data: r.chartData(),
	}
	if p.Style, p.Script, err = pageCode(); err != nil {
		return err
	}
	return t.Execute(w, p)
}

// pageData is what the page shows.
type pageData struct {
	Result    *Result
	Mood      string // good, warn or bad
	Facts     []fact
	Latencies []latencyRow
	Errors    []fact
	Data      chartData
	Style     template.CSS
	Script    template.JS
}

type fact struct{ Name, Value string }

type latencyRow struct {
	Name   string
	Count  uint64
	Values []float64 // microseconds
}

// chartData is what the charts are drawn from.
type chartData struct {
	Series []Point `json:"series"`
	// Ranks are 1/(1-q) of the quantiles q; each distribution has its values there, as far as its
	// number of samples goes.
	Ranks       []float64    `json:"ranks"`
	Percentiles []percentile `json:"percentiles"`
}

type percentile struct {
	Name string     `json:"name"`
	US   []*float64 `json:"us"` // null beyond the samples
}

// pageCode puts the styles and the scripts together.
func pageCode() (template.CSS, template.JS, error) {
	var parts []string
	for _, name := range []string{"uPlot.min.css", "page.css", "uPlot.LICENSE", "uPlot.iife.min.js",
		"page.js"} {
		text, err := page.ReadFile("page/" + name)
		if err != nil {
			return "", "", err
		}
		parts = append(parts, string(text))
	}
	style := parts[0] + "\n" + parts[1]
	script := fmt.Sprintf("/*\nuPlot\n%s*/\n%s\n%s", parts[2], parts[3], parts[4])
	return template.CSS(style), template.JS(script), nil
}

func (r *Result) mood() string {
	verdict, _, _ := strings.Cut(r.Verdict(), ":")
	return map[string]string{"VALID": "good", "SUSPECT": "warn"}[verdict] +
		map[bool]string{true: "bad"}[verdict == "FAILED"]
}

// facts are the figures above the charts.
func (r *Result) facts() []fact {
	a, g := r.Achieved, r.Generator
	list := []fact{
		{"connections", of(a.Connections, r.Plan.Connections)},
		{"measured for", fmt.Sprintf("%.1f s", r.Seconds)},
		{"sent", number(float64(a.Sent))},
		{"received", fmt.Sprintf("%s, %s/s", number(float64(a.Received)), number(a.Rate))},
		{"message", number(float64(r.Plan.Bytes)) + " B"},
	}
	if r.Plan.OpenLoop {
		list = append(list, fact{"planned", number(r.Plan.Rate) + "/s"})
	} else {
		inFlight := fmt.Sprintf("%d in flight", max(r.Plan.InFlight, 1))
		list = append(list, fact{"closed loop", inFlight})
	}
	if d := r.Delivery; d != nil {
		list = append(list, fact{"delivered", of(d.Received, d.Expected)},
			fact{"lost, repeated", number(float64(d.Lost)) + ", " + number(float64(d.Repeated))},
			fact{"reordered", number(float64(d.Reorder))},
			fact{"changed", number(float64(d.Broken))})
	}
	if s := r.Server; s != nil {
		list = append(list, fact{"server CPU", fmt.Sprintf("%.2f us per message", s.CPUPerMessage)},
			fact{"server memory", memory(s.RSS)})
		if s.RSSPerConn > 0 {
			slope := fmt.Sprintf("%.0f B per connection", s.RSSPerConn)
			list = append(list, fact{"server memory", slope})
		}
	}
	list = append(list, fact{"generator", fmt.Sprintf("%.0f %% of its CPU, %s", 100*g.CPUShare,
		memory(g.RSS))})
	if g.SendLag != nil {
		list = append(list, fact{"send lag p99", duration(g.SendLag.P99)})
	}
	return list
}

func of[T int | uint64](n, all T) string {
	return number(float64(n)) + " of " + number(float64(all))
}

func (r *Result) latencyRows() (rows []latencyRow) {
	for _, name := range r.latencyNames() {
		l := r.Latencies[name]
		row := latencyRow{Name: strings.ReplaceAll(name, "_", " "), Count: l.Count}
		for _, q := range quantiles {
			row.Values = append(row.Values, q.of(l))
		}
		rows = append(rows, row)
	}
	return rows
}

func (r *Result) errorRows() (rows []fact) {
	for _, class := range r.errorClasses() {
		rows = append(rows, fact{class, number(float64(r.Errors[class]))})
	}
	return rows
}

const (
	// ranksPerDecade is how finely percentiles are drawn, decadesMax how far.
	ranksPerDecade = 20
	decadesMax     = 6
)

func (r *Result) chartData() chartData {
	d := chartData{Series: r.Series, Percentiles: []percentile{}, Ranks: []float64{}}
	if d.Series == nil {
		d.Series = []Point{}
	}
	most := uint64(0)
	for _, l := range r.Latencies {
		most = max(most, l.Count)
	}
	for k := range ranksPerDecade*decadesMax + 1 {
		rank := math.Pow(10, float64(k)/ranksPerDecade)
		if rank > float64(most) {
			break
		}
		d.Ranks = append(d.Ranks, rank)
	}
	for _, name := range r.latencyNames() {
		h, err := r.Latencies[name].Histogram()
		if err != nil {
			continue // the table has its figures all the same
		}
		p := percentile{Name: strings.ReplaceAll(name, "_", " ")}
		for _, rank := range d.Ranks {
			var us *float64
			if rank <= float64(h.TotalCount()) {
				v := float64(h.ValueAtQuantile(100 - 100/rank))
				us = &v
			}
			p.US = append(p.US, us)
		}
		d.Percentiles = append(d.Percentiles, p)
	}
	return d
}
