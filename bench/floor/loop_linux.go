package floor

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/gateway/wire"
)

const (
	// events is the most that one epoll_pwait returns.
	events = 512
	// readBytes is the most that one recv returns.
	readBytes = 256 << 10
)

// conn is a connection.
type conn struct {
	fd   int
	open bool // the handshake is done
	echo bool
	in   []byte // an incomplete frame or handshake
	out  []byte // what the kernel did not take
}

// server is one event loop with a listener. All but stop is for one goroutine.
type server struct {
	at                      netip.AddrPort
	epfd, listener, stopper int
	conns                   []*conn // by descriptor
	receivers               []*conn // those that are not on /echo
	buf                     [readBytes]byte
	published               []byte             // frames of this round
	authors                 map[*conn]struct{} // of published
}

// run serves until stop. It never yields its thread: raw system calls skip the Go scheduler.
func (s *server) run() error {
	var list [events]unix.EpollEvent
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.epfd),
			uintptr(unsafe.Pointer(&list[0])), events, ^uintptr(0), 0, 0)
		if errno == unix.EINTR {
			runtime.Gosched() // the runtime's signal says that it wants the processor
			continue
		}
		if errno != 0 {
			return fmt.Errorf("floor: epoll_pwait: %w", errno)
		}
		for i := range int(n) {
			switch fd := int(list[i].Fd); fd {
			case s.listener:
				s.accept()
			case s.stopper:
				return nil
			default:
				s.handle(s.conns[fd], list[i].Events)
			}
		}
		if len(s.published) > 0 {
			s.broadcast()
		}
	}
}

func (s *server) handle(c *conn, what uint32) {
	if what&unix.EPOLLOUT != 0 {
		s.flush(c)
	}
	if what&^unix.EPOLLOUT != 0 {
		s.read(c)
	}
}

func (s *server) watch(op, fd int, what uint32) error {
	return unix.EpollCtl(s.epfd, op, fd, &unix.EpollEvent{Events: what, Fd: int32(fd)})
}

func (s *server) accept() {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		for len(s.conns) <= fd {
			s.conns = append(s.conns, nil)
		}
		s.conns[fd] = &conn{fd: fd}
		s.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN)
	}
}

func (s *server) read(c *conn) {
	kept := copy(s.buf[:], c.in)
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd),
		uintptr(unsafe.Pointer(&s.buf[kept])), uintptr(len(s.buf)-kept), 0, 0, 0)
	if errno == unix.EAGAIN {
		return
	}
	if errno != 0 || n == 0 {
		s.close(c)
		return
	}
	p := s.buf[:kept+int(n)]
	c.in = c.in[:0]
	if !c.open {
		s.upgrade(c, p)
		return
	}
	out, rest, closed := rewrite(p)
	c.in = append(c.in, rest...)
	switch {
	case len(out) == 0:
	case c.echo:
		s.send(c, out)
	default:
		s.published = append(s.published, out...)
		s.authors[c] = struct{}{}
	}
	if closed {
		s.close(c)
	}
}

func (s *server) close(c *conn) {
	for i, r := range s.receivers {
		if r == c {
			s.receivers = append(s.receivers[:i], s.receivers[i+1:]...)
			break
		}
	}
	s.conns[c.fd] = nil
	unix.Close(c.fd)
}

// upgrade answers any request with 101.
func (s *server) upgrade(c *conn, p []byte) {
	if !bytes.HasSuffix(p, []byte("\r\n\r\n")) {
		c.in = append(c.in, p...)
		return
	}
	_, after, _ := bytes.Cut(p, []byte("Sec-WebSocket-Key: "))
	key, _, _ := bytes.Cut(after, []byte("\r\n"))
	c.open, c.in = true, nil
	if c.echo = bytes.HasPrefix(p, []byte("GET /echo ")); !c.echo {
		s.receivers = append(s.receivers, c)
	}
	s.send(c, wire.AppendAccept(nil, string(key), "", ""))
}

// broadcast sends what was published in this round to everybody but, if only one has published, its
// author.
func (s *server) broadcast() {
	for _, r := range s.receivers {
		if _, author := s.authors[r]; author && len(s.authors) == 1 {
			continue
		}
		s.send(r, s.published)
	}
	s.published = s.published[:0]
	clear(s.authors)
}

// send does not close what fails: epoll reports it next.
func (s *server) send(c *conn, p []byte) {
	if len(c.out) > 0 {
		c.out = append(c.out, p...)
		return
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&p[0])),
		uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		n = 0
	}
	if int(n) < len(p) {
		c.out = append(c.out, p[n:]...)
		s.watch(unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLIN|unix.EPOLLOUT)
	}
}

func (s *server) flush(c *conn) {
	p := c.out
	c.out = nil
	s.watch(unix.EPOLL_CTL_MOD, c.fd, unix.EPOLLIN)
	if len(p) > 0 {
		s.send(c, p)
	}
}
