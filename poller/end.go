//go:build unix

package poller

import (
	"io"

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
