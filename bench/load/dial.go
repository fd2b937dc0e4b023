//go:build unix

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// connectTimeout bounds a connect.
	connectTimeout = 10 * time.Second
	// portsPerSource is how many connections leave from one source address: fewer than the
	// ephemeral ports that the kernel has for it.
	portsPerSource = 20_000
)

// dial connects socket number i and returns its descriptor.
func dial(t *Target, i int) (fd int, err error) {
	family := unix.AF_INET
	if t.addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	syscall.ForkLock.RLock()
	fd, err = unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, explain("socket", err)
	}
	if err := connect(fd, t, i); err != nil {
		unix.Close(fd)
		return -1, explain("connect", err)
	}
	return fd, nil
}

func connect(fd int, t *Target, i int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if t.addr.Addr().Is4() && t.Loopback() {
		if err := bindSource(fd, i); err != nil {
			return err
		}
	}
	err := unix.Connect(fd, sockaddr(t.addr))
	if err == unix.EINPROGRESS || err == unix.EINTR {
		return awaitConnect(fd)
	}
	return err
}

// awaitConnect waits for the end of a connect that is under way.
func awaitConnect(fd int) error {
	deadline := time.Now().Add(connectTimeout)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return unix.ETIMEDOUT
		}
		pending := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(pending, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return err
		}
		if n > 0 {
			break
		}
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	return err
}

// bindSource spreads connections over 127.0.0.2 and on, so that no address runs out of ports.
func bindSource(fd, i int) error {
	lateBinding(fd)
	n := 2 + i/portsPerSource
	return unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, byte(n >> 8), byte(n)}})
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// explain names the side that an error comes from and what mends it.
func explain(op string, err error) error {
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return fmt.Errorf("%s: %w: this generator is out of descriptors; raise ulimit -n", op, err)
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%s: %w: this generator is out of ports; "+
			"widen net.ipv4.ip_local_port_range", op, err)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%s: %w: nobody listens there, or the server's queue is full", op, err)
	case errors.Is(err, unix.ETIMEDOUT):
		return fmt.Errorf("%s: no answer within %v: the server does not accept", op, connectTimeout)
	}
	return fmt.Errorf("%s: %w", op, err)
}
