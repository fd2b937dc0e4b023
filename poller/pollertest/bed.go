package pollertest

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"sluice/poller"
)

// patience is how long a test waits for what must happen. It bounds a failure, nothing else.
const patience = 60 * time.Second

// bed is one engine with one listener, for one test.
type bed struct {
	*testing.T
	newEngine NewEngine
	engine    poller.Engine
	addr      string
	script    script
	verdict   atomic.Pointer[poller.Admission] // nil admits
	opened    chan *probe                      // gets every connection if it has room
	opens     atomic.Int64
	closes    atomic.Int64
	inside    []int // callbacks running, by loop; each loop touches its own
}

// script is what the connections of a test do; what is nil does nothing.
type script struct {
	open    func(p *probe)
	data    func(p *probe, b []byte)
	blocked func(p *probe)
	drained func(p *probe)
	timer   func(p *probe)
	closed  func(p *probe, err error)
}

func echo(p *probe, b []byte) { p.Write(b) }

// start starts the engine and listens. The engine is closed when the test has ended.
func (b *bed) start(cfg poller.Config, s script) {
	b.Helper()
	b.script = s
	b.opened = make(chan *probe, 1000)
	b.engine = b.newEngine(b.T, cfg)
	b.inside = make([]int, len(b.engine.Loops()))
	b.Cleanup(b.close)
	addr, err := b.engine.Listen("127.0.0.1:0", b)
	if err != nil {
		b.Fatal(err)
	}
	b.addr = addr.String()
}

// close closes the engine and checks that every connection has ended.
func (b *bed) close() {
	if err := b.engine.Close(); err != nil {
		b.Errorf("Close: %v", err)
	}
	if o, c := b.opens.Load(), b.closes.Load(); o != c {
		b.Errorf("%d connections opened, %d closed", o, c)
	}
	for _, l := range b.engine.Loops() {
		if st := l.Stats(); st.Conns != 0 || st.Queued != 0 || st.Unsent != 0 {
			b.Errorf("stats of a closed loop: %+v", st)
		}
	}
}

// Admit implements poller.Acceptor.
func (b *bed) Admit(netip.AddrPort) poller.Admission {
	if v := b.verdict.Load(); v != nil {
		return *v
	}
	return poller.Admission{}
}

// Open implements poller.Acceptor.
func (b *bed) Open(c poller.Conn, tag uint8) poller.Handler {
	p := &probe{Conn: c, bed: b, tag: tag, ended: make(chan error, 2)}
	defer p.enter("Open")()
	if b.script.open != nil {
		b.script.open(p)
	}
	b.opens.Add(1) // one that panics has no handler, so no OnClose
	select {
	case b.opened <- p:
	default:
	}
	return p
}

// accepted waits for the next connection.
func (b *bed) accepted() *probe {
	b.Helper()
	return await(b, "Open", b.opened)
}

// dial connects a client. It is closed when the test has ended.
func (b *bed) dial() *client {
	b.Helper()
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		b.Fatal(err)
	}
	return &client{c.(*net.TCPConn), b}
}

// connect dials and waits until the connection is open on its loop.
func (b *bed) connect() (*client, *probe) {
	b.Helper()
	c := b.dial()
	return c, b.accepted()
}

// client is the peer of a connection.
type client struct {
	*net.TCPConn
	bed *bed
}

func (c *client) send(text string) {
	c.bed.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.bed.Fatalf("send: %v", err)
	}
}

func (c *client) read(n int) []byte {
	c.bed.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		c.bed.Fatalf("read %d bytes: %v", n, err)
	}
	return p
}

// rest reads to the end of the stream, which must be an orderly one.
func (c *client) rest() []byte {
	c.bed.Helper()
	p, err := io.ReadAll(c)
	if err != nil {
		c.bed.Fatalf("read to the end: %v", err)
	}
	return p
}

// exchange sends text and wants it back.
func (c *client) exchange(text string) {
	c.bed.Helper()
	c.send(text)
	if got := string(c.read(len(text))); got != text {
		c.bed.Fatalf("echo %q, want %q", got, text)
	}
}

// reset ends the connection without an orderly goodbye.
func (c *client) reset() {
	c.SetLinger(0)
	c.Close()
}

func await[T any](b *bed, what string, c <-chan T) T {
	b.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		b.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// runFunc is a function as a poller.Runner.
type runFunc func()

// Run implements poller.Runner.
func (f runFunc) Run() { f() }

// on runs f on a loop and waits for it.
func (b *bed) on(l poller.Loop, f func()) {
	b.Helper()
	done := make(chan struct{})
	if !l.Post(runFunc(func() { f(); close(done) })) {
		b.Fatal("Post to a loop that has ended")
	}
	await(b, "Run of a posted runner", done)
}
