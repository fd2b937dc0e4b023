package report

import (
	"encoding/base64"
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// NewLatency describes a histogram of microseconds, which must not be recorded into any more.
func NewLatency(h *hdrhistogram.Histogram) *Latency {
	l := &Latency{
		Count: uint64(h.TotalCount()), Mean: h.Mean(),
		P50: float64(h.ValueAtQuantile(50)), P90: float64(h.ValueAtQuantile(90)),
		P99: float64(h.ValueAtQuantile(99)), P999: float64(h.ValueAtQuantile(99.9)),
		P9999: float64(h.ValueAtQuantile(99.99)), Max: float64(h.Max()), hist: h,
	}
	if encoded, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err == nil {
		l.HDR = base64.StdEncoding.EncodeToString(encoded)
	}
	return l
}

// Histogram returns the distribution itself. It fails if a Latency that was read from JSON holds
// none.
func (l *Latency) Histogram() (*hdrhistogram.Histogram, error) {
	if l.hist != nil {
		return l.hist, nil
	}
	raw, err := base64.StdEncoding.DecodeString(l.HDR)
	if err != nil {
		return nil, fmt.Errorf("histogram: %w", err)
	}
	if l.hist, err = hdrhistogram.Decode(raw); err != nil {
		return nil, fmt.Errorf("histogram: %w", err)
	}
	return l.hist, nil
}
