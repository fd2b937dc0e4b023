package figures

import (
	"fmt"
	"io"
	"strings"
)

// WriteTable writes the medians for people, 80 columns wide: a line for each measurement, and under
// each server its figure and how it compares with the reference.
func (r *Result) WriteTable(w io.Writer) error {
	var b strings.Builder
	reference := ""
	fmt.Fprintf(&b, "%-11s %-8s", "", "")
	for _, s := range r.Servers {
		fmt.Fprintf(&b, " %16s", s.Name)
		if s.Reference {
			reference = s.Name
		}
	}
	b.WriteString("\n")
	for _, c := range r.Columns {
		base := r.median(reference, c.Name)
		fmt.Fprintf(&b, "%-11s %-8s", c.Name, c.Unit)
		for _, s := range r.Servers {
			fmt.Fprintf(&b, " %16s", cell(r.median(s.Name, c.Name), base, s.Name == reference))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	r.writeNotes(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) median(server, measurement string) float64 {
	return median(r.Samples[server][measurement], func(s sample) float64 { return s.Value })
}

// cell is a figure with its ratio to the reference's.
func cell(v, base float64, reference bool) string {
	switch {
	case v == 0:
		return "-"
	case reference || base <= 0:
		return format(v)
	}
	return fmt.Sprintf("%s %5.2fx", format(v), v/base)
}

// format keeps three digits.
func format(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// writeNotes explains the measurements, with what is not in the table.
func (r *Result) writeNotes(b *strings.Builder) {
	for _, c := range r.Columns {
		fmt.Fprintf(b, "%-11s %s\n", c.Name, c.What)
		for _, s := range r.Servers {
			samples := r.Samples[s.Name][c.Name]
			rate := median(samples, func(s sample) float64 { return s.Rate })
			share := median(samples, func(s sample) float64 { return s.Delivered })
			p99 := median(samples, func(s sample) float64 { return s.P99 })
			if rate == 0 {
				continue
			}
			fmt.Fprintf(b, "%-11s   %-10s %.0f/s", "", s.Name, rate)
			if share > 0 {
				fmt.Fprintf(b, ", %.1f %% delivered", 100*share)
			}
			if p99 > 0 {
				fmt.Fprintf(b, ", p99 %.1f ms", p99/1000)
			}
			b.WriteString("\n")
		}
	}
}
