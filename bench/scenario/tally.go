package scenario

import (
	"sync/atomic"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sluice/bench/load"
)

// tally is what the clients of one loop have seen. The loop owns it, but for the counters.
type tally struct {
	received atomic.Uint64
	lost     atomic.Uint64
	repeated atomic.Uint64
	broken   atomic.Uint64 // messages that are none of ours, or changed
	closed   atomic.Uint64
	latency  *hdrhistogram.Histogram
	scratch  []byte
	_        [64]byte // keeps the counters of two loops apart
}

func newTallies(lanes int) []tally {
	t := make([]tally, lanes)
	for i := range t {
		t[i].latency = load.NewHistogram()
	}
	return t
}

// Counts is what all clients together have seen since the last reset.
type Counts struct {
	Received uint64
	Lost     uint64 // gaps in the sequence of a publisher
	Repeated uint64 // messages that came again, or too late
	Broken   uint64 // messages that are none of ours
	Closed   uint64 // connections that have ended
}

func sum(tallies []tally) (c Counts) {
	for i := range tallies {
		t := &tallies[i]
		c.Received += t.received.Load()
		c.Lost += t.lost.Load()
		c.Repeated += t.repeated.Load()
		c.Broken += t.broken.Load()
		c.Closed += t.closed.Load()
	}
	return c
}

// Sub returns what was counted since before.
func (c Counts) Sub(before Counts) Counts {
	return Counts{
		c.Received - before.Received, c.Lost - before.Lost, c.Repeated - before.Repeated,
		c.Broken - before.Broken, c.Closed - before.Closed,
	}
}
