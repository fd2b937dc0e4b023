package gateway

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"sluice/gateway/deflate"
	"sluice/gateway/wire"
)

// packed is a client with compression.
type packed struct {
	*peer
	conn deflate.Conn
}

func joinPacked(t *testing.T, g *Gateway, target, offer string) *packed {
	t.Helper()
	p, head := dialWebSocket(t, g, target, "Sec-WebSocket-Extensions: "+offer)
	return newPacked(p, head)
}

// newPacked makes of a client, who has offered compression, one that uses what head grants.
func newPacked(p *peer, head string) *packed {
	t := p.t
	t.Helper()
	codec, err := deflate.NewCodec(deflate.Config{Level: 1, ContextBytesMax: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(head, "Sec-WebSocket-Extensions: ")
	if !ok {
		t.Fatalf("compression was not granted: %q", head)
	}
	answer, _, _ := strings.Cut(after, "\r\n")
	bits := uint8(deflate.WindowBitsMax)
	params := deflate.Params{
		ServerWindowBits: bits, ClientWindowBits: bits,
		ServerNoTakeover: strings.Contains(answer, "server_no_context_takeover"),
		ClientNoTakeover: strings.Contains(answer, "client_no_context_takeover"),
	}
	return &packed{peer: p, conn: codec.Client(params)}
}

func (p *packed) sendPacked(text string) {
	p.t.Helper()
	payload, ok := p.conn.Deflate(nil, []byte(text))
	frame := wire.AppendMaskedFrame(nil, wire.OpText, ok, [4]byte{1, 2, 3, 4}, payload)
	if !ok {
		frame = wire.AppendMaskedFrame(nil, wire.OpText, false, [4]byte{1, 2, 3, 4}, []byte(text))
	}
	if _, err := p.c.Write(frame); err != nil {
		p.t.Fatal(err)
	}
}

func (p *packed) wantPacked(text string, compressed bool) {
	p.t.Helper()
	ev := p.next()
	if ev.Kind != wire.KindMessage || ev.Compressed != compressed {
		p.t.Fatalf("got %+v", ev)
	}
	got := string(ev.Payload)
	if compressed {
		out, err := p.conn.Inflate(nil, ev.Payload, 1<<20)
		if err != nil {
			p.t.Fatal(err)
		}
		got = string(out)
	}
	if got != text {
		p.t.Fatalf("got %.80q, want %.80q", got, text)
	}
}

func TestCompressedEchoKeepsOrderAndContent(t *testing.T) {
	for _, offer := range []string{
		"permessage-deflate",
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"permessage-deflate; client_no_context_takeover",
	} {
		t.Run(offer, func(t *testing.T) {
			g := serve(t, quick())
			p := joinPacked(t, g, "/echo", offer)
			const n = 300
			text := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("lorem ipsum ", i%60)) }
			go func() {
				for i := range n {
					p.sendPacked(text(i))
				}
			}()
			for i := range n {
				p.wantPacked(text(i), len(text(i)) >= g.current.Load().CompressionBytesMin)
			}
		})
	}
}

func TestD11BroadcastToAMixedPopulation(t *testing.T) {
	g := serve(t, quick())
	plain := join(t, g, "/chat/plain")
	full := joinPacked(t, g, "/chat/full", "permessage-deflate")
	small := joinPacked(t, g, "/chat/small", "permessage-deflate; server_max_window_bits=9")
	author := joinPacked(t, g, "/chat/author", "permessage-deflate")
	long := strings.Repeat("all work and no play ", 100)
	for i := range 20 {
		text := fmt.Sprint(i, " ", long)
		author.sendPacked(text)
		plain.wantMessage("author: " + text)
		full.wantPacked("author: "+text, true)
		small.wantPacked("author: "+text, true)
		author.sendPacked("short")
		plain.wantMessage("author: short")
		full.wantPacked("author: short", false)
		small.wantPacked("author: short", false)
	}
}

func TestCompressionFaults(t *testing.T) {
	cfg := quick()
	cfg.MessageBytesMax = 1000
	g := serve(t, cfg)
	rows := []struct {
		name    string
		payload func(p *packed) []byte
		code    uint16
	}{
		{"D01_bomb", func(p *packed) []byte { b, _ := p.conn.Deflate(nil, make([]byte, 500_000)); return b }, 1009},
		{"D02_limit_plus_1", func(p *packed) []byte { b, _ := p.conn.Deflate(nil, make([]byte, 1001)); return b }, 1009},
		{"D06_garbage", func(p *packed) []byte { return []byte("\xff\xff\xff\xff") }, 1007},
		{"F12_utf8_after_inflating", func(p *packed) []byte {
			b, _ := p.conn.Deflate(nil, []byte(strings.Repeat("\xff", 300)))
			return b
		}, 1007},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			p := joinPacked(t, g, "/echo", "permessage-deflate")
			frame := wire.AppendMaskedFrame(nil, wire.OpText, true, [4]byte{1, 2, 3, 4}, r.payload(p))
			p.c.Write(frame)
			p.wantClose(r.code)
		})
	}
	t.Run("H19_malformed_header", func(t *testing.T) {
		c := dialRaw(t, g)
		io.WriteString(c, upgradeRequest("/echo", "Sec-WebSocket-Extensions: permessage-deflate; ="))
		if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
			t.Errorf("answered %q", got)
		}
	})
	t.Run("H19_bad_offer_is_declined", func(t *testing.T) {
		_, head := dialWebSocket(t, g, "/echo", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7")
		if strings.Contains(head, "Extensions") {
			t.Errorf("answered %q", head)
		}
	})
}

// TestTakeoverMemoryComesBack closes connections at every point and checks the budget.
func TestTakeoverMemoryComesBack(t *testing.T) {
	g := serve(t, quick())
	var conns []net.Conn
	for i := range 50 {
		p := joinPacked(t, g, "/echo", "permessage-deflate")
		if i%2 == 0 {
			p.sendPacked(strings.Repeat("x", 60000))
		}
		conns = append(conns, p.c)
	}
	if g.codec.ContextBytes() == 0 {
		t.Fatal("takeover was not granted")
	}
	for _, c := range conns {
		c.Close()
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if n := g.codec.ContextBytes(); n != 0 {
		t.Errorf("%d bytes of contexts were not given back", n)
	}
}
