package pollertest

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sluice/poller"
)

// Fake is a poller.Engine with one loop and no sockets, goroutines or time. Nothing happens in it
// but by a call of the test: Connect, the methods of Peer, Step, Advance, Do and Close each run
// what they bring about to its end, callbacks included, before they return. They may be called from
// any goroutine, one gets its turn after the other, but not from inside a callback. Posting is
// possible at any time; what is posted waits for a turn.
//
// It keeps every promise of package poller. Beyond that it panics when a Conn is used outside of a
// turn, which for an engine would be a data race.
type Fake struct {
	turn       sync.Mutex // held during a turn; guards what follows
	now        time.Duration
	inTurn     bool
	conns      []*fakeConn // in the order of opening
	dirty      []*fakeConn // to be flushed at the end of a turn
	backlog    int         // how many of them earlier turns left
	closing    []*fakeConn
	current    *fakeConn // whose callback is running
	flushesMax int       // flushes per turn; 0 is no bound
	counts     poller.LoopStats

	mu       sync.Mutex // guards what follows; taken inside turn
	posted   []poller.Runner
	ended    bool                       // takes no posts any more
	doors    map[string]poller.Acceptor // by address; nil once closed
	ports    uint16                     // the last one given to port 0
	accepted poller.AcceptStats
	stats    poller.LoopStats // counts as of the last turn
}

var _ poller.Engine = (*Fake)(nil)

// NewFake returns a fake engine whose clock shows 0.
func NewFake() *Fake { return &Fake{doors: map[string]poller.Acceptor{}} }

// Connect lets a peer connect to the address that Listen returned. A peer that Admit turned away,
// or that finds nobody listening, is closed already; its output is the parting.
func (f *Fake) Connect(to net.Addr, from netip.AddrPort) *Peer {
	defer f.begin()()
	c := &fakeConn{fake: f, remote: from, room: unbounded, acks: unbounded}
	a := f.door(to)
	if a == nil {
		c.closed = true
		return &Peer{c}
	}
	v := a.Admit(from)
	f.count(v)
	if v.Drop {
		c.send(v.Parting)
		c.closed = true
		return &Peer{c}
	}
	c.handler = unopened{}
	f.conns = append(f.conns, c)
	f.counts.Conns++
	f.call(c, func() { c.handler = a.Open(c, v.Tag) })
	f.settle(c)
	f.flushDirty()
	return &Peer{c}
}

// unopened stands in for the handler of a connection whose Open has not returned.
type unopened struct{ poller.Handler }

// OnClose implements poller.Handler.
func (unopened) OnClose(error) {}

// Step makes one turn of the loop: it fires the timers that are due, runs what was posted before,
// delivers what resumed connections have waiting, and flushes.
func (f *Fake) Step() {
	defer f.begin()()
	f.step()
}

// RunPosted makes turns until nothing is posted, waiting or to be flushed.
func (f *Fake) RunPosted() {
	defer f.begin()()
	const turnsMax = 100_000
	for range turnsMax {
		if f.step(); f.idle() {
			return
		}
	}
	panic("pollertest: the loop never rests")
}

// Advance moves the clock by d, with a turn at every tick and one at the end.
func (f *Fake) Advance(d time.Duration) {
	defer f.begin()()
	for end := f.now + d; f.now < end; {
		f.now = min(end, (f.now/poller.TimerTick+1)*poller.TimerTick)
		f.step()
	}
}

// Do runs r on the loop, as one turn.
func (f *Fake) Do(r func()) {
	defer f.begin()()
	f.run(r)
	f.flushDirty()
}

// SetFlushesPerTurn bounds the connections that a turn flushes, so that there is a Backlog; 0, as
// at first, is no bound.
func (f *Fake) SetFlushesPerTurn(n int) {
	f.turn.Lock()
	defer f.turn.Unlock()
	f.flushesMax = n
}

// begin begins a turn; the result ends it.
func (f *Fake) begin() (end func()) {
	f.turn.Lock()
	f.inTurn = true
	return func() {
		f.counts.Unsent = 0
		for _, c := range f.conns {
			f.counts.Unsent += int64(c.Queue().Unsent)
		}
		f.mu.Lock()
		f.stats = f.counts
		f.mu.Unlock()
		f.inTurn = false
		f.turn.Unlock()
	}
}

func (f *Fake) step() {
	f.counts.Turns++
	for _, c := range f.due() {
		f.fire(c)
	}
	for _, r := range f.takePosted() {
		f.run(r.Run)
	}
	for _, c := range slices.Clone(f.conns) {
		if !c.dirty {
			f.settle(c)
		}
	}
	f.flushDirty()
}

// due returns the connections whose timers are due, in the order of their deadlines.
func (f *Fake) due() []*fakeConn {
	var due []*fakeConn
	for _, c := range f.conns {
		if c.deadline != 0 && c.deadline <= f.now {
			due = append(due, c)
		}
	}
	slices.SortStableFunc(due, func(a, b *fakeConn) int {
		return cmp.Compare(a.deadline, b.deadline)
	})
	return due
}

// fire calls OnTimer, unless the timer of an earlier one has unset this one.
func (f *Fake) fire(c *fakeConn) {
	if c.deadline == 0 || c.deadline > f.now {
		return
	}
	c.deadline = 0
	f.call(c, func() { c.handler.OnTimer() })
	f.settle(c)
}

func (f *Fake) takePosted() []poller.Runner {
	f.mu.Lock()
	defer f.mu.Unlock()
	batch := f.posted
	f.posted = nil
	return batch
}

// idle reports whether nothing is left for another turn.
func (f *Fake) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.posted) == 0 && len(f.dirty) == 0
}

// run runs r as a Runner, and ends what it has closed.
func (f *Fake) run(r func()) {
	r()
	f.reap()
}

// call runs a callback of c, to which it contains a panic. That of a Runner goes to the test.
func (f *Fake) call(c *fakeConn, callback func()) {
	defer func() {
		f.current = nil
		if v := recover(); v != nil {
			c.Close(fmt.Errorf("%w: %v", poller.ErrPanic, v))
		}
	}()
	f.current = c
	callback()
}

// flushDirty flushes the connections that were written to outside of their callbacks.
func (f *Fake) flushDirty() {
	for n := 0; len(f.dirty) > 0 && (f.flushesMax == 0 || n < f.flushesMax); n++ {
		c := f.dirty[0]
		f.dirty = f.dirty[1:]
		c.dirty = false
		f.settle(c)
	}
	f.backlog = len(f.dirty)
}

// settle does what a connection can do after a callback or an event, until it can do no more.
func (f *Fake) settle(c *fakeConn) {
	for c.progress() {
	}
	f.reap()
}

// reap ends the connections that were closed.
func (f *Fake) reap() {
	for len(f.closing) > 0 {
		c := f.closing[0]
		f.closing = f.closing[1:]
		c.end()
	}
}
