package pollertest

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"time"

	"sluice/poller"
)

// unbounded is the room of a kernel that takes everything.
const unbounded = -1

// readMax is the most that one OnData gets.
const readMax = 64 << 10

// fakeConn is a connection of a Fake, as its handler sees it.
type fakeConn struct {
	fake    *Fake
	handler poller.Handler
	remote  netip.AddrPort

	in      []byte // sent by the peer, not yet given to OnData
	inEnd   error  // follows in: io.EOF once the peer has closed
	paused  bool
	queue   []fakeWrite
	room    int // bytes that the kernel will still take, or unbounded
	blocked bool
	dirty   bool // in fake.dirty
	moved   time.Duration
	flushes [][]byte // what left, by system call

	acks    int    // bytes that the peer will still acknowledge, or unbounded
	acked   uint64 // bytes that it has
	unacked int    // bytes that have left and it has not, FIN counted as one
	unsent  int    // bytes that the test says the kernel holds
	asked   uint64 // acked as of the last Transit
	aborted bool   // Abort was called

	deadline time.Duration // of the timer; 0 while unset
	fin      bool          // no more writes
	finSent  bool
	reason   error // given to Close
	closed   bool  // OnClose was called
}

// fakeWrite is a queued write, or what is left of it.
type fakeWrite struct {
	p        []byte
	messages int
	shared   bool
	torn     bool // a part was sent
	at       time.Duration
}

// progress makes the next step that the connection can make, and reports whether there may be
// another one.
func (c *fakeConn) progress() bool {
	switch {
	case c.reason != nil:
		return false
	case c.turns():
		if c.blocked = !c.blocked; c.blocked {
			c.fake.call(c, func() { c.handler.OnBlocked() })
		} else {
			c.fake.call(c, func() { c.handler.OnDrained() })
		}
	case c.paused:
		return false
	case len(c.in) > 0:
		n := min(len(c.in), readMax)
		p := bytes.Clone(c.in[:n])
		c.in = c.in[n:]
		c.fake.counts.Reads++
		c.fake.counts.BytesIn += uint64(n)
		c.fake.call(c, func() { c.handler.OnData(p) })
	case c.inEnd != nil:
		c.Close(c.inEnd)
		return false
	default:
		return false
	}
	return true
}

// turns sends what the kernel takes, and reports whether the connection becomes blocked by that, or
// drained.
func (c *fakeConn) turns() bool {
	c.sendQueued()
	return c.blocked != (len(c.queue) > 0)
}

// sendQueued makes one system call.
func (c *fakeConn) sendQueued() {
	var out []byte
	for len(c.queue) > 0 && c.room != 0 {
		w := &c.queue[0]
		n := len(w.p)
		if c.room != unbounded {
			n = min(n, c.room)
			c.room -= n
		}
		out = append(out, w.p[:n]...)
		w.p, w.torn = w.p[n:], true
		if len(w.p) == 0 {
			c.queue = c.queue[1:]
		}
	}
	if len(out) > 0 {
		c.moved = c.fake.now
		c.fake.counts.Queued -= int64(len(out))
		c.send(out)
	}
	c.finish()
}

// finish sends the FIN that CloseWrite asked for, once nothing is queued.
func (c *fakeConn) finish() {
	if !c.finSent && c.fin && len(c.queue) == 0 {
		c.finSent = true
		c.transmit(1)
	}
}

// transmit brings n more bytes on their way, and those that the peer acknowledges to it.
func (c *fakeConn) transmit(n int) {
	c.unacked += n
	n = c.unacked
	if c.acks != unbounded {
		n = min(n, c.acks)
		c.acks -= n
	}
	c.unacked -= n
	c.acked += uint64(n)
}

// send hands p to the kernel.
func (c *fakeConn) send(p []byte) {
	c.fake.counts.Writes++
	c.fake.counts.BytesOut += uint64(len(p))
	c.flushes = append(c.flushes, p)
	c.transmit(len(p))
}

// end closes the descriptor.
func (c *fakeConn) end() {
	if !c.blocked && !c.aborted {
		c.sendQueued()
	}
	c.forget()
	c.deadline = 0
	f := c.fake
	f.conns = slices.DeleteFunc(f.conns, func(x *fakeConn) bool { return x == c })
	f.counts.Conns--
	c.closed = true
	f.call(c, func() { c.handler.OnClose(c.reason) })
}

// forget drops the whole queue.
func (c *fakeConn) forget() {
	for _, w := range c.queue {
		c.fake.counts.Queued -= int64(len(w.p))
	}
	c.queue = nil
}

// Loop implements poller.Conn.
func (c *fakeConn) Loop() poller.Loop { return fakeLoop{c.fake} }

// RemoteAddr implements poller.Conn.
func (c *fakeConn) RemoteAddr() netip.AddrPort { return c.remote }

// Write implements poller.Conn.
func (c *fakeConn) Write(p []byte) { c.push(fakeWrite{p: bytes.Clone(p), messages: 1}) }

// WriteShared implements poller.Conn.
func (c *fakeConn) WriteShared(p []byte, n int) {
	c.push(fakeWrite{p: p, messages: n, shared: true})
}

func (c *fakeConn) push(w fakeWrite) {
	c.fake.onLoop()
	if len(w.p) == 0 || c.fin || c.reason != nil {
		return
	}
	if w.at = c.fake.now; len(c.queue) == 0 {
		c.moved = w.at
	}
	c.queue = append(c.queue, w)
	c.fake.counts.Queued += int64(len(w.p))
	if !c.dirty && c.fake.current != c {
		c.dirty = true
		c.fake.dirty = append(c.fake.dirty, c)
	}
}

// Flush implements poller.Conn.
func (c *fakeConn) Flush() {
	c.fake.onLoop()
	if c.reason == nil && !c.blocked {
		c.sendQueued()
	}
}

// Queue implements poller.Conn.
func (c *fakeConn) Queue() poller.Queue {
	c.fake.onLoop()
	if len(c.queue) == 0 {
		return poller.Queue{}
	}
	q := poller.Queue{
		Stalled: c.fake.ticks(c.moved), Age: c.fake.ticks(c.queue[0].at),
	}
	if c.blocked {
		q.Unsent = c.unsent
	}
	for _, w := range c.queue {
		q.Bytes += len(w.p)
		q.Messages += w.messages
	}
	return q
}

// ticks is the time since then in the resolution of the loop.
func (f *Fake) ticks(then time.Duration) time.Duration {
	return (f.now/poller.TimerTick - then/poller.TimerTick) * poller.TimerTick
}

// DropOldest implements poller.Conn.
func (c *fakeConn) DropOldest(wantBytes int) (messages, dropped int) {
	c.fake.onLoop()
	var keep []fakeWrite
	for _, w := range c.queue {
		if w.shared && !w.torn && dropped < wantBytes {
			messages += w.messages
			dropped += len(w.p)
			continue
		}
		keep = append(keep, w)
	}
	c.queue = keep
	c.fake.counts.Queued -= int64(dropped)
	c.finish()
	return messages, dropped
}

// Pause implements poller.Conn.
func (c *fakeConn) Pause() {
	c.fake.onLoop()
	c.paused = true
}

// Resume implements poller.Conn. What waits is delivered in the turn after this one.
func (c *fakeConn) Resume() {
	c.fake.onLoop()
	c.paused = false
}

// SetTimer implements poller.Conn.
func (c *fakeConn) SetTimer(d time.Duration) {
	c.fake.onLoop()
	switch {
	case c.reason != nil:
	case d <= 0:
		c.deadline = 0
	default:
		const tick = poller.TimerTick
		c.deadline = max((c.fake.now+d+tick-1)/tick, c.fake.now/tick+1) * tick
	}
}

// Transit implements poller.Conn.
func (c *fakeConn) Transit() poller.Transit {
	c.fake.onLoop()
	if c.reason != nil {
		return poller.Transit{}
	}
	if c.acked != c.asked {
		c.asked, c.moved = c.acked, c.fake.now
	}
	return poller.Transit{Acked: c.acked, Unsent: c.unsent, InFlight: c.unacked > 0}
}

// Abort implements poller.Conn.
func (c *fakeConn) Abort(err error) {
	c.fake.onLoop()
	if c.reason == nil {
		c.aborted = true
		c.Close(err)
	}
}

// CloseWrite implements poller.Conn.
func (c *fakeConn) CloseWrite() {
	c.fake.onLoop()
	if c.reason != nil {
		return
	}
	c.fin = true
	c.finish()
}

// Close implements poller.Conn.
func (c *fakeConn) Close(err error) {
	c.fake.onLoop()
	if c.reason != nil {
		return
	}
	if c.reason = err; err == nil {
		c.reason = net.ErrClosed
	}
	c.fake.closing = append(c.fake.closing, c)
}
