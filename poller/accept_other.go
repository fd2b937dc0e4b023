//go:build unix && !linux

package poller

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// accept takes a socket out of the listen queue. Where accept4 is missing, the lock keeps a fork
// from inheriting the descriptor before it is marked.
func accept(fd int) (int, unix.Sockaddr, error) {
	syscall.ForkLock.RLock()
	nfd, sa, err := unix.Accept(fd)
	if err == nil {
		unix.CloseOnExec(nfd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, nil, err
	}
	if err := unix.SetNonblock(nfd, true); err != nil {
		unix.Close(nfd)
		return -1, nil, unix.ECONNABORTED
	}
	unix.SetsockoptInt(nfd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return nfd, sa, nil
}

func pipe() (r, w int, err error) {
	var p [2]int
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Pipe(p[:]); err != nil {
		return -1, -1, err
	}
	unix.CloseOnExec(p[0])
	unix.CloseOnExec(p[1])
	return p[0], p[1], nil
}

// inherit sets the options that accepted sockets inherit. Failures leave the default, which works
// too.
func inherit(fd int, cfg *Config) {
	if cfg.SendBufferBytes > 0 {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, cfg.SendBufferBytes)
	}
}

// setUserTimeout does nothing: these systems have no such bound for a socket.
func setUserTimeout(int, time.Duration) {}
