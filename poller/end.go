//go:build unix

package poller

import (
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// peekEnd looks at a connection that has broken, without taking anything: it reports whether bytes
// that came before are still there to be read, else why the connection has ended.
func peekEnd(fd int, flags connFlags) (input bool, err error) {
	var p [1]byte
	n, _, err := unix.Recvfrom(fd, p[:], unix.MSG_PEEK)
	switch {
	case n > 0:
		return true, nil
	case err != nil && err != unix.EAGAIN:
		return false, err
	}
	return false, endOfInput(flags)
}

// endOfInput is why a connection ends whose input has ended without an error.
func endOfInput(flags connFlags) error {
	if flags&flagBroken != 0 {
		return unix.ECONNRESET // a write got the error
	}
	return io.EOF
}

// prepareClose says what the coming close of a descriptor leaves in the kernel: nothing if the
// connection is to be reset, else what the kernel has taken, for timeout if the peer takes nothing
// of it. A timeout of 0 changes nothing.
func prepareClose(fd int, reset bool, timeout time.Duration) {
	switch {
	case reset:
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	case timeout > 0 && transit(fd).Unsent > 0:
		setUserTimeout(fd, timeout)
	}
}
