//go:build unix

package poller

import (
	"testing"
	"time"
	"unsafe"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// ended is a handler that keeps what it got.
type ended struct {
	nopHandler
	got []byte
	err error
}

func (e *ended) OnData(p []byte)   { e.got = append(e.got, p...) }
func (e *ended) OnClose(err error) { e.err = err }

// testNetpollConn is a connection of a loop that the test turns by hand, and its peer's descriptor.
// It is registered for reading.
func testNetpollConn(t *testing.T) (c *netpollConn, h *ended, peer int) {
	t.Helper()
	if err := configureNetpoll(); err != nil {
		t.Fatal(err)
	}
	poll, err := findPoll()
	if err != nil {
		t.Fatal(err)
	}
	e := &netpollEngine{cfg: withDefaults(Config{Loops: 1, ReadBufferBytes: 100}), start: time.Now()}
	l := newNetpollLoop(e, 0, poll)
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.SetNonblock(p[0], true)
	h = new(ended)
	l.open(incoming{fd: p[0], acceptor: opener(func(opened Conn) Handler {
		c = opened.(*netpollConn)
		return h
	})})
	t.Cleanup(func() {
		c.Close(nil)
		l.reap()
		unix.Close(p[1])
	})
	l.turnOnce(t) // there was nothing to read
	if c.watched != readable || c.ready != 0 || len(l.again) != 0 {
		t.Fatalf("after an open: watched %b, ready %b, %d again", c.watched, c.ready, len(l.again))
	}
	return c, h, p[1]
}

// turnOnce handles what is ready now.
func (l *netpollLoop) turnOnce(t *testing.T) {
	t.Helper()
	l.takeMail()
	l.handleReady()
}

// awaitNews waits until the poller has told the loop something.
func (l *netpollLoop) awaitNews(t *testing.T) {
	t.Helper()
	select {
	case <-l.wakeup:
	case <-time.After(time.Minute):
		t.Fatal("no notification")
	}
}

// TestLateNotification handles notifications about registrations that have been replaced since: the
// loop must not lose the one that holds.
func TestLateNotification(t *testing.T) {
	for _, late := range []readiness{readable, writable, readable | writable} {
		c, h, peer := testNetpollConn(t)
		l := c.loop
		l.notify(c, late)
		<-l.wakeup
		l.turnOnce(t)
		if h.err != nil || c.watched != readable {
			t.Fatalf("after %b: watched %b, closed for %v", late, c.watched, h.err)
		}
		unix.Write(peer, []byte("x"))
		l.awaitNews(t)
		l.turnOnce(t)
		if string(h.got) != "x" {
			t.Errorf("after %b: got %q", late, h.got)
		}
	}
}

// TestOneNotificationForEachEvent leaves what is ready unread: the poller must not say so again and
// again.
func TestOneNotificationForEachEvent(t *testing.T) {
	c, h, peer := testNetpollConn(t)
	l := c.loop
	c.Pause()
	unix.Write(peer, []byte("x"))
	l.awaitNews(t)
	l.turnOnce(t)
	if c.watched != 0 || c.ready != readable || len(l.unwatched) != 1 {
		t.Errorf("watched %b, ready %b, %d unwatched", c.watched, c.ready, len(l.unwatched))
	}
	fence, _, other := testNetpollConn(t) // of the same poller, up to 20 cores
	unix.Write(other, []byte("x"))
	fence.loop.awaitNews(t)
	if l.takeMail(); len(l.ready) != 0 || len(h.got) != 0 {
		t.Errorf("%d more notifications, got %q", len(l.ready), h.got)
	}
}

// TestFullReadsTakeTurns lets two connections send more than one read takes: each has one read in a
// turn, however often it was put among those to go on with.
func TestFullReadsTakeTurns(t *testing.T) {
	c, h, peer := testNetpollConn(t)
	l := c.loop
	unix.Write(peer, make([]byte, 250))
	l.awaitNews(t)
	l.notify(c, writable)
	for _, want := range []int{100, 200, 250} {
		l.notify(c, writable)
		c.Pause()
		c.Resume()
		if l.turnOnce(t); len(h.got) != want {
			t.Errorf("got %d bytes, want %d", len(h.got), want)
		}
	}
	if l.turnOnce(t); len(l.again) != 0 || len(l.ready) != 0 || c.watched != readable {
		t.Errorf("%d again, %d ready, watched %b", len(l.again), len(l.ready), c.watched)
	}
}

// TestLateHangUp tells a connection that is closed, whose operator has another owner by now, that
// its peer has hung up.
func TestLateHangUp(t *testing.T) {
	c, h, _ := testNetpollConn(t)
	l := c.loop
	late := c.op.OnHup
	c.Close(nil)
	l.reap()
	if h.err == nil || c.op != nil {
		t.Fatalf("closed for %v, operator %v", h.err, c.op)
	}
	late(l.poll)
	l.turnOnce(t)
}

// TestPollOfAnotherVersion looks for a poller in what is not a connection of the version of netpoll
// that the engine was written for.
func TestPollOfAnotherVersion(t *testing.T) {
	type operator struct{}
	rows := []struct {
		name string
		conn any
	}{
		{"nothing", nil},
		{"no pointer", 1},
		{"no struct", new(int)},
		{"other field", &struct{ op *netpoll.FDOperator }{}},
		{"other type", &struct{ operator *operator }{&operator{}}},
		{"nil operator", &struct{ operator *netpoll.FDOperator }{}},
		{"no poller", &struct{ operator *netpoll.FDOperator }{&netpoll.FDOperator{}}},
	}
	for _, r := range rows {
		if p, err := pollOf(r.conn); err == nil {
			t.Errorf("%s: %v", r.name, p)
		}
	}
}

// TestNetpollConnIsSmall bounds what an idle connection costs the engine, beside its operator and
// the three functions of that.
func TestNetpollConnIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(netpollConn{}); n > 112 {
		t.Errorf("%d bytes", n)
	}
}
