package tlsio

import (
	"net/netip"
	"time"

	"sluice/poller"
)

const (
	// sealedBytesMax is how much ciphertext may be queued below before writes wait as plaintext.
	sealedBytesMax = 64 << 10
	// pumpRoundsMax bounds how often sealedBytesMax leave in one turn of the loop.
	pumpRoundsMax = 4
)

// Loop implements poller.Conn.
func (c *conn) Loop() poller.Loop { return c.raw.Loop() }

// RemoteAddr implements poller.Conn.
func (c *conn) RemoteAddr() netip.AddrPort { return c.raw.RemoteAddr() }

// Write implements poller.Conn.
func (c *conn) Write(p []byte) {
	switch {
	case !c.writable(p):
	case c.mustWait():
		c.waiting().copy(p, c.raw.Loop().Now())
	default:
		c.seal(p)
	}
}

// WriteShared implements poller.Conn. What is sealed at once is shared no more, and cannot be
// dropped.
func (c *conn) WriteShared(p []byte, n int) {
	switch {
	case !c.writable(p):
	case c.mustWait():
		c.waiting().share(p, n, c.raw.Loop().Now())
	default:
		c.seal(p)
	}
}

func (c *conn) writable(p []byte) bool {
	return len(p) > 0 && c.tls != nil && c.state&(finished|lingering|closed) == 0
}

// mustWait reports whether a write has to wait as plaintext.
func (c *conn) mustWait() bool {
	if !c.backlog.empty() || c.state&blocked != 0 {
		return true
	}
	if c.raw.Queue().Bytes < sealedBytesMax {
		return false
	}
	c.raw.Flush()
	if c.raw.Queue().Bytes == 0 {
		return false
	}
	c.post(c.raw.Loop()) // the engine may get rid of its queue without telling
	return true
}

func (c *conn) waiting() *backlog {
	if c.backlog == nil {
		c.backlog = new(backlog)
	}
	return c.backlog
}

// seal encrypts p into the queue below.
func (c *conn) seal(p []byte) {
	if _, err := c.tls.Write(p); err != nil {
		c.linger(err)
	}
}

// Flush implements poller.Conn.
func (c *conn) Flush() {
	c.pump()
	c.raw.Flush()
}

// pump seals what waits, as far as the kernel takes it, and at the end of it says goodbye if that
// is due.
func (c *conn) pump() {
	for range pumpRoundsMax {
		if c.state&(blocked|closed|lingering) != 0 || c.backlog.empty() {
			break
		}
		for c.state&lingering == 0 && !c.backlog.empty() && c.raw.Queue().Bytes < sealedBytesMax {
			c.seal(c.backlog.pop())
		}
		c.raw.Flush()
		if c.raw.Queue().Bytes > 0 {
			break
		}
	}
	if c.backlog != nil && c.backlog.empty() {
		c.backlog = nil
		if c.state&finished != 0 {
			c.sendFin()
		}
	}
}

// settle pumps, and tells the application when everything has left.
func (c *conn) settle() {
	c.pump()
	switch {
	case c.state&(blocked|closed|lingering) != 0:
	case c.backlog != nil, c.state&told != 0 && c.raw.Queue().Bytes > 0:
		c.post(c.raw.Loop())
	case c.state&told != 0:
		c.state &^= told
		c.app.OnDrained()
	}
}

// Queue implements poller.Conn. What is sealed counts with its overhead, 22 bytes a record.
func (c *conn) Queue() poller.Queue {
	q := c.raw.Queue()
	if c.backlog.empty() {
		return q
	}
	return c.backlog.describe(q, c.raw.Loop().Now())
}

// Transit implements poller.Conn. It is about ciphertext.
func (c *conn) Transit() poller.Transit { return c.raw.Transit() }

// DropOldest implements poller.Conn.
func (c *conn) DropOldest(wantBytes int) (messages, bytes int) {
	if c.backlog.empty() {
		return 0, 0
	}
	return c.backlog.dropOldest(wantBytes)
}

// Pause implements poller.Conn.
func (c *conn) Pause() {
	c.state |= paused
	c.gate()
}

// Resume implements poller.Conn.
func (c *conn) Resume() {
	c.state &^= paused
	if c.state&pending != 0 {
		c.post(c.raw.Loop())
		return
	}
	c.gate()
}

// SetTimer implements poller.Conn.
func (c *conn) SetTimer(d time.Duration) {
	if c.state&lingering == 0 {
		c.raw.SetTimer(d)
	}
}

// CloseWrite implements poller.Conn. A close_notify alert goes before the FIN.
func (c *conn) CloseWrite() {
	if c.state&(finished|lingering|closed) != 0 {
		return
	}
	c.state |= finished
	if c.backlog.empty() {
		c.sendFin()
	}
}

func (c *conn) sendFin() {
	c.notify()
	c.raw.CloseWrite()
}

// notify sends close_notify, RFC 8446 section 6.1.
func (c *conn) notify() {
	if c.tls != nil {
		c.tls.CloseWrite() // fails only where the transport does, and that does not
	}
}

// Close implements poller.Conn. A close_notify alert goes before it if nothing waits: where
// something does, the peer must see that it was cut off.
func (c *conn) Close(err error) {
	if c.state&(lingering|closed) == 0 && c.backlog.empty() {
		c.notify()
	}
	c.state |= closed
	c.raw.Close(c.reason(err))
}

// Abort implements poller.Conn. There is no close_notify: the peer must see that it was cut off.
func (c *conn) Abort(err error) {
	c.state |= closed
	c.raw.Abort(c.reason(err))
}

// reason is what OnClose gets: why TLS has failed, if it has.
func (c *conn) reason(err error) error {
	if c.parting != nil {
		return c.parting
	}
	return err
}
