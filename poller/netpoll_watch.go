//go:build unix

package poller

import (
	"errors"
	"runtime"
	"time"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// A loop looks at the connections that netpoll does not watch every sweepMax, and more often while
// that finds some that take bytes.
const (
	sweepMin = 5 * time.Millisecond
	sweepMax = TimerTick
)

// readiness is a set of what a connection can be ready for.
type readiness uint8

const (
	readable readiness = 1 << iota
	writable
	hungUp
)

// A connection is watched by one operator of netpoll. netpoll reports what is ready again and again
// until somebody acts, so the poller's goroutine, before it tells the loop, removes the operator
// from the poller; the loop registers it again when the kernel has no more for it. The poller
// therefore only ever removes, and the loop only ever adds, or removes what it will not add again
// before the poller is done with it: FDOperator sees to that. Every removal by the poller is
// followed by a notification, and every notification makes the loop try what it wants to do and
// register again for what the kernel refuses. So a notification that is late or superfluous costs
// some system calls, and no event is lost.

// newOperator returns the operator that watches c. It is not registered yet.
func (l *netpollLoop) newOperator(c *netpollConn) *netpoll.FDOperator {
	op := l.poll.Alloc()
	op.FD = int(c.fd)
	op.OnRead = c.onReadable
	// Not OnWrite: with that, removing the operator from a kqueue removes another filter.
	op.Outputs = c.onWritable
	op.OnHup = c.onHangUp
	return op
}

// onReadable is called by the poller when there is something to read: bytes, the end, or an error.
func (c *netpollConn) onReadable(p netpoll.Poll) error {
	c.remove(p)
	c.loop.notify(c, readable)
	return nil
}

// onWritable is called by the poller when the kernel takes bytes again. It gives it nothing to
// write.
func (c *netpollConn) onWritable([][]byte) (bufs [][]byte, zeroCopy bool) {
	c.remove(c.loop.poll)
	c.loop.notify(c, writable)
	return nil, false
}

// onHangUp is called by a goroutine of netpoll, perhaps long after the poller, which removes the
// operator first, has seen the connection end in at least one direction.
func (c *netpollConn) onHangUp(netpoll.Poll) error {
	c.loop.notify(c, hungUp)
	return nil
}

// remove takes c's operator out of the poller. That it may not be there is no failure. The method
// Control of the operator would do it only once.
func (c *netpollConn) remove(p netpoll.Poll) {
	p.Control(c.op, netpoll.PollDetach)
	if runtime.GOOS != "linux" { // a kqueue has one filter for each direction
		p.Control(c.op, netpoll.PollRW2R)
	}
}

// interest is what the loop has to wait for with c.
func (c *netpollConn) interest() readiness {
	var want readiness
	if c.flags&flagPaused == 0 && c.ready&readable == 0 {
		want |= readable
	}
	if c.flags&flagBlocked != 0 {
		want |= writable
	}
	return want
}

// watch sees to it that the loop comes back to c when there is something to do: in the next turn,
// when the poller says so, or by a sweep.
func (l *netpollLoop) watch(c *netpollConn) {
	if c.flags&flagClosing != 0 {
		return
	}
	if c.ready&readable != 0 && c.flags&flagPaused == 0 && !c.again {
		c.again = true
		l.again = append(l.again, c)
	}
	want := c.interest()
	if c.op != nil && want&^c.watched != 0 {
		if err := l.register(c, want); err != nil {
			c.Close(err)
			return
		}
		c.watched = want
	}
	if c.unwatched() && !c.swept {
		c.swept = true
		l.unwatched = append(l.unwatched, c)
	}
}

// register replaces what c's operator is registered for.
func (l *netpollLoop) register(c *netpollConn, want readiness) error {
	event := netpoll.PollReadable
	if want&readable == 0 {
		event = netpoll.PollWritable
	}
	if c.watched != 0 {
		c.remove(l.poll)
	}
	err := l.poll.Control(c.op, event)
	if errors.Is(err, unix.EEXIST) {
		// The notification that it was removed came late, about an earlier registration.
		c.remove(l.poll)
		err = l.poll.Control(c.op, event)
	}
	if err != nil || want != readable|writable {
		return err
	}
	if err = l.poll.Control(c.op, netpoll.PollR2RW); errors.Is(err, unix.ENOENT) {
		return nil // the poller was faster: it has removed it, and says so
	}
	return err
}

// forget ends the watch over c for good: afterwards the poller does not touch its descriptor.
func (l *netpollLoop) forget(c *netpollConn) {
	if c.op == nil {
		return
	}
	c.remove(l.poll)
	c.op.Free() // waits until the poller has done with it
	c.op, c.watched = nil, 0
}

// hangUp notes that the peer has ended at least its direction. netpoll would report that at once
// and for ever, so the operator cannot be used any more; it is not needed to find the end, which is
// there to be read.
func (l *netpollLoop) hangUp(c *netpollConn) {
	l.forget(c)
	c.ready |= readable
	l.nextSweep, l.sweepEvery = 0, sweepMin
}

// unwatched reports whether only a sweep finds out what becomes of c: after the peer's FIN, which
// may be followed by a reset, and while it is paused.
func (c *netpollConn) unwatched() bool {
	return c.flags&flagClosing == 0 &&
		(c.op == nil || c.watched == 0 && c.flags&flagPaused != 0)
}

// sweep looks at the connections that netpoll does not watch.
func (l *netpollLoop) sweep() {
	if len(l.unwatched) == 0 || l.real < l.nextSweep {
		return
	}
	l.sweepEvery = min(2*l.sweepEvery, sweepMax)
	defer func(sent uint64) {
		if l.counts.bytesOut != sent {
			l.sweepEvery = sweepMin
		}
		l.nextSweep = l.real + l.sweepEvery
	}(l.counts.bytesOut)
	all := l.unwatched
	l.unwatched, l.pollFds = all[:0], l.pollFds[:0]
	for _, c := range all {
		if c.swept = c.unwatched(); c.swept {
			l.unwatched = append(l.unwatched, c)
			l.pollFds = append(l.pollFds, c.pollFd())
		}
	}
	clear(all[len(l.unwatched):])
	if _, err := unix.Poll(l.pollFds, 0); err != nil {
		return // EINTR: the next sweep sees it
	}
	for i, fd := range l.pollFds {
		l.swept(l.unwatched[i], fd.Revents)
	}
	l.reap()
}

// pollFd is what a sweep asks about c, beside the errors that are always reported.
func (c *netpollConn) pollFd() unix.PollFd {
	fd := unix.PollFd{Fd: c.fd}
	want := c.interest()
	if want&readable != 0 {
		fd.Events |= unix.POLLIN
	}
	if want&writable != 0 {
		fd.Events |= unix.POLLOUT
	}
	return fd
}

// swept handles what a sweep has found out about c.
func (l *netpollLoop) swept(c *netpollConn, revents int16) {
	if c.flags&flagPaused != 0 && revents&(unix.POLLERR|unix.POLLHUP) != 0 {
		if _, err := unix.Getpeername(int(c.fd)); err != nil {
			c.breakPaused()
			return
		}
	}
	if revents&unix.POLLOUT != 0 {
		l.unblock(c)
	}
	if revents&(unix.POLLIN|unix.POLLERR|unix.POLLHUP) != 0 {
		c.ready |= readable
		l.watch(c)
	}
}

// breakPaused serves a paused connection that has broken. Bytes that came before wait for Resume. A
// blocked connection has nothing to wait for: what it is paused for may be that it drains.
func (c *netpollConn) breakPaused() {
	input, err := peekEnd(int(c.fd), c.flags)
	switch {
	case input && c.flags&flagBlocked == 0:
		return
	case input:
		err = unix.ECONNRESET
	}
	c.Close(err)
}
