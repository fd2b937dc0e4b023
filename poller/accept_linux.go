package poller

import (
	"time"

	"golang.org/x/sys/unix"
)

// accept takes a socket out of the listen queue.
func accept(fd int) (int, unix.Sockaddr, error) {
	return unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
}

func pipe() (r, w int, err error) {
	var p [2]int
	err = unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC)
	return p[0], p[1], err
}

// inherit sets the options that accepted sockets inherit on Linux, which saves a system call per
// option and connection. Failures leave the default, which works too.
func inherit(fd int, cfg *Config) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if cfg.SendBufferBytes > 0 {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, cfg.SendBufferBytes)
	}
	if cfg.UnsentBytesMax > 0 {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, cfg.UnsentBytesMax)
	}
	setUserTimeout(fd, cfg.UserTimeout)
}

// setUserTimeout bounds how long the peer may acknowledge nothing; 0 leaves it to the system.
func setUserTimeout(fd int, d time.Duration) {
	if ms := d.Milliseconds(); ms > 0 {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(ms))
	}
}
