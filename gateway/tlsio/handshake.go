package tlsio

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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
	timer     *time.Timer

	mu      sync.Mutex
	arrived sync.Cond // in has grown, or failed is set
	in      []byte    // ciphertext not yet taken by crypto/tls
	out     []byte    // ciphertext not yet taken by the loop
	tls     *tls.Conn // set with started
	started bool      // there is a goroutine
	done    bool      // it has ended, or never will be
	failed  error     // stops it
	err     error     // how it ended; valid once done
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

// newHandshake begins the time that a handshake has. transport is what crypto/tls gets to see; its
// Read and Write end up in read and write.
func newHandshake(s *Server, transport net.Conn, wake func()) *handshake {
	h := &handshake{server: s, transport: transport, wake: wake}
	h.arrived.L = &h.mu
	h.mu.Lock() // against a timer that is faster than us
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(s.cfg.HandshakeTimeout, func() { h.fail(ErrTimeout) })
	return h
}

// feed takes a copy of ciphertext, on the loop. It reports whether that was enough for now.
func (h *handshake) feed(p []byte) (full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.in = append(h.in, p...)
	if h.started {
		h.arrived.Signal()
	} else if !h.done && helloReady(h.in) {
		h.startLocked()
	}
	return len(h.in) > inboxBytesMax
}

// startLocked gives the handshake its goroutine.
func (h *handshake) startLocked() {
	cfg := h.server.cfg.TLS()
	if err := h.server.admit(h); err != nil {
		h.endLocked(err)
		return
	}
	h.started = true
	h.tls = tls.Server(h.transport, cfg)
	go h.run()
}

// run is the goroutine. It ends with the handshake; fail ends both.
func (h *handshake) run() {
	defer h.server.leave(h)
	h.server.slots <- struct{}{}
	err := h.shake()
	<-h.server.slots
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endLocked(err)
}

// shake contains what may go wrong in a handshake to its own connection.
func (h *handshake) shake() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("tlsio: handshake panicked: %v\n%s", v, debug.Stack())
		}
	}()
	return h.tls.Handshake()
}

// fail stops the handshake. Only the first call counts, and none after its end.
func (h *handshake) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.done || h.failed != nil:
	case h.started:
		h.failed = err
		h.arrived.Signal()
	default:
		h.endLocked(err)
	}
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
	if h.failed != nil {
		return h.failed
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
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.in) == 0 && h.failed == nil {
		h.wake() // there may be something to send, or room for input again
		<-h.server.slots
		for len(h.in) == 0 && h.failed == nil {
			h.arrived.Wait()
		}
		h.mu.Unlock()
		h.server.slots <- struct{}{}
		h.mu.Lock()
	}
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
