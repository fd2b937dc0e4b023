package tlsio

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// inboxBytesMax is how much ciphertext a handshake may leave unread before reading from its
// connection stops. What one read brings comes on top.
const inboxBytesMax = 16 << 10

// handshake is what a connection needs until TLS is established. The loop gives it ciphertext and
// takes what it wants sent; its goroutine, once it has one, is inside crypto/tls.
type handshake struct {
	server    *Server
	wake      func() // has the loop call take; from any goroutine
	transport net.Conn
	peer      netip.Addr
	deadline  time.Time
	timer     *time.Timer
	place     place // the scheduler's

	mu     sync.Mutex
	in     []byte    // ciphertext not yet taken by crypto/tls
	out    []byte    // ciphertext not yet taken by the loop
	tls    *tls.Conn // set by the goroutine
	queued bool      // the scheduler knows of it
	done   bool      // it has ended
	failed error     // stops it
	err    error     // how it ended; valid once done
}

// progress is what a handshake has for its loop.
type progress struct {
	out  []byte // to be sent
	full bool   // no more input is wanted for now
	done bool
	// With done: what follows the handshake, and how it ended.
	tls *tls.Conn
	in  []byte
	err error
}

// newHandshake begins the time that a handshake with peer has. transport is what crypto/tls gets to
// see; its Read and Write end up in read and write.
func newHandshake(s *Server, transport net.Conn, peer netip.Addr, wake func()) *handshake {
	h := &handshake{
		server: s, transport: transport, peer: peer, wake: wake,
		deadline: time.Now().Add(s.cfg.HandshakeTimeout),
	}
	h.mu.Lock() // against a timer that is faster than us
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(s.cfg.HandshakeTimeout, func() { h.fail(ErrTimeout) })
	return h
}

// feed takes a copy of ciphertext, on the loop. It reports whether that was enough for now.
func (h *handshake) feed(p []byte) (full bool) {
	h.mu.Lock()
	h.in = append(h.in, p...)
	full = len(h.in) > inboxBytesMax
	known := h.queued
	if !known && !h.done {
		h.queued = helloReady(h.in)
	}
	begins := h.queued && !known
	h.mu.Unlock()
	switch {
	case known:
		h.server.schedule.poke(h)
	case begins:
		if err := h.server.schedule.enqueue(h); err != nil {
			h.fail(err)
		}
	}
	return full
}

// run is the goroutine. It ends with the handshake; fail ends both.
func (h *handshake) run() {
	conn := tls.Server(h.transport, h.server.cfg.TLS())
	err := shake(conn)
	h.mu.Lock()
	h.tls = conn
	h.endLocked(err)
	h.mu.Unlock()
	h.server.schedule.finish(h, err == nil)
}

// shake contains what may go wrong in a handshake to its own connection.
func shake(conn *tls.Conn) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanicked, v, debug.Stack())
		}
	}()
	return conn.Handshake()
}

// fail stops the handshake. Only the first call counts, and none after its end. No lock may be
// held.
func (h *handshake) fail(err error) {
	h.mu.Lock()
	if h.done {
		h.mu.Unlock()
		return
	}
	if h.failed == nil {
		h.failed = err
	}
	h.mu.Unlock()
	started, waited := h.server.schedule.abandon(h)
	if started {
		return // the goroutine ends it
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		return
	}
	if waited && h.failed == ErrTimeout {
		h.failed = ErrBusy // the peer has done its part
	}
	h.endLocked(h.failed)
}

// endLocked is the end, for whatever reason.
func (h *handshake) endLocked(err error) {
	h.timer.Stop()
	h.done, h.err = true, h.reason(err)
	h.server.count(h.err, h.err == nil && h.tls.ConnectionState().DidResume)
	h.wake()
}

// reason makes of the error of crypto/tls what OnClose gets.
func (h *handshake) reason(err error) error {
	if err == nil {
		return nil
	}
	switch {
	case h.failed == ErrTimeout && h.place.idle: // after our answer
		return &HandshakeError{Outcome: OutcomeTimeout, Err: ErrTimeout}
	case h.failed != nil:
		return h.failed
	case errors.Is(err, errPanicked):
		return err
	}
	outcome := classify(err)
	if outcome == OutcomeNotTLS {
		e, ok := errors.AsType[tls.RecordHeaderError](err)
		if ok && looksLikeHTTP(e.RecordHeader[:]) {
			h.out = append(h.out, plainAnswer...)
			outcome, err = OutcomePlainHTTP, ErrPlainHTTP
		}
	}
	return &HandshakeError{Outcome: outcome, Err: err}
}

// read is the transport's Read, on the goroutine. While it waits for the peer another handshake may
// compute.
func (h *handshake) read(p []byte) (int, error) {
	for {
		h.mu.Lock()
		if h.failed != nil || len(h.in) > 0 {
			break
		}
		h.mu.Unlock()
		h.wake() // there may be something to send, or room for input again
		h.server.schedule.park(h)
	}
	defer h.mu.Unlock()
	if h.failed != nil {
		return 0, h.failed
	}
	n := copy(p, h.in)
	if h.in = h.in[n:]; len(h.in) == 0 {
		h.in = nil
	}
	return n, nil
}

// write is the transport's Write, on the goroutine.
func (h *handshake) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out = append(h.out, p...)
	return len(p), nil
}

// take hands over to the loop, which calls it when woken.
func (h *handshake) take() progress {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := progress{out: h.out, done: h.done, full: !h.done && len(h.in) > inboxBytesMax}
	h.out = nil
	if h.done {
		p.tls, p.in, p.err = h.tls, h.in, h.err
	}
	return p
}
