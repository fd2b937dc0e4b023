package tlsio

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"sluice/poller"
)

const (
	// controlBytesMax bounds the answers to key updates that a peer lets pile up.
	controlBytesMax = 16 << 10
	// lingerMax and lingerBytesMax bound the wait for the peer's FIN after an alert.
	lingerMax      = time.Second
	lingerBytesMax = 64 << 10
)

// Wrap returns an acceptor for TLS connections. It hands a's connections plaintext.
//
// a's Admit and Open are called as without TLS, so that its handlers see a connection, and may set
// its timer or close it, while the handshake is going on; what they write before their first OnData
// is dropped. A Parting, which the peer could not read, is not sent.
func (s *Server) Wrap(a poller.Acceptor) poller.Acceptor { return &acceptor{server: s, app: a} }

// State returns what was negotiated for a connection of a wrapped acceptor, on its loop. It
// reports false for any other connection, and until the first OnData.
func State(c poller.Conn) (state tls.ConnectionState, ok bool) {
	t, ok := c.(*conn)
	if !ok || t.tls == nil {
		return tls.ConnectionState{}, false
	}
	return t.tls.ConnectionState(), true
}

// Application returns the handler that a wrapped acceptor gave a connection, for those who get
// their handlers from Loop.Each. Any other handler is returned as it is.
func Application(h poller.Handler) poller.Handler {
	if c, ok := h.(*conn); ok {
		return c.app
	}
	return h
}

// Secured is implemented by handlers that want to know of the end of the handshake. OnSecured is
// called on the loop, before the first OnData.
type Secured interface{ OnSecured() }

type acceptor struct {
	server *Server
	app    poller.Acceptor
}

// Admit implements poller.Acceptor.
func (a *acceptor) Admit(remote netip.AddrPort) poller.Admission {
	v := a.app.Admit(remote)
	v.Parting = nil
	return v
}

// Room implements poller.Throttle: what cannot be begun soon waits in the kernel.
func (a *acceptor) Room() int { return a.server.schedule.room() }

// Open implements poller.Acceptor.
func (a *acceptor) Open(raw poller.Conn, tag uint8) poller.Handler {
	c := &conn{server: a.server, raw: raw}
	loop := raw.Loop()
	peer := raw.RemoteAddr().Addr()
	c.hs = newHandshake(a.server, (*transport)(c), peer, func() { c.post(loop) })
	c.app = a.app.Open(c, tag)
	return c
}

// condition is a set of things that hold for a conn.
type condition uint8

const (
	paused    condition = 1 << iota // the application wants no OnData
	sated                           // the handshake has enough input for now
	pending                         // there is input that a pause held back
	blocked                         // between OnBlocked and OnDrained of the engine
	told                            // between OnBlocked and OnDrained of the application
	finished                        // CloseWrite was called
	lingering                       // TLS has failed; the peer gets to read why
	closed                          // Close or OnClose was called
)

// conn is one connection: to the engine it is the handler, to the application's handler the Conn.
// Everything in it belongs to the loop, but for posted and for hs, which locks for itself.
type conn struct {
	server  *Server
	raw     poller.Conn
	app     poller.Handler
	hs      *handshake // nil once the handshake has ended
	tls     *tls.Conn  // nil until TLS is established
	in      []byte     // ciphertext that tls has not read; during OnData the loop's buffer
	backlog *backlog   // nil while no write waits
	parting error      // the reason for lingering

	control   int    // bytes that tls has sent on its own since the kernel took no more
	discarded uint32 // bytes that have arrived while lingering
	posted    atomic.Bool
	state     condition
}

// OnData implements poller.Handler.
func (c *conn) OnData(p []byte) {
	switch {
	case c.state&lingering != 0:
		if c.discarded += uint32(len(p)); c.discarded > lingerBytesMax {
			c.raw.Close(c.parting)
		}
	case c.hs != nil:
		if c.hs.feed(p) {
			c.state |= sated
			c.gate()
		}
	default:
		c.in = p
		c.deliver()
		c.in = bytes.Clone(c.in)
		c.gate()
	}
}

// OnBlocked implements poller.Handler.
func (c *conn) OnBlocked() {
	c.state |= blocked
	if c.state&(told|lingering) == 0 {
		c.state |= told
		c.app.OnBlocked()
	}
}

// OnDrained implements poller.Handler.
func (c *conn) OnDrained() {
	c.state &^= blocked
	c.control = 0
	c.settle()
}

// OnTimer implements poller.Handler.
func (c *conn) OnTimer() {
	switch {
	case c.state&lingering == 0:
		c.app.OnTimer()
	case c.raw.Transit().Arrived():
		c.raw.Close(c.parting)
	default:
		c.raw.Abort(c.parting) // the kernel would keep what the peer does not take
	}
}

// OnClose implements poller.Handler.
func (c *conn) OnClose(err error) {
	c.state |= closed
	if c.hs != nil {
		c.hs.fail(errGone)
	}
	c.in, c.backlog = nil, nil
	c.app.OnClose(c.reason(err))
}

// post has the loop call Run, once for any number of calls. It may be called from any goroutine.
func (c *conn) post(loop poller.Loop) {
	if c.posted.CompareAndSwap(false, true) {
		loop.Post(c)
	}
}

// Run implements poller.Runner: it goes on with what could not be done in a callback.
func (c *conn) Run() {
	c.posted.Store(false)
	if c.state&(closed|lingering) != 0 {
		return
	}
	defer c.contain()
	if c.hs != nil {
		c.advance()
	}
	if c.state&(pending|paused) == pending {
		c.deliver()
	}
	c.settle()
	c.gate()
}

// contain does for Run what the engine does for callbacks.
func (c *conn) contain() {
	if v := recover(); v != nil {
		c.raw.Close(fmt.Errorf("%w: %v", poller.ErrPanic, v))
	}
}

// advance takes over what the handshake has for the loop.
func (c *conn) advance() {
	p := c.hs.take()
	if len(p.out) > 0 {
		c.raw.Write(p.out)
	}
	c.state &^= sated
	if p.full {
		c.state |= sated
	}
	if !p.done {
		return
	}
	c.hs = nil
	switch {
	case p.err == nil:
		c.tls, c.in = p.tls, p.in
		c.state |= pending // the peer may have sent more than the handshake
		if app, ok := c.app.(Secured); ok {
			app.OnSecured()
		}
	case len(p.out) > 0:
		c.linger(p.err)
	default:
		c.raw.Close(p.err)
	}
}

// deliver hands the application what can be decrypted, until it pauses.
func (c *conn) deliver() {
	c.state &^= pending
	b := c.server.buffers
	lent := b.lend(c.tls)
	c.fill(lent)
	plain := b.plain.Get().(*[]byte)
	var err error
	for err == nil && c.state&(paused|closed|lingering) == 0 {
		var n int
		n, err = c.read(*plain, lent)
		if n > 0 {
			c.app.OnData((*plain)[:n:n])
		}
	}
	b.plain.Put(plain)
	if len(c.in) == 0 {
		c.in = nil // keeps no buffer alive
	}
	switch {
	case err == nil:
		// There may be plaintext left in the buffer that tls was lent. It keeps it.
		c.state |= pending
	case err == error(errBlocked):
		b.takeBack(c.tls, lent)
	default:
		c.fail(err)
	}
	if c.control > controlBytesMax {
		c.Close(ErrControlFlood)
	}
}

// read fills p as far as what has arrived goes; less comes with an error.
func (c *conn) read(p []byte, lent *[]byte) (n int, err error) {
	for n < len(p) && err == nil {
		// When p was filled before, there may be plaintext left, whatever ciphertext there is.
		if n > 0 && !c.server.buffers.ready(c.tls, lent) {
			if c.fill(lent); !c.server.buffers.ready(c.tls, lent) {
				return n, errBlocked
			}
		}
		var m int
		m, err = c.tls.Read(p[n:])
		n += m
	}
	return n, err
}

// fill gives tls ciphertext before it asks for it.
func (c *conn) fill(lent *[]byte) {
	c.in = c.in[c.server.buffers.fill(c.tls, lent, c.in):]
}

// fail ends a connection that tls can read no more from.
func (c *conn) fail(err error) {
	switch {
	case c.state&closed != 0:
	case err == io.EOF: // close_notify, RFC 8446 section 6.1
		c.Close(io.EOF)
	default:
		c.linger(err) // tls has sent an alert
	}
}

// linger waits for the peer to take our last word. Closing at once, over bytes that we have not
// read, would reset the connection and destroy that word on its way.
func (c *conn) linger(err error) {
	c.state |= lingering
	c.parting = err
	c.backlog = nil
	c.raw.CloseWrite()
	c.raw.SetTimer(lingerMax)
	c.gate()
}

// gate stops reading from the connection while there is a reason to.
func (c *conn) gate() {
	if c.state&(paused|sated|pending) != 0 && c.state&lingering == 0 {
		c.raw.Pause()
	} else {
		c.raw.Resume()
	}
}
