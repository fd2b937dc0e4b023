//go:build unix

package poller

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// netpollConn is a connection of the netpoll engine. The loop owns it, but for what inbox holds.
type netpollConn struct {
	loop    *netpollLoop
	handler Handler
	q       *queue // nil while nothing is queued
	timer   timerLinks[*netpollConn]
	remote  remoteAddr
	flags   connFlags
	away    bool // netpoll has let go of the descriptor
	writing bool // a goroutine is in netpoll's Write
	leaving bool // hung up by leave
	slot    int  // index in loop.conns
	reason  error
	held    []byte // what was taken out of the inbox and OnData has not got yet: held[given:]
	given   int
	fd      int

	link  link
	inbox inbox
}

func (c *netpollConn) links() *timerLinks[*netpollConn] { return &c.timer }

// open makes in a connection of this loop. Its descriptor belongs to the loop, which alone closes
// it; netpoll borrows it from attach until hungUp.
func (l *netpollLoop) open(in incoming) {
	c := &netpollConn{loop: l, fd: in.fd, slot: len(l.conns), remote: in.remote}
	c.inbox.max = l.engine.inboundMax(false)
	c.handler = nopHandler{} // should Open panic
	c.away = true
	l.conns = append(l.conns, c)
	l.counts.conns++
	l.current = c
	c.handler = in.acceptor.Open(c, in.tag)
	l.current = nil
	if c.flags&flagClosing != 0 {
		return
	}
	c.away = false
	if err := c.attach(); err != nil {
		c.away, c.fd = true, -1 // netpoll has closed it
		c.Close(err)
		return
	}
	l.flush(c)
}

// leave begins to end c: it sends what the kernel takes and hangs up. netpoll notices that and lets
// go of the descriptor, which settle waits for.
func (l *netpollLoop) leave(c *netpollConn) {
	if c.flags&flagBlocked == 0 {
		l.send(c)
	}
	c.leaving = true
	l.wheel.disarm(c)
	c.inbox.discard()
	if !c.away {
		unix.Shutdown(c.fd, unix.SHUT_RDWR)
	}
	l.settle(c)
}

// settle ends c once nobody else uses its descriptor. It is the only place that closes one.
func (l *netpollLoop) settle(c *netpollConn) {
	if !c.leaving || c.flags&flagClosed != 0 || !c.away || c.writing {
		return
	}
	c.closeDescriptor()
	c.flags |= flagClosed
	l.dropQueue(c)
	l.releaseHeld(c)
	last := len(l.conns) - 1
	l.conns[c.slot] = l.conns[last]
	l.conns[c.slot].slot = c.slot
	l.conns[last] = nil
	l.conns = l.conns[:last]
	l.counts.conns--
	l.current = c
	c.handler.OnClose(c.reason)
	l.current = nil
}

// closeDescriptor resets the connection if it has bytes that nobody has read, as the kernel would
// if it still had them. Without that a peer that found the window closed may never learn that we
// left.
func (c *netpollConn) closeDescriptor() {
	if c.fd < 0 {
		return
	}
	if c.inbox.abandoned() {
		unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(c.fd)
}

func (l *netpollLoop) dropQueue(c *netpollConn) {
	if c.q == nil {
		return
	}
	l.counts.queued -= int64(c.q.bytes)
	l.pool.put(c.q)
	c.q = nil
}

// Loop implements Conn.
func (c *netpollConn) Loop() Loop { return c.loop }

// RemoteAddr implements Conn.
func (c *netpollConn) RemoteAddr() netip.AddrPort { return c.remote.addrPort() }

// Write implements Conn.
func (c *netpollConn) Write(p []byte) {
	if c.writable(p) {
		c.queue().copy(&c.loop.pool, p, c.loop.tick)
		c.loop.queued(c, len(p))
	}
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
		c.Close(err)
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

// Pause implements Conn.
func (c *netpollConn) Pause() { c.setPaused(true) }

// Resume implements Conn.
func (c *netpollConn) Resume() { c.setPaused(false) }

func (c *netpollConn) setPaused(paused bool) {
	if c.flags&flagClosing != 0 || (c.flags&flagPaused != 0) == paused {
		return
	}
	c.flags ^= flagPaused
	if c.inbox.setPaused(paused, c.loop.engine.inboundMax(paused)) {
		c.loop.tell(c)
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
		unix.Shutdown(c.fd, unix.SHUT_WR)
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
	c.reason = err
	c.loop.closing = append(c.loop.closing, c)
}
