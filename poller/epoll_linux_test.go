package poller

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// script is a handler made of functions; those left nil do nothing.
type script struct {
	conn    Conn
	data    func(s *script, p []byte)
	blocked func(s *script)
	drained func(s *script)
	timer   func(s *script)
	closed  func(err error)
}

func (s *script) OnData(p []byte) {
	if s.data != nil {
		s.data(s, p)
	}
}

func (s *script) OnBlocked() {
	if s.blocked != nil {
		s.blocked(s)
	}
}

func (s *script) OnDrained() {
	if s.drained != nil {
		s.drained(s)
	}
}

func (s *script) OnTimer() {
	if s.timer != nil {
		s.timer(s)
	}
}

func (s *script) OnClose(err error) {
	if s.closed != nil {
		s.closed(err)
	}
}

// scripted opens every connection with a copy of a script.
type scripted struct {
	script    script
	admission Admission
	opened    func(s *script)
}

func (a *scripted) Admit(netip.AddrPort) Admission { return a.admission }

func (a *scripted) Open(c Conn, _ uint8) Handler {
	s := a.script
	s.conn = c
	if a.opened != nil {
		a.opened(&s)
	}
	return &s
}

func startEpoll(t *testing.T, a Acceptor) (Engine, string) {
	t.Helper()
	e, err := NewEpoll(Config{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	addr, err := e.Listen("127.0.0.1:0", a)
	if err != nil {
		t.Fatal(err)
	}
	return e, addr.String()
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func echoScript() script {
	return script{data: func(s *script, p []byte) { s.conn.Write(p) }}
}

func TestEchoSmallAndLarge(t *testing.T) {
	_, addr := startEpoll(t, &scripted{script: echoScript()})
	for _, size := range []int{1, 125, chunkBytes - 1, chunkBytes, chunkBytes + 1, 1 << 20} {
		c := dial(t, addr)
		want := make([]byte, size)
		rand.Read(want)
		go c.Write(want)
		got := make([]byte, size)
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came back changed", size)
		}
	}
}

func TestSlowReaderBlocksAndDrains(t *testing.T) {
	blocked, drained := make(chan Queue, 1), make(chan struct{}, 1)
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	a := &scripted{script: script{
		data:    func(s *script, p []byte) { s.conn.WriteShared(payload, 1) },
		blocked: func(s *script) { blocked <- s.conn.Queue() },
		drained: func(s *script) { drained <- struct{}{} },
	}}
	_, addr := startEpoll(t, a)
	c := dial(t, addr)
	c.Write([]byte("x"))
	if q := await(t, "OnBlocked", blocked); q.Bytes == 0 || q.Messages != 1 {
		t.Fatalf("queue of a blocked connection: %+v", q)
	}
	got := make([]byte, len(payload))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, payload) {
		t.Fatal("bytes changed on the way")
	}
	await(t, "OnDrained", drained)
}

func TestPauseHoldsDataBack(t *testing.T) {
	paused, seen := make(chan *script, 1), make(chan string, 10)
	a := &scripted{script: script{data: func(s *script, p []byte) {
		seen <- string(p)
		if string(p) == "one" {
			s.conn.Pause()
			paused <- s
		}
	}}}
	_, addr := startEpoll(t, a)
	c := dial(t, addr)
	io.WriteString(c, "one")
	s := await(t, "pause", paused)
	await(t, "first data", seen)
	io.WriteString(c, "two")
	// The loop goes round at least twice with the bytes waiting in the kernel.
	for range 2 {
		turned := make(chan struct{})
		s.conn.Loop().Post(runFunc(func() { close(turned) }))
		await(t, "turn", turned)
	}
	if len(seen) != 0 {
		t.Fatal("OnData while paused")
	}
	s.conn.Loop().Post(runFunc(s.conn.Resume))
	if got := await(t, "data after Resume", seen); got != "two" {
		t.Fatalf("got %q", got)
	}
}

type runFunc func()

func (f runFunc) Run() { f() }

func TestCloseReasons(t *testing.T) {
	mine := errors.New("mine")
	rows := []struct {
		name string
		act  func(c *net.TCPConn)
		want error
	}{
		{"peer closes", func(c *net.TCPConn) { c.Close() }, io.EOF},
		{"peer half-closes", func(c *net.TCPConn) { c.CloseWrite() }, io.EOF},
		{"peer resets", func(c *net.TCPConn) { c.SetLinger(0); c.Close() }, syscall.ECONNRESET},
		{"handler closes", func(c *net.TCPConn) { io.WriteString(c, "close") }, mine},
		{"handler closes with nil", func(c *net.TCPConn) { io.WriteString(c, "nil") }, net.ErrClosed},
		{"handler panics", func(c *net.TCPConn) { io.WriteString(c, "panic") }, ErrPanic},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			closed := make(chan error, 2)
			opened := make(chan struct{}, 1)
			a := &scripted{
				opened: func(*script) { opened <- struct{}{} },
				script: script{
					data: func(s *script, p []byte) {
						switch string(p) {
						case "close":
							s.conn.Close(mine)
							s.conn.Close(io.EOF) // only the first call counts
							s.conn.Write([]byte("ignored"))
						case "nil":
							s.conn.Close(nil)
						case "panic":
							panic("boom")
						}
					},
					closed: func(err error) { closed <- err },
				}}
			_, addr := startEpoll(t, a)
			c := dial(t, addr)
			await(t, "Open", opened)
			r.act(c)
			if err := await(t, "OnClose", closed); !errors.Is(err, r.want) {
				t.Fatalf("closed for %v, want %v", err, r.want)
			}
		})
	}
}

func TestTimerFiresOnceAndNotEarly(t *testing.T) {
	const d = 3 * TimerTick
	var set time.Duration
	fired := make(chan time.Duration, 2)
	a := &scripted{
		opened: func(s *script) {
			s.conn.SetTimer(time.Hour)
			set = s.conn.Loop().Now()
			s.conn.SetTimer(d)
		},
		script: script{timer: func(s *script) { fired <- s.conn.Loop().Now() - set }},
	}
	_, addr := startEpoll(t, a)
	dial(t, addr)
	if got := await(t, "OnTimer", fired); got < d {
		t.Fatalf("fired after %v, want %v at least", got, d)
	}
}

func TestCloseWriteSendsFinAfterTheQueue(t *testing.T) {
	_, addr := startEpoll(t, &scripted{script: script{data: func(s *script, p []byte) {
		s.conn.Write([]byte("last word"))
		s.conn.CloseWrite()
		s.conn.Write([]byte("ignored"))
	}}})
	c := dial(t, addr)
	io.WriteString(c, "x")
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "last word" {
		t.Fatalf("read %q, %v", got, err)
	}
}

func TestAdmitDropSendsParting(t *testing.T) {
	a := &scripted{admission: Admission{Drop: true, Parting: []byte("full")}}
	e, addr := startEpoll(t, a)
	got, err := io.ReadAll(dial(t, addr))
	if err != nil || string(got) != "full" {
		t.Fatalf("read %q, %v", got, err)
	}
	if st := e.Stats(); st.Turned != 1 || st.Accepted != 0 {
		t.Fatalf("stats %+v", st)
	}
}

func TestEngineCloseEndsEveryConnection(t *testing.T) {
	closed := make(chan error, 100)
	opened := make(chan struct{}, 100)
	a := &scripted{
		opened: func(*script) { opened <- struct{}{} },
		script: script{closed: func(err error) { closed <- err }},
	}
	e, addr := startEpoll(t, a)
	for range cap(closed) {
		dial(t, addr)
		await(t, "Open", opened)
	}
	e.Close()
	for range cap(closed) {
		if err := await(t, "OnClose", closed); err != ErrEngineClosed {
			t.Fatalf("closed for %v", err)
		}
	}
	if e.Loops()[0].Post(runFunc(func() {})) {
		t.Fatal("Post to a loop that has ended")
	}
	if _, err := e.Listen("127.0.0.1:0", a); err != ErrEngineClosed {
		t.Fatalf("Listen on a closed engine: %v", err)
	}
}
