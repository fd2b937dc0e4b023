package report

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Merge makes one result of those of several generators that have loaded the same server at the
// same time. Counters add up, distributions are merged, series are added second by second. What
// the server cost is taken from the first result that knows it.
func Merge(results []*Result) (*Result, error) {
	if len(results) == 0 {
		return nil, errors.New("merge: there is no result")
	}
	all := *results[0]
	all.Latencies, all.Errors = map[string]*Latency{}, map[string]uint64{}
	all.Series, all.Suspicions, all.Notes, all.Assertions = nil, nil, nil, nil
	all.Plan, all.Achieved = Plan{}, Achieved{}
	all.Generator, all.Delivery = Generator{}, nil
	merged := map[string]*hdrhistogram.Histogram{}
	var lag *hdrhistogram.Histogram
	for _, r := range results {
		if r.Scenario != all.Scenario {
			return nil, fmt.Errorf("merge: %s and %s are different scenarios", all.Scenario,
				r.Scenario)
		}
		all.addPlan(r)
		all.addSeries(r.Series)
		for name, l := range r.Latencies {
			if err := add(merged, name, l); err != nil {
				return nil, err
			}
		}
		if l := r.Generator.SendLag; l != nil {
			h, err := l.Histogram()
			if err != nil {
				return nil, err
			}
			if lag == nil {
				lag = hdrhistogram.Import(h.Export())
			} else {
				lag.Merge(h)
			}
		}
		for _, s := range r.Suspicions {
			if !slices.Contains(all.Suspicions, s) {
				all.Suspicions = append(all.Suspicions, s)
			}
		}
		all.Notes = append(all.Notes, r.Notes...)
		if all.Server == nil {
			all.Server = r.Server
		}
	}
	for name, h := range merged {
		all.Latencies[name] = NewLatency(h)
	}
	if lag != nil {
		all.Generator.SendLag = NewLatency(lag)
	}
	return &all, nil
}

// add merges a distribution into the one of its name.
func add(merged map[string]*hdrhistogram.Histogram, name string, l *Latency) error {
	h, err := l.Histogram()
	if err != nil {
		return fmt.Errorf("merge: %s: %w", name, err)
	}
	if merged[name] == nil {
		merged[name] = hdrhistogram.Import(h.Export())
		return nil
	}
	merged[name].Merge(h)
	return nil
}

// addPlan adds what another generator was to do, has done and has cost.
func (r *Result) addPlan(o *Result) {
	r.Started, r.Seconds = earlier(r, o), max(r.Seconds, o.Seconds)
	r.Plan = Plan{
		Connections: r.Plan.Connections + o.Plan.Connections, Rate: r.Plan.Rate + o.Plan.Rate,
		InFlight: o.Plan.InFlight, Bytes: o.Plan.Bytes, OpenLoop: o.Plan.OpenLoop,
	}
	a, b := r.Achieved, o.Achieved
	r.Achieved = Achieved{
		Connections: a.Connections + b.Connections, Sent: a.Sent + b.Sent,
		Received: a.Received + b.Received, Rate: a.Rate + b.Rate,
		BytesIn: a.BytesIn + b.BytesIn, BytesOut: a.BytesOut + b.BytesOut,
	}
	g, h := r.Generator, o.Generator
	share := max(g.CPUShare, h.CPUShare)
	if o.Machine == r.Machine && o.Machine.Cores > 0 {
		// They have shared its processors.
		all := (g.CPUSeconds + h.CPUSeconds) / max(r.Seconds, 1e-9) / float64(o.Machine.Cores)
		share = max(share, all)
	}
	r.Generator = Generator{
		CPUSeconds: g.CPUSeconds + h.CPUSeconds, CPUShare: share,
		RSS: g.RSS + h.RSS, GCPause: max(g.GCPause, h.GCPause), SendLag: g.SendLag,
		Processes: g.Processes + max(h.Processes, 1),
	}
	for class, n := range o.Errors {
		r.Errors[class] += n
	}
	if d := o.Delivery; d != nil {
		if r.Delivery == nil {
			r.Delivery = new(Delivery)
		}
		e := r.Delivery
		*e = Delivery{
			e.Expected + d.Expected, e.Received + d.Received, e.Lost + d.Lost,
			e.Repeated + d.Repeated, e.Reorder + d.Reorder, e.Broken + d.Broken,
		}
	}
}

// addSeries adds points to those of the same second.
func (r *Result) addSeries(points []Point) {
	for _, p := range points {
		i := slices.IndexFunc(r.Series, func(q Point) bool { return math.Abs(q.At-p.At) < 0.5 })
		if i < 0 {
			r.Series = append(r.Series, p)
			continue
		}
		r.Series[i] = Sum([]Point{r.Series[i], p})
	}
}

// Sum adds up points of the same second; there must be one. The latencies of several generators
// cannot be added; the worst ones stand.
func Sum(points []Point) Point {
	all := points[0]
	for _, p := range points[1:] {
		all.Connections += p.Connections
		all.Sent, all.Received = all.Sent+p.Sent, all.Received+p.Received
		all.Errors += p.Errors
		all.P50, all.P99, all.Max = max(all.P50, p.P50), max(all.P99, p.P99), max(all.Max, p.Max)
	}
	return all
}

func earlier(r, o *Result) time.Time {
	if o.Started.Before(r.Started) {
		return o.Started
	}
	return r.Started
}
