// Package benchtest is a WebSocket server for the tests of the generator: a goroutine per
// connection on gobwas/ws, so nothing that is tested has a part in it, with faults on demand.
package benchtest

import (
	"crypto/x509"
	"net"
	"sync"
	"testing"

	"github.com/gobwas/ws/wsutil"
)

// Faults says what a server does wrong. A message on a path other than /echo is broadcast, to
// every connection but its author.
type Faults struct {
	Status      int // answer handshakes with it instead of 101
	DropEvery   int // leave out every so manieth broadcast
	RepeatEvery int // send every so manieth broadcast twice
	SwapEvery   int // send every so manieth broadcast after the next one
	Garble      bool
	// LagMax bounds how many broadcasts a receiver may be behind the foremost one, which is not
	// decided by a clock: past it the receiver is disconnected. 0 makes a broadcast wait for every
	// receiver.
	LagMax int

	// RetryAfter is the Retry-After header of refused handshakes; none if it is empty.
	RetryAfter string
	// Check judges handshakes: it returns the status to refuse with, or 0. It is called from many
	// goroutines.
	Check func(Handshake) int
	// Subprotocol answers whatever subprotocols are offered, also if it is not one of them.
	Subprotocol string
	// Extensions is answered as Sec-WebSocket-Extensions, offered or not, legal or not. The server
	// does not act on it.
	Extensions string
	// TLS makes the server one of wss with that certificate; nil means ws.
	TLS *Identity
}

// sendBufferBytes is the kernel's send buffer of connections that may not lag.
const sendBufferBytes = 64 << 10

// Server is a running server.
type Server struct {
	Addr string

	faults Faults
	roots  *x509.CertPool // nil without TLS
	done   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]*member
	count int
	held  []byte // a broadcast that waits for the next one
}

// New starts a server on loopback. It ends with the test.
func New(t testing.TB, f Faults) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: ln.Addr().String(), faults: f, conns: map[net.Conn]*member{}}
	if f.TLS != nil {
		ln, s.roots = secure(t, ln, *f.TLS)
	}
	s.done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if tcp, ok := c.(*net.TCPConn); ok && f.LagMax > 0 {
				_ = tcp.SetWriteBuffer(sendBufferBytes) // so that receivers lag here, not there
			}
			s.done.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.mu.Lock()
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.done.Wait()
	})
	return s
}

// URL is the address of a path.
func (s *Server) URL(path string) string {
	if s.roots != nil {
		return "wss://" + s.Addr + path
	}
	return "ws://" + s.Addr + path
}

// Roots are the authorities that vouch for a server of wss: itself. It is nil for one of ws.
func (s *Server) Roots() *x509.CertPool { return s.roots }

// CutAll cuts every connection that there is.
func (s *Server) CutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *Server) serve(c net.Conn) {
	m := newMember(c)
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		m.leave()
		s.mu.Unlock()
		c.Close()
	}()
	s.mu.Lock()
	s.conns[c] = m
	s.mu.Unlock()
	target, err := s.upgrade(c)
	if err != nil {
		return
	}
	echo := isEcho(target)
	for {
		msg, op, err := wsutil.ReadClientData(c)
		if err != nil {
			return
		}
		if s.faults.Garble && len(msg) > 0 {
			msg = msg[1:]
		}
		if !echo {
			s.broadcast(c, msg)
		} else if wsutil.WriteServerMessage(c, op, msg) != nil {
			return
		}
	}
}

// broadcast applies the faults and sends what is left of the message.
func (s *Server) broadcast(author net.Conn, msg []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	every := func(n int) bool { return n > 0 && s.count%n == 0 }
	switch {
	case every(s.faults.DropEvery):
		return
	case every(s.faults.SwapEvery):
		s.held = append([]byte(nil), msg...)
		return
	}
	s.sendAll(author, msg)
	if every(s.faults.RepeatEvery) {
		s.sendAll(author, msg)
	}
	if s.held != nil {
		s.sendAll(author, s.held)
		s.held = nil
	}
}

func (s *Server) sendAll(author net.Conn, msg []byte) {
	for c, m := range s.conns {
		switch {
		case !m.joined || c == author:
		case s.faults.LagMax > 0:
			m.queue(s, msg)
		default:
			m.send(msg)
		}
	}
	s.cutLagging()
}

// cutLagging disconnects the receivers that are too far behind the foremost one.
func (s *Server) cutLagging() {
	if s.faults.LagMax == 0 {
		return
	}
	shortest := -1
	for _, m := range s.conns {
		if n := len(m.pending); m.writing && (shortest < 0 || n < shortest) {
			shortest = n
		}
	}
	for _, m := range s.conns {
		if m.writing && len(m.pending) > shortest+s.faults.LagMax {
			m.conn.Close() // its reader notices
		}
	}
}
