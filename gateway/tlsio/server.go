// Package tlsio is TLS between an engine of package poller and its handlers: Server.Wrap gives an
// Acceptor whose connections carry ciphertext below and plaintext above.
//
// An established connection has no goroutine. It is a crypto/tls.Conn over a transport in memory
// that answers "would block", a temporary error, when it has no more ciphertext; crypto/tls keeps
// its state over that and goes on with the next bytes. Only the handshake cannot be resumed. It
// runs on a goroutine of its own, which starts when a whole ClientHello has arrived, and of which
// only Config.HandshakesMax compute at once.
//
// # Who calls what, and when
//
// Both sides keep the contract of package poller: the engine calls the wrapped connection, and the
// wrapped connection its handler, on the connection's loop only. So after the handshake nothing is
// contended, and the records of a fan-out are sealed by the loop of their receiver. A record cannot
// be taken back once sealed, for it has a sequence number: while the kernel takes no bytes, writes
// wait as plaintext, and DropOldest drops them there.
package tlsio

import (
	"cmp"
	"crypto/tls"
	"errors"
	"runtime"
	"sync/atomic"
	"time"
)

// Errors that OnClose receives from a connection whose handshake did not come to its end.
var (
	// ErrTimeout is given when the handshake took longer than Config.HandshakeTimeout; in a
	// *HandshakeError if the peer owed an answer.
	ErrTimeout = errors.New("tlsio: handshake timed out")
	// ErrBusy is given when the handshake was not begun because others took the time.
	ErrBusy = errors.New("tlsio: too many handshakes")
	// ErrEvicted is given when the peer had not answered for a quarter of the timeout, and another
	// address with fewer handshakes under way needed the place.
	ErrEvicted = errors.New("tlsio: handshake made room for others")
	// ErrServerClosed is given to handshakes that Server.Close found under way.
	ErrServerClosed = errors.New("tlsio: server closed")
	// ErrPlainHTTP is given when the peer spoke HTTP without TLS. It got a 400 in plain text.
	ErrPlainHTTP = errors.New("tlsio: plain HTTP on a TLS port")
	// ErrControlFlood is given when a peer asked for key updates and did not read the answers.
	ErrControlFlood = errors.New("tlsio: peer does not read its key updates")
)

// Config configures a Server.
type Config struct {
	// TLS returns the configuration of the next handshake; NewTLSConfig makes one. It must be set,
	// may be called from several goroutines at once, and should return the same pointer as long as
	// nothing has changed: with another one session tickets are not resumed.
	TLS func() *tls.Config
	// HandshakesMax bounds the handshakes that compute at once; 0 means two per GOMAXPROCS. Those
	// that wait for their peer do not count.
	HandshakesMax int
	// QueueMax bounds the handshakes under way, computing or waiting for their peer, so the
	// goroutines; 0 means 1024. Four times as many may wait to be begun; past that one of the
	// address with the most is disconnected.
	QueueMax int
	// HandshakeTimeout bounds the time from accepting a connection to the end of its handshake; 0
	// means 3 s.
	HandshakeTimeout time.Duration
}

// Stats counts since the server started.
type Stats struct {
	Outcomes [Outcomes]uint64 // handshakes that have ended, by outcome
	Resumed  uint64           // of those that succeeded: resumed an earlier session
	Begun    uint64           // handshakes for which something was computed
	Pending  int              // handshakes under way, at most Config.QueueMax
	Waiting  int              // handshakes that wait to be begun
}

// Server runs handshakes and holds what its connections share. Its methods may be called from any
// goroutine.
type Server struct {
	cfg      Config
	schedule *scheduler
	buffers  *buffers

	outcomes [Outcomes]atomic.Uint64
	resumed  atomic.Uint64
}

// NewServer returns a server; Close ends it.
func NewServer(cfg Config) *Server {
	cfg.HandshakesMax = cmp.Or(cfg.HandshakesMax, 2*runtime.GOMAXPROCS(0))
	cfg.QueueMax = cmp.Or(cfg.QueueMax, 1024)
	cfg.HandshakeTimeout = cmp.Or(cfg.HandshakeTimeout, 3*time.Second)
	return &Server{
		cfg:      cfg,
		schedule: newScheduler(cfg.HandshakesMax, cfg.QueueMax, cfg.HandshakeTimeout),
		buffers:  newBuffers(),
	}
}

// Close ends the handshakes under way, makes later ones fail, and returns when no goroutine of the
// server is left. Established connections live on; they are the engine's to close.
func (s *Server) Close() { s.schedule.close() }

// Stats returns a snapshot.
func (s *Server) Stats() Stats {
	var st Stats
	for i := range st.Outcomes {
		st.Outcomes[i] = s.outcomes[i].Load()
	}
	st.Resumed = s.resumed.Load()
	st.Begun, st.Pending, st.Waiting = s.schedule.stats()
	return st
}

// count counts the end of a handshake.
func (s *Server) count(err error, resumed bool) {
	s.outcomes[classify(err)].Add(1)
	if resumed {
		s.resumed.Add(1)
	}
}
