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
	events  = 512
	backlog = 4096
)

// conn is a connection. Its number in server.conns is its descriptor.
type conn struct {
	fd   int
	open bool // the handshake is done
	echo bool
	in   []byte // what is incomplete
	out  []byte // what the kernel did not take
}

type server struct {
	epfd, listener int
	conns          []*conn
	receivers      []*conn
	buf            [256 << 10]byte
	out            []byte
	published      []byte             // frames of this round
	authors        map[*conn]struct{} // of published
}

// Run serves addr, an IP address with a port, on this goroutine until something fails. ready gets
// the bound address.
func Run(addr string, ready func(addr string)) error {
	runtime.LockOSThread()
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	s := &server{authors: map[*conn]struct{}{}}
	if s.listener, err = listen(at); err != nil {
		return fmt.Errorf("floor: listen: %w", err)
	}
	defer unix.Close(s.listener)
	if s.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("floor: epoll: %w", err)
	}
	defer unix.Close(s.epfd)
	if err := s.watch(unix.EPOLL_CTL_ADD, s.listener, unix.EPOLLIN); err != nil {
		return fmt.Errorf("floor: epoll: %w", err)
	}
	bound, err := unix.Getsockname(s.listener)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	ready(netip.AddrPortFrom(at.Addr(), uint16(bound.(*unix.SockaddrInet4).Port)).String())
	return s.loop()
}

func listen(at netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (s *server) watch(op, fd int, what uint32) error {
	return unix.EpollCtl(s.epfd, op, fd, &unix.EpollEvent{Events: what, Fd: int32(fd)})
}

// loop never yields its thread: raw system calls skip the Go scheduler.
func (s *server) loop() error {
	var list [events]unix.EpollEvent
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.epfd),
			uintptr(unsafe.Pointer(&list[0])), events, ^uintptr(0), 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("floor: epoll: %w", errno)
		}
		for i := range int(n) {
			ev := &list[i]
			if int(ev.Fd) == s.listener {
				s.accept()
				continue
			}
			c := s.conns[ev.Fd]
			if ev.Events&unix.EPOLLOUT != 0 {
				s.flush(c)
			}
			if ev.Events&^unix.EPOLLOUT != 0 {
				s.read(c)
			}
		}
		if len(s.published) > 0 {
			s.broadcast()
		}
	}
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
	rest := s.frames(c, p)
	if len(rest) > 0 {
		c.in = append(c.in, rest...)
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
	s.send(c, wire.AppendAccept(s.out[:0], string(key), "", ""))
}

// frames answers the whole frames in p and returns the rest.
func (s *server) frames(c *conn, p []byte) (rest []byte) {
	out := s.out[:0]
	for {
		h, size, ok := header(p)
		if !ok || len(p) < h+size {
			break
		}
		payload := p[h : h+size]
		unmask(payload, [4]byte(p[h-4:h]))
		switch wire.Opcode(p[0] & 0xF) {
		case wire.OpText, wire.OpBinary:
			out = wire.AppendHeader(out, wire.Opcode(p[0]&0xF), true, false, size)
			out = append(out, payload...)
		case wire.OpClose:
			s.close(c)
			return nil
		}
		p = p[h+size:]
	}
	s.out = out
	if len(out) > 0 && c.echo {
		s.send(c, out)
	} else if len(out) > 0 {
		s.published = append(s.published, out...)
		s.authors[c] = struct{}{}
	}
	return p
}

// header reads the length of a masked frame's header and payload.
func header(p []byte) (header, size int, ok bool) {
	if len(p) < 6 {
		return 0, 0, false
	}
	switch n := int(p[1] & 0x7F); {
	case n < 126:
		return 6, n, true
	case n == 126 && len(p) >= 8:
		return 8, int(p[2])<<8 | int(p[3]), true
	case n == 127 && len(p) >= 14:
		return 14, int(p[6])<<24 | int(p[7])<<16 | int(p[8])<<8 | int(p[9]), true
	}
	return 0, 0, false
}

// unmask works on eight bytes at a time.
func unmask(p []byte, key [4]byte) {
	k := uint64(key[0]) | uint64(key[1])<<8 | uint64(key[2])<<16 | uint64(key[3])<<24
	k |= k << 32
	for len(p) >= 8 {
		*(*uint64)(unsafe.Pointer(&p[0])) ^= k
		p = p[8:]
	}
	for i := range p {
		p[i] ^= key[i&3]
	}
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
