package proxy

import (
	"net/netip"
	"sync/atomic"
	"time"

	"sluice/poller"
)

// headerTimeout bounds the time until the PROXY header is complete: proxies send it at once.
const headerTimeout = 3 * time.Second

// pendingMax bounds the connections whose PROXY header is not complete: until then they count by no
// other limit. Past it others wait in the kernel.
const pendingMax = 4096

// Stats counts what became of connections since the start.
type Stats struct {
	Pending   int64  // whose header is not complete, now
	Announced uint64 // with a valid header
	Untrusted uint64 // from an address that is not trusted
	Invalid   uint64 // without a valid header, or not in time
}

// Proxied reads the PROXY header of connections before anybody else sees them. Its methods may be
// called from any goroutine.
type Proxied struct {
	trust *Trust

	announced, untrusted, invalid atomic.Uint64
	pending                       atomic.Int64
}

// NewProxied returns a reader of the headers of trusted proxies. Everybody else is disconnected.
func NewProxied(t *Trust) *Proxied { return &Proxied{trust: t} }

// Stats returns a snapshot.
func (p *Proxied) Stats() Stats {
	return Stats{
		Pending: p.pending.Load(), Announced: p.announced.Load(),
		Untrusted: p.untrusted.Load(), Invalid: p.invalid.Load(),
	}
}

// Wrap returns an acceptor for connections of proxies. a is asked to admit the client that a proxy
// announces, on the loop of the connection, and gets connections that are the client's by their
// RemoteAddr, with the bytes behind the header. A proxy that speaks for itself is its own client.
func (p *Proxied) Wrap(a poller.Acceptor) poller.Acceptor { return &acceptor{p, a} }

type acceptor struct {
	proxied *Proxied
	next    poller.Acceptor
}

// Room implements poller.Throttle.
func (a *acceptor) Room() int {
	room := pendingMax - int(a.proxied.pending.Load())
	if next, ok := a.next.(poller.Throttle); ok {
		room = min(room, next.Room())
	}
	return room
}

// Admit implements poller.Acceptor. The client is not known yet.
func (a *acceptor) Admit(remote netip.AddrPort) poller.Admission {
	if a.proxied.trust.Contains(remote.Addr()) {
		return poller.Admission{}
	}
	a.proxied.untrusted.Add(1)
	return poller.Admission{Drop: true}
}

// Open implements poller.Acceptor.
func (a *acceptor) Open(c poller.Conn, _ uint8) poller.Handler {
	c.SetTimer(headerTimeout)
	a.proxied.pending.Add(1)
	return &conn{Conn: c, acceptor: a, client: c.RemoteAddr()}
}

// conn is a connection of a proxy: the handler of the engine, and the connection of the next
// handler.
type conn struct {
	poller.Conn
	acceptor *acceptor
	client   netip.AddrPort
	handler  poller.Handler // nil until the header is complete
	header   []byte         // an incomplete one
	ended    bool           // it was turned away: nothing is read any more
	settled  bool           // it is not pending any more
}

// Application returns the handler of a connection whose handler is h, for those who get handlers
// from Loop.Each; nil while there is none. Any other handler is returned as it is.
func Application(h poller.Handler) poller.Handler {
	if c, ok := h.(*conn); ok {
		return c.handler
	}
	return h
}

// RemoteAddr is the address of the client.
func (c *conn) RemoteAddr() netip.AddrPort { return c.client }

// OnData implements poller.Handler.
func (c *conn) OnData(p []byte) {
	switch {
	case c.handler != nil:
		c.handler.OnData(p)
	case !c.ended:
		c.read(p)
	}
}

// read goes on with the header.
func (c *conn) read(p []byte) {
	if len(c.header) > 0 {
		c.header = append(c.header, p...)
		p = c.header
	}
	client, n, err := ParseHeader(p)
	switch {
	case err == ErrShort:
		if len(c.header) == 0 {
			c.header = append(c.header, p...)
		}
	case err != nil:
		c.turnAway()
	default:
		c.header = nil
		c.begin(client, p[n:])
	}
}

// begin hands the connection on.
func (c *conn) begin(client netip.AddrPort, rest []byte) {
	c.settle()
	c.acceptor.proxied.announced.Add(1)
	if client.IsValid() {
		c.client = client
	}
	admission := c.acceptor.next.Admit(c.client)
	if admission.Drop {
		c.ended = true
		c.Conn.Write(admission.Parting)
		c.Conn.Close(nil)
		return
	}
	c.SetTimer(0)
	c.handler = c.acceptor.next.Open(c, admission.Tag)
	if len(rest) > 0 {
		c.handler.OnData(rest)
	}
}

// settle says that the header is complete, or will not be.
func (c *conn) settle() {
	if !c.settled {
		c.settled = true
		c.acceptor.proxied.pending.Add(-1)
	}
}

func (c *conn) turnAway() {
	c.settle()
	c.ended = true
	c.acceptor.proxied.invalid.Add(1)
	c.Conn.Close(nil)
}

// OnBlocked implements poller.Handler.
func (c *conn) OnBlocked() {
	if c.handler != nil {
		c.handler.OnBlocked()
	}
}

// OnDrained implements poller.Handler.
func (c *conn) OnDrained() {
	if c.handler != nil {
		c.handler.OnDrained()
	}
}

// OnTimer implements poller.Handler.
func (c *conn) OnTimer() {
	switch {
	case c.handler != nil:
		c.handler.OnTimer()
	case !c.ended:
		c.turnAway()
	}
}

// OnClose implements poller.Handler.
func (c *conn) OnClose(err error) {
	c.settle()
	switch {
	case c.handler != nil:
		c.handler.OnClose(err)
	case !c.ended:
		c.acceptor.proxied.invalid.Add(1)
	}
}
