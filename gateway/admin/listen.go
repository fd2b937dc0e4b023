package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UnixPrefix begins the address of a listener on a unix socket; its path follows.
const UnixPrefix = "unix:"

const (
	// socketMode lets the owner and the group of the gateway ask.
	socketMode = 0o660
	// socketPathMax is the longest path of a socket on every system, in bytes.
	socketPathMax = 103
	// dialTimeout bounds the look for somebody who listens on a socket already.
	dialTimeout = time.Second
)

// SocketPath is the path of the unix socket that an address names; ok is false if it names none.
func SocketPath(addr string) (path string, ok bool) { return strings.CutPrefix(addr, UnixPrefix) }

// CheckSocketPath returns an error if a path cannot be that of a listener.
func CheckSocketPath(path string) error {
	switch {
	case path == "":
		return errors.New("the path of the unix socket is missing; write it like " +
			"unix:/run/sluice/admin.sock")
	case path[0] == '@':
		return errors.New("an abstract unix socket has no owner: anybody on this host could ask")
	case len(path) > socketPathMax:
		return fmt.Errorf("the path of the unix socket is longer than %d bytes", socketPathMax)
	case strings.ContainsRune(path, 0):
		return errors.New("the path of the unix socket is not valid")
	}
	return nil
}

// listen binds an address. remove takes away what that has left in the file system.
func listen(addr string) (l net.Listener, remove func(), err error) {
	if path, ok := SocketPath(addr); ok {
		return listenUnix(path)
	}
	l, err = net.Listen("tcp", addr)
	return l, func() {}, err
}

// listenUnix binds a unix socket that the owner and the group may use. A file of the same path
// makes way if it is a socket that nobody listens on.
func listenUnix(path string) (l net.Listener, remove func(), err error) {
	// Whoever starts at the same time must not take away the socket that this one has just bound.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return nil, nil, inUse(path)
	}
	if err := makeWay(path); err != nil {
		return nil, nil, err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// On Linux the file is made with the mode of the descriptor: there is no moment in which
		// others could connect.
		return c.Control(func(fd uintptr) { unix.Fchmod(int(fd), socketMode) })
	}}
	l, err = config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it may be somebody else's by then
	err = os.Chmod(path, socketMode)              // whatever the umask is
	own, statErr := os.Lstat(path)
	if err := errors.Join(err, statErr); err != nil {
		l.Close()
		return nil, nil, err
	}
	return l, func() {
		if now, err := os.Lstat(path); err == nil && os.SameFile(own, now) {
			os.Remove(path)
		}
	}, nil
}

// makeWay removes a socket that nobody listens on.
func makeWay(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	c, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		c.Close()
		return inUse(path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("whether somebody listens on %s is not known: %w", path, err)
	}
	return os.Remove(path)
}

// inUse is the error of a socket that somebody listens on.
func inUse(path string) error {
	return &net.OpError{
		Op: "listen", Net: "unix", Addr: &net.UnixAddr{Name: path, Net: "unix"},
		Err: os.NewSyscallError("bind", syscall.EADDRINUSE),
	}
}
