package floor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// backlog is as much as most kernels allow.
const backlog = 4096

// Run serves addr, an IPv4 address with a port, with so many event loops, until ctx is done or one
// of them fails. ready gets the bound address. The kernel deals new connections to the loops, and
// no message passes from one loop to another.
//
// A loop occupies a processor of the Go runtime even while it waits: GOMAXPROCS should exceed
// loops.
func Run(ctx context.Context, addr string, loops int, ready func(addr string)) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().Is4() {
		return fmt.Errorf("floor: %q is not an IPv4 address with a port", addr)
	}
	servers := make([]*server, 0, loops)
	defer func() {
		for _, s := range servers {
			s.free()
		}
	}()
	for range loops {
		s, err := newServer(at, loops > 1)
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		servers = append(servers, s)
		at = s.at // the others join the port that the first one has got
	}
	ready(at.String())
	return runAll(ctx, servers)
}

// runAll runs the loops until ctx is done or one of them ends.
func runAll(ctx context.Context, servers []*server) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failures := make([]error, len(servers))
	var loops sync.WaitGroup
	for i, s := range servers {
		loops.Go(func() {
			defer cancel()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			failures[i] = s.run()
		})
	}
	<-ctx.Done()
	for _, s := range servers {
		s.stop()
	}
	loops.Wait()
	return errors.Join(failures...)
}

// newServer makes a loop that listens on at. shared lets others listen there too.
func newServer(at netip.AddrPort, shared bool) (*server, error) {
	s := &server{epfd: -1, listener: -1, stopper: -1, authors: map[*conn]struct{}{}}
	if err := s.prepare(at, shared); err != nil {
		s.free()
		return nil, err
	}
	return s, nil
}

func (s *server) prepare(at netip.AddrPort, shared bool) (err error) {
	if err := s.listen(at, shared); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if s.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if s.stopper, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	for _, fd := range []int{s.listener, s.stopper} {
		if err := s.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
	}
	return nil
}

func (s *server) listen(at netip.AddrPort, shared bool) (err error) {
	const kind = unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	if s.listener, err = unix.Socket(unix.AF_INET, kind, 0); err != nil {
		return err
	}
	options := []struct{ level, option int }{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY}, // accepted sockets inherit it
	}
	if shared {
		options = append(options, struct{ level, option int }{unix.SOL_SOCKET, unix.SO_REUSEPORT})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(s.listener, o.level, o.option, 1); err != nil {
			return err
		}
	}
	to := &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	if err := unix.Bind(s.listener, to); err != nil {
		return err
	}
	if err := unix.Listen(s.listener, backlog); err != nil {
		return err
	}
	bound, err := unix.Getsockname(s.listener)
	if err != nil {
		return err
	}
	s.at = netip.AddrPortFrom(at.Addr(), uint16(bound.(*unix.SockaddrInet4).Port))
	return nil
}

// stop makes run return. It may be called from any goroutine.
func (s *server) stop() { unix.Write(s.stopper, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// free closes every descriptor.
func (s *server) free() {
	for _, fd := range []int{s.listener, s.epfd, s.stopper} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	for _, c := range s.conns {
		if c != nil {
			unix.Close(c.fd)
		}
	}
}
