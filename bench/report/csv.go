package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// WriteCSV writes the series, a line a second.
func (r *Result) WriteCSV(to io.Writer) error {
	w := csv.NewWriter(to)
	w.Write([]string{
		"at_s", "connections", "sent", "received", "errors", "p50_us", "p99_us", "max_us",
	})
	for _, p := range r.Series {
		w.Write([]string{
			fmt.Sprintf("%.3f", p.At), fmt.Sprint(p.Connections), fmt.Sprint(p.Sent),
			fmt.Sprint(p.Received), fmt.Sprint(p.Errors), fmt.Sprintf("%.0f", p.P50),
			fmt.Sprintf("%.0f", p.P99), fmt.Sprintf("%.0f", p.Max),
		})
	}
	w.Flush()
	return w.Error()
}

// WriteHLog writes the distributions as an interval log of HdrHistogram, a tagged line for each.
// The values are in microseconds.
func (r *Result) WriteHLog(to io.Writer) error {
	w := hdrhistogram.NewHistogramLogWriter(to)
	if err := w.OutputLogFormatVersion(); err != nil {
		return err
	}
	started := r.Started.UnixMilli()
	if err := w.OutputStartTime(started); err != nil {
		return err
	}
	if err := w.OutputLegend(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.Latencies)) {
		h, err := r.Latencies[name].Histogram()
		if err != nil {
			return err
		}
		h.SetTag(name)
		h.SetStartTimeMs(started)
		h.SetEndTimeMs(started + int64(r.Seconds*1000))
		if err := w.OutputIntervalHistogram(h); err != nil {
			return err
		}
	}
	return nil
}
