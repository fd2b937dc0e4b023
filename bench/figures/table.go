package figures

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// few servers have a column each; more have a line each.
const few = 3

// WriteTable writes the medians for people, 80 columns wide: the figure of every server and how it
// compares with the reference.
func (r *Result) WriteTable(w io.Writer) error {
	if len(r.Servers) > few {
		return r.writeMatrix(w)
	}
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

// across is how many measurements fit beside each other.
const across = 4

// writeMatrix writes a line for each server, and what is behind the figures below.
func (r *Result) writeMatrix(w io.Writer) error {
	var b strings.Builder
	reference := ""
	for _, s := range r.Servers {
		if s.Reference {
			reference = s.Name
		}
	}
	for columns := range slices.Chunk(r.Columns, across) {
		names, units := fmt.Sprintf("%-9s", ""), fmt.Sprintf("%-9s", "")
		for _, c := range columns {
			names += fmt.Sprintf(" %16s", c.Name)
			units += fmt.Sprintf(" %16s", c.Unit)
		}
		fmt.Fprintf(&b, "%s\n%s\n", names, units)
		for _, s := range r.Servers {
			if r.Failures[s.Name][everything] != "" {
				continue
			}
			fmt.Fprintf(&b, "%-9s", s.Name)
			for _, c := range columns {
				text := cell(r.median(s.Name, c.Name), r.median(reference, c.Name),
					s.Name == reference)
				if r.Failures[s.Name][c.Name] != "" {
					text = "failed"
				}
				fmt.Fprintf(&b, " %16s", text)
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	for _, c := range r.Columns {
		fmt.Fprintf(&b, "%-11s %s%s\n", c.Name, c.What, r.losers(c.Name))
	}
	for _, s := range r.Servers {
		for what, why := range r.Failures[s.Name] {
			fmt.Fprintf(&b, "%s: %s: %.60s\n", s.Name, what, why)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// losers names the servers that have not delivered everything; empty if there is none.
func (r *Result) losers(measurement string) string {
	var list []string
	for _, s := range r.Servers {
		share := median(r.Samples[s.Name][measurement],
			func(s sample) float64 { return s.Delivered })
		if share > 0 && share < 0.9995 {
			list = append(list, fmt.Sprintf("%s %.0f %%", s.Name, 100*share))
		}
	}
	if list == nil {
		return ""
	}
	return "\n" + strings.Repeat(" ", 12) + "delivered: " + strings.Join(list, ", ")
}
