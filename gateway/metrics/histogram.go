package metrics

import "time"

// histogramBounds are the upper bounds of a Histogram's buckets.
var histogramBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
}

// Histogram counts durations by fixed buckets. It is safe for concurrent use.
type Histogram struct {
	buckets [len(histogramBounds) + 1]Counter
	sum     Counter // nanoseconds
}

// Observe counts a duration. A negative one counts as 0.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(histogramBounds) && d > histogramBounds[i] {
		i++
	}
	h.buckets[i].Inc()
	h.sum.Add(uint64(d))
}

// distribution is the sum of histograms, as Prometheus wants it.
type distribution struct {
	count   uint64
	seconds float64
	buckets map[float64]uint64 // cumulative, by upper bound; all but the last, which is count
}

// sumHistograms adds up one histogram of every shard. What is counted meanwhile may be in the
// buckets but not yet in the sum of seconds.
func sumHistograms(shards []Shard, of func(*Shard) *Histogram) distribution {
	var counts [len(histogramBounds) + 1]uint64
	var sum uint64
	for i := range shards {
		h := of(&shards[i])
		sum += h.sum.Load()
		for b := range h.buckets {
			counts[b] += h.buckets[b].Load()
		}
	}
	d := distribution{
		seconds: time.Duration(sum).Seconds(),
		buckets: make(map[float64]uint64, len(histogramBounds)),
	}
	for b, bound := range histogramBounds {
		d.count += counts[b]
		d.buckets[bound.Seconds()] = d.count
	}
	d.count += counts[len(histogramBounds)]
	return d
}
