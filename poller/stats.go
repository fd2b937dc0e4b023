package poller

import (
	"sync/atomic"
	"time"
)

// loopCounts is what a loop counts for itself, without synchronisation.
type loopCounts struct {
	conns             int
	turns, events     uint64
	reads, writes     uint64
	bytesIn, bytesOut uint64
	queued, unsent    int64
}

// atomicLoopStats is the copy of a loop's counts that others may read; the loop renews it once per
// turn.
type atomicLoopStats struct {
	conns             atomic.Int64
	queued, unsent    atomic.Int64
	turns, events     atomic.Uint64
	reads, writes     atomic.Uint64
	bytesIn, bytesOut atomic.Uint64
}

func (s *atomicLoopStats) store(c *loopCounts) {
	s.conns.Store(int64(c.conns))
	s.queued.Store(c.queued)
	s.unsent.Store(c.unsent)
	s.turns.Store(c.turns)
	s.events.Store(c.events)
	s.reads.Store(c.reads)
	s.writes.Store(c.writes)
	s.bytesIn.Store(c.bytesIn)
	s.bytesOut.Store(c.bytesOut)
}

func (s *atomicLoopStats) load(sinceTurn time.Duration) LoopStats {
	return LoopStats{
		Conns: int(s.conns.Load()), Queued: s.queued.Load(), Unsent: s.unsent.Load(),
		Turns: s.turns.Load(), Events: s.events.Load(),
		Reads: s.reads.Load(), Writes: s.writes.Load(),
		BytesIn: s.bytesIn.Load(), BytesOut: s.bytesOut.Load(),
		LastTurn: sinceTurn,
	}
}

// acceptCounters counts what an engine's listeners do.
type acceptCounters struct {
	accepted, turned, failed, starved atomic.Uint64
}

func (c *acceptCounters) snapshot() AcceptStats {
	return AcceptStats{
		Accepted: c.accepted.Load(), Turned: c.turned.Load(),
		Failed: c.failed.Load(), Starved: c.starved.Load(),
	}
}
