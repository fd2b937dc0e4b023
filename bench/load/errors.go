package load

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"sluice/gateway/wire"
)

// Error is a failure of a connection, with the class that it is counted under.
type Error struct {
	// Class is one of few, like "connect: refused" or "handshake: status 503".
	Class string
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Class says of what kind an error is that a connection has ended with. There are few kinds.
func Class(err error) string {
	var known *Error
	var closed *wire.CloseError
	var errno syscall.Errno
	switch {
	case errors.As(err, &known):
		return known.Class
	case errors.As(err, &closed) && closed.Text() == "":
		return fmt.Sprint("closed: code ", closed.Code)
	case errors.As(err, &closed):
		return "closed: by us, " + closed.Text()
	case errors.Is(err, io.EOF):
		return "closed: by the server, without a code"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "closed: reset"
	case errors.As(err, &errno):
		return "closed: " + errno.Error()
	}
	return "other"
}

// explain names the side that an error of a connect comes from and what mends it.
func explain(op string, err error) error {
	class, mend := "connect: "+err.Error(), ""
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		class = "connect: out of descriptors here"
		mend = ": this generator is out of descriptors; raise ulimit -n"
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EADDRINUSE):
		class = "connect: out of ports here"
		mend = ": this generator is out of ports; widen net.ipv4.ip_local_port_range"
	case errors.Is(err, syscall.ECONNREFUSED):
		class = "connect: refused"
		mend = ": nobody listens there, or the server's queue is full"
	case errors.Is(err, syscall.ETIMEDOUT):
		class = "connect: timed out"
		err = fmt.Errorf("no answer within %v", connectTimeout)
		mend = ": the server does not accept"
	case errors.Is(err, syscall.ECONNRESET):
		class = "connect: reset"
		mend = ": the server, or something on the way, cuts connections"
	}
	return &Error{Class: class, Err: fmt.Errorf("%s: %w%s", op, err, mend)}
}
