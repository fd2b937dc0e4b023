//go:build unix

package poller

import (
	"net"
	"net/netip"
	"time"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// netpollConn is a connection of the netpoll engine. Its loop owns it, but for what is marked
// otherwise.
type netpollConn struct {
	loop    *netpollLoop
	handler Handler
	q       *queue              // nil while nothing is queued
	op      *netpoll.FDOperator // watches fd; nil once the peer has hung up
	timer   timerLinks[*netpollConn]
	remote  remoteAddr
	flags   connFlags
	watched readiness // what op is registered for, as far as the loop knows
	ready   readiness // readable: the kernel may have bytes, or the end
	news    readiness // notifications that the loop has taken
	mail    readiness // notifications that it has not taken; guarded by loop.mu
	again   bool      // stands in loop.again
	swept   bool      // stands in loop.unwatched
	fd      int32
	slot    int32 // index in loop.conns
}

func (c *netpollConn) links() *timerLinks[*netpollConn] { return &c.timer }

// open makes in a connection of this loop.
func (l *netpollLoop) open(in incoming) {
	c := &netpollConn{
		loop: l, fd: int32(in.fd), slot: int32(len(l.conns)), remote: in.remote,
		ready: readable, // it is likely that the peer has sent something by now
	}
	c.op = l.newOperator(c)
	c.handler = nopHandler{} // should Open panic
	l.conns = append(l.conns, c)
	l.counts.conns++
	l.current = c
	c.handler = in.acceptor.Open(c, in.tag)
	l.current = nil
	l.flush(c)
	l.watch(c)
}

func (l *netpollLoop) dropQueue(c *netpollConn) {
	if c.q == nil {
		return
	}
	l.counts.queued -= int64(c.q.bytes)
	l.counts.unsent -= int64(c.q.unsent)
	l.pool.put(c.q)
	c.q = nil
}

// Loop implements Conn.
func (c *netpollConn) Loop() Loop { return c.loop }

// RemoteAddr implements Conn.
func (c *netpollConn) RemoteAddr() netip.AddrPort { return c.remote.addrPort() }

// Write implements Conn.
func (c *netpollConn) Write(p []byte) {
	if !c.writable(p) {
		return
	}
	l := c.loop
	if len(p) >= directBytes && c.flags&flagBlocked == 0 {
		if p = l.writeThrough(c, p); len(p) == 0 {
			return
		}
	}
	c.queue().copy(&l.pool, p, l.tick)
	l.queued(c, len(p))
}

// WriteShared implements Conn.
func (c *netpollConn) WriteShared(p []byte, n int) {
	if c.writable(p) {
		c.queue().share(p, n, c.loop.tick)
		c.loop.queued(c, len(p))
	}
}

func (c *netpollConn) writable(p []byte) bool {
	return len(p) > 0 && c.flags&(flagFin|flagClosing) == 0
}

func (c *netpollConn) queue() *queue {
	if c.q == nil {
		c.q = c.loop.pool.get(c.loop.tick)
		if c.flags&flagBlocked != 0 {
			c.loop.counts.unsent += c.q.holdUnsent(c.loop.engine.cfg.UnsentBytesMax)
		}
	}
	return c.q
}

// queued counts n more bytes and sees to it that they are sent.
func (l *netpollLoop) queued(c *netpollConn, n int) {
	l.counts.queued += int64(n)
	if c.flags&(flagDirty|flagBlocked) == 0 && c != l.current {
		c.flags |= flagDirty
		l.dirty = append(l.dirty, c)
	}
}

// Flush implements Conn. If the kernel does not take all, the end of the turn finds that out again,
// and says OnBlocked: here it might be nested in another callback.
func (c *netpollConn) Flush() {
	if c.q == nil || c.flags&(flagBlocked|flagClosing) != 0 {
		return
	}
	if err := c.loop.send(c); err != nil {
		c.loop.writeFailed(c)
	} else {
		c.finish()
	}
}

// Queue implements Conn.
func (c *netpollConn) Queue() Queue { return c.q.describe(c.loop.tick) }

// DropOldest implements Conn.
func (c *netpollConn) DropOldest(wantBytes int) (messages, bytes int) {
	if c.q == nil {
		return 0, 0
	}
	messages, bytes = c.q.dropOldest(wantBytes)
	c.loop.counts.queued -= int64(bytes)
	if c.q.bytes == 0 {
		c.loop.dropQueue(c)
		c.finish()
	}
	return messages, bytes
}

// Pause implements Conn. c stays registered for reading until something is there to be read, so a
// pause that ends before costs nothing.
func (c *netpollConn) Pause() { c.setPaused(true) }

// Resume implements Conn.
func (c *netpollConn) Resume() { c.setPaused(false) }

func (c *netpollConn) setPaused(paused bool) {
	if c.flags&flagClosing != 0 || (c.flags&flagPaused != 0) == paused {
		return
	}
	c.flags ^= flagPaused
	if !paused {
		c.loop.watch(c)
	}
}

// SetTimer implements Conn.
func (c *netpollConn) SetTimer(d time.Duration) {
	switch {
	case c.flags&flagClosing != 0:
	case d <= 0:
		c.loop.wheel.disarm(c)
	default:
		c.loop.wheel.arm(c, c.loop.clock, d)
	}
}

// CloseWrite implements Conn.
func (c *netpollConn) CloseWrite() {
	if c.flags&(flagFin|flagClosing) != 0 {
		return
	}
	c.flags |= flagFin
	c.finish()
}

// finish sends the FIN that CloseWrite asked for, once nothing is queued.
func (c *netpollConn) finish() {
	if c.q == nil && c.flags&(flagFin|flagClosing) == flagFin {
		unix.Shutdown(int(c.fd), unix.SHUT_WR)
	}
}

// Transit implements Conn.
func (c *netpollConn) Transit() Transit {
	if c.flags&flagClosing != 0 {
		return Transit{}
	}
	t := transit(int(c.fd))
	if c.flags&flagBlocked != 0 && c.q != nil {
		c.loop.counts.unsent += c.q.observe(t, c.loop.tick)
	}
	return t
}

// Abort implements Conn.
func (c *netpollConn) Abort(err error) {
	if c.flags&flagClosing == 0 {
		c.flags |= flagReset
		c.Close(err)
	}
}

// Close implements Conn.
func (c *netpollConn) Close(err error) {
	if c.flags&flagClosing != 0 {
		return
	}
	if err == nil {
		err = net.ErrClosed
	}
	c.flags |= flagClosing
	c.loop.closing = append(c.loop.closing, netpollClosing{c, err})
}
