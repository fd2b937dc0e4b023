package gateway

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/wire"
)

// Whatever way a bad token comes, it counts as a bad handshake of the address, and what is no fault
// of the peer does not.
func TestA14_bad_tokens_count(t *testing.T) {
	const bad = `{"token":"e30.e30.x"}`
	good := func(t *testing.T) string { return sign(t, jwt.MapClaims{"sub": "ann"}) }
	for _, r := range []struct {
		name    string
		explain bool
		attempt func(t *testing.T, g *Gateway)
		counts  bool
	}{
		{"first_message", false, func(t *testing.T, g *Gateway) {
			p := join(t, g, "/chat/ann")
			p.send(wire.OpText, bad)
			p.wantClose(3000)
		}, true},
		{"first_message_compressed", false, func(t *testing.T, g *Gateway) {
			p := joinPacked(t, g, "/chat/ann", "permessage-deflate")
			p.sendPacked(bad)
			p.wantClose(3000)
		}, true},
		{"first_message_of_another", false, func(t *testing.T, g *Gateway) {
			p := join(t, g, "/chat/bob")
			p.send(wire.OpText, `{"token":"`+good(t)+`"}`)
			p.wantClose(3003)
		}, true},
		{"first_message_without_token", false, func(t *testing.T, g *Gateway) {
			p := join(t, g, "/chat/ann")
			p.send(wire.OpText, "hello")
			p.wantClose(3000)
		}, true},
		{"first_message_binary", false, func(t *testing.T, g *Gateway) {
			p := join(t, g, "/chat/ann")
			p.send(wire.OpBinary, bad)
			p.wantClose(3000)
		}, true},
		{"first_message_never", false, func(t *testing.T, g *Gateway) {
			p := join(t, g, "/chat/ann")
			p.wantClose(3000)
		}, true},
		{"plain", false, func(t *testing.T, g *Gateway) {
			if resp := refusedWith(t, g, "/chat/ann", bearer("e30.e30.x")); resp.StatusCode != 401 {
				t.Errorf("refused with %d", resp.StatusCode)
			}
		}, true},
		{"explained", true, func(t *testing.T, g *Gateway) {
			p, _ := dialWebSocket(t, g, "/chat/ann", bearer("e30.e30.x"))
			p.wantClose(3000)
		}, true},
		{"explained_of_another", true, func(t *testing.T, g *Gateway) {
			p, _ := dialWebSocket(t, g, "/chat/bob", bearer(good(t)))
			p.wantClose(3003)
		}, true},
		{"renewal", false, func(t *testing.T, g *Gateway) {
			p, _ := dialWebSocket(t, g, "/chat/ann", bearer(good(t)))
			p.send(wire.OpText, bad)
			p.wantClose(3000)
		}, true},
		{"renewal_compressed", false, func(t *testing.T, g *Gateway) {
			p := joinPacked(t, g, "/chat/ann?token="+good(t), "permessage-deflate")
			p.sendPacked(bad)
			p.wantClose(3000)
		}, true},
		{"renewal_unprintable", false, func(t *testing.T, g *Gateway) {
			p, _ := dialWebSocket(t, g, "/chat/ann", bearer(good(t)))
			p.send(wire.OpText, `{"token":"a b"}`)
			p.wantClose(3000)
		}, true},
		{"good", false, func(t *testing.T, g *Gateway) {
			p := join(t, g, "/echo")
			p.send(wire.OpText, `{"token":"`+good(t)+`"}`)
			p.send(wire.OpText, "in")
			p.wantMessage("in")
			p.c.Close()
		}, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			onEachGuarded(t, func(cfg *Config) {
				cfg.LimitLoopback, cfg.BadHandshakeRate, cfg.BadHandshakeBurst = true, 0.25, 1
				cfg.AuthExplain, cfg.AuthTimeout = r.explain, time.Minute
				if r.name == "first_message_never" {
					cfg.AuthTimeout = 100 * time.Millisecond
				}
			}, func(t *testing.T, g *Gateway) {
				r.attempt(t, g)
				want := "429" // for four seconds
				if !r.counts {
					want = "101"
				}
				if status := statusOf(t, g, upgradeRequest("/echo")); status != want {
					t.Errorf("the next one gets %s, want %s", status, want)
				}
			})
		})
	}
}

// An address that asks for more reasons than it may have leaves the others theirs.
func TestA14_reasons_are_for_every_address(t *testing.T) {
	cfg := quick()
	guarded(t, &cfg)
	cfg.AuthExplain, cfg.AuthSources = true, []string{"header"}
	s := newStage(t, cfg)
	explained := func(address string) (n int) {
		for range explainBurst {
			if status, _ := s.connectFrom(address).answer(upgradeRequest("/echo")); status == 101 {
				n++
			}
		}
		return n
	}
	// A second or two may pass, but the loop's clock stands still.
	if n := explained("127.0.0.2"); n < explainPeerBurst || n > explainPeerBurst+5 {
		t.Errorf("%d reasons for one address, want about %d", n, explainPeerBurst)
	}
	if status, _ := s.connectFrom("127.0.0.3").answer(upgradeRequest("/echo")); status != 101 {
		t.Errorf("another address gets %d", status)
	}
	if status, _ := s.connectFrom("127.0.0.2").answer(upgradeRequest("/echo")); status != 401 {
		t.Errorf("the first address gets %d", status)
	}
}
