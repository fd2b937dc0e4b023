package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/gateway/tlsio"
	"sluice/gateway/wire"
	"sluice/poller"
	"sluice/poller/pollertest"
)

// ended is how many TLS handshakes have come to an outcome.
func ended(g *Gateway, o tlsio.Outcome) int {
	return int(g.encryption.server.Stats().Outcomes[o])
}

func TestSNI(t *testing.T) {
	ca := newCertAuthority(t)
	second, secondKey := ca.issue("second.test", func(*x509.Certificate) {})
	wild, wildKey := ca.issue("wild", func(c *x509.Certificate) { c.DNSNames = []string{"*.wild.test"} })
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		cfg.TLSCerts = append(cfg.TLSCerts, second, wild)
		cfg.TLSKeys = append(cfg.TLSKeys, secondKey, wildKey)
	}), func(t *testing.T, g *Gateway) {
		for _, r := range []struct{ asked, want string }{
			{"second.test", "second.test"},
			{"SECOND.test", "second.test"},
			{"a.wild.test", "wild"},
			{"a.b.wild.test", "server"},
			{"unknown.test", "server"},
			{"", "server"},
		} {
			// The client does not verify: the default certificate has another name.
			c := tls.Client(dialRaw(t, g), &tls.Config{ServerName: r.asked, InsecureSkipVerify: true})
			if err := c.Handshake(); err != nil {
				t.Fatalf("%q: %v", r.asked, err)
			}
			if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != r.want {
				t.Errorf("%q got the certificate of %q, want %q", r.asked, got, r.want)
			}
		}
	})
}

// Messages larger than a record, and of both sides of the compression.
func TestCompressionOverTLS(t *testing.T) {
	ca := newCertAuthority(t)
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		cfg.MessageBytesMax = 1 << 20
	}), func(t *testing.T, g *Gateway) {
		packedOverTLS := func(target string) *packed {
			p := &peer{t: t, c: tls.Client(dialRaw(t, g), ca.client())}
			p.dec.Init(&clientLimits, wire.Client, true)
			return newPacked(p, tlsHead(t, p.c.(*tls.Conn), target,
				"Sec-WebSocket-Extensions: permessage-deflate"))
		}
		long := strings.Repeat("all work and no play ", 25_000)
		echo := packedOverTLS("/echo")
		for range 3 {
			echo.sendPacked(long)
			echo.wantPacked(long, true)
			echo.send(wire.OpText, "short")
			echo.wantPacked("short", false)
		}
		ann, bob := packedOverTLS("/chat/ann"), packedOverTLS("/chat/bob")
		plain := dialTLS(t, g, ca.client(), "/chat/plain")
		ann.sendPacked(long)
		bob.wantPacked("ann: "+long, true)
		plain.wantMessage("ann: " + long)
		plain.send(wire.OpText, long)
		ann.wantPacked("plain: "+long, true)
	})
}

// An established connection has no goroutine, and one that has ended leaves nothing.
func TestTLSCosts(t *testing.T) {
	ca := newCertAuthority(t)
	onEachEngine(t, withTLS(t, ca, nil), func(t *testing.T, g *Gateway) {
		dialTLS(t, g, ca.client(), "/echo").c.Close() // what an engine starts on its first use
		settled(t, "the first has gone", func() bool { return g.connections() == 0 })
		files, routines := openDescriptors(t), runtime.NumGoroutine()
		var peers []*peer
		for range 50 {
			peers = append(peers, dialTLS(t, g, ca.client(), "/echo"))
		}
		settled(t, "the handshakes' goroutines have ended", func() bool {
			return runtime.NumGoroutine() <= routines
		})
		for _, p := range peers {
			p.send(wire.OpText, "still here")
			p.wantMessage("still here")
			p.c.Close()
		}
		settled(t, "everything is as it was", func() bool {
			return g.connections() == 0 && openDescriptors(t) <= files &&
				runtime.NumGoroutine() <= routines
		})
	})
}

// hello is a ClientHello, as crypto/tls writes it.
func hello(t *testing.T) []byte {
	t.Helper()
	var first capture
	tls.Client(&first, &tls.Config{InsecureSkipVerify: true}).Handshake() // fails on purpose
	if len(first.written) == 0 {
		t.Fatal("no ClientHello")
	}
	return first.written
}

// capture is a connection that keeps what is written and has nothing to be read.
type capture struct {
	net.Conn
	written []byte
}

func (c *capture) Write(p []byte) (int, error) {
	c.written = append(c.written, p...)
	return len(p), nil
}

func (c *capture) Read([]byte) (int, error) { return 0, errors.New("nothing") }

// TestR05_flood_of_handshakes: peers that begin a handshake and say no more keep nobody else out,
// even where only one may compute, and leave nothing.
func TestR05_flood_of_handshakes(t *testing.T) {
	const flood = 200
	ca := newCertAuthority(t)
	opening := hello(t)
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		cfg.TLSHandshakesMax = 1
		cfg.TLSHandshakeTimeout = time.Minute
		cfg.HandshakeTimeout = time.Minute
	}), func(t *testing.T, g *Gateway) {
		files, routines := openDescriptors(t), runtime.NumGoroutine()
		var silent []net.Conn
		for range flood {
			c := dialRaw(t, g)
			if _, err := c.Write(opening); err != nil {
				t.Fatal(err)
			}
			silent = append(silent, c)
		}
		honest := dialTLS(t, g, ca.client(), "/echo")
		if n := runtime.NumGoroutine(); n > routines+flood {
			t.Errorf("%d goroutines for %d handshakes", n-routines, flood)
		}
		honest.send(wire.OpText, "still here")
		honest.wantMessage("still here")
		for _, c := range silent {
			c.Close()
		}
		honest.c.Close()
		settled(t, "everything is as it was", func() bool {
			return g.encryption.server.Stats().Pending == 0 && g.connections() == 0 &&
				openDescriptors(t) <= files && runtime.NumGoroutine() <= routines
		})
		if n := ended(g, tlsio.OutcomePeerGone); n != flood {
			t.Errorf("%d peers have gone, want %d", n, flood)
		}
	})
}

// Handshakes of TLS that the peer breaks count among its bad handshakes; giving up does not.
func TestA14_bad_TLS_handshakes_count(t *testing.T) {
	ca := newCertAuthority(t)
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		cfg.LimitLoopback, cfg.BadHandshakeRate, cfg.BadHandshakeBurst = true, 0.25, 3
	}), func(t *testing.T, g *Gateway) {
		good := func() string {
			c := tls.Client(dialRaw(t, g), ca.client())
			defer c.Close()
			return strings.Fields(tlsHead(t, c, "/echo"))[1]
		}
		gone := func() bool { return g.connections() == 0 }
		for range 5 {
			dialRaw(t, g).Close()
		}
		for _, said := range []string{"GET / HTTP/1.1\r\n\r\n", "SSH-2.0-x\r\n", "\x17\x03\x01\x00\x01x"} {
			if status := good(); status != "101" {
				t.Fatalf("before %q a good one gets %s", said, status)
			}
			c := dialRaw(t, g)
			if _, err := io.WriteString(c, said+"\r\n"); err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, c)
			c.Close()
			settled(t, "they have gone", gone)
		}
		if status := good(); status != "429" {
			t.Errorf("after three bad ones a good one gets %s", status)
		}
	})
}

// Who is turned away costs no TLS handshake each time it asks.
func TestA14_turned_away_before_TLS(t *testing.T) {
	const flood = 3 * tellBurst
	ca := newCertAuthority(t)
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		cfg.LimitLoopback, cfg.AcceptRatePerIP, cfg.AcceptBurstPerIP = true, 0.25, 1
	}), func(t *testing.T, g *Gateway) {
		inside := dialTLS(t, g, ca.client(), "/echo")
		began := time.Now()
		for range flood {
			c := tls.Client(dialRaw(t, g), ca.client())
			c.Handshake()
			c.Close()
		}
		most := 1 + tellBurst + 1 + int(tellRate*time.Since(began).Seconds())
		most += 1 + int(0.25*time.Since(began).Seconds()) // who are let in
		settled(t, "all are gone", func() bool { return g.connections() == 1 })
		n := 0
		for o := range tlsio.Outcomes {
			n += ended(g, o)
		}
		if n < tellBurst || n > most {
			t.Errorf("%d handshakes of %d, want %d at most", n, flood, most)
		}
		inside.send(wire.OpText, "still here")
		inside.wantMessage("still here")
	})
}

// A peer that waits for TLS is told nothing in plain text, not even where descriptors ran out.
func TestR01_no_parting_before_TLS(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		cfg := quick()
		cfg.TLSSelfSigned = encrypted
		var got poller.Config
		g, err := newGateway(cfg, Options{Logger: slog.New(slog.DiscardHandler)},
			func(_ string, c poller.Config) (poller.Engine, error) {
				got = c
				return pollertest.NewFake(), nil
			})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.StarvedParting) > 0 == encrypted {
			t.Errorf("encrypted %t: the parting is %q", encrypted, got.StarvedParting)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestH10_slow_TLS_handshakes(t *testing.T) {
	ca := newCertAuthority(t)
	opening := hello(t)
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		cfg.TLSHandshakeTimeout = 100 * time.Millisecond
		cfg.HandshakeTimeout = 2 * time.Second // ends it otherwise, as a peer that has gone
	}), func(t *testing.T, g *Gateway) {
		for _, said := range [][]byte{nil, opening[:20], opening} {
			c := dialRaw(t, g)
			if _, err := c.Write(said); err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, c) // until the gateway hangs up
			c.Close()
		}
		if n := ended(g, tlsio.OutcomeTimeout); n != 3 {
			t.Errorf("%d handshakes timed out, want 3", n)
		}
	})
}

// The files are followed without anybody asking; a good pair is used, a bad one is reported.
func TestP06_watched_certificates(t *testing.T) {
	ca := newCertAuthority(t)
	cert, key := ca.issue("server", func(*x509.Certificate) {})
	cfg := quick()
	cfg.Admin = "127.0.0.1:0"
	cfg.TLSCerts, cfg.TLSKeys = []string{cert}, []string{key}
	log := new(logged)
	g := serveLogged(t, cfg, log)
	g.encryption.unwatch()
	g.encryption.unwatch = g.encryption.store.Watch(time.Millisecond, g.certificatesLoaded)

	old := dialTLS(t, g, ca.client(), "/echo")
	later := time.Now().Add(99 * time.Hour).Truncate(time.Second)
	ca.issue("server", func(c *x509.Certificate) { c.NotAfter = later })
	settled(t, "the new certificate is in use", func() bool {
		return g.encryption.expiry().Equal(later)
	})
	// It may have failed already: a certificate is written before its key.
	failed := g.encryption.failed.Load()
	if err := os.WriteFile(key, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	settled(t, "the bad pair has been noticed", func() bool {
		return g.encryption.failed.Load() > failed
	})
	if !g.encryption.expiry().Equal(later) {
		t.Error("the bad pair is in use")
	}
	dialTLS(t, g, ca.client(), "/echo")
	old.send(wire.OpText, "still here")
	old.wantMessage("still here")
	_, text := ask(t, g, "/metrics")
	if strings.Contains(text, `sluice_tls_reloads_total{result="failed"} 0`) {
		t.Error("the bad pair is not counted")
	}
	for _, want := range []string{
		`sluice_tls_handshakes_total{outcome="established"} 2`,
		"sluice_tls_handshakes_in_flight 0",
		"sluice_tls_certificate_expiry_timestamp_seconds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	out := strings.Join(log.lines(), "\n")
	if !strings.Contains(out, "certificates_failed") ||
		!strings.Contains(out, "certificates_loaded") {
		t.Errorf("the log says %s", out)
	}
	if _, demo := ask(t, g, "/demo.json"); !strings.Contains(demo, `"wss://`+g.Addr().String()+`"`) {
		t.Errorf("/demo.json: %q", demo)
	}
}

// Where certificates are required, and what of them names the user, also in a session that is
// resumed without showing the certificate again.
func TestRequiredCertificates(t *testing.T) {
	ca := newCertAuthority(t)
	cert, key := ca.issue("ann", func(c *x509.Certificate) {
		c.DNSNames = []string{"ann.example.com"}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	foreign := newCertAuthority(t)
	theirs, theirKey := foreign.issue("ann", func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	for identity, user := range map[string]string{"cn": "ann", "dns": "ann.example.com"} {
		onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
			cfg.TLSClientAuth, cfg.TLSClientCA, cfg.TLSIdentity = "require", ca.path(), identity
		}), func(t *testing.T, g *Gateway) {
			for outcome, conf := range map[tlsio.Outcome]*tls.Config{
				tlsio.OutcomeNoCertificate: ca.client(),
				tlsio.OutcomeUnknownCA:     presenting(ca.client(theirs, theirKey)),
			} {
				c := tls.Client(dialRaw(t, g), conf)
				// With TLS 1.3 a client learns only from its first read that it is refused.
				if err := c.Handshake(); err == nil {
					if _, err = c.Read(make([]byte, 1)); err == nil || err == io.EOF {
						t.Errorf("%v: the peer was let in", outcome)
					}
				}
				settled(t, "the refusal is counted", func() bool { return ended(g, outcome) == 1 })
			}
			conf := ca.client(cert, key)
			conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for i := range 3 {
				bob := dialTLS(t, g, conf, "/chat/")
				ann := dialTLS(t, g, conf, "/chat/"+user)
				ann.send(wire.OpText, "hello")
				bob.wantMessage(user + ": hello")
				ann.c.Close()
				bob.c.Close()
				head := tlsHead(t, tls.Client(dialRaw(t, g), conf), "/chat/bob")
				if !strings.HasPrefix(head, "HTTP/1.1 403 ") {
					t.Errorf("attempt %d: another's name is answered %q", i, head)
				}
			}
			if g.encryption.server.Stats().Resumed == 0 {
				t.Error("no session was resumed")
			}
		})
	}
}

// presenting makes a client show its certificate even to who does not know its authority.
func presenting(conf *tls.Config) *tls.Config {
	own := conf.Certificates[0]
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &own, nil
	}
	return conf
}
