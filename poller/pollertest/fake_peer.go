package pollertest

import (
	"bytes"
	"io"
	"syscall"
	"time"

	"sluice/poller"
)

// Peer is the other end of a connection of a Fake, and the kernel in between. What its methods
// bring about has happened when they return.
type Peer struct{ c *fakeConn }

// Deliver sends p, which is copied. A paused connection gets it when it is resumed.
func (p *Peer) Deliver(b []byte) {
	p.act(func() {
		if p.c.inEnd == nil {
			p.c.in = append(p.c.in, b...)
		}
	})
}

// Close ends the peer's side: io.EOF, once all that was delivered has been read.
func (p *Peer) Close() { p.act(func() { p.c.inEnd = io.EOF }) }

// Reset breaks the connection: syscall.ECONNRESET at once, and what was not read is lost.
func (p *Peer) Reset() { p.act(func() { p.c.Close(syscall.ECONNRESET) }) }

// AcceptBytes lets the kernel take n bytes from now on, where it took all before; then the
// connection blocks. A negative n lets it take all again.
func (p *Peer) AcceptBytes(n int) { p.act(func() { p.c.room = max(n, unbounded) }) }

// AckBytes lets the peer acknowledge n bytes from now on, where it acknowledged all that had left
// before; FIN counts as one. A negative n lets it acknowledge all again.
func (p *Peer) AckBytes(n int) {
	p.act(func() {
		p.c.acks = max(n, unbounded)
		p.c.transmit(0)
	})
}

// HoldUnsent says how many bytes the kernel holds that it has not sent. It changes nothing but what
// the connection is told.
func (p *Peer) HoldUnsent(n int) { p.act(func() { p.c.unsent = n }) }

// act changes something under the connection and lets the connection notice.
func (p *Peer) act(change func()) {
	f := p.c.fake
	defer f.begin()()
	if p.c.closed {
		return
	}
	change()
	f.settle(p.c)
	f.flushDirty()
}

// TakeFlushes returns what has left since it was called last, a slice for each system call.
func (p *Peer) TakeFlushes() [][]byte {
	defer p.c.fake.begin()()
	flushes := p.c.flushes
	p.c.flushes = nil
	return flushes
}

// TakeOutput is TakeFlushes in one piece.
func (p *Peer) TakeOutput() []byte { return bytes.Join(p.TakeFlushes(), nil) }

// FIN reports whether CloseWrite has taken effect.
func (p *Peer) FIN() bool {
	defer p.c.fake.begin()()
	return p.c.finSent
}

// Closed reports whether the descriptor is closed, and what OnClose got; nil for a peer that was
// turned away.
func (p *Peer) Closed() (closed bool, err error) {
	defer p.c.fake.begin()()
	return p.c.closed, p.c.reason
}

// Aborted reports whether the connection was ended by Abort.
func (p *Peer) Aborted() bool {
	defer p.c.fake.begin()()
	return p.c.aborted
}

// Paused reports whether the connection is paused.
func (p *Peer) Paused() bool {
	defer p.c.fake.begin()()
	return p.c.paused
}

// Timer returns in how much time OnTimer comes, 0 if no timer is set.
func (p *Peer) Timer() time.Duration {
	defer p.c.fake.begin()()
	if p.c.deadline == 0 {
		return 0
	}
	return p.c.deadline - p.c.fake.now
}

// Queue returns the connection's outbound queue.
func (p *Peer) Queue() poller.Queue {
	defer p.c.fake.begin()()
	return p.c.Queue()
}
