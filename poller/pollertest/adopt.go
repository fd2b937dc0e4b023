package pollertest

import (
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"sluice/poller"
)

var adoptTests = []contractTest{
	{"adopt/a_dialled_socket_becomes_a_connection", adoptDialled},
	{"adopt/a_closed_engine_closes_the_descriptor", adoptClosed},
	{"adopt/what_is_no_socket_is_refused", adoptNoSocket},
}

// descriptor connects to an address and returns the bare socket.
func (b *bed) descriptor(addr net.Addr) int {
	b.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	fd := -1
	if err := raw.Control(func(f uintptr) { fd, err = unix.Dup(int(f)) }); err != nil || fd < 0 {
		b.Fatal(err)
	}
	return fd
}

func adoptDialled(b *bed) {
	b.start(poller.Config{}, script{data: echo})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	fd := b.descriptor(ln.Addr())
	far, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer far.Close()
	err = b.engine.Adopt(fd, func(c poller.Conn) poller.Handler { return b.Open(c, 9) })
	if err != nil {
		b.Fatal(err)
	}
	p := b.accepted()
	if got, want := p.RemoteAddr().String(), ln.Addr().String(); got != want {
		b.Errorf("remote address %s, want %s", got, want)
	}
	(&client{far.(*net.TCPConn), b}).exchange("hello")
	if st := b.engine.Stats(); st.Accepted != 0 {
		b.Errorf("stats %+v: a dialled socket is not an accepted one", st)
	}
	far.Close()
	if err := p.reason(); err != io.EOF {
		b.Errorf("closed for %v", err)
	}
}

func adoptClosed(b *bed) {
	b.start(poller.Config{}, script{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	fd := b.descriptor(ln.Addr())
	b.engine.Close()
	err = b.engine.Adopt(fd, func(poller.Conn) poller.Handler { panic("opened") })
	if err != poller.ErrEngineClosed {
		b.Errorf("Adopt: %v", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		b.Errorf("the descriptor is still open: %v", err)
	}
}

func adoptNoSocket(b *bed) {
	b.start(poller.Config{}, script{})
	f, err := os.Open(os.DevNull)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		b.Fatal(err)
	}
	if err := b.engine.Adopt(fd, func(poller.Conn) poller.Handler { panic("opened") }); err == nil {
		b.Error("/dev/null was adopted")
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		b.Errorf("the descriptor is still open: %v", err)
	}
}
