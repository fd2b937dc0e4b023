//go:build unix

package poller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// link is a connection as netpoll knows it.
type link = netpoll.Connection

// attach lends the descriptor to netpoll. After an error netpoll has closed it.
func (c *netpollConn) attach() error {
	conn, err := netpoll.NewFDConnection(c.fd)
	if err != nil {
		return fmt.Errorf("poller: netpoll: %w", err)
	}
	c.link = conn
	conn.AddCloseCallback(c.hungUp)
	conn.SetOnRequest(c.arrived)
	if !conn.IsActive() {
		conn.Close() // it hung up before there was a callback to tell
	}
	return nil
}

// arrived is netpoll's OnRequest: bytes were read. It runs on a goroutine of netpoll's runner, one
// at a time per connection, and takes all the bytes, since netpoll would call it again at once.
func (c *netpollConn) arrived(_ context.Context, from netpoll.Connection) error {
	if c.inbox.receive(from, &c.loop.engine.chunks) {
		c.loop.tell(c)
	}
	return nil
}

// hungUp is netpoll's CloseCallback: the peer has hung up, or leave has. It runs on a goroutine of
// netpoll, when the descriptor is out of the poller and OnRequest has ended. Bytes that came
// together with the hang-up may not have been requested. Detach keeps netpoll from closing the
// descriptor, which is then the loop's alone, to close when nobody else can be using it.
func (c *netpollConn) hungUp(from netpoll.Connection) error {
	if from.Reader().Len() > 0 {
		c.arrived(context.Background(), from)
	}
	from.(interface{ Detach() error }).Detach()
	if c.inbox.hungUp() {
		c.loop.tell(c)
	}
	return nil
}

// inboundMax bounds what is held of a connection's bytes.
func (e *netpollEngine) inboundMax(paused bool) int {
	if paused {
		return e.cfg.PausedBytesMax
	}
	return behindFactor * e.cfg.PausedBytesMax
}

// handle serves a connection with news.
func (l *netpollLoop) handle(c *netpollConn) {
	if c.flags&flagClosed != 0 {
		return
	}
	n := c.inbox.take()
	c.away = c.away || n.gone
	if n.wrote > 0 {
		l.wrote(c, n.wrote, n.err)
	}
	l.deliver(c)
	if n.overflow {
		c.Close(ErrInboundOverflow)
	}
	if c.away {
		c.endOfInput()
	}
	l.settle(c)
}

// deliver makes one callback with what has arrived, and one flush.
func (l *netpollLoop) deliver(c *netpollConn) {
	if c.flags&(flagClosing|flagPaused) != 0 {
		return
	}
	if c.given == len(c.held) {
		c.held, c.given = c.inbox.takeBytes(), 0
	}
	p := c.held[c.given:]
	p = p[:min(len(p), l.engine.cfg.ReadBufferBytes)]
	if len(p) == 0 {
		return
	}
	c.given += len(p)
	l.counts.reads++
	l.counts.bytesIn += uint64(len(p))
	l.current = c
	c.handler.OnData(p[:len(p):len(p)])
	l.current = nil
	if c.given == len(c.held) {
		l.releaseHeld(c)
	}
	if c.inbox.delivered(len(p)) {
		l.tell(c)
	}
	l.flush(c)
}

// releaseHeld gives the buffer of what was delivered back.
func (l *netpollLoop) releaseHeld(c *netpollConn) {
	if cap(c.held) == chunkBytes {
		l.engine.chunks.Put((*[chunkBytes]byte)(c.held[:chunkBytes]))
	}
	c.held, c.given = nil, 0
}

// endOfInput closes c if its peer has hung up and all it sent is delivered. A reset destroys what
// was not delivered, as it does in the kernel.
func (c *netpollConn) endOfInput() {
	if c.flags&flagClosing != 0 {
		return
	}
	if c.reset() {
		c.Close(syscall.ECONNRESET)
	} else if c.inbox.empty() {
		c.Close(io.EOF)
	}
}

// reset reports whether the connection is gone, and not just half-closed by its peer: a socket that
// was reset has no peer. Once we have sent FIN it has none after an orderly end either.
func (c *netpollConn) reset() bool {
	_, err := unix.Getpeername(c.fd)
	return err != nil && c.flags&flagFin == 0
}

// flush sends what c has queued, unless the kernel is known to take nothing.
func (l *netpollLoop) flush(c *netpollConn) {
	if c.q == nil || c.flags&(flagBlocked|flagClosing) != 0 {
		return
	}
	if err := l.send(c); err != nil {
		c.Close(err)
		return
	}
	if c.q == nil {
		c.finish()
		return
	}
	c.flags |= flagBlocked
	l.writeBlocked(c)
	l.callBack(c, Handler.OnBlocked)
}

// writeBlocked leaves some bytes to netpoll, whose Write returns when the kernel has taken them, so
// that it takes more from us then. A hang-up ends it too. The bytes stay in the queue meanwhile.
func (l *netpollLoop) writeBlocked(c *netpollConn) {
	c.writing, c.q.pinned = true, true
	p := c.q.pending(0)
	p = p[:min(len(p), chunkBytes)]
	go func() {
		err := writeLink(c.link, p)
		if c.inbox.written(len(p), err) {
			l.tell(c)
		}
	}()
}

// writeLink writes p through netpoll, whose buffers have been seen to panic when a close won a race
// (cloudwego/netpoll#412); that is a failed write, not the end of the process.
func writeLink(conn link, p []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", syscall.EPIPE, v)
		}
	}()
	_, err = conn.Write(p)
	return err
}

// wrote goes on sending after a blocked write of n bytes.
func (l *netpollLoop) wrote(c *netpollConn, n int, err error) {
	c.writing, c.q.pinned = false, false
	if err != nil {
		c.writeFailed(err)
		return
	}
	l.counts.writes++
	l.advance(c, n)
	if c.flags&flagClosing != 0 {
		return
	}
	if err := l.send(c); err != nil {
		c.Close(err)
		return
	}
	if c.q != nil {
		l.writeBlocked(c)
		return
	}
	c.flags &^= flagBlocked
	c.finish()
	l.callBack(c, Handler.OnDrained)
	l.flush(c)
}

// writeFailed closes c for a failed write, unless netpoll only says that the connection hung up:
// then it says so to hungUp too, and what the peer has sent before is delivered first.
func (c *netpollConn) writeFailed(err error) {
	for _, e := range []error{netpoll.ErrConnClosed, netpoll.ErrConcurrentAccess, syscall.ENOENT} {
		if errors.Is(err, e) {
			return
		}
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		err = errno
	}
	c.Close(err)
}

// send writes what is queued until the kernel takes no more or the queue is empty, which it then
// gives back.
func (l *netpollLoop) send(c *netpollConn) error {
	for c.q != nil {
		n, want, err := l.sendOnce(c)
		l.advance(c, max(n, 0))
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

// sendOnce makes one system call for the queue. want is what it offered.
func (l *netpollLoop) sendOnce(c *netpollConn) (n, want int, err error) {
	l.bufs = l.bufs[:0]
	for len(l.bufs) < iovecsMax {
		p := c.q.pending(len(l.bufs))
		if p == nil {
			break
		}
		l.bufs = append(l.bufs, p)
		want += len(p)
	}
	l.counts.writes++
	if len(l.bufs) == 1 {
		n, err = unix.Write(c.fd, l.bufs[0])
	} else {
		n, err = unix.SendmsgBuffers(c.fd, l.bufs, nil, nil, 0)
	}
	clear(l.bufs)
	return n, want, err
}

// advance notes that n queued bytes have left.
func (l *netpollLoop) advance(c *netpollConn, n int) {
	c.q.advance(&l.pool, n, l.tick)
	l.counts.queued -= int64(n)
	l.counts.bytesOut += uint64(n)
	if c.q.bytes == 0 {
		l.dropQueue(c)
	}
}
