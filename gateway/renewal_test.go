package gateway

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/wire"
)

// tokenTexts are texts of a client that hold a token, and must not reach a room.
func tokenTexts(token string) []struct{ name, text string } {
	return []struct{ name, text string }{
		{"other_member", `{"token":"` + token + `","id":1}`},
		{"other_member_before", `{"type":"refresh","token":"` + token + `"}`},
		{"twice", `{"token":"` + token + `","token":"` + token + `"}`},
		{"too_long", `{"token":"` + token + strings.Repeat("x", 9<<10) + `"}`},
		{"escaped_name", `{"\u0074oken":"` + token + `","id":1}`},
		{"upper_case", `{"Token":"` + token + `"}`},
		{"white_space", " \n{ \"token\" : \"" + token + "\" , \"id\":1}"},
		{"byte_order_mark", "\uFEFF{\"token\":\"" + token + "\"}"},
		{"behind_an_object", `{"a":{"b":"}"},"token":"` + token + `"}`},
		{"no_text", `{"token":["` + token + `"]}`},
		{"cut_off", `{"token":"` + token},
		{"junk_behind", `{"token":"` + token + `"}}`},
		{"in_a_second_object", `{} {"token":"` + token + `"}`},
		{"in_a_list", `[{"token":"` + token + `"}]`},
		{"behind_a_zero_byte", "\x00{\"token\":\"" + token + `"}`},
		{"behind_other_spaces", "\v\f\u00A0\u2028{\"token\":\"" + token + `"}`},
		{"two_byte_order_marks", "\uFEFF\uFEFF{\"token\":\"" + token + `"}`},
		{"behind_a_comment", `/**/{"token":"` + token + `"}`},
		{"no_quotes", `{token:"` + token + `"}`},
		{"single_quotes", `{'token':'` + token + `'}`},
		{"comment_within", `{"token"/**/:"` + token + `"}`},
		{"equals_sign", `{"token"="` + token + `"}`},
		{"no_colon", `{"token" "` + token + `"}`},
		{"line_feed_in_the_name", "{\"token\n\":\"" + token + `"}`},
		{"list_is_open", `{"a":[[,"token":"` + token + `"}`},
		{"object_is_open", `{"a":{,"token":"` + token + `"}`},
		{"string_is_open", `{"a":"x\","token":"` + token + `"}`},
	}
}

// fragment is a client frame of any size below 64 KiB.
func fragment(first byte, payload string) string {
	if len(payload) < 126 {
		return frame(first, payload)
	}
	return longFrame(first, payload)
}

// A text with a top-level member "token" reaches nobody, whatever else is wrong with it.
func TestA09_no_token_is_published(t *testing.T) {
	change := signedRoom(t)
	onEachGuarded(t, change, func(t *testing.T, g *Gateway) {
		token := func(user string) string { return bearer(sign(t, jwt.MapClaims{"sub": user})) }
		secret := sign(t, jwt.MapClaims{"sub": "ann"})
		for _, way := range []string{"plain", "fragmented", "compressed", "signed", "unsigned"} {
			room := "/chat/%s?room=" + way
			if way == "unsigned" || way == "signed" {
				room = "/chat/%s?room=signed"
			}
			witness, _ := dialWebSocket(t, g, fmt.Sprintf(room, "w"), token("w"))
			if strings.HasSuffix(room, "signed") {
				witness.next() // welcome
			}
			for _, r := range tokenTexts(secret) {
				t.Run(way+"/"+r.name, func(t *testing.T) {
					p, head := dialWebSocket(t, g, fmt.Sprintf(room, "ann"), token("ann"),
						"Sec-WebSocket-Extensions: permessage-deflate")
					switch way {
					case "plain":
						p.send(wire.OpText, r.text)
					case "fragmented":
						n := len(r.text) / 3
						io.WriteString(p.c, fragment(0x01, r.text[:n])+fragment(0x00, r.text[n:2*n])+
							fragment(0x80, r.text[2*n:]))
					case "compressed":
						newPacked(p, head).sendPacked(r.text)
					case "signed":
						s := joinSigned(t, p)
						p.send(wire.OpText, s.envelope(r.text))
					case "unsigned":
						joinSigned(t, p)
						p.send(wire.OpText, r.text)
					}
					p.wantClose(3000)
				})
			}
			if n := g.hub.Stats().Published; n != 0 {
				t.Errorf("%s: %d publications", way, n)
			}
			witness.c.Close()
		}
	})
}

// What is no such text is an ordinary message, and white space around a renewal does not matter.
func TestA09_texts_that_look_like_renewals(t *testing.T) {
	onEachGuarded(t, nil, func(t *testing.T, g *Gateway) {
		token := func(user string) string { return bearer(sign(t, jwt.MapClaims{"sub": user})) }
		bob, _ := dialWebSocket(t, g, "/chat/bob", token("bob"))
		ann, _ := dialWebSocket(t, g, "/chat/ann", token("ann"))
		ann.send(wire.OpText, " \t{\"token\": \""+sign(t, jwt.MapClaims{"sub": "ann"})+"\" }\n")
		for _, text := range []string{
			`{"a":{"token":"x"}}`, `["token"]`, `{"tokens":1}`, `my "token": x`, `{"a":"token"}`,
			`{"msg":"my token: x"}`, `{"a":{"token":1}}`, `[ann] the token is gone`,
		} {
			ann.send(wire.OpText, text)
			bob.wantMessage("ann: " + text)
		}
	})
}

// One connection cannot have a service asked at will.
func TestA13_renewals_have_a_rate(t *testing.T) {
	var asked atomic.Int32
	url := hookServer(t, func(map[string]any) (int, string) {
		asked.Add(1)
		return 200, `{"user":"ann"}`
	})
	change := func(cfg *Config) {
		cfg.AuthHook = []string{"url=" + url}
		cfg.AuthSources = []string{"header", "message"}
		cfg.MessageRate = 0
	}
	onEachEngine(t, change, func(t *testing.T, g *Gateway) {
		for _, way := range []string{"plain", "compressed"} {
			asked.Store(0)
			p, head := dialWebSocket(t, g, "/chat/ann", "Authorization: Bearer x",
				"Sec-WebSocket-Extensions: permessage-deflate")
			packed := newPacked(p, head)
			text := `{"token":"` + strings.Repeat("x", 300) + `"}`
			var out []byte
			for range 100 {
				if way == "compressed" {
					out = packed.appendPacked(out, text)
					continue
				}
				out = wire.AppendMaskedFrame(out, wire.OpText, false, [4]byte{1, 2, 3, 4}, []byte(text))
			}
			p.c.Write(out)
			ev := p.next()
			if ev.Kind != wire.KindClose || ev.Code != 1008 {
				t.Errorf("%s: got %+v", way, ev)
			}
			if n, most := int(asked.Load()), 1+g.current.Load().RenewalBurst; n > most {
				t.Errorf("%s: the hook was asked %d times, want at most %d", way, n, most)
			}
			p.c.Close()
			settled(t, "gone", func() bool { return g.door.inside.Load() == 0 })
		}
	})
}

// The rate is for a connection, and a reload changes it.
func TestA13_renewal_rate_of_a_session(t *testing.T) {
	s := newStage(t, quick())
	v := &session{lane: s.lanes[0], proof: new(proof)}
	allowed := func() (n int) {
		for n < 100 && v.allowRenewal() {
			n++
		}
		return n
	}
	if n := allowed(); n != s.current.Load().RenewalBurst {
		t.Errorf("%d renewals are allowed", n)
	}
	cfg := s.current.Load().Config
	cfg.RenewalRate = 0
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	v.proof = new(proof)
	if n := allowed(); n != 100 {
		t.Errorf("without a rate %d renewals are allowed", n)
	}
}
