package gateway

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/wire"
)

// A peer that leaves before it is told what its token is worth must not guess for nothing.
func TestA14_leaving_before_the_verdict_counts(t *testing.T) {
	for _, engine := range []string{"epoll", "netpoll"} {
		t.Run(engine, func(t *testing.T) {
			o := newOracle(t, `{"user":"ann"}`)
			o.holds = make(chan struct{})
			cfg := quick()
			cfg.Engine, cfg.AuthHook = engine, []string{"url=" + o.url}
			cfg.LimitLoopback, cfg.BadHandshakeRate, cfg.BadHandshakeBurst = true, 0.25, 1
			g := serve(t, cfg)
			c := dialRaw(t, g)
			if _, err := io.WriteString(c, upgradeRequest("/chat/ann", bearer("guess"))); err != nil {
				t.Fatal(err)
			}
			settled(t, "the hook is asked", func() bool { return len(o.questions()) == 1 })
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
			settled(t, "it has left", func() bool { return g.connections() == 0 })
			if status := statusOf(t, g, upgradeRequest("/chat/ann", bearer("next"))); status != "429" {
				t.Errorf("the next one gets %s", status)
			}
			close(o.holds)
		})
	}
}

// What follows a text that ends its connection is not looked at, by a worker no more than by a loop.
func TestA09_nothing_behind_a_bad_renewal(t *testing.T) {
	onEachGuarded(t, nil, func(t *testing.T, g *Gateway) {
		token := func(user string) string { return sign(t, jwt.MapClaims{"sub": user}) }
		bob, _ := dialWebSocket(t, g, "/chat/bob", bearer(token("bob")))
		ann := joinPacked(t, g, "/chat/ann?token="+token("ann"), "permessage-deflate")
		padding := strings.Repeat("x", 1000)
		var frames []byte
		for _, text := range []string{`{"token":"a b"}` + padding, "behind " + padding} {
			payload, ok := ann.conn.Deflate(nil, []byte(text))
			if !ok {
				t.Fatal("not worth compressing")
			}
			frames = wire.AppendMaskedFrame(frames, wire.OpText, true, [4]byte{1, 2, 3, 4}, payload)
		}
		if _, err := ann.c.Write(frames); err != nil {
			t.Fatal(err)
		}
		ann.wantClose(3000)
		cara, _ := dialWebSocket(t, g, "/chat/cara", bearer(token("cara")))
		cara.send(wire.OpText, "later")
		bob.wantMessage("cara: later")
	})
}

// Of several renewals on their way the newest counts; a first credential makes room for none.
func TestA09_the_newest_renewal_counts(t *testing.T) {
	cfg := quick()
	guarded(t, &cfg)
	s := newStage(t, cfg)
	s.join("/chat/ann")
	one := s.alone()
	first, second := one.newVerification(), one.newVerification()
	for _, proven := range []bool{false, true} {
		p := &proof{proven: proven}
		p.pending.Store(first)
		if p.begin(s.authority, second) != proven || (first.ctx.Err() != nil) != proven {
			t.Errorf("proven %v: the second begins, or the first goes on", proven)
		}
	}
	second.cancel()
}
