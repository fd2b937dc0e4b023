//go:build unix

package poller

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// netpollLoop is one event loop of the netpoll engine: a goroutine with a mailbox. Its goroutine
// alone touches what is not marked otherwise.
type netpollLoop struct {
	engine *netpollEngine
	index  int
	poll   netpoll.Poll // watches the connections

	conns   []*netpollConn // every connection that OnClose has not been called for
	buf     []byte         // what a read fills and OnData gets
	bufs    [][]byte       // scratch for one write
	pollFds []unix.PollFd  // scratch for one sweep
	pool    queuePool
	wheel   wheel[*netpollConn]

	clock time.Duration // Loop.Now
	real  time.Duration // time since the engine's start at the beginning of this turn
	tick  uint32        // clock in ticks

	current *netpollConn     // whose callback is running; nil outside of callbacks
	dirty   []*netpollConn   // connections with writes to send at the end of the turn
	backlog int              // how many of them earlier turns left
	closing []netpollClosing // connections to close when the running callback has returned
	ready   []*netpollConn   // the batch of connections with news being handled
	handled int              // how many of them were handled
	again   []*netpollConn   // connections that the next turn goes on reading
	running []Runner         // the batch of posted runners being run
	opening []incoming       // the batch of accepted sockets being opened
	counts  loopCounts

	unwatched  []*netpollConn // connections that a sweep looks at
	sweepEvery time.Duration  // between sweepMin and sweepMax
	nextSweep  time.Duration  // in terms of real

	alarm    *time.Timer
	wakeup   chan struct{} // holds one token while there is mail
	lastTurn atomic.Int64
	stats    atomicLoopStats

	mu       sync.Mutex // guards what follows
	news     []*netpollConn
	posted   []Runner
	incoming []incoming
	stopping bool // Close was called
	ended    bool // the loop takes nothing more
}

// netpollClosing is a connection on its way out.
type netpollClosing struct {
	c   *netpollConn
	err error
}

func newNetpollLoop(e *netpollEngine, index int, poll netpoll.Poll) *netpollLoop {
	return &netpollLoop{
		engine: e, index: index, poll: poll,
		buf: make([]byte, e.cfg.ReadBufferBytes),

		sweepEvery: sweepMax,
		alarm:      time.NewTimer(turnMax),
		wakeup:     make(chan struct{}, 1),
	}
}

// Index implements Loop.
func (l *netpollLoop) Index() int { return l.index }

// Now implements Loop.
func (l *netpollLoop) Now() time.Duration { return l.clock }

// Backlog implements Loop.
func (l *netpollLoop) Backlog() int { return l.backlog }

// Stats implements Loop.
func (l *netpollLoop) Stats() LoopStats {
	return l.stats.load(time.Since(l.engine.start) - time.Duration(l.lastTurn.Load()))
}

// Each implements Loop.
func (l *netpollLoop) Each(f func(Handler)) {
	for _, c := range l.conns {
		if c.flags&flagClosing == 0 {
			f(c.handler)
		}
	}
}

// Post implements Loop.
func (l *netpollLoop) Post(r Runner) bool {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, r)
	l.mu.Unlock()
	l.wake()
	return true
}

// give implements taker.
func (l *netpollLoop) give(in []incoming) bool {
	l.mu.Lock()
	if l.stopping {
		l.mu.Unlock()
		return false
	}
	l.incoming = append(l.incoming, in...)
	l.mu.Unlock()
	l.wake()
	return true
}

// notify tells the loop what c is ready for. It may be called from any goroutine.
func (l *netpollLoop) notify(c *netpollConn, what readiness) {
	l.mu.Lock()
	if c.mail == 0 {
		l.news = append(l.news, c)
	}
	c.mail |= what
	l.mu.Unlock()
	l.wake()
}

func (l *netpollLoop) stop() {
	l.mu.Lock()
	l.stopping = true
	l.mu.Unlock()
	l.wake()
}

func (l *netpollLoop) wake() {
	select {
	case l.wakeup <- struct{}{}:
	default:
	}
}

// run turns until the engine is closed.
func (l *netpollLoop) run() {
	for !l.turn() {
	}
	l.alarm.Stop()
}

// turn goes round once: connections, timers, posted runners, flushes. It reports whether
// the loop has ended. A panic of a callback ends the turn; all work is taken off its list before it
// is done, so the next turn goes on after it.
func (l *netpollLoop) turn() (ended bool) {
	defer l.recover()
	l.sleep()
	l.tickClock()
	l.counts.turns++
	stopping := l.takeMail()
	l.handleReady()
	l.wheel.expire(l.clock, l.fireTimer)
	l.runPosted()
	if stopping {
		return l.end()
	}
	l.sweep()
	l.flushDirty()
	l.publish()
	return false
}

// sleep waits for mail or the next timer, unless there is work left from the last turn.
func (l *netpollLoop) sleep() {
	left := len(l.dirty) + len(l.closing) + len(l.ready) - l.handled + len(l.again) +
		len(l.running) + len(l.opening)
	if left > 0 {
		runtime.Gosched() // the poller must get on while a flood keeps the loop busy
		return
	}
	longest := turnMax
	if len(l.unwatched) > 0 {
		longest = l.sweepEvery
	}
	l.alarm.Reset(l.wheel.wait(l.clock, longest))
	select {
	case <-l.wakeup:
	case <-l.alarm.C:
	}
}

func (l *netpollLoop) tickClock() {
	now := time.Since(l.engine.start)
	l.clock += min(now-l.real, gapMax)
	l.real = now
	l.tick = toTick(l.clock)
	l.lastTurn.Store(int64(now))
}

// takeMail takes over what other goroutines have left for the loop.
func (l *netpollLoop) takeMail() (stopping bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.handled == len(l.ready) {
		l.ready, l.news, l.handled = l.news, l.ready[:0], 0
		for _, c := range l.ready {
			c.news, c.mail = c.mail, 0
		}
		l.counts.events += uint64(len(l.ready))
		for _, c := range l.again {
			if c.again = false; c.news == 0 { // else it is there already
				l.ready = append(l.ready, c)
			}
		}
		clear(l.again)
		l.again = l.again[:0]
	}
	if len(l.running) == 0 {
		l.running, l.posted = l.posted, l.running[:0]
	}
	if len(l.opening) == 0 {
		l.opening, l.incoming = l.incoming, l.opening[:0]
	}
	return l.stopping
}

func (l *netpollLoop) handleReady() {
	for l.handled < len(l.ready) {
		c := l.ready[l.handled]
		l.ready[l.handled] = nil
		l.handled++
		l.handle(c)
		l.reap()
	}
}

func (l *netpollLoop) runPosted() {
	for len(l.opening) > 0 {
		in := l.opening[0]
		l.opening = l.opening[1:]
		l.open(in)
		l.reap()
	}
	for len(l.running) > 0 {
		r := l.running[0]
		l.running[0] = nil
		l.running = l.running[1:]
		r.Run()
		l.reap()
	}
}

func (l *netpollLoop) fireTimer(c *netpollConn) {
	l.callBack(c, Handler.OnTimer)
	l.flush(c)
	l.reap()
}

// callBack calls a method of c's handler, to whom a panic in it is charged.
func (l *netpollLoop) callBack(c *netpollConn, method func(Handler)) {
	l.current = c
	method(c.handler)
	l.current = nil
}

// recover contains a panic of a callback to its connection.
func (l *netpollLoop) recover() {
	v := recover()
	if v == nil {
		return
	}
	l.engine.cfg.Logger.Error("panic in an event loop", "panic", v, "stack", string(debug.Stack()))
	if c := l.current; c != nil {
		l.current = nil
		c.Close(fmt.Errorf("%w: %v", ErrPanic, v))
	}
	l.wake() // the turn that was cut short may have been the last one
}

// flushDirty sends what this turn has queued, for a bounded number of connections; the rest is sent
// next turn, together with what is added until then.
func (l *netpollLoop) flushDirty() {
	n := min(len(l.dirty), flushesPerTurn)
	for i, c := range l.dirty[:n] {
		l.dirty[i] = nil
		c.flags &^= flagDirty
		l.flush(c)
	}
	l.dirty = append(l.dirty[:0], l.dirty[n:]...)
	l.backlog = len(l.dirty)
	l.reap()
}

// reap ends the connections that were closed. It is the only place that closes a connection's
// descriptor.
func (l *netpollLoop) reap() {
	for len(l.closing) > 0 {
		x := l.closing[len(l.closing)-1]
		l.closing = l.closing[:len(l.closing)-1]
		c := x.c
		if c.flags&(flagBlocked|flagReset) == 0 {
			l.send(c)
		}
		prepareClose(int(c.fd), c.flags&flagReset != 0 || c.q != nil, l.engine.cfg.OrphanTimeout)
		l.forget(c)
		unix.Close(int(c.fd))
		l.wheel.disarm(c)
		l.dropQueue(c)
		l.dropConn(c)
		l.current = c
		c.handler.OnClose(x.err)
		l.current = nil
	}
}

// dropConn takes c out of the list of connections.
func (l *netpollLoop) dropConn(c *netpollConn) {
	last := len(l.conns) - 1
	l.conns[c.slot] = l.conns[last]
	l.conns[c.slot].slot = c.slot
	l.conns[last] = nil
	l.conns = l.conns[:last]
	l.counts.conns--
}

// end closes every connection and refuses further work. It reports true once nothing is left.
func (l *netpollLoop) end() bool {
	for _, c := range l.conns {
		c.Close(ErrEngineClosed)
	}
	l.reap()
	l.mu.Lock()
	left := len(l.posted) + len(l.incoming)
	l.ended = left == 0
	l.mu.Unlock()
	l.publish()
	return left == 0
}

func (l *netpollLoop) publish() { l.stats.store(&l.counts) }
