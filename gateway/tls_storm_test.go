package gateway

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/gateway/tlsio"
	"sluice/gateway/wire"
)

// TestH10_half_open_handshakes_lock_nobody_out: 12 addresses with 90 ClientHellos each, all within
// the limits, and then silence. Others get in meanwhile.
func TestH10_half_open_handshakes_lock_nobody_out(t *testing.T) {
	const addresses, each = 12, 90
	ca := newCertAuthority(t)
	opening := hello(t)
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		cfg.LimitLoopback = true // all else that lets them in is the default
	}), func(t *testing.T, g *Gateway) {
		files, routines := openDescriptors(t), runtime.NumGoroutine()
		var silent []net.Conn
		for i := range addresses {
			for range each {
				c := dialFrom(t, g, fmt.Sprintf("127.0.1.%d", i+1))
				if _, err := c.Write(opening); err != nil {
					t.Fatal(err)
				}
				silent = append(silent, c)
			}
		}
		for range 10 {
			honest := dialTLS(t, g, ca.client(), "/echo")
			honest.send(wire.OpText, "let in")
			honest.wantMessage("let in")
			honest.c.Close()
		}
		if n := g.encryption.server.Stats().Pending; n > 1024 {
			t.Errorf("%d handshakes are under way", n)
		}
		settled(t, "the silent ones have gone", func() bool {
			return g.encryption.server.Stats().Begun > addresses && g.connections() == 0
		})
		for _, s := range silent {
			s.Close()
		}
		settled(t, "everything is as it was", func() bool {
			return g.connections() == 0 && openDescriptors(t) <= files &&
				runtime.NumGoroutine() <= routines
		})
	})
}

// TestH10_silence_counts_as_a_bad_handshake: but only once we have computed an answer.
func TestH10_silence_counts_as_a_bad_handshake(t *testing.T) {
	const burst = 3
	ca := newCertAuthority(t)
	opening := hello(t)
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		cfg.LimitLoopback = true
		cfg.BadHandshakeRate, cfg.BadHandshakeBurst = 0.25, burst
		cfg.TLSHandshakeTimeout = time.Second
	}), func(t *testing.T, g *Gateway) {
		status := func() string {
			c := tls.Client(dialFrom(t, g, "127.0.1.2"), ca.client())
			defer c.Close()
			return strings.Fields(tlsHead(t, c, "/echo"))[1]
		}
		for _, r := range []struct {
			said []byte
			want string // of the handshake after it
		}{{nil, "101"}, {opening[:20], "101"}, {opening, "429"}} {
			const silent = burst + 3 // the machine may be so slow that some are forgiven
			before := ended(g, tlsio.OutcomeTimeout)
			for range silent {
				c := dialFrom(t, g, "127.0.1.2")
				if _, err := c.Write(r.said); err != nil {
					t.Fatal(err)
				}
				defer c.Close()
			}
			settled(t, "the silent ones have gone", func() bool {
				return ended(g, tlsio.OutcomeTimeout) == before+silent && g.connections() == 0
			})
			if got := status(); got != r.want {
				t.Errorf("after %d bytes and silence a handshake is answered %s", len(r.said), got)
			}
		}
	})
}

// TestR05_storm_of_handshakes: all come at once to a gateway that can compute one handshake at a
// time, for which the timeout is too short by far: none is begun in vain.
func TestR05_storm_of_handshakes(t *testing.T) {
	const clients = 600
	ca := newCertAuthority(t)
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		cfg.TLSHandshakesMax = 1
	}), func(t *testing.T, g *Gateway) {
		addr := g.Addr().String()
		full, resuming := ca.client(), ca.client()
		resuming.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		dialTLS(t, g, resuming, "/echo").c.Close() // with a ticket for the others
		var all sync.WaitGroup
		for i := range clients {
			conf := full
			if i%2 == 0 {
				conf = resuming
			}
			all.Go(func() {
				for {
					c, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", addr, conf)
					if err != nil {
						continue // turned away: it comes back
					}
					io.WriteString(c, upgradeRequest("/echo"))
					c.Read(make([]byte, 1)) // the answer, after the tickets
					c.Close()
					return
				}
			})
		}
		all.Wait()
		settled(t, "all have gone", func() bool { return g.connections() == 0 })
		st := g.encryption.server.Stats()
		if n := st.Outcomes[tlsio.OutcomeEstablished]; n < clients ||
			st.Begun > n+n/50 {
			t.Errorf("%d were begun for %d", st.Begun, n)
		}
		if st.Resumed == 0 {
			t.Error("no session was resumed")
		}
	})
}
