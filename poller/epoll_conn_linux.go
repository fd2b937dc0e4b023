package poller

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// epollConn is a connection of the epoll engine. At 96 bytes it is what an idle connection costs
// the engine, beside eight in loop.conns.
type epollConn struct {
	loop    *loop
	handler Handler
	q       *queue // nil while nothing is queued
	timer   timerLinks[*epollConn]
	remote  remoteAddr
	flags   connFlags
	fd      int32
	slot    int32
	gen     uint32 // tells this connection's events from those of an earlier one in its slot
}

func (c *epollConn) links() *timerLinks[*epollConn] { return &c.timer }

// open makes in a connection of this loop.
func (l *loop) open(in incoming) {
	slot := int32(len(l.conns))
	if n := len(l.free); n > 0 {
		slot, l.free = l.free[n-1], l.free[:n-1]
	} else {
		l.conns = append(l.conns, nil)
	}
	l.gen++
	c := &epollConn{loop: l, fd: int32(in.fd), slot: slot, gen: l.gen, remote: in.remote}
	l.conns[slot] = c
	l.counts.conns++
	ev := c.interest()
	err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, in.fd, &ev)
	c.handler = nopHandler{} // should Open panic
	l.enter(c)
	c.handler = in.acceptor.Open(c, in.tag)
	l.leave()
	if err != nil {
		c.Close(err)
	}
	l.flush(c)
}

// interest is what epoll is to report of c.
func (c *epollConn) interest() unix.EpollEvent {
	ev := unix.EpollEvent{Fd: c.slot, Pad: int32(c.gen)}
	if c.flags&flagPaused == 0 {
		ev.Events |= unix.EPOLLIN
	}
	if c.flags&flagBlocked != 0 {
		ev.Events |= unix.EPOLLOUT
	}
	return ev
}

func (c *epollConn) updateInterest() {
	ev := c.interest()
	err := unix.EpollCtl(c.loop.epfd, unix.EPOLL_CTL_MOD, int(c.fd), &ev)
	if err == unix.ENOENT { // it broke while it was paused
		err = unix.EpollCtl(c.loop.epfd, unix.EPOLL_CTL_ADD, int(c.fd), &ev)
	}
	if err != nil {
		c.Close(err)
	}
}

// read serves a readable, hung up or failed descriptor: one read, one callback, one flush.
func (l *loop) read(c *epollConn, events uint32) {
	if c.flags&flagClosing != 0 {
		return
	}
	if c.flags&flagPaused != 0 {
		if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			l.breakPaused(c)
		}
		return
	}
	n, errno := recv(int(c.fd), l.buf)
	l.counts.reads++
	switch {
	case n > 0:
		l.counts.bytesIn += uint64(n)
		l.enter(c)
		c.handler.OnData(l.buf[:n:n])
		l.leave()
		l.flush(c)
	case errno == 0:
		c.Close(endOfInput(c.flags))
	case errno != unix.EAGAIN && errno != unix.EINTR:
		c.Close(errno)
	}
}

// breakPaused serves a paused connection that has broken. Bytes that came before wait for Resume;
// epoll would report the break until then, so it is told to forget c. A blocked connection has
// nothing to wait for: what it is paused for may be that it drains.
func (l *loop) breakPaused(c *epollConn) {
	input, err := peekEnd(int(c.fd), c.flags)
	if input && c.flags&flagBlocked == 0 {
		err = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, int(c.fd), nil)
	} else if input {
		err = socketError(int(c.fd))
	}
	if err != nil {
		c.Close(err)
	}
}

// writeFailed notes that nothing can be sent any more. What the peer has sent before is read to its
// end, which shutdown makes sure that there is; then c is closed.
func (l *loop) writeFailed(c *epollConn) {
	c.flags |= flagFin | flagBroken
	l.dropQueue(c)
	unix.Shutdown(int(c.fd), unix.SHUT_RDWR)
}

// socketError takes the pending error of a descriptor that hung up.
func socketError(fd int) error {
	if e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && e != 0 {
		return unix.Errno(e)
	}
	return unix.ECONNRESET
}

// flush sends what c has queued, unless the kernel is known to take nothing.
func (l *loop) flush(c *epollConn) {
	if c.q == nil || c.flags&(flagBlocked|flagClosing) != 0 {
		return
	}
	if err := l.send(c); err != nil {
		l.writeFailed(c)
		return
	}
	if c.q == nil {
		c.finish()
		return
	}
	c.flags |= flagBlocked
	l.counts.unsent += c.q.holdUnsent(l.engine.cfg.UnsentBytesMax)
	c.updateInterest()
	l.callBack(c, Handler.OnBlocked)
}

// unblock goes on sending when the kernel takes bytes again.
func (l *loop) unblock(c *epollConn) {
	if c.flags&(flagClosing|flagBroken) != 0 || c.flags&flagBlocked == 0 {
		return
	}
	if err := l.send(c); err != nil {
		l.writeFailed(c)
		return
	}
	if c.q != nil {
		return
	}
	c.flags &^= flagBlocked
	c.updateInterest()
	c.finish()
	l.callBack(c, Handler.OnDrained)
	l.flush(c)
}

// callBack calls a method of c's handler.
func (l *loop) callBack(c *epollConn, method func(Handler)) {
	l.enter(c)
	method(c.handler)
	l.leave()
}

// send writes what is queued until the kernel takes no more or the queue is empty, which it then
// gives back.
func (l *loop) send(c *epollConn) error {
	for c.q != nil {
		n, want, errno := l.sendOnce(c, nil)
		c.q.advance(&l.pool, min(n, c.q.bytes), l.tick)
		l.counts.queued -= int64(n)
		if c.q.bytes == 0 {
			l.dropQueue(c)
		}
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 && errno != unix.EAGAIN {
			return errno
		}
		if n < want || errno != 0 {
			return nil
		}
	}
	return nil
}

// sendOnce makes one system call for the queue and, after it, extra. want is what it offered.
func (l *loop) sendOnce(c *epollConn, extra []byte) (n, want int, errno unix.Errno) {
	l.iovecs = l.iovecs[:0]
	var first []byte
	if c.q != nil {
		for i := 0; len(l.iovecs) < iovecsMax-1; i++ {
			p := c.q.pending(i)
			if p == nil {
				break
			}
			first = l.addIovec(first, p, &want)
		}
		if want < c.q.bytes {
			extra = nil // does not come next
		}
	}
	if len(extra) > 0 {
		first = l.addIovec(first, extra, &want)
	}
	l.counts.writes++
	if len(l.iovecs) == 1 {
		n, errno = send(int(c.fd), first)
	} else {
		n, errno = sendmsg(int(c.fd), l.iovecs)
	}
	l.counts.bytesOut += uint64(n)
	return n, want, errno
}

func (l *loop) addIovec(first, p []byte, want *int) []byte {
	var v unix.Iovec
	v.Base = &p[0]
	v.SetLen(len(p))
	l.iovecs = append(l.iovecs, v)
	*want += len(p)
	if first == nil {
		return p
	}
	return first
}

func (l *loop) dropQueue(c *epollConn) {
	if c.q == nil {
		return
	}
	l.counts.queued -= int64(c.q.bytes)
	l.counts.unsent -= int64(c.q.unsent)
	l.pool.put(c.q)
	c.q = nil
}

// finish sends the FIN that CloseWrite asked for, once nothing is queued.
func (c *epollConn) finish() {
	if c.q == nil && c.flags&(flagFin|flagClosing) == flagFin {
		unix.Shutdown(int(c.fd), unix.SHUT_WR)
	}
}

// Loop implements Conn.
func (c *epollConn) Loop() Loop { return c.loop }

// RemoteAddr implements Conn.
func (c *epollConn) RemoteAddr() netip.AddrPort { return c.remote.addrPort() }

// Write implements Conn.
func (c *epollConn) Write(p []byte) {
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
func (c *epollConn) WriteShared(p []byte, n int) {
	if c.writable(p) {
		c.queue().share(p, n, c.loop.tick)
		c.loop.queued(c, len(p))
	}
}

func (c *epollConn) writable(p []byte) bool {
	return len(p) > 0 && c.flags&(flagFin|flagClosing) == 0
}

func (c *epollConn) queue() *queue {
	if c.q == nil {
		c.q = c.loop.pool.get(c.loop.tick)
		if c.flags&flagBlocked != 0 {
			c.loop.counts.unsent += c.q.holdUnsent(c.loop.engine.cfg.UnsentBytesMax)
		}
	}
	return c.q
}

// queued counts n more bytes and sees to it that they are sent.
func (l *loop) queued(c *epollConn, n int) {
	l.counts.queued += int64(n)
	if c.flags&(flagDirty|flagBlocked) == 0 && c != l.current {
		c.flags |= flagDirty
		l.dirty = append(l.dirty, c)
	}
}

// writeThrough sends what is queued and p, and returns what the kernel left of p for the queue.
func (l *loop) writeThrough(c *epollConn, p []byte) (rest []byte) {
	queued := 0
	if c.q != nil {
		queued = c.q.bytes
	}
	n, _, errno := l.sendOnce(c, p)
	if errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
		l.writeFailed(c)
		return nil
	}
	mine := max(n-queued, 0)
	if c.q != nil {
		c.q.advance(&l.pool, n-mine, l.tick)
		l.counts.queued -= int64(n - mine)
		if c.q.bytes == 0 {
			l.dropQueue(c)
		}
	}
	return p[mine:]
}

// Flush implements Conn. If the kernel does not take all, the end of the turn finds that out again,
// and says OnBlocked: here it might be nested in another callback.
func (c *epollConn) Flush() {
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
func (c *epollConn) Queue() Queue { return c.q.describe(c.loop.tick) }

// DropOldest implements Conn.
func (c *epollConn) DropOldest(wantBytes int) (messages, bytes int) {
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
func (c *epollConn) Pause() { c.setPaused(true) }

// Resume implements Conn.
func (c *epollConn) Resume() { c.setPaused(false) }

func (c *epollConn) setPaused(paused bool) {
	if c.flags&flagClosing != 0 || (c.flags&flagPaused != 0) == paused {
		return
	}
	c.flags ^= flagPaused
	c.updateInterest()
}

// SetTimer implements Conn.
func (c *epollConn) SetTimer(d time.Duration) {
	switch {
	case c.flags&flagClosing != 0:
	case d <= 0:
		c.loop.wheel.disarm(c)
	default:
		c.loop.wheel.arm(c, c.loop.clock, d)
	}
}

// CloseWrite implements Conn.
func (c *epollConn) CloseWrite() {
	if c.flags&(flagFin|flagClosing) != 0 {
		return
	}
	c.flags |= flagFin
	c.finish()
}

// Transit implements Conn.
func (c *epollConn) Transit() Transit {
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
func (c *epollConn) Abort(err error) {
	if c.flags&flagClosing == 0 {
		c.flags |= flagReset
		c.Close(err)
	}
}

// Close implements Conn.
func (c *epollConn) Close(err error) {
	if c.flags&flagClosing != 0 {
		return
	}
	if err == nil {
		err = net.ErrClosed
	}
	c.flags |= flagClosing
	c.loop.closing = append(c.loop.closing, closing{c, err})
}
