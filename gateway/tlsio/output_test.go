package tlsio

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/poller"
)

// established returns a rig with its handshake behind it.
func established(t *testing.T, a *app) (*rig, *tls.Conn) {
	t.Helper()
	r := newRig(t, Config{}, a, false)
	return r, r.mustShake(nil)
}

// While the kernel takes nothing, writes wait as plaintext: they can be dropped, and what is sealed
// later makes sense to the peer.
func TestBlockedWritesWaitAsPlaintext(t *testing.T) {
	r, client := established(t, new(app))
	defer r.end()
	r.peer.AcceptBytes(0)
	r.fake.Do(func() { r.app.conn.Write([]byte("first ")) }) // sealed: nobody knew
	r.fake.RunPosted()
	if !slices.Equal(r.app.blocked, []bool{true}) {
		t.Fatalf("blocked %v", r.app.blocked)
	}
	r.fake.Do(func() {
		for range 10 {
			r.app.conn.WriteShared(make([]byte, 1000), 1)
		}
		r.app.conn.Write([]byte("last"))
	})
	r.fake.Advance(time.Second)
	r.fake.Do(func() {
		sealed := r.app.conn.(*conn).raw.Queue()
		q := r.app.conn.Queue()
		if q.Bytes != sealed.Bytes+10004 || q.Messages != sealed.Messages+11 ||
			q.Age < time.Second || q.Stalled < time.Second {
			t.Errorf("queue %+v, sealed %+v", q, sealed)
		}
		// The oldest ones that make 2500 bytes; never the copied ones.
		if m, b := r.app.conn.DropOldest(2500); m != 3 || b != 3000 {
			t.Errorf("dropped %d messages, %d bytes", m, b)
		}
		if m, b := r.app.conn.DropOldest(1 << 30); m != 7 || b != 7000 {
			t.Errorf("then dropped %d messages, %d bytes", m, b)
		}
	})
	r.peer.AcceptBytes(-1)
	r.fake.RunPosted()
	want := "first last"
	if got, err := r.drain(client); err != nil || string(got) != want {
		t.Errorf("got %d bytes, want %d: %v", len(got), len(want), err)
	}
	if !slices.Equal(r.app.blocked, []bool{true, false}) {
		t.Errorf("blocked %v", r.app.blocked)
	}
	r.fake.Do(func() {
		if m, b := r.app.conn.DropOldest(1 << 30); m != 0 || b != 0 {
			t.Errorf("dropped %d messages, %d bytes of nothing", m, b)
		}
		if q := r.app.conn.Queue(); q != (poller.Queue{}) {
			t.Errorf("queue %+v at the end", q)
		}
	})
}

// One turn that writes more than is sealed ahead: nothing is lost or reordered, whether the kernel
// takes all, nothing, or a little at a time.
func TestLargeTurn(t *testing.T) {
	for _, room := range []int{-1, 0, 1, 30_000, 100_000, 1_000_000} {
		r, client := established(t, new(app))
		var want bytes.Buffer
		r.peer.AcceptBytes(room)
		r.fake.Do(func() {
			for i := range 100 {
				p := bytes.Repeat([]byte{byte(i)}, 10_000)
				want.Write(p)
				r.app.conn.WriteShared(p, 1)
			}
			if n := r.app.conn.(*conn).raw.Queue().Bytes; n > sealedBytesMax+20_000 {
				t.Errorf("room %d: %d bytes are sealed", room, n)
			}
		})
		r.fake.RunPosted()
		var got []byte
		for range 100 {
			p, err := r.drain(client)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p...)
			if n := r.peer.Queue().Bytes; n > sealedBytesMax+20_000 {
				t.Errorf("room %d: %d bytes are sealed", room, n)
			}
			r.peer.AcceptBytes(25_000)
			r.fake.RunPosted()
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("room %d: got %d bytes of %d", room, len(got), want.Len())
		}
		if n := len(r.app.blocked); n%2 != 0 {
			t.Errorf("room %d: blocked %v", room, r.app.blocked)
		}
		r.end()
	}
}

// What is queued when the end is announced arrives, then close_notify, then FIN.
func TestCloseWriteAfterWhatWaits(t *testing.T) {
	r, client := established(t, new(app))
	defer r.end()
	r.peer.AcceptBytes(0)
	r.fake.Do(func() { r.app.conn.Write([]byte("sealed ")) })
	r.fake.Do(func() {
		r.app.conn.Write([]byte("waiting"))
		r.app.conn.CloseWrite()
		r.app.conn.Write([]byte("too late"))
	})
	if r.peer.FIN() {
		t.Fatal("FIN before what waits")
	}
	r.peer.AcceptBytes(-1)
	r.fake.RunPosted()
	got, err := io.ReadAll(client) // without an error: close_notify came
	if err != nil || string(got) != "sealed waiting" || !r.peer.FIN() {
		t.Fatalf("%q, %v, FIN %t", got, err, r.peer.FIN())
	}
	if _, err := client.Write([]byte("still heard")); err != nil {
		t.Fatal(err)
	}
	if string(r.app.got) != "still heard" {
		t.Errorf("got %q", r.app.got)
	}
}

// Close says goodbye, unless something is cut off.
func TestCloseNotifyOnlyAfterEverything(t *testing.T) {
	reason := errors.New("reason")
	r, client := established(t, new(app))
	r.fake.Do(func() {
		r.app.conn.Write([]byte("all"))
		r.app.conn.Close(reason)
		r.app.conn.Close(nil)
		r.app.conn.Write([]byte("too late"))
	})
	if !r.app.closed || r.app.err != reason {
		t.Errorf("closed %t, %v", r.app.closed, r.app.err)
	}
	if got, err := io.ReadAll(&notified{client, r}); err != nil || string(got) != "all" {
		t.Errorf("got %q, %v", got, err)
	}
	r.end()

	s := newSteady(t, nil)
	s.conn.waiting().copy([]byte("cut off"), 0)
	s.conn.Close(reason)
	if s.sink.bytes > 0 || s.sink.err != reason {
		t.Errorf("%d bytes were sent, closed with %v", s.sink.bytes, s.sink.err)
	}
}

// notified reads from a client; an end without close_notify is an error.
type notified struct {
	*tls.Conn
	r *rig
}

func (n *notified) Read(p []byte) (int, error) {
	k, err := n.Conn.Read(p)
	if err == io.EOF && n.r.ended {
		err = io.ErrUnexpectedEOF // the transport's, not the alert's
	}
	return k, err
}

// A paused application gets nothing, wherever the pause falls; after it, everything.
func TestPauseHoldsPlaintextBack(t *testing.T) {
	const reads = 3
	a := &app{onData: func(a *app, _ []byte) {
		if a.reads <= reads {
			a.conn.Pause()
		}
	}}
	r, client := established(t, a)
	defer r.end()
	want := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	r.atOnce(func() {
		if _, err := client.Write(want); err != nil {
			t.Fatal(err)
		}
	})
	for i := range reads {
		r.fake.RunPosted()
		if a.reads != i+1 || !r.peer.Paused() {
			t.Fatalf("%d reads, paused %t", a.reads, r.peer.Paused())
		}
		r.fake.Do(func() { a.conn.Resume() })
	}
	r.fake.RunPosted()
	if !bytes.Equal(a.got, want) || r.peer.Paused() {
		t.Fatalf("got %d bytes of %d", len(a.got), len(want))
	}
	if c := a.conn.(*conn); c.in != nil {
		t.Errorf("%d bytes are kept", cap(c.in))
	}
}

// Records that do not decrypt end the connection; the peer is told why.
func TestForgedRecord(t *testing.T) {
	r, client := established(t, new(app))
	defer r.end()
	r.peer.Deliver([]byte{23, 3, 3, 0, 20, 19: 1, 24: 1})
	if r.app.closed || !r.peer.FIN() {
		t.Fatalf("closed %t, FIN %t: the alert needs time", r.app.closed, r.peer.FIN())
	}
	if _, err := r.drain(client); err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("the client saw %v", err)
	}
	r.fake.Do(func() {
		r.app.conn.Write([]byte("too late"))
		r.app.conn.SetTimer(time.Hour)
		r.app.conn.Pause()
	})
	if r.peer.Paused() {
		t.Error("what the peer still sends is not read")
	}
	r.fake.Advance(lingerMax + poller.TimerTick)
	if !r.app.closed || !strings.Contains(r.app.err.Error(), "bad record MAC") {
		t.Errorf("closed %t, %v", r.app.closed, r.app.err)
	}
	if out := r.peer.TakeOutput(); len(out) > 0 {
		t.Errorf("%d bytes after the alert", len(out))
	}
}

// Whoever lingers is not given all the time and bytes in the world.
func TestLingeringIsBoundedInBytes(t *testing.T) {
	r, _ := established(t, new(app))
	defer r.end()
	r.peer.Deliver([]byte{23, 3, 3, 0, 20, 19: 1, 24: 1})
	r.peer.Deliver(make([]byte, lingerBytesMax))
	if r.app.closed {
		t.Fatal("closed too early")
	}
	r.peer.Deliver(make([]byte, 1))
	if !r.app.closed {
		t.Fatal("not closed")
	}
}

// H22: key updates that are asked for and never read end the connection; those of a peer that
// reads, if only now and then, do not.
func TestH22_key_update_flood(t *testing.T) {
	for _, c := range []struct {
		name  string
		room  int // what the kernel takes in the beginning
		every int // after so many updates the peer reads all
		ends  bool
	}{
		{"reads", -1, 1, false},
		{"reads_now_and_then", 0, 50, false},
		{"does_not_read", 0, 1 << 30, true},
	} {
		r := newRig(t, Config{}, new(app), false)
		toServer, _ := r.secrets()
		r.peer.AcceptBytes(c.room)
		for i := 1; i <= 2000 && !r.app.closed; i++ {
			r.peer.Deliver(toServer.seal(typeHandshake, keyUpdateRequested))
			toServer.update()
			r.peer.Deliver(toServer.seal(typeApplicationData, []byte("x")))
			if i%c.every == 0 {
				r.peer.AcceptBytes(-1)
				r.peer.AcceptBytes(c.room)
			}
		}
		if r.app.closed != c.ends || c.ends && !errors.Is(r.app.err, ErrControlFlood) {
			t.Errorf("%s: closed %t, %v", c.name, r.app.closed, r.app.err)
		}
		r.end()
	}
}

// A connection that ends without close_notify ends all the same.
func TestHalfARecordThenClose(t *testing.T) {
	r := newRig(t, Config{}, new(app), false)
	toServer, _ := r.secrets()
	whole, half := toServer.seal(typeApplicationData, []byte("whole")),
		toServer.seal(typeApplicationData, []byte("half"))
	r.peer.Deliver(append(whole, half[:len(half)-1]...))
	r.peer.Close()
	if string(r.app.got) != "whole" || !r.app.closed || r.app.err != io.EOF {
		t.Errorf("got %q, closed %t, %v", r.app.got, r.app.closed, r.app.err)
	}
	r.end()
}

// The application's panic in what Run delivers is its own connection's.
func TestPanicAfterResume(t *testing.T) {
	a := &app{}
	a.onData = func(a *app, _ []byte) {
		if a.reads > 1 {
			panic("broken")
		}
		a.conn.Pause()
	}
	r, client := established(t, a)
	defer r.end()
	r.atOnce(func() {
		if _, err := client.Write(make([]byte, 2*plainBytes)); err != nil {
			t.Fatal(err)
		}
	})
	r.fake.Do(func() { a.conn.Resume() })
	r.fake.RunPosted()
	if !a.closed || !errors.Is(a.err, poller.ErrPanic) {
		t.Errorf("closed %t, %v", a.closed, a.err)
	}
}

func TestStateAndApplication(t *testing.T) {
	r, _ := established(t, new(app))
	defer r.end()
	r.fake.Do(func() {
		state, ok := State(r.app.conn)
		if !ok || state.ServerName != "localhost" || state.NegotiatedProtocol != "http/1.1" {
			t.Errorf("%t, %+v", ok, state)
		}
		if _, ok := State(new(sink)); ok {
			t.Error("a connection without TLS has a state")
		}
		r.app.conn.Loop().Each(func(h poller.Handler) {
			if Application(h) != r.app || Application(r.app) != r.app {
				t.Error("not the application's handler")
			}
		})
	})
}

// An engine may get rid of its queue at the end of a turn, without having told of being blocked:
// what waits for that is not forgotten, nor is the application.
func TestQueueThatEmptiesSilently(t *testing.T) {
	s := newSteady(t, nil)
	a := new(app)
	s.conn.app = a
	s.sink.queued = sealedBytesMax
	s.fake.Do(func() { s.conn.Write([]byte("waits")) })
	if s.sink.bytes > 0 {
		t.Fatal("sealed past the bound")
	}
	s.sink.queued = 0
	s.fake.RunPosted()
	if s.sink.bytes == 0 {
		t.Fatal("forgotten")
	}

	s.fake.Do(func() {
		s.conn.OnBlocked()
		s.conn.Write([]byte("waits"))
		s.sink.queued = 1 // of what OnDrained seals
		s.conn.OnDrained()
	})
	if !slices.Equal(a.blocked, []bool{true}) {
		t.Fatalf("blocked %v while something is queued", a.blocked)
	}
	s.sink.queued = 0
	s.fake.RunPosted()
	if !slices.Equal(a.blocked, []bool{true, false}) {
		t.Fatalf("blocked %v", a.blocked)
	}
}

// What a pause holds back is a copy: the loop's buffer is overwritten by the next connection.
func TestPauseKeepsNoBufferOfTheLoop(t *testing.T) {
	a := &app{onData: func(a *app, _ []byte) { a.conn.Pause() }}
	r := newRig(t, Config{}, a, false)
	defer r.end()
	toServer, _ := r.secrets()
	var p, want []byte
	for len(p) < 3*rawBytes {
		want = append(want, make([]byte, 10_000)...)
		p = append(p, toServer.seal(typeApplicationData, make([]byte, 10_000))...)
	}
	r.fake.Do(func() {
		a.conn.(*conn).OnData(p)
		clear(p)
	})
	for range 20 {
		r.fake.Do(func() { a.conn.Resume() })
		r.fake.RunPosted()
	}
	if !bytes.Equal(a.got, want) || a.closed {
		t.Errorf("got %d bytes of %d, %v", len(a.got), len(want), a.err)
	}
}

// A connection that TLS has ended is reset if the peer does not take the alert, and closed if it
// does.
func TestM01_nothing_is_left_of_a_peer_that_takes_no_alert(t *testing.T) {
	for name, takes := range map[string]bool{"takes_it": true, "does_not": false} {
		t.Run(name, func(t *testing.T) {
			r, _ := established(t, new(app))
			defer r.end()
			if !takes {
				r.peer.AckBytes(0)
			}
			r.peer.Deliver([]byte("this is no record of TLS"))
			r.fake.RunPosted()
			if closed, _ := r.peer.Closed(); closed || !r.peer.FIN() {
				t.Fatalf("closed is %v, FIN is %v", closed, r.peer.FIN())
			}
			r.fake.Advance(lingerMax + poller.TimerTick)
			if closed, _ := r.peer.Closed(); !closed || r.peer.Aborted() == takes {
				t.Errorf("closed is %v, reset is %v", closed, r.peer.Aborted())
			}
		})
	}
}
