package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/gateway/wire"
	"sluice/poller/pollertest"
)

// Two goroutines of ants run from the start of a process until the first pool is made.
func TestMain(m *testing.M) {
	warmUp()
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), pollertest.IgnoreNetpoll())
}

// warmUp has every engine open once what it keeps until the process ends.
func warmUp() {
	for _, engine := range []string{"epoll", "netpoll"} {
		cfg := quick()
		cfg.Engine = engine
		g, err := New(cfg, Options{Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = errors.Join(g.Start(), g.Close())
		}
		if err != nil {
			panic(err)
		}
	}
}

// leavesNothing checks at the end of a test that there are no more descriptors and goroutines than
// now. What is cleaned up later than it must be registered earlier.
func leavesNothing(t *testing.T) {
	t.Helper()
	files, routines := openDescriptors(t), goleak.IgnoreCurrent()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		settled(t, "all descriptors are closed", func() bool { return openDescriptors(t) <= files })
		goleak.VerifyNone(t, routines, pollertest.IgnoreNetpoll())
	})
}

// quick is a configuration without the delays of production, without the rate of messages, which
// tests exceed, and without pings, which would come between the messages now and then.
func quick() Config {
	cfg := DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.Admin = ""
	cfg.DrainDuration = 0
	cfg.MessageRate = 0
	cfg.PingInterval = 0
	return cfg
}

func serve(t *testing.T, cfg Config) *Gateway {
	t.Helper()
	return serveLogged(t, cfg, io.Discard)
}

// serveLogged is serve with a log of everything.
func serveLogged(t *testing.T, cfg Config, log io.Writer) *Gateway {
	t.Helper()
	leavesNothing(t)
	g, err := New(cfg, Options{Logger: slog.New(slog.NewJSONHandler(log,
		&slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	return g
}

// peer is a client that speaks raw frames.
type peer struct {
	t   *testing.T
	c   net.Conn
	dec wire.Decoder
	in  []byte
}

var clientLimits = wire.MessageLimits{MessageBytesMax: 64 << 20}

func dialRaw(t *testing.T, g *Gateway) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// dialFrom is dialRaw from an address of this machine.
func dialFrom(t *testing.T, g *Gateway, local string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}, Timeout: 30 * time.Second}
	c, err := d.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func upgradeRequest(target string, headers ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
		strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// dialWebSocket opens a WebSocket and returns it with the head of the response.
func dialWebSocket(t *testing.T, g *Gateway, target string, headers ...string) (*peer, string) {
	t.Helper()
	p := &peer{t: t, c: dialRaw(t, g)}
	p.dec.Init(&clientLimits, wire.Client, true)
	if _, err := io.WriteString(p.c, upgradeRequest(target, headers...)); err != nil {
		t.Fatal(err)
	}
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		b := make([]byte, 1)
		if _, err := p.c.Read(b); err != nil {
			t.Fatalf("handshake: %v after %q", err, head)
		}
		head = append(head, b...)
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		t.Fatalf("handshake answered %q", head)
	}
	return p, string(head)
}

func join(t *testing.T, g *Gateway, target string) *peer {
	t.Helper()
	p, _ := dialWebSocket(t, g, target)
	return p
}

func (p *peer) send(op wire.Opcode, payload string) {
	p.t.Helper()
	if _, err := p.c.Write(wire.AppendMaskedFrame(nil, op, false, [4]byte{1, 2, 3, 4}, []byte(payload))); err != nil {
		p.t.Fatal(err)
	}
}

// next returns the next event.
func (p *peer) next() wire.Event {
	p.t.Helper()
	for {
		for len(p.in) > 0 {
			ev, n, err := p.dec.Next(p.in)
			p.in = p.in[n:]
			if err != nil {
				p.t.Fatal(err)
			}
			if ev.Kind != wire.KindNone {
				return ev
			}
		}
		b := make([]byte, 64<<10)
		n, err := p.c.Read(b)
		if err != nil {
			p.t.Fatalf("read: %v", err)
		}
		p.in = b[:n]
	}
}

func (p *peer) wantMessage(text string) {
	p.t.Helper()
	if ev := p.next(); ev.Kind != wire.KindMessage || string(ev.Payload) != text {
		p.t.Fatalf("got %v %.100q, want %.100q", ev.Kind, ev.Payload, text)
	}
}

// wantClose expects a Close frame and then the end of the connection.
func (p *peer) wantClose(code uint16) {
	p.t.Helper()
	if ev := p.next(); ev.Kind != wire.KindClose || ev.Code != code {
		p.t.Fatalf("got %v %d %q, want close %d", ev.Kind, ev.Code, ev.Payload, code)
	}
	if n, err := p.c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		p.t.Fatalf("after the close: %d bytes, %v", n, err)
	}
}

func TestChatReachesEverybodyElseInTheRoom(t *testing.T) {
	g := serve(t, quick())
	alice, bob := join(t, g, "/chat/alice"), join(t, g, "/chat/bob")
	cathy := join(t, g, "/chat/cathy?room=other")
	dave := join(t, g, "/chat/dave?room=other")
	alice.send(wire.OpText, "hello")
	bob.wantMessage("alice: hello")
	bob.send(wire.OpText, "hi")
	alice.wantMessage("bob: hi") // and not her own
	cathy.send(wire.OpText, "elsewhere")
	dave.wantMessage("cathy: elsewhere")
}

func TestEchoReturnsMessagesVerbatim(t *testing.T) {
	g := serve(t, quick())
	p := join(t, g, "/echo")
	for _, n := range []int{0, 1, 125, 126, 4 << 10, 65535, 64 << 10} {
		payload := strings.Repeat("é", n/2) + strings.Repeat("x", n%2)
		p.send(wire.OpText, payload)
		p.wantMessage(payload)
		p.send(wire.OpBinary, payload)
		if ev := p.next(); ev.Op != wire.OpBinary || string(ev.Payload) != payload {
			t.Fatalf("%d binary bytes came back as %v %d", n, ev.Op, len(ev.Payload))
		}
	}
	p.send(wire.OpPing, "p")
	if ev := p.next(); ev.Kind != wire.KindPong || string(ev.Payload) != "p" {
		t.Fatalf("ping answered by %+v", ev)
	}
	p.send(wire.OpClose, "\x03\xe9bye")
	p.wantClose(1001)
}

func TestEchoOfManyFramesInOneSegment(t *testing.T) {
	g := serve(t, quick())
	p := join(t, g, "/echo")
	var in []byte
	for i := range 1000 {
		in = wire.AppendMaskedFrame(in, wire.OpText, false, [4]byte{9, 8, 7, byte(i)}, []byte(strings.Repeat("x", i%200)))
	}
	go p.c.Write(in)
	for i := range 1000 {
		p.wantMessage(strings.Repeat("x", i%200))
	}
}

func TestEndpointsRefuse(t *testing.T) {
	rows := []struct{ name, in, status string }{
		{"H08_unknown_path", upgradeRequest("/nowhere"), "404"},
		{"chat without name", upgradeRequest("/chat/"), "400"},
		{"name too long", upgradeRequest("/chat/" + strings.Repeat("a", 65)), "400"},
		{"name with blank", upgradeRequest("/chat/a%20b"), "400"},
		{"room with slash", upgradeRequest("/chat/a?room=b/c"), "400"},
		{"room empty", upgradeRequest("/chat/a?room="), "400"},
		{"deeper path", upgradeRequest("/chat/a/b"), "404"},
		{"H05_plain_get", "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", "426"},
		{"H11_early_data", upgradeRequest("/echo") + "\x81\x80abcd", "400"},
	}
	g := serve(t, quick())
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			c := dialRaw(t, g)
			io.WriteString(c, r.in)
			got, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 "+r.status+" ") {
				t.Fatalf("answered %q, %v", got, err)
			}
		})
	}
	// A name may be escaped.
	join(t, g, "/chat/%61lice?x=y&room=%62")
}

func TestViolationsEndTheSession(t *testing.T) {
	cfg := quick()
	cfg.MessageBytesMax = 1000
	cfg.MessageRate, cfg.MessageBurst = 0.25, 3
	cfg.ControlRate, cfg.ControlBurst = 0.25, 3
	g := serve(t, cfg)
	rows := []struct {
		name, path string
		send       func(p *peer)
		code       uint16
	}{
		{"F17_binary_on_text", "/chat/a", func(p *peer) { p.send(wire.OpBinary, "x") }, 1003},
		{"F01_unmasked", "/echo", func(p *peer) { p.c.Write([]byte("\x81\x01x")) }, 1002},
		{"F08_too_big", "/echo", func(p *peer) { p.c.Write([]byte("\x82\xfe\x03\xe9")); p.c.Write([]byte("mask")) }, 1009},
		{"F12_utf8", "/echo", func(p *peer) { p.send(wire.OpText, "\xff") }, 1007},
		{"message rate", "/chat/a", func(p *peer) {
			for range 4 {
				p.send(wire.OpText, "x")
			}
		}, 1008},
		{"message rate of an echo", "/echo", func(p *peer) {
			for range 3 {
				p.send(wire.OpBinary, "x")
				p.wantMessage("x")
			}
			p.send(wire.OpBinary, "x")
		}, 1008},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			p := join(t, g, r.path)
			r.send(p)
			p.wantClose(r.code)
		})
	}
}

func TestCapacityAnswers503(t *testing.T) {
	cfg := quick()
	cfg.ConnectionsMax = 1
	g := serve(t, cfg)
	p := join(t, g, "/echo")
	c := dialRaw(t, g)
	io.WriteString(c, upgradeRequest("/echo"))
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 503 ") || !strings.Contains(string(got), "\r\nRetry-After: ") {
		t.Fatalf("answered %q, %v", got, err)
	}
	p.send(wire.OpText, "still here")
	p.wantMessage("still here")
}

func TestP01DrainClosesWith1012(t *testing.T) {
	g := serve(t, quick())
	alice, bob := join(t, g, "/chat/alice"), join(t, g, "/chat/bob")
	alice.send(wire.OpText, "last words")
	bob.wantMessage("alice: last words")
	drained := make(chan error, 1)
	go func() { drained <- g.Drain(context.Background()) }()
	alice.wantClose(1012)
	bob.wantClose(1012)
	alice.c.Close()
	bob.c.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestReloadIsWholeOrNotAtAll(t *testing.T) {
	g := serve(t, quick())
	p := join(t, g, "/echo")
	cfg := g.current.Load().Config
	cfg.MessageRate, cfg.Loops = 7, 7
	if err := g.Reload(cfg); err == nil || !strings.Contains(err.Error(), "Loops") {
		t.Errorf("a change of Loops gave %v", err)
	}
	if g.current.Load().MessageRate == 7 {
		t.Error("half of a refused configuration is in force")
	}
	cfg = g.current.Load().Config
	cfg.MessageRate = 7
	if err := g.Reload(cfg); err != nil || g.current.Load().MessageRate != 7 {
		t.Errorf("reload: %v", err)
	}
	p.send(wire.OpText, "alive")
	p.wantMessage("alive")
}
