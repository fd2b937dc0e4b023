package poller

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// heard is a handler that keeps what it gets.
type heard struct {
	nopHandler
	data string
}

func (h *heard) OnData(p []byte) { h.data += string(p) }

// hearing opens every connection with the same handler.
type hearing struct {
	Acceptor
	h *heard
}

func (a hearing) Open(Conn, uint8) Handler { return a.h }

// TestStaleEventIsRejected closes a connection, lets its slot and descriptor get a new owner, and
// then delivers an event of the old one.
func TestStaleEventIsRejected(t *testing.T) {
	l, err := newLoop(&epollEngine{cfg: withDefaults(Config{Loops: 1})}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	open := func(h *heard) (c *epollConn, peer int) {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		l.open(incoming{fd: p[0], acceptor: hearing{h: h}})
		return l.conns[len(l.conns)-1], p[1]
	}
	first, firstPeer := open(&heard{})
	stale := first.interest()
	first.Close(nil)
	l.reap()
	unix.Close(firstPeer)

	var h heard
	second, peer := open(&h)
	defer unix.Close(peer)
	if second.slot != first.slot {
		t.Fatalf("slot %d, want %d again", second.slot, first.slot)
	}
	if _, err := unix.Write(peer, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if l.handle(&stale); h.data != "" {
		t.Errorf("a stale event delivered %q", h.data)
	}
	fresh := second.interest()
	if l.handle(&fresh); h.data != "secret" {
		t.Errorf("the connection's own event delivered %q", h.data)
	}
	second.Close(nil)
	l.reap()
}

// TestConnIsSmall holds the price of an idle connection.
func TestConnIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(epollConn{}); n > 96 {
		t.Errorf("a connection takes %d bytes", n)
	}
}
