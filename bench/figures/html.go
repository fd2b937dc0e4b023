package figures

import (
	_ "embed" // for the page
	"fmt"
	"html/template"
	"io"
	"math"
)

//go:embed page.html
var page string

// chart is a measurement of all servers.
type chart struct {
	Column
	Rows []bar
}

// bar is a server in a chart.
type bar struct {
	Server, Figure, Delivered string
	Ours                      bool
	Width                     float64 // percent
}

// WriteHTML writes the medians as a page that needs nothing else. about says where and when the
// figures were taken.
func (r *Result) WriteHTML(w io.Writer, about string) error {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return err
	}
	var charts []chart
	for _, c := range r.Columns {
		charts = append(charts, chart{c, r.bars(c.Name)})
	}
	return t.Execute(w, struct {
		About  string
		Charts []chart
	}{about, charts})
}

func (r *Result) bars(measurement string) (rows []bar) {
	longest, base := 0.0, 0.0
	for _, s := range r.Servers {
		v := r.median(s.Name, measurement)
		longest = max(longest, v)
		if s.Reference {
			base = v
		}
	}
	for _, s := range r.Servers {
		v := r.median(s.Name, measurement)
		row := bar{
			Server: s.Name, Figure: cell(v, base, s.Reference),
			Ours: !s.Peer && !s.Reference,
		}
		if r.Failures[s.Name][measurement] != "" || r.Failures[s.Name][everything] != "" {
			row.Figure = "failed"
		}
		if longest > 0 {
			row.Width = 100 * math.Sqrt(v/longest) // or else the worst hides the differences
		}
		share := median(r.Samples[s.Name][measurement],
			func(s sample) float64 { return s.Delivered })
		if share > 0 && share < 0.9995 {
			row.Delivered = fmt.Sprintf("%.0f %% delivered", 100*share)
		}
		rows = append(rows, row)
	}
	return rows
}
