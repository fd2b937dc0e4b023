package gateway

import (
	"bytes"
	"io"
	"log/slog"
	"net/netip"
	"testing"

	"sluice/gateway/wire"
	"sluice/poller"
	"sluice/poller/pollertest"
)

// stage is a gateway on a fake engine: its clock and its kernel are the test's.
type stage struct {
	*Gateway
	t    *testing.T
	fake *pollertest.Fake
	next uint16 // port of the next actor
}

func newStage(t *testing.T, cfg Config) *stage {
	t.Helper()
	fake := pollertest.NewFake()
	g, err := newGateway(cfg, Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))},
		func(string, poller.Config) (poller.Engine, error) { return fake, nil })
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
	return &stage{Gateway: g, t: t, fake: fake, next: 1024}
}

// actor is a client on a stage.
type actor struct {
	*pollertest.Peer
	stage *stage
	dec   wire.Decoder
}

// connect opens a connection without a word.
func (s *stage) connect() *actor { return s.connectFrom("127.0.0.1") }

// connectFrom is connect from an address.
func (s *stage) connectFrom(address string) *actor {
	s.next++
	from := netip.AddrPortFrom(netip.MustParseAddr(address), s.next)
	a := &actor{Peer: s.fake.Connect(s.Addr(), from), stage: s}
	a.dec.Init(&clientLimits, wire.Client, false)
	return a
}

// join opens a WebSocket.
func (s *stage) join(target string) *actor {
	s.t.Helper()
	a := s.connect()
	a.Deliver([]byte(upgradeRequest(target)))
	out := a.TakeOutput()
	if !bytes.HasPrefix(out, []byte("HTTP/1.1 101 ")) {
		s.t.Fatalf("handshake answered %q", out)
	}
	return a
}

// say sends a text and lets the loop run until nothing is left to do.
func (a *actor) say(text string) { a.frame(wire.OpText, text) }

func (a *actor) frame(op wire.Opcode, payload string) {
	a.Deliver(wire.AppendMaskedFrame(nil, op, false, [4]byte{1, 2, 3, 4}, []byte(payload)))
	a.stage.fake.RunPosted()
}

// heard is what a client has received.
type heard struct {
	texts []string
	pings int
	pongs int
	code  uint16 // of the Close frame; 0 without one
}

// hear takes what has arrived since the last time.
func (a *actor) hear() (h heard) {
	a.stage.t.Helper()
	out := a.TakeOutput()
	for len(out) > 0 {
		ev, n, err := a.dec.Next(out)
		if err != nil {
			a.stage.t.Fatal(err)
		}
		out = out[n:]
		switch ev.Kind {
		case wire.KindMessage:
			h.texts = append(h.texts, string(ev.Payload))
		case wire.KindPing:
			h.pings++
		case wire.KindPong:
			h.pongs++
		case wire.KindClose:
			h.code = ev.Code
		}
	}
	return h
}

func (a *actor) closed() bool {
	closed, _ := a.Closed()
	return closed
}
