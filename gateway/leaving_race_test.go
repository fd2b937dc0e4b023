package gateway

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/wire"
	"sluice/poller"
)

// loopFunc is a poller.Runner of a function.
type loopFunc func()

func (f loopFunc) Run() { f() }

// withSession has f called on the loop of every session of a user.
func (g *Gateway) withSession(user string, f func(*session)) {
	for _, l := range g.lanes {
		l.loop.Post(loopFunc(func() {
			l.loop.Each(func(h poller.Handler) {
				if s, ok := sessionOf(h); ok && s.user == user {
					f(s)
				}
			})
		}))
	}
}

// departures are the ways in which a client of TestF14_departures_at_any_moment goes. whole says
// that all that it has said before must reach the room; of the others a beginning does.
var departures = []struct {
	name  string
	whole bool
	how   func(g *Gateway, user string, c net.Conn)
}{
	{"FIN", true, func(_ *Gateway, _ string, c net.Conn) {
		c.(interface{ CloseWrite() error }).CloseWrite()
	}},
	{"Close", true, func(_ *Gateway, _ string, c net.Conn) {
		io.WriteString(c, frame(0x88, "\x03\xe8"))
	}},
	{"RST", false, func(_ *Gateway, _ string, c net.Conn) {
		raw := c
		if t, ok := c.(*tls.Conn); ok {
			raw = t.NetConn()
		}
		raw.(*net.TCPConn).SetLinger(0)
		raw.Close()
	}},
	{"kick", false, func(g *Gateway, user string, _ net.Conn) { g.Revoke(Revocation{User: user}) }},
	{"drain", false, func(g *Gateway, user string, _ net.Conn) {
		g.withSession(user, func(s *session) { s.end(endDrain) })
	}},
	{"expiry", false, func(g *Gateway, user string, _ net.Conn) {
		g.withSession(user, func(s *session) { s.end(endExpired) })
	}},
	{"eviction", false, func(g *Gateway, user string, _ net.Conn) {
		g.withSession(user, func(s *session) { s.evict(slowStalled) })
	}},
}

const departingSays = 40 // messages of a client

// departing is a client that says its messages and goes, in the middle of them unless it says all
// before.
func departing(t *testing.T, g *Gateway, mode string, p *peer, head, user string, way int) {
	say := func(text string) []byte {
		return wire.AppendMaskedFrame(nil, wire.OpText, false, [4]byte{1, 2, 3, 4}, []byte(text))
	}
	switch mode {
	case "compressed", "tls":
		packed := newPacked(p, head)
		say = func(text string) []byte { return packed.appendPacked(nil, text) }
	case "signed":
		signer := joinSigned(t, p)
		plain := say
		say = func(text string) []byte { return plain(signer.envelope(text)) }
	}
	d := departures[way]
	leave := departingSays
	if !d.whole {
		leave = rand.IntN(departingSays)
	}
	for i := range departingSays {
		if i == leave {
			d.how(g, user, p.c)
		}
		p.c.Write(say(fmt.Sprint(i, strings.Repeat(detachPadding, 4)))) // may be gone
	}
	if leave == departingSays {
		d.how(g, user, p.c)
	}
	io.Copy(io.Discard, p.c)
	p.c.Close()
}

// Clients go in every way and at any moment. What was complete before a FIN or Close is not lost,
// of everybody else the room gets a beginning without gaps, and nothing is left.
func TestF14_departures_at_any_moment(t *testing.T) {
	const rounds = 3
	ca := newCertAuthority(t)
	for _, mode := range []string{"plain", "compressed", "signed", "tls"} {
		t.Run(mode, func(t *testing.T) {
			change := func(cfg *Config) { guarded(t, cfg); bare(cfg) }
			switch signs := signedRoom(t); mode {
			case "signed":
				change = func(cfg *Config) { guarded(t, cfg); bare(cfg); signs(cfg) }
			case "tls":
				change = withTLS(t, ca, change)
			}
			onEachEngine(t, change, func(t *testing.T, g *Gateway) {
				open := func(user string) (*peer, string) {
					headers := []string{bearer(sign(t, jwt.MapClaims{"sub": user})),
						"Sec-WebSocket-Extensions: permessage-deflate"}
					target := "/chat/" + user + "?room=" + mode
					if mode != "tls" {
						return dialWebSocket(t, g, target, headers...)
					}
					p := &peer{t: t, c: tls.Client(dialRaw(t, g), ca.client())}
					p.dec.Init(&clientLimits, wire.Client, true)
					return p, tlsHead(t, p.c.(*tls.Conn), target, headers...)
				}
				witness, head := open("witness")
				reader := newPacked(witness, head)
				if mode == "signed" {
					witness.next() // welcome
				}
				var leaving sync.WaitGroup
				whole := map[string]bool{}
				for i := range rounds * len(departures) {
					way := i % len(departures)
					user := fmt.Sprint("u", i, departures[way].name)
					whole[user] = departures[way].whole
					p, head := open(user)
					leaving.Go(func() { departing(t, g, mode, p, head, user, way) })
				}
				done := make(chan map[string]int)
				go func() { done <- witnessed(t, reader, mode) }()
				leaving.Wait()
				settled(t, "all have left", func() bool { return g.door.inside.Load() == 1 })
				last, _ := open("last")
				text := "end"
				if mode == "signed" {
					text = joinSigned(t, last).envelope(text)
				}
				last.send(wire.OpText, text)
				got := <-done
				for user, whole := range whole {
					if whole && got[user] != departingSays {
						t.Errorf("of %s the room got %d of %d", user, got[user], departingSays)
					}
				}
				if n := g.panics(); n != 0 {
					t.Errorf("%d panics", n)
				}
				if n := g.authority.roster.len(); n != 2 {
					t.Errorf("%d users are on the roster", n)
				}
			})
		})
	}
}

// witnessed reads a room until somebody says "end", and counts the messages of every user, which
// must come in order and without a gap.
func witnessed(t *testing.T, reader *packed, mode string) map[string]int {
	got := map[string]int{}
	for {
		ev := reader.next()
		payload := ev.Payload
		if ev.Compressed {
			payload, _ = reader.conn.Inflate(nil, payload, 1<<20)
		}
		from, text, _ := strings.Cut(string(payload), chatSeparator)
		if mode == "signed" {
			var m struct{ From, Text string }
			if err := json.Unmarshal(payload, &m); err != nil {
				t.Errorf("%q: %v", payload, err)
			}
			from, text = m.From, m.Text
		}
		if text == "end" {
			return got
		}
		if n, _, _ := strings.Cut(text, " "); n != fmt.Sprint(got[from]) {
			t.Errorf("%s said %s, want %d", from, n, got[from])
		}
		got[from]++
	}
}
