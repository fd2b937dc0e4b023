package poller

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// eventsPerTurn bounds the readiness events taken at once.
	eventsPerTurn = 256
	// wakeSlot marks the event of the wake-up descriptor.
	wakeSlot = -1
)

// loop is one event loop. Its goroutine alone touches what is not marked otherwise.
type loop struct {
	engine *epollEngine
	index  int
	epfd   int
	wakefd int

	conns  []*epollConn // by slot; nil where free
	free   []int32      // free slots
	gen    uint32       // generation of the newest connection
	events [eventsPerTurn]unix.EpollEvent
	buf    []byte // what a read fills and OnData gets
	iovecs []unix.Iovec
	pool   queuePool
	wheel  wheel[*epollConn]

	clock time.Duration // Loop.Now
	real  time.Duration // time since the engine's start at the beginning of this turn
	tick  uint32        // clock in ticks

	current *epollConn   // whose callback is running; nil outside of callbacks
	dirty   []*epollConn // connections with writes to send at the end of the turn
	backlog int          // how many of them earlier turns left
	closing []closing    // connections to close when the running callback has returned
	running []Runner     // the batch of posted runners being run
	opening []incoming   // the batch of accepted sockets being opened
	counts  loopCounts

	sleeping atomic.Bool // the loop is about to sleep or sleeps: Post must wake it
	lastTurn atomic.Int64
	stats    atomicLoopStats

	mu       sync.Mutex // guards what follows
	posted   []Runner
	incoming []incoming
	stopping bool // Close was called
	ended    bool // the loop takes nothing more
}

// closing is a connection on its way out.
type closing struct {
	c   *epollConn
	err error
}

func newLoop(e *epollEngine, index int) (*loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	l := &loop{
		engine: e, index: index, epfd: epfd, wakefd: wakefd,
		buf:    make([]byte, e.cfg.ReadBufferBytes),
		iovecs: make([]unix.Iovec, 0, iovecsMax),
	}
	// Edge-triggered, so that a wake-up needs no read of the eventfd.
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: wakeSlot}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wakefd, &ev); err != nil {
		l.release()
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	return l, nil
}

func (l *loop) release() {
	unix.Close(l.epfd)
	unix.Close(l.wakefd)
}

// Index implements Loop.
func (l *loop) Index() int { return l.index }

// Now implements Loop.
func (l *loop) Now() time.Duration { return l.clock }

// Backlog implements Loop.
func (l *loop) Backlog() int { return l.backlog }

// Each implements Loop.
func (l *loop) Each(f func(Handler)) {
	for _, c := range l.conns {
		if c != nil {
			f(c.handler)
		}
	}
}

// Post implements Loop.
func (l *loop) Post(r Runner) bool {
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

// give hands accepted sockets to the loop. It reports false if the loop has ended.
func (l *loop) give(in []incoming) bool {
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

func (l *loop) stop() {
	l.mu.Lock()
	l.stopping = true
	l.mu.Unlock()
	l.wake()
}

// wake interrupts the loop's sleep, with one system call for any number of callers.
func (l *loop) wake() {
	if l.sleeping.CompareAndSwap(true, false) {
		// The counter is never read: at one a wake-up it lasts for 2^64 of them.
		one := binary.NativeEndian.AppendUint64(make([]byte, 0, 8), 1)
		unix.Write(l.wakefd, one)
	}
}

// run turns until the engine is closed.
func (l *loop) run() {
	for !l.turn() {
	}
	l.release()
}

// turn goes round once: events, timers, posted runners, flushes. It reports whether the loop has
// ended. A panic of a callback ends the turn; level-triggered events are reported again, and all
// other work is taken off its list before it is run, so the next turn goes on after it.
func (l *loop) turn() (ended bool) {
	defer l.recover()
	n := l.poll()
	l.tickClock()
	l.counts.turns++
	l.counts.events += uint64(n)
	for i := range n {
		l.handle(&l.events[i])
		l.reap()
	}
	l.wheel.expire(l.clock, l.fireTimer)
	stopping := l.takePosted()
	l.runPosted()
	if stopping {
		return l.end()
	}
	l.flushDirty()
	l.publish()
	return false
}

// poll waits for events. It first looks without sleeping, in a raw system call that costs the Go
// scheduler nothing, and sleeps only when there is nothing to do.
func (l *loop) poll() int {
	n := epollPeek(l.epfd, l.events[:])
	if n > 0 || l.hasWork() {
		return n
	}
	runtime.Gosched()
	l.sleeping.Store(true)
	defer l.sleeping.Store(false)
	if l.hasWork() {
		return 0
	}
	n, err := unix.EpollWait(l.epfd, l.events[:], l.sleepMillis())
	if err != nil {
		return 0 // EINTR; the descriptor is ours, so nothing else can happen
	}
	return n
}

func (l *loop) sleepMillis() int {
	d := l.wheel.wait(l.clock, turnMax)
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

// hasWork reports whether something other than events waits for the loop.
func (l *loop) hasWork() bool {
	if len(l.dirty)+len(l.closing)+len(l.running)+len(l.opening) > 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.posted)+len(l.incoming) > 0 || l.stopping
}

func (l *loop) tickClock() {
	now := time.Since(l.engine.start)
	l.clock += min(now-l.real, gapMax)
	l.real = now
	l.tick = toTick(l.clock)
	l.lastTurn.Store(int64(now))
}

// handle serves one readiness event.
func (l *loop) handle(ev *unix.EpollEvent) {
	if ev.Fd == wakeSlot {
		return
	}
	c := l.conns[ev.Fd]
	if c == nil || c.gen != uint32(ev.Pad) {
		return // closed earlier in this turn; the slot may have a new owner
	}
	if ev.Events&unix.EPOLLOUT != 0 {
		l.unblock(c)
	}
	if ev.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		l.read(c, ev.Events)
	}
}

// takePosted takes over what other goroutines have left for the loop.
func (l *loop) takePosted() (stopping bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.running) == 0 {
		l.running, l.posted = l.posted, l.running[:0]
	}
	if len(l.opening) == 0 {
		l.opening, l.incoming = l.incoming, l.opening[:0]
	}
	return l.stopping
}

func (l *loop) runPosted() {
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

func (l *loop) fireTimer(c *epollConn) {
	l.enter(c)
	c.handler.OnTimer()
	l.leave()
	l.flush(c)
	l.reap()
}

// enter and leave mark a callback of c, to whom a panic in it is charged.
func (l *loop) enter(c *epollConn) { l.current = c }
func (l *loop) leave()             { l.current = nil }

// recover contains a panic of a callback to its connection.
func (l *loop) recover() {
	v := recover()
	if v == nil {
		return
	}
	l.engine.cfg.Logger.Error("panic in an event loop", "panic", v, "stack", string(debug.Stack()))
	if c := l.current; c != nil {
		l.leave()
		c.Close(fmt.Errorf("%w: %v", ErrPanic, v))
	}
}

// flushDirty sends what this turn has queued, for a bounded number of connections; the rest is sent
// next turn, together with what is added until then.
func (l *loop) flushDirty() {
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
func (l *loop) reap() {
	for len(l.closing) > 0 {
		x := l.closing[len(l.closing)-1]
		l.closing = l.closing[:len(l.closing)-1]
		c := x.c
		if c.flags&(flagBlocked|flagReset) == 0 {
			l.send(c)
		}
		prepareClose(int(c.fd), c.flags&flagReset != 0 || c.q != nil, l.engine.cfg.OrphanTimeout)
		unix.Close(int(c.fd))
		l.wheel.disarm(c)
		l.dropQueue(c)
		l.conns[c.slot] = nil
		l.free = append(l.free, c.slot)
		l.counts.conns--
		l.enter(c)
		c.handler.OnClose(x.err)
		l.leave()
	}
}

// end closes every connection and refuses further work. It reports true once nothing is left.
func (l *loop) end() bool {
	for _, c := range l.conns {
		if c != nil {
			c.Close(ErrEngineClosed)
		}
	}
	l.reap()
	l.mu.Lock()
	left := len(l.posted) + len(l.incoming)
	l.ended = left == 0
	l.mu.Unlock()
	l.publish()
	return left == 0
}

func (l *loop) publish() { l.stats.store(&l.counts) }

// Stats implements Loop.
func (l *loop) Stats() LoopStats {
	return l.stats.load(time.Since(l.engine.start) - time.Duration(l.lastTurn.Load()))
}
