package pollertest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/poller"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, IgnoreNetpoll()) }

// diary is an acceptor whose connections write down what happens to them.
type diary struct {
	lines   []string
	verdict poller.Admission
	conns   []poller.Conn
	act     map[string]func(c poller.Conn) // what to do in a callback
}

func (d *diary) Admit(netip.AddrPort) poller.Admission { return d.verdict }

func (d *diary) Open(c poller.Conn, _ uint8) poller.Handler {
	d.conns = append(d.conns, c)
	h := &writer{d, c}
	h.note("Open", "")
	return h
}

func (d *diary) take() string {
	s := strings.Join(d.lines, " ")
	d.lines = nil
	return s
}

// writer is the handler of a diary's connection.
type writer struct {
	*diary
	c poller.Conn
}

func (w *writer) note(event, detail string) {
	w.lines = append(w.lines, event+detail)
	if f := w.act[event]; f != nil {
		f(w.c)
		w.lines = append(w.lines, "end")
	}
}

func (w *writer) OnData(p []byte)   { w.note("data", ":"+string(p)) }
func (w *writer) OnBlocked()        { w.note("blocked", "") }
func (w *writer) OnDrained()        { w.note("drained", "") }
func (w *writer) OnTimer()          { w.note("timer", "") }
func (w *writer) OnClose(err error) { w.note("close", ":"+err.Error()) }

func fakeWith(t *testing.T, d *diary) (f *Fake, connect func() *Peer) {
	t.Helper()
	f = NewFake()
	addr, err := f.Listen("127.0.0.1:0", d)
	if err != nil {
		t.Fatal(err)
	}
	return f, func() *Peer { return f.Connect(addr, netip.MustParseAddrPort("192.0.2.1:4711")) }
}

func (d *diary) want(t *testing.T, lines string) {
	t.Helper()
	if got := d.take(); got != lines {
		t.Errorf("got  %q\nwant %q", got, lines)
	}
}

func TestFakeOrder(t *testing.T) {
	boom := func(poller.Conn) { panic("boom") }
	closes := func(c poller.Conn) { c.Close(errors.New("mine")); c.Close(io.EOF) }
	rows := []struct {
		name string
		act  map[string]func(poller.Conn)
		play func(f *Fake, p *Peer)
		want string
	}{
		{"data then EOF", nil, func(_ *Fake, p *Peer) { p.Deliver([]byte("a")); p.Close() },
			"Open data:a close:EOF"},
		{"reset", nil, func(_ *Fake, p *Peer) { p.Reset(); p.Deliver([]byte("late")) },
			"Open close:" + syscall.ECONNRESET.Error()},
		{"Close inside a callback waits for its end",
			map[string]func(poller.Conn){"data": closes},
			func(_ *Fake, p *Peer) { p.Deliver([]byte("a")) },
			"Open data:a end close:mine"},
		{"Close inside OnClose",
			map[string]func(poller.Conn){"close": closes},
			func(_ *Fake, p *Peer) { p.Close() },
			"Open close:EOF end"},
		{"panic", map[string]func(poller.Conn){"data": boom},
			func(_ *Fake, p *Peer) { p.Deliver([]byte("a")) },
			"Open data:a close:" + poller.ErrPanic.Error() + ": boom"},
		{"paused",
			map[string]func(poller.Conn){"data": poller.Conn.Pause},
			func(f *Fake, p *Peer) { p.Deliver([]byte("a")); p.Deliver([]byte("b")); p.Close(); f.Step() },
			"Open data:a end"},
		{"timer, once", map[string]func(poller.Conn){
			"Open": func(c poller.Conn) { c.SetTimer(time.Hour); c.SetTimer(time.Second) }},
			func(f *Fake, _ *Peer) { f.Advance(time.Minute) },
			"Open end timer"},
		{"timer unset", map[string]func(poller.Conn){
			"Open": func(c poller.Conn) { c.SetTimer(time.Second); c.SetTimer(0) }},
			func(f *Fake, _ *Peer) { f.Advance(time.Minute) },
			"Open end"},
		{"engine closed", nil, func(f *Fake, _ *Peer) { f.Close(); f.Close() },
			"Open close:" + poller.ErrEngineClosed.Error()},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			d := &diary{act: r.act}
			f, connect := fakeWith(t, d)
			r.play(f, connect())
			d.want(t, r.want)
		})
	}
}

func TestFakeTimerKeepsTicks(t *testing.T) {
	d := &diary{act: map[string]func(poller.Conn){"Open": func(c poller.Conn) { c.SetTimer(1) }}}
	f, connect := fakeWith(t, d)
	f.Advance(poller.TimerTick / 2)
	p := connect()
	if got := p.Timer(); got != poller.TimerTick/2 {
		t.Errorf("timer in %v", got)
	}
	f.Advance(poller.TimerTick/2 - 1)
	d.want(t, "Open end")
	f.Advance(1)
	d.want(t, "timer")
	if p.Timer() != 0 {
		t.Error("still set")
	}
}

func TestFakeBlocksAndDrains(t *testing.T) {
	d := &diary{act: map[string]func(poller.Conn){"data": func(c poller.Conn) {
		c.Write([]byte("abc"))
		c.WriteShared([]byte("defg"), 2)
		c.WriteShared([]byte("hi"), 1)
	}}}
	f, connect := fakeWith(t, d)
	p := connect()
	p.AcceptBytes(4)
	p.Deliver([]byte("x"))
	d.want(t, "Open data:x end blocked")
	f.Advance(time.Second)
	want := poller.Queue{Bytes: 5, Messages: 3, Stalled: time.Second, Age: time.Second}
	if got := p.Queue(); got != want {
		t.Errorf("queue %+v, want %+v", got, want)
	}
	f.Do(func() {
		// "defg" is torn: only "hi" may go.
		if m, n := d.conns[0].DropOldest(100); m != 1 || n != 2 {
			t.Errorf("dropped %d messages, %d bytes", m, n)
		}
		d.conns[0].CloseWrite()
		d.conns[0].Write([]byte("ignored"))
	})
	p.AcceptBytes(2)
	if d.want(t, ""); p.FIN() {
		t.Error("FIN before the queue")
	}
	p.AcceptBytes(-1)
	d.want(t, "drained")
	if got := fmt.Sprintf("%s", p.TakeFlushes()); got != "[abcd ef g]" {
		t.Errorf("flushes %s", got)
	}
	if !p.FIN() || len(p.TakeOutput()) != 0 {
		t.Error("no FIN, or output that was taken")
	}
}

func TestFakeFlushesOncePerTurn(t *testing.T) {
	d := &diary{}
	f, connect := fakeWith(t, d)
	p, q := connect(), connect()
	f.Do(func() {
		for _, s := range []string{"one ", "two"} {
			for _, c := range d.conns {
				c.Write([]byte(s))
			}
		}
		d.conns[1].Flush()
		d.conns[1].Write([]byte("!"))
	})
	if got := p.TakeFlushes(); len(got) != 1 || string(got[0]) != "one two" {
		t.Errorf("flushes %q", got)
	}
	if got := q.TakeFlushes(); len(got) != 2 || string(got[1]) != "!" {
		t.Errorf("flushes %q", got)
	}
}

func TestFakeResumeDeliversNextTurn(t *testing.T) {
	d := &diary{act: map[string]func(poller.Conn){"Open": poller.Conn.Pause}}
	f, connect := fakeWith(t, d)
	p := connect()
	p.Deliver([]byte("a"))
	p.Deliver([]byte("b"))
	p.Close()
	d.want(t, "Open end")
	f.Do(func() { d.conns[0].Resume(); d.want(t, "") })
	f.Step()
	d.want(t, "data:ab close:EOF")
}

func TestFakeBacklog(t *testing.T) {
	d := &diary{}
	f, connect := fakeWith(t, d)
	f.SetFlushesPerTurn(2)
	for range 5 {
		connect()
	}
	var seen []int
	look := runFunc(func() { seen = append(seen, f.Loops()[0].Backlog()) })
	f.Do(func() {
		for _, c := range d.conns {
			c.Write([]byte("x"))
		}
	})
	for range 3 {
		f.Loops()[0].Post(look)
		f.Step()
	}
	if !slices.Equal(seen, []int{3, 1, 0}) {
		t.Errorf("backlogs %v", seen)
	}
}

func TestFakePosts(t *testing.T) {
	f := NewFake()
	l := f.Loops()[0]
	var ran []int
	for i := range 3 {
		l.Post(runFunc(func() {
			ran = append(ran, i)
			l.Post(runFunc(func() { ran = append(ran, 10+i) }))
		}))
	}
	if f.Step(); !slices.Equal(ran, []int{0, 1, 2}) {
		t.Errorf("ran %v in one turn", ran)
	}
	if f.RunPosted(); !slices.Equal(ran, []int{0, 1, 2, 10, 11, 12}) {
		t.Errorf("ran %v in all", ran)
	}
	l.Post(runFunc(func() { ran = nil }))
	if f.Close(); ran != nil {
		t.Error("Post was true, but the runner did not run")
	}
	if l.Post(runFunc(func() {})) {
		t.Error("Post to a closed engine")
	}
}

func TestFakeAccepting(t *testing.T) {
	d := &diary{verdict: poller.Admission{Drop: true, Parting: []byte("full")}}
	f, connect := fakeWith(t, d)
	p := connect()
	if closed, _ := p.Closed(); !closed || string(p.TakeOutput()) != "full" {
		t.Error("not turned away")
	}
	d.verdict = poller.Admission{}
	connect()
	f.StopAccepting()
	if closed, _ := connect().Closed(); !closed {
		t.Error("accepted by nobody")
	}
	d.want(t, "Open")
	if st := f.Stats(); st.Accepted != 1 || st.Turned != 1 {
		t.Errorf("stats %+v", st)
	}
	n := 0
	f.Do(func() { f.Loops()[0].Each(func(poller.Handler) { n++ }) })
	if st := f.Loops()[0].Stats(); st.Conns != 1 || n != 1 {
		t.Errorf("stats %+v, %d visited", st, n)
	}
	f.Close()
	if _, err := f.Listen("127.0.0.1:0", d); err != poller.ErrEngineClosed {
		t.Errorf("Listen on a closed engine: %v", err)
	}
}

func TestFakeRefusesUseOffTheLoop(t *testing.T) {
	d := &diary{}
	_, connect := fakeWith(t, d)
	connect()
	defer func() {
		if recover() == nil {
			t.Error("a write outside of a turn went through")
		}
	}()
	d.conns[0].Write([]byte("x"))
}

func TestFakeAddresses(t *testing.T) {
	f := NewFake()
	d := &diary{}
	first, _ := f.Listen("127.0.0.1:0", d)
	second, _ := f.Listen(":0", d)
	if first.String() == second.String() {
		t.Error("one port for two")
	}
	if _, ok := first.(*net.TCPAddr); !ok {
		t.Errorf("an address of type %T", first)
	}
	if _, err := f.Listen(first.String(), d); err == nil {
		t.Error("the address was bound twice")
	}
}
