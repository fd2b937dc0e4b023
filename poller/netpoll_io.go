//go:build unix

package poller

import "golang.org/x/sys/unix"

// handle serves a connection that is ready for something.
func (l *netpollLoop) handle(c *netpollConn) {
	news := c.news
	c.news = 0
	if c.flags&flagClosing != 0 {
		return
	}
	if news != 0 {
		c.watched = 0 // the poller has removed it
	}
	if news&hungUp != 0 {
		l.hangUp(c)
	}
	c.ready |= news & readable
	if news&writable != 0 {
		l.unblock(c)
	}
	l.read(c)
	l.watch(c)
}

// read makes one read, one callback and one flush, if there is something to be read.
func (l *netpollLoop) read(c *netpollConn) {
	if c.flags&(flagClosing|flagPaused) != 0 || c.ready&readable == 0 {
		return
	}
	n, err := unix.Read(int(c.fd), l.buf)
	l.counts.reads++
	switch {
	case n > 0:
		if n < len(l.buf) && c.op != nil {
			c.ready &^= readable // the kernel had no more; after a hang-up there is the end
		}
		l.counts.bytesIn += uint64(n)
		l.current = c
		c.handler.OnData(l.buf[:n:n])
		l.current = nil
		l.flush(c)
	case err == nil:
		c.Close(endOfInput(c.flags))
	case err == unix.EAGAIN:
		c.ready &^= readable
	case err != unix.EINTR:
		c.Close(err)
	}
}

// flush sends what c has queued, unless the kernel is known to take nothing.
func (l *netpollLoop) flush(c *netpollConn) {
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
	l.watch(c)
	l.callBack(c, Handler.OnBlocked)
}

// unblock goes on sending when the kernel takes bytes again.
func (l *netpollLoop) unblock(c *netpollConn) {
	if c.flags&(flagClosing|flagBroken) != 0 || c.flags&flagBlocked == 0 {
		return
	}
	if err := l.send(c); err != nil {
		l.writeFailed(c)
		return
	}
	if c.q != nil {
		l.watch(c)
		return
	}
	c.flags &^= flagBlocked
	c.finish()
	l.callBack(c, Handler.OnDrained)
	l.flush(c)
}

// writeFailed notes that nothing can be sent any more. What the peer has sent before is read to its
// end, which shutdown makes sure that there is; then c is closed.
func (l *netpollLoop) writeFailed(c *netpollConn) {
	c.flags |= flagFin | flagBroken
	l.dropQueue(c)
	unix.Shutdown(int(c.fd), unix.SHUT_RDWR)
	c.ready |= readable
	l.watch(c)
}

// send writes what is queued until the kernel takes no more or the queue is empty, which it then
// gives back.
func (l *netpollLoop) send(c *netpollConn) error {
	for c.q != nil {
		n, want, err := l.sendOnce(c, nil)
		l.advance(c, n)
		switch {
		case err == unix.EINTR:
		case err != nil && err != unix.EAGAIN:
			return err
		case err != nil || n < want:
			return nil
		}
	}
	return nil
}

// sendOnce makes one system call for the queue and, after it, extra. want is what it offered.
func (l *netpollLoop) sendOnce(c *netpollConn, extra []byte) (n, want int, err error) {
	l.bufs = l.bufs[:0]
	for c.q != nil && len(l.bufs) < iovecsMax-1 {
		p := c.q.pending(len(l.bufs))
		if p == nil {
			break
		}
		l.bufs = append(l.bufs, p)
		want += len(p)
	}
	if len(extra) > 0 && (c.q == nil || want == c.q.bytes) { // else it does not come next
		l.bufs = append(l.bufs, extra)
		want += len(extra)
	}
	l.counts.writes++
	if len(l.bufs) == 1 {
		n, err = unix.Write(int(c.fd), l.bufs[0])
	} else {
		n, err = unix.SendmsgBuffers(int(c.fd), l.bufs, nil, nil, 0)
	}
	clear(l.bufs)
	n = max(n, 0)
	l.counts.bytesOut += uint64(n)
	return n, want, err
}

// writeThrough sends what is queued and p, and returns what the kernel left of p for the queue.
func (l *netpollLoop) writeThrough(c *netpollConn, p []byte) (rest []byte) {
	queued := 0
	if c.q != nil {
		queued = c.q.bytes
	}
	n, _, err := l.sendOnce(c, p)
	if err != nil && err != unix.EAGAIN && err != unix.EINTR {
		l.writeFailed(c)
		return nil
	}
	mine := max(n-queued, 0)
	l.advance(c, n-mine)
	return p[mine:]
}

// advance notes that n queued bytes have left.
func (l *netpollLoop) advance(c *netpollConn, n int) {
	if c.q == nil {
		return
	}
	c.q.advance(&l.pool, n, l.tick)
	l.counts.queued -= int64(n)
	if c.q.bytes == 0 {
		l.dropQueue(c)
	}
}
