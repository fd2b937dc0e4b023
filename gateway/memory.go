package gateway

import (
	"cmp"
	"math"
	"runtime"
	"runtime/debug"
	rt "runtime/metrics"
	"slices"
	"sync/atomic"
	"time"

	"sluice/gateway/metrics"
	"sluice/gateway/proxy"
	"sluice/gateway/tlsio"
	"sluice/poller"
)

const (
	// memoryEvery is how often memory is looked at.
	memoryEvery = 250 * time.Millisecond
	// memorySoft and memoryHard are the shares of the limit at which something is given up.
	memorySoft = 0.80
	memoryHard = 0.92
)

// memoryGuard keeps the process below the memory limit of the Go runtime (GOMEMLIMIT, or what
// cmd/sluice makes of the control group). Above memorySoft new connections are answered 503 and get
// no compression contexts; above memoryHard the connections with the largest outbound queues are
// evicted. Without a limit it does nothing.
type memoryGuard struct {
	limit uint64        // 0 without one
	used  func() uint64 // bytes in use
	state atomic.Uint32 // a metrics.MemoryState
	stop  chan struct{} // closed to end the goroutine; nil if there is none
	ended chan struct{}
}

// newMemoryGuard takes the limit that is in force.
func newMemoryGuard() *memoryGuard {
	m := &memoryGuard{used: memoryInUse}
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		m.limit = uint64(limit)
	}
	return m
}

// memoryInUse is what the process cannot do without: what the last collection found alive, and all
// that is no heap. Garbage does not count: the collector keeps that below the limit.
func memoryInUse() uint64 {
	samples := []rt.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
	}
	rt.Read(samples)
	rest := samples[1].Value.Uint64()
	for _, s := range samples[2:] {
		rest -= min(rest, s.Value.Uint64())
	}
	return samples[0].Value.Uint64() + rest
}

// watchMemory starts the guard's goroutine; close ends it.
func (g *Gateway) watchMemory() {
	m := g.memory
	if m.limit == 0 {
		return
	}
	m.stop, m.ended = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(m.ended)
		tick := time.NewTicker(memoryEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				g.checkMemory()
			case <-m.stop:
				return
			}
		}
	}()
}

func (m *memoryGuard) close() {
	if m.stop != nil {
		close(m.stop)
		<-m.ended
	}
}

// checkMemory judges how much memory is in use, and makes room if it is too much.
func (g *Gateway) checkMemory() {
	m := g.memory
	state := metrics.MemoryFine
	switch used := float64(m.used() + g.unsent()); {
	case used >= memoryHard*float64(m.limit):
		state = metrics.MemoryHard
	case used >= memorySoft*float64(m.limit):
		state = metrics.MemorySoft
	}
	if old := metrics.MemoryState(m.state.Swap(uint32(state))); old != state {
		g.log.Warn("memory pressure changed", "event", "memory_pressure", "from", old.String(),
			"to", state.String(), "limit", m.limit)
	}
	if state == metrics.MemoryHard {
		for _, l := range g.lanes {
			l.loop.Post(&relief{l})
		}
		runtime.GC() // else the next look would find the same, whatever was given up
	}
}

// unsent is what the kernel holds for peers that do not take it. The control group is charged for
// it like for the memory of the process.
func (g *Gateway) unsent() uint64 {
	n := int64(0)
	for _, l := range g.engine.Loops() {
		n += l.Stats().Unsent
	}
	return uint64(max(n, 0))
}

// tight reports whether nothing more should be taken on.
func (m *memoryGuard) tight() bool {
	return metrics.MemoryState(m.state.Load()) != metrics.MemoryFine
}

// relief evicts the sessions of a lane with the largest queues. It is a poller.Runner.
type relief struct{ lane *lane }

// Run implements poller.Runner: it evicts, the largest queue first, until half of what is queued is
// gone. What the kernel has not sent counts as queued.
func (r *relief) Run() {
	type owing struct {
		session *session
		bytes   int
	}
	var list []owing
	total := 0
	r.lane.loop.Each(func(h poller.Handler) {
		s, ok := sessionOf(h)
		if !ok || s.state != stateOpen {
			return
		}
		q := s.conn.Queue()
		if n := q.Bytes + q.Unsent; n > 0 {
			list = append(list, owing{s, n})
			total += n
		}
	})
	slices.SortFunc(list, func(a, b owing) int { return cmp.Compare(b.bytes, a.bytes) })
	freed := 0
	for _, o := range list {
		if freed >= (total+1)/2 {
			return
		}
		freed += o.bytes
		o.session.evict(slowMemory)
		o.session.conn.Abort(nil) // there is no time to wait for the peer
	}
}

// sessionOf is the session behind a handler of the engine. It reports false for a proxy that has
// not named its client yet.
func sessionOf(h poller.Handler) (*session, bool) {
	s, ok := tlsio.Application(proxy.Application(h)).(*session)
	return s, ok
}
