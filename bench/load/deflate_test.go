package load

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"sluice/gateway/deflate"
	"sluice/gateway/wire"
)

func TestDeflateOfferString(t *testing.T) {
	for _, tt := range []struct {
		o    DeflateOffer
		want string
	}{
		{DeflateOffer{}, "permessage-deflate"},
		{DeflateOffer{ServerNoTakeover: true, ClientNoTakeover: true},
			"permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
		{DeflateOffer{ServerBits: 10, ClientBits: 9},
			"permessage-deflate; server_max_window_bits=10; client_max_window_bits=9"},
		{DeflateOffer{ServerBits: 15, ClientBits: 15},
			"permessage-deflate; server_max_window_bits=15; client_max_window_bits"},
	} {
		if got := tt.o.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestDeflateOfferValidate(t *testing.T) {
	for bits := -1; bits <= 300; bits++ {
		good := bits == 0 || bits >= 8 && bits <= 15
		for _, o := range []DeflateOffer{{ServerBits: bits}, {ClientBits: bits}} {
			if (o.Validate() == nil) != good {
				t.Errorf("%+v: %v", o, o.Validate())
			}
		}
	}
}

func TestDeflateAccept(t *testing.T) {
	bare := DeflateOffer{}
	all := DeflateOffer{ServerNoTakeover: true, ServerBits: 12, ClientBits: 11}
	full := deflate.Params{ServerWindowBits: 15, ClientWindowBits: 15}
	for _, tt := range []struct {
		name, answer string
		o            DeflateOffer
		want         deflate.Params
		ok           bool
		err          error
	}{
		{"declined", "", all, deflate.Params{}, false, nil},
		{"bare", "permessage-deflate", bare, full, true, nil},
		{"unasked_server_bits", "permessage-deflate; server_max_window_bits=9", bare,
			deflate.Params{ServerWindowBits: 9, ClientWindowBits: 15}, true, nil},
		{"unasked_no_takeover",
			"permessage-deflate;server_no_context_takeover ; client_no_context_takeover", bare,
			deflate.Params{ServerWindowBits: 15, ClientWindowBits: 15, ServerNoTakeover: true,
				ClientNoTakeover: true}, true, nil},
		{"all", `permessage-deflate; server_no_context_takeover; server_max_window_bits="12"; ` +
			"client_max_window_bits=10", all, deflate.Params{ServerWindowBits: 12,
			ClientWindowBits: 10, ServerNoTakeover: true}, true, nil},
		{"own_no_takeover", "permessage-deflate", DeflateOffer{ClientNoTakeover: true},
			deflate.Params{ServerWindowBits: 15, ClientWindowBits: 15, ClientNoTakeover: true}, true, nil},

		{"malformed", "permessage-deflate;", bare, deflate.Params{}, false, ErrDeflateSyntax},
		{"unclosed_quote", `permessage-deflate; server_max_window_bits="9`, bare, deflate.Params{},
			false, ErrDeflateSyntax},
		{"other", "x-webkit-deflate-frame", bare, deflate.Params{}, false, ErrDeflateOther},
		{"other_case", "Permessage-Deflate", bare, deflate.Params{}, false, ErrDeflateOther},
		{"two", "permessage-deflate, permessage-deflate", bare, deflate.Params{}, false,
			ErrDeflateOther},
		{"two_others", "permessage-deflate, foo", bare, deflate.Params{}, false, ErrDeflateOther},
		{"unknown", "permessage-deflate; foo", bare, deflate.Params{}, false, ErrDeflateParam},
		{"flag_with_value", "permessage-deflate; client_no_context_takeover=1", bare, deflate.Params{},
			false, ErrDeflateParam},
		{"flag_twice",
			"permessage-deflate; server_no_context_takeover; server_no_context_takeover", bare,
			deflate.Params{}, false, ErrDeflateRepeated},
		{"bits_twice", "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", bare,
			deflate.Params{}, false, ErrDeflateRepeated},
		{"bits_7", "permessage-deflate; server_max_window_bits=7", bare, deflate.Params{}, false,
			ErrDeflateBits},
		{"bits_16", "permessage-deflate; server_max_window_bits=16", bare, deflate.Params{}, false,
			ErrDeflateBits},
		{"bits_08", "permessage-deflate; server_max_window_bits=08", bare, deflate.Params{}, false,
			ErrDeflateBits},
		{"bits_without_value", "permessage-deflate; server_max_window_bits", bare, deflate.Params{},
			false, ErrDeflateBits},
		{"client_bits_without_value", "permessage-deflate; client_max_window_bits",
			DeflateOffer{ClientBits: 15}, deflate.Params{}, false, ErrDeflateBits},
		{"client_bits_unasked", "permessage-deflate; client_max_window_bits=10", bare,
			deflate.Params{}, false, ErrDeflateClientBits},
		{"takeover_kept", "permessage-deflate; server_max_window_bits=12", all, deflate.Params{}, false,
			ErrDeflateServerTakeover},
		{"server_bits_missing", "permessage-deflate; server_no_context_takeover", all,
			deflate.Params{}, false, ErrDeflateServerBits},
		{"server_bits_too_large",
			"permessage-deflate; server_no_context_takeover; server_max_window_bits=13", all,
			deflate.Params{}, false, ErrDeflateServerBits},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok, err := tt.o.Accept(tt.answer)
			if got != tt.want || ok != tt.ok || !errors.Is(err, tt.err) {
				t.Errorf("got %+v, %v, %v, want %+v, %v, %v", got, ok, err, tt.want, tt.ok, tt.err)
			}
			if err != nil && Class(err) != "handshake: illegal permessage-deflate" {
				t.Errorf("class %q", Class(err))
			}
		})
	}
}

// legalFor is the rule of RFC 7692 sections 7.1.1 and 7.1.2, written down once more.
func legalFor(o DeflateOffer, p deflate.Params) bool {
	return (!o.ServerNoTakeover || p.ServerNoTakeover) &&
		(o.ServerBits == 0 || int(p.ServerWindowBits) <= o.ServerBits) &&
		(o.ClientBits == 0 || int(p.ClientWindowBits) <= o.ClientBits) &&
		(o.ClientBits != 0 || p.ClientWindowBits == 15) &&
		(!o.ClientNoTakeover || p.ClientNoTakeover) &&
		p.ServerWindowBits >= 8 && p.ServerWindowBits <= 15 &&
		p.ClientWindowBits >= 8 && p.ClientWindowBits <= 15
}

// What is accepted keeps to the offer; what is refused is named.
func FuzzDeflateAccept(f *testing.F) {
	f.Add(false, false, uint8(0), uint8(0), "permessage-deflate")
	f.Add(true, true, uint8(10), uint8(15),
		"permessage-deflate; server_no_context_takeover; server_max_window_bits=10")
	f.Add(false, false, uint8(0), uint8(9), `permessage-deflate; client_max_window_bits="9"`)
	f.Add(false, false, uint8(0), uint8(0), "permessage-deflate; foo=bar, x")
	f.Fuzz(func(t *testing.T, serverNo, clientNo bool, serverBits, clientBits uint8, answer string) {
		o := DeflateOffer{serverNo, clientNo, int(serverBits), int(clientBits)}
		if o.Validate() != nil {
			return
		}
		// The offer itself is understood by a server, and its answer by us.
		codec := newTestCodec(t)
		conn, response, ok, err := codec.Negotiate(o.String(), deflate.Policy{ServerTakeover: true})
		if err != nil || !ok {
			t.Fatalf("%q was not understood: %v", o, err)
		}
		p, ok, err := o.Accept(response)
		if err != nil || !ok || p != conn.Params() || !legalFor(o, p) {
			t.Fatalf("%q was answered %q: %+v, %v, %v", o, response, p, ok, err)
		}
		conn.Close()
		p, ok, err = o.Accept(answer)
		if err != nil && (ok || Class(err) != "handshake: illegal permessage-deflate") {
			t.Fatalf("%q gave %v, %v", answer, ok, err)
		}
		if ok && (!legalFor(o, p) || !strings.Contains(answer, "permessage-deflate")) {
			t.Fatalf("%q was accepted for %q as %+v", answer, o, p)
		}
	})
}

func newTestCodec(tb testing.TB) *deflate.Codec {
	tb.Helper()
	codec, err := deflate.NewCodec(deflate.Config{Level: 1, ContextBytesMax: 1 << 30})
	if err != nil {
		tb.Fatal(err)
	}
	return codec
}

// frame reads the one frame that a client has made, as a server.
func frame(t *testing.T, p []byte) wire.Event {
	t.Helper()
	var dec wire.Decoder
	dec.Init(&messageLimits, wire.Server, true)
	ev, n, err := dec.Next(p)
	if err != nil || n != len(p) || ev.Kind != wire.KindMessage {
		t.Fatalf("%+v, %d of %d bytes, %v", ev, n, len(p), err)
	}
	return ev
}

func TestCompressionBothWays(t *testing.T) {
	for _, o := range []DeflateOffer{{}, {ServerNoTakeover: true, ClientNoTakeover: true},
		{ServerBits: 9, ClientBits: 9}} {
		t.Run(o.String(), func(t *testing.T) {
			codec := newTestCodec(t)
			server, answer, _, err := codec.Negotiate(o.String(),
				deflate.Policy{ServerTakeover: true, ClientTakeover: true})
			if err != nil {
				t.Fatal(err)
			}
			p, _, err := o.Accept(answer)
			if err != nil {
				t.Fatal(err)
			}
			client := NewCompression(codec, p)
			text := bytes.Repeat([]byte("the quick brown fox, "), 20)
			noise := make([]byte, 300)
			rand.NewChaCha8([32]byte{1}).Read(noise)
			for i := range 20 {
				message, op := append(bytes.Clone(text), byte('a'+i)), wire.OpText
				if i%3 == 2 {
					message, op = noise, wire.OpBinary
				}
				made := client.AppendFrame([]byte("dst"), op, [4]byte{1, 2, 3, byte(i)}, message)
				if !bytes.HasPrefix(made, []byte("dst")) {
					t.Fatalf("got %q", made)
				}
				ev := frame(t, made[3:])
				if ev.Compressed != (op == wire.OpText) || ev.Op != op {
					t.Errorf("message %d: %+v", i, ev)
				}
				got := ev.Payload
				if ev.Compressed {
					if got, err = server.Inflate(nil, ev.Payload, 1<<20); err != nil {
						t.Fatal(err)
					}
				}
				if !bytes.Equal(got, message) {
					t.Fatalf("message %d arrived as %q", i, got)
				}
				back, ok := server.Deflate(nil, message)
				if !ok {
					back = message
				}
				got, err = client.Inflate([]byte("dst"), wire.Event{Op: op, Compressed: ok, Payload: back})
				if err != nil || string(got) != "dst"+string(message) {
					t.Fatalf("message %d came back as %q, %v", i, got, err)
				}
			}
			client.Close()
			server.Close()
			if n := codec.ContextBytes(); n != 0 {
				t.Errorf("%d bytes of contexts are left", n)
			}
		})
	}
}

func TestCompressionRefuses(t *testing.T) {
	codec := newTestCodec(t)
	odd, ok := codec.Shared(nil, bytes.Repeat([]byte("a\xff"), 100), 15)
	if !ok {
		t.Fatal("not compressed")
	}
	for _, tt := range []struct {
		name  string
		ev    wire.Event
		class string
	}{
		{"corrupt", wire.Event{Op: wire.OpText, Compressed: true, Payload: []byte{0xFF, 0xFF}},
			"closed: by us, bad compression"},
		{"not_utf8", wire.Event{Op: wire.OpText, Compressed: true, Payload: odd},
			"closed: by us, text is not UTF-8"},
		{"binary", wire.Event{Op: wire.OpBinary, Compressed: true, Payload: odd}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := NewCompression(codec, deflate.Params{ServerWindowBits: 15, ClientWindowBits: 15})
			defer c.Close()
			got, err := c.Inflate([]byte("dst"), tt.ev)
			if tt.class == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || Class(err) != tt.class || string(got) != "dst" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func BenchmarkCompression(b *testing.B) {
	c := NewCompression(newTestCodec(b), deflate.Params{ServerWindowBits: 15, ClientWindowBits: 15})
	defer c.Close()
	message := bytes.Repeat([]byte("the quick brown fox, "), 12)[:250]
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	dst := make([]byte, 0, 4096)
	for b.Loop() {
		dst = c.AppendFrame(dst[:0], wire.OpText, [4]byte{1, 2, 3, 4}, message)
	}
}
