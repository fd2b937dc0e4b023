//go:build unix

package load

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// connectTimeout bounds a connect: the kernel repeats a SYN that a busy server dropped after 1,
	// 3, 7 and 15 s.
	connectTimeout = 20 * time.Second
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

// awaitConnect waits for the end of a connect that is under way. It holds no thread: thousands may
// wait for a server that accepts slowly.
func awaitConnect(fd int) error {
	if !connectEnded(fd) {
		if err := awaitWritable(fd); err != nil {
			return err
		}
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	return err
}

// connectEnded reports whether a connect has ended, well or not.
func connectEnded(fd int) bool {
	pending := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(pending, 0)
	return err == nil && n > 0
}

// awaitWritable waits by the runtime's poller, which wants a descriptor of its own.
func awaitWritable(fd int) error {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(own), "connect")
	defer f.Close()
	if err := f.SetWriteDeadline(time.Now().Add(connectTimeout)); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Write(func(fd uintptr) bool { return connectEnded(int(fd)) })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return unix.ETIMEDOUT
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
