package run

import (
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"sluice/bench/load"
)

// Window is the measured phase: only messages that were planned within it count for latencies.
type Window struct{ From, To time.Duration }

func (w Window) holds(at time.Duration) bool { return at >= w.From && at < w.To }

// tally is what the clients of one event loop have seen. The histograms belong to the loop, in
// microseconds; the counters may be read by anybody.
type tally struct {
	window Window

	corrected *hdrhistogram.Histogram // from the planned moment
	raw       *hdrhistogram.Histogram // from the moment of sending
	lag       *hdrhistogram.Histogram // from the planned moment to that of sending, our own doing
	second    *hdrhistogram.Histogram // corrected, since it was taken last

	sent, received atomic.Uint64
	lost, repeated atomic.Uint64
	reordered      atomic.Uint64
	broken         atomic.Uint64 // not what was sent
	_              [64]byte      // keeps the counters of two loops apart
}

func (t *tally) init(w Window) {
	t.window = w
	t.corrected, t.raw = load.NewHistogram(), load.NewHistogram()
	t.lag, t.second = load.NewHistogram(), load.NewHistogram()
}

// measure notes a message that has arrived.
func (t *tally) measure(planned, sent, arrived time.Duration) {
	corrected := microseconds(arrived - planned)
	t.second.RecordValue(corrected)
	if t.window.holds(planned) {
		t.corrected.RecordValue(corrected)
		t.raw.RecordValue(microseconds(arrived - sent))
	}
}

// late notes how late the generator is with a message.
func (t *tally) late(planned, at time.Duration) {
	if t.window.holds(planned) {
		t.lag.RecordValue(microseconds(at - planned))
	}
}

// microseconds rounds up: a histogram holds no 0.
func microseconds(d time.Duration) int64 {
	return max((d + time.Microsecond - 1).Microseconds(), 1)
}

// counts is what tallies have counted.
type counts struct{ sent, received, lost, repeated, reordered, broken uint64 }

func (t *tally) counts() counts {
	return counts{
		t.sent.Load(), t.received.Load(), t.lost.Load(), t.repeated.Load(), t.reordered.Load(),
		t.broken.Load(),
	}
}

func (c counts) plus(d counts) counts {
	return counts{
		c.sent + d.sent, c.received + d.received, c.lost + d.lost, c.repeated + d.repeated,
		c.reordered + d.reordered, c.broken + d.broken,
	}
}

func (c counts) minus(d counts) counts {
	return counts{
		c.sent - d.sent, c.received - d.received, c.lost - d.lost, c.repeated - d.repeated,
		c.reordered - d.reordered, c.broken - d.broken,
	}
}

// start is when this process began, booted the same moment on the monotonic clock of the machine:
// what several processes call now can be compared.
var (
	start  = time.Now()
	booted = monotonic()
)

// now is the monotonic clock, read the fast way.
func now() time.Duration { return booted + time.Since(start) }

func monotonic() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // never fails
	return time.Duration(ts.Nano())
}
