//go:build unix

package poller

import (
	"testing"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// ended is a handler that keeps what OnClose got.
type ended struct {
	nopHandler
	err error
}

func (e *ended) OnClose(err error) { e.err = err }

func testNetpollLoop() *netpollLoop {
	e := &netpollEngine{cfg: withDefaults(Config{Loops: 1})}
	e.chunks.New = func() any { return new([chunkBytes]byte) }
	return newNetpollLoop(e, 0)
}

// TestDescriptorOutlivesItsUsers closes a connection that netpoll's poller and a blocked write
// still use: closing its descriptor then would let them read and write somebody else's.
func TestDescriptorOutlivesItsUsers(t *testing.T) {
	letGo := func(c *netpollConn) { c.inbox.hungUp() }
	failWrite := func(c *netpollConn) { c.inbox.written(1, netpoll.ErrConnClosed) }
	rows := []struct {
		name        string
		first, last func(c *netpollConn)
	}{
		{"netpoll first", letGo, failWrite},
		{"write first", failWrite, letGo},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(p[1])
			l := testNetpollLoop()
			var h ended
			c := &netpollConn{loop: l, handler: &h, fd: p[0], flags: flagBlocked, writing: true}
			c.q = l.pool.get(0)
			l.conns = append(l.conns, c)
			check := func(when string, open bool) {
				t.Helper()
				_, err := unix.FcntlInt(uintptr(p[0]), unix.F_GETFD, 0)
				if (err == nil) != open || (h.err == nil) != open {
					t.Errorf("%s: descriptor: %v, OnClose: %v", when, err, h.err)
				}
			}
			c.Close(nil)
			l.reap()
			check("Close", true)
			r.first(c)
			l.handle(c)
			check("one is left", true)
			r.last(c)
			l.handle(c)
			check("none is left", false)
		})
	}
}

// TestBytesBeforeHangUpAreKept hangs up a connection before OnRequest was called for its last
// bytes.
func TestBytesBeforeHangUpAreKept(t *testing.T) {
	l := testNetpollLoop()
	c := &netpollConn{loop: l}
	c.inbox.max = 100
	from := &lastWords{buf: netpoll.NewLinkBuffer()}
	from.buf.WriteString("last words")
	from.buf.Flush()
	if err := c.hungUp(from); err != nil {
		t.Fatal(err)
	}
	if got := string(c.inbox.takeBytes()); got != "last words" {
		t.Errorf("got %q", got)
	}
	if n := c.inbox.take(); !n.gone || !from.detached || len(l.news) != 1 {
		t.Errorf("news %+v, detached: %v, told %d times", n, from.detached, len(l.news))
	}
}

// lastWords is a connection of netpoll with unread bytes.
type lastWords struct {
	netpoll.Connection
	buf      *netpoll.LinkBuffer
	detached bool
}

func (w *lastWords) Reader() netpoll.Reader { return w.buf }

func (w *lastWords) Read(p []byte) (int, error) {
	q, err := w.buf.Next(len(p))
	return copy(p, q), err
}

func (w *lastWords) Detach() error {
	w.detached = true
	return nil
}

// TestInboxIsBounded fills inboxes in both of their states.
func TestInboxIsBounded(t *testing.T) {
	rows := []struct {
		name   string
		paused bool
		max    int
	}{
		{"paused", true, 1000},
		{"behind", false, behindFactor * 1000},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			l := testNetpollLoop()
			l.engine.cfg.PausedBytesMax = 1000
			c := &netpollConn{loop: l, handler: &ended{}}
			c.inbox.max = l.engine.inboundMax(false)
			if r.paused {
				c.Pause()
			}
			fill := func(n int) {
				from := &lastWords{buf: netpoll.NewLinkBuffer()}
				from.buf.WriteBinary(make([]byte, n))
				from.buf.Flush()
				c.inbox.receive(from, &l.engine.chunks)
				if from.buf.Len() != 0 {
					t.Errorf("%d bytes were left to netpoll", from.buf.Len())
				}
			}
			fill(r.max - 1)
			fill(1)
			if c.inbox.take().overflow {
				t.Errorf("overflow at %d bytes", r.max)
			}
			fill(1)
			if !c.inbox.take().overflow {
				t.Errorf("no overflow above %d bytes", r.max)
			}
		})
	}
}
