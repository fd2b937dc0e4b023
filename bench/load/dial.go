//go:build unix

package load

import (
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

// dial connects socket number i and returns its descriptor. receiveBuffer is that of the kernel in
// bytes; 0 leaves it to the kernel.
func dial(t *Target, i, receiveBuffer int) (fd int, err error) {
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
	if err := connect(fd, t, i, receiveBuffer); err != nil {
		unix.Close(fd)
		return -1, explain("connect", err)
	}
	return fd, nil
}

func connect(fd int, t *Target, i, receiveBuffer int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if receiveBuffer > 0 {
		// Before the connect: the window that is offered then follows from it.
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		if err != nil {
			return err
		}
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

// resetOnClose makes the close of a socket an RST.
func resetOnClose(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}
