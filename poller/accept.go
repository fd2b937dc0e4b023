//go:build unix

package poller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// acceptBatch bounds the sockets accepted before they are handed to their loops.
	acceptBatch = 128
	// acceptBackoff is how long accepting rests when the kernel is out of something; the sockets
	// wait in the listen queue meanwhile.
	acceptBackoff = 50 * time.Millisecond
	// acceptLogEvery spaces the log lines about failures.
	acceptLogEvery = time.Second
)

// listeners are the doors of an engine. Its methods may be called from any goroutine.
type listeners struct {
	cfg    *Config
	loops  []taker
	counts acceptCounters
	done   sync.WaitGroup // the accepting goroutines

	adopted atomic.Uint32

	mu     sync.Mutex
	open   []*listener
	closed bool
}

// taker is a loop as a listener sees it. give reports false, and takes nothing, once it has
// stopped.
type taker interface{ give([]incoming) bool }

func (s *listeners) listen(addr string, a Acceptor) (net.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrEngineClosed
	}
	ln, err := newListener(s, addr, a)
	if err != nil {
		return nil, err
	}
	s.open = append(s.open, ln)
	s.done.Go(ln.run)
	return ln.addr, nil
}

// stop closes all doors; others may be opened.
func (s *listeners) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.open {
		ln.stop()
	}
	s.open = nil
}

// close closes all doors for good and returns when nobody accepts any more.
func (s *listeners) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.done.Wait()
}

// listener accepts for one address, on a goroutine of its own, and deals the sockets to the loops
// in turn. It keeps a descriptor in reserve: when the process has run out of them, the reserve is
// given up for a moment to take a socket out of the queue and tell its peer, instead of being woken
// for it again and again.
type listener struct {
	host     *listeners
	acceptor Acceptor  // throttle, if there is one
	throttle *throttle // nil if its acceptor takes all that come
	addr     net.Addr
	fd       int
	stopped  int // readable once stop was called
	stopping int // the other end of that pipe
	reserve  int // -1 while given up
	next     int // loop that gets the next socket
	batches  [][]incoming
	logged   time.Time
}

func newListener(s *listeners, addr string, a Acceptor) (*listener, error) {
	// Multipath TCP, which the net package listens for by default, takes TCP_USER_TIMEOUT and
	// TCP_NOTSENT_LOWAT from no listener.
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	ln, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	// The net package resolves and binds; from here on the descriptor is ours, outside of the
	// runtime's poller.
	defer ln.Close()
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("poller: %w", err)
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(f uintptr) {
		fd, dupErr = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil || dupErr != nil {
		return nil, fmt.Errorf("poller: dup of the listener: %w", errors.Join(err, dupErr))
	}
	stopped, stopping, err := pipe()
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("poller: pipe: %w", err)
	}
	l := &listener{
		host: s, acceptor: a, throttle: newThrottle(a), addr: ln.Addr(), fd: fd,
		stopped: stopped, stopping: stopping,
		batches: make([][]incoming, len(s.loops)),
	}
	if l.throttle != nil {
		l.acceptor = l.throttle
	}
	inherit(l.fd, s.cfg)
	l.takeReserve()
	return l, nil
}

// stop makes run return. It is called once.
func (l *listener) stop() { unix.Close(l.stopping) }

// run accepts until stop is called.
func (l *listener) run() {
	defer func() {
		unix.Close(l.fd)
		unix.Close(l.stopped)
		l.dropReserve()
	}()
	wait := -1
	listening := true
	for !l.poll(listening, wait) {
		more, rest := l.acceptSome()
		l.deal()
		listening, wait = rest == 0, -1
		if rest > 0 {
			wait = int(rest.Milliseconds()) // look at nothing but stop until then
		} else if more {
			wait = 0
		}
	}
}

// poll waits until there is something to accept, or for wait milliseconds. It reports stop.
func (l *listener) poll(listening bool, wait int) (stop bool) {
	fds := [2]unix.PollFd{
		{Fd: int32(l.stopped), Events: unix.POLLIN},
		{Fd: int32(l.fd), Events: unix.POLLIN},
	}
	n := 2
	if !listening {
		n = 1
	}
	unix.Poll(fds[:n], wait)
	return fds[0].Revents != 0
}

// acceptSome accepts up to a batch. more says that others may be waiting, rest for how long they
// have to: because the kernel is out of something, or the acceptor has no room.
func (l *listener) acceptSome() (more bool, rest time.Duration) {
	for range acceptBatch {
		if l.throttle.full() {
			return true, throttleRest
		}
		fd, sa, err := accept(l.fd)
		switch err {
		case nil:
			l.admit(fd, sa)
		case unix.EAGAIN:
			return false, 0
		case unix.EINTR, unix.ECONNABORTED:
			// The next one may be fine.
		case unix.EMFILE, unix.ENFILE:
			l.host.counts.starved.Add(1)
			l.fail(err)
			if !l.turnAwayStarved() {
				return false, acceptBackoff
			}
		default: // ENOBUFS, ENOMEM and whatever else a kernel can be out of
			l.fail(err)
			return false, acceptBackoff
		}
	}
	return true, 0
}

// admit asks the acceptor about a new socket and puts it in a loop's batch.
func (l *listener) admit(fd int, sa unix.Sockaddr) {
	remote := toRemoteAddr(sa)
	verdict := l.acceptor.Admit(remote.addrPort())
	if verdict.Drop {
		l.host.counts.turned.Add(1)
		turnAway(fd, verdict.Parting)
		return
	}
	if l.throttle != nil {
		l.throttle.unopened.Add(1)
	}
	l.batches[l.next] = append(l.batches[l.next], incoming{fd, remote, l.acceptor, verdict.Tag})
	l.next = (l.next + 1) % len(l.batches)
}

// deal hands the batches to their loops.
func (l *listener) deal() {
	for i, b := range l.batches {
		if len(b) == 0 {
			continue
		}
		if l.host.loops[i].give(b) {
			l.host.counts.accepted.Add(uint64(len(b)))
		} else {
			for _, in := range b { // the engine is ending
				unix.Close(in.fd)
			}
		}
		clear(b)
		l.batches[i] = b[:0]
	}
	if l.reserve < 0 {
		l.takeReserve()
	}
}

// turnAwayStarved accepts one socket with the reserve descriptor and tells its peer why it is not
// served. It reports false when even that is impossible.
func (l *listener) turnAwayStarved() bool {
	if l.reserve < 0 {
		return false
	}
	l.dropReserve()
	fd, _, err := accept(l.fd)
	if err == nil {
		l.host.counts.turned.Add(1)
		turnAway(fd, l.host.cfg.StarvedParting)
	}
	l.takeReserve()
	return err == nil && l.reserve >= 0
}

func (l *listener) takeReserve() {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fd = -1
	}
	l.reserve = fd
}

func (l *listener) dropReserve() {
	if l.reserve >= 0 {
		unix.Close(l.reserve)
	}
	l.reserve = -1
}

// turnAway closes an accepted socket after a parting word. What the peer has sent already is read
// first, since closing over unread bytes would reset the connection and destroy the parting.
func turnAway(fd int, parting []byte) {
	if len(parting) > 0 {
		unix.Write(fd, parting)
		unix.Shutdown(fd, unix.SHUT_WR)
		var sink [2048]byte
		unix.Read(fd, sink[:])
	}
	unix.Close(fd)
}

// fail counts and logs a failure to accept.
func (l *listener) fail(err error) {
	l.host.counts.failed.Add(1)
	if now := time.Now(); now.Sub(l.logged) >= acceptLogEvery {
		l.logged = now
		l.host.cfg.Logger.Warn("cannot accept connections", "error", err,
			"failures", l.host.counts.failed.Load())
	}
}

func toRemoteAddr(sa unix.Sockaddr) remoteAddr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return remoteAddr{netip.AddrFrom4(sa.Addr).As16(), uint16(sa.Port)}
	case *unix.SockaddrInet6:
		return remoteAddr{sa.Addr, uint16(sa.Port)}
	}
	return remoteAddr{}
}
