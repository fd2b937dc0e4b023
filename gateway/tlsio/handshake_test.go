package tlsio

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/poller"
	"sluice/poller/pollertest"
)

// outcome returns the only outcome that was counted.
func (r *rig) outcome() Outcome {
	r.t.Helper()
	found := Outcomes
	for o, n := range r.server.Stats().Outcomes {
		if n == 0 {
			continue
		}
		if n > 1 || found != Outcomes {
			r.t.Fatalf("more than one outcome: %v", r.server.Stats().Outcomes)
		}
		found = Outcome(o)
	}
	if found == Outcomes {
		r.t.Fatal("no outcome was counted")
	}
	return found
}

// hello returns the first flight of a client.
func hello(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	r := &recorder{to: &b}
	if err := tls.Client(r, clientConfig()).Handshake(); !errors.Is(err, io.EOF) {
		t.Fatalf("recording a ClientHello: %v", err)
	}
	return b.Bytes()
}

// recorder is a net.Conn that takes everything and answers with EOF.
type recorder struct {
	*rig
	to io.Writer
}

func (r *recorder) Read([]byte) (int, error)    { return 0, io.EOF }
func (r *recorder) Write(p []byte) (int, error) { return r.to.Write(p) }

// What is not TLS at all.
func TestForeignFirstBytes(t *testing.T) {
	h := hello(t)
	for _, c := range []struct {
		name  string
		bytes []byte
		want  Outcome
		plain bool // the answer is in plain text
	}{
		{"H21_plain_http", []byte("GET /chat/a HTTP/1.1\r\nHost: x\r\n\r\n"), OutcomePlainHTTP, true},
		{"H21_plain_http_options", []byte("OPTIONS * HTTP/1.1\r\n\r\n"), OutcomePlainHTTP, true},
		{"garbage", bytes.Repeat([]byte{0xff}, 100), OutcomeNotTLS, false},
		{"ssh", []byte("SSH-2.0-OpenSSH_9.9\r\n"), OutcomeNotTLS, false},
		{"proxy_header", []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), OutcomeNotTLS, false},
		{"sslv2", []byte{0x80, 0x2e, 1, 0, 2, 0, 0, 0, 0}, OutcomeVersion, false},
		{"record_too_large", []byte{22, 3, 1, 0xff, 0xff, 1, 0, 0, 1}, OutcomeOther, false},
		{"alert_first", []byte{21, 3, 1, 0, 2, 2, 40}, OutcomePeerAlert, false},
		{"forged_hello", flip(h, recordHeaderBytes+4+2+32), OutcomeOther, false},
		{"message_too_large", []byte{22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff}, OutcomeTimeout, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, Config{}, new(app), true)
				defer r.end()
				r.peer.Deliver(c.bytes)
				r.settle()
				<-time.After(4 * time.Second)
				r.settle()
				r.fake.Advance(2 * time.Second)
				if got := r.outcome(); got != c.want {
					t.Errorf("outcome %v, want %v (%v)", got, c.want, r.app.err)
				}
				if !r.app.closed || r.app.reads > 0 {
					t.Errorf("closed %t, %d reads", r.app.closed, r.app.reads)
				}
				out := r.peer.TakeOutput()
				if plain := bytes.HasPrefix(out, []byte("HTTP/1.1 400 ")); plain != c.plain {
					t.Errorf("answer %q", out)
				}
			})
		})
	}
}

// flip returns b with one byte changed.
func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 0xff
	return b
}

func TestH21_plain_http_gets_a_readable_answer(t *testing.T) {
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(plainAnswer)), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 400 || !res.Close || !strings.HasSuffix(string(body), "\n") {
		t.Fatalf("%d %q %v", res.StatusCode, body, err)
	}
	if !strings.HasSuffix(plainAnswer, "\r\n\r\n"+string(body)) {
		t.Fatal("Content-Length is not that of the body")
	}
}

// Clients that crypto/tls has to refuse. The outcome is told by the texts of its errors.
func TestRefusedClients(t *testing.T) {
	stranger, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	trusting := x509.NewCertPool()
	trusting.AddCert(stranger.Leaf)
	for _, c := range []struct {
		name   string
		client func(*tls.Config)
		server func(*tls.Config)
		want   Outcome
	}{
		{"H21_tls_1.1", func(c *tls.Config) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}, nil, OutcomeVersion},
		{"H21_alpn_h2_only", func(c *tls.Config) { c.NextProtos = []string{"h2"} }, nil,
			OutcomeProtocol},
		{"no_cipher_in_common", func(c *tls.Config) {
			c.MaxVersion = tls.VersionTLS12
			c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}, nil, OutcomeCipher},
		{"no_curve_in_common", func(c *tls.Config) {
			c.CurvePreferences = []tls.CurveID{tls.X25519}
		}, func(c *tls.Config) {
			c.CurvePreferences = []tls.CurveID{tls.CurveP521}
		}, OutcomeCipher},
		{"client_distrusts_us", func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, nil,
			OutcomePeerAlert},
		{"client_distrusts_us_tls_1.2", func(c *tls.Config) {
			c.RootCAs, c.MaxVersion = x509.NewCertPool(), tls.VersionTLS12
		}, nil, OutcomePeerAlert},
		{"no_client_certificate", nil, func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, trusting
		}, OutcomeNoCertificate},
		{"client_certificate_of_unknown_ca", func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &stranger, nil
			}
		}, func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		}, OutcomeUnknownCA},
		{"client_certificate_for_servers_only", func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &stranger, nil
			}
		}, func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, trusting
		}, OutcomeBadCertificate},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				server, client := serverConfig(), clientConfig()
				if c.server != nil {
					c.server(server)
				}
				if c.client != nil {
					c.client(client)
				}
				r := newRig(t, Config{TLS: func() *tls.Config { return server }}, new(app), true)
				defer r.end()
				conn, err := r.shake(client)
				if err == nil { // in TLS 1.3 the client is done before it is judged
					_, err = r.drain(conn)
				}
				if err == nil {
					t.Error("the client noticed nothing")
				}
				r.fake.Advance(2 * time.Second)
				if got := r.outcome(); got != c.want {
					t.Errorf("outcome %v, want %v (%v)", got, c.want, r.app.err)
				}
				if !r.app.closed || r.app.reads > 0 {
					t.Errorf("closed %t, %d reads", r.app.closed, r.app.reads)
				}
			})
		})
	}
}

// newClientPair makes a certificate for a client, which is its own authority.
func newClientPair(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key := ecdsaKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    today().Add(-time.Hour),
		NotAfter:     today().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// A client certificate that is asked for names its user.
func TestClientCertificateNamesItsUser(t *testing.T) {
	own := newClientPair(t, "alice")
	authorities := x509.NewCertPool()
	authorities.AddCert(own.Leaf)
	mine := serverConfig()
	server := NewTLSConfig(mine.GetCertificate, ClientAuthRequire, authorities)
	server.Time = today
	client := clientConfig()
	client.Certificates = []tls.Certificate{*own}
	r := newRig(t, Config{TLS: func() *tls.Config { return server }}, new(app), false)
	defer r.end()
	r.mustShake(client)
	r.fake.Do(func() {
		state, ok := State(r.app.conn)
		if !ok || len(state.VerifiedChains) == 0 {
			t.Fatalf("%t, %+v", ok, state)
		}
		if u := UserOf(state.VerifiedChains[0][0], IdentityCommonName); u != "alice" {
			t.Errorf("user %q", u)
		}
	})
}

// H10: those who do not come to the end of their handshake cost no goroutine before they have sent
// a whole ClientHello, and are gone after HandshakeTimeout.
func TestSlowHandshakes(t *testing.T) {
	h := hello(t)
	for _, c := range []struct {
		name    string
		bytes   []byte
		pending int
	}{
		{"H10_silent_after_connect", nil, 0},
		{"H10_first_byte", h[:1], 0},
		{"H10_all_but_one_byte", h[:len(h)-1], 0},
		{"H10_silent_after_hello", h, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, Config{HandshakeTimeout: 3 * time.Second}, new(app), true)
				defer r.end()
				for i := range c.bytes {
					r.peer.Deliver(c.bytes[i : i+1])
				}
				<-time.After(3*time.Second - 1)
				r.settle()
				if n := r.server.Stats().Pending; n != c.pending || r.app.closed {
					t.Fatalf("%d goroutines, closed %t", n, r.app.closed)
				}
				<-time.After(1)
				r.settle()
				if !r.app.closed || !errors.Is(r.app.err, ErrTimeout) {
					t.Fatalf("closed %t: %v", r.app.closed, r.app.err)
				}
				if got := r.outcome(); got != OutcomeTimeout {
					t.Fatalf("outcome %v", got)
				}
			})
		})
	}
}

// A peer that goes away takes its handshake with it.
func TestPeerLeavesTheHandshake(t *testing.T) {
	h := hello(t)
	for _, n := range []int{0, 3, len(h) / 2, len(h)} {
		inBubble(t, func(t *testing.T) {
			r := newRig(t, Config{}, new(app), true)
			defer r.end()
			r.peer.Deliver(h[:n])
			r.settle()
			r.peer.Close()
			r.settle()
			if !r.app.closed || r.app.err != io.EOF || r.outcome() != OutcomePeerGone {
				t.Fatalf("after %d bytes: closed %t, %v, %v", n, r.app.closed, r.app.err, r.outcome())
			}
		})
	}
}

// Peers that wait hold no computing slot: with one slot many can be under way.
func TestWaitingPeersHoldNoSlot(t *testing.T) {
	h := hello(t)
	inBubble(t, func(t *testing.T) {
		cfg := serverConfig()
		server := NewServer(Config{TLS: func() *tls.Config { return cfg }, HandshakesMax: 1})
		idle := newRigFrom(t, server, peerAddr, true)
		idle.peer.Deliver(h)
		idle.settle()
		quick := newRigFrom(t, server, peerAddr, true)
		quick.mustShake(nil)
		if n := server.Stats().Pending; n != 1 {
			t.Errorf("%d pending", n)
		}
		server.Close() // ends the idle one
		idle.settle()
		if !errors.Is(idle.app.err, ErrServerClosed) || quick.app.closed {
			t.Errorf("idle: %v; quick closed: %t", idle.app.err, quick.app.closed)
		}
		late := newRigFrom(t, server, peerAddr, true)
		late.peer.Deliver(h)
		late.settle()
		if !errors.Is(late.app.err, ErrServerClosed) {
			t.Errorf("late: %v", late.app.err)
		}
		for _, r := range []*rig{idle, quick, late} {
			if err := r.fake.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// What a peer sends before its handshake is over is bounded by not reading on.
func TestHandshakeStopsReadingFromAFlood(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, Config{HandshakesMax: 1}, new(app), true)
		defer r.end()
		free := r.server.schedule.block() // somebody else computes
		r.peer.Deliver(hello(t))
		r.peer.Deliver(make([]byte, inboxBytesMax))
		if !r.peer.Paused() {
			t.Error("reading went on")
		}
		free()
		r.settle()
		r.fake.Advance(2 * time.Second)
		if !r.app.closed || r.outcome() != OutcomeOther {
			t.Errorf("closed %t, %v", r.app.closed, r.app.err)
		}
	})
}

// What follows the handshake in the same read is not lost, however much it is, and reading goes on.
func TestDataBehindTheHandshake(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, Config{HandshakesMax: 1}, new(app), true)
		defer r.end()
		want := bytes.Repeat([]byte("x"), 2*inboxBytesMax)
		client := tls.Client(r, clientConfig())
		r.answered = func() { r.corked = true }
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		free := r.server.schedule.block() // somebody else computes
		r.atOnce(func() {
			if _, err := client.Write(want); err != nil {
				t.Fatal(err)
			}
		})
		if !r.peer.Paused() || r.app.reads > 0 {
			t.Errorf("paused %t, %d reads", r.peer.Paused(), r.app.reads)
		}
		free()
		r.settle()
		if !bytes.Equal(r.app.got, want) || r.peer.Paused() {
			t.Errorf("got %d bytes of %d, paused %t", len(r.app.got), len(want), r.peer.Paused())
		}
	})
}

// The handler may write, set its timer and close while the handshake is going on.
func TestApplicationDuringTheHandshake(t *testing.T) {
	reason := errors.New("the application's own deadline")
	inBubble(t, func(t *testing.T) {
		a := &app{onTimer: func(a *app) {
			a.conn.Write([]byte("408"))
			a.conn.CloseWrite()
			a.conn.Close(reason)
		}}
		r := &rig{t: t, from: peerAddr, fake: pollertest.NewFake(), app: a, bubble: true}
		r.opened = func(a *app) { a.conn.SetTimer(time.Second) }
		r.connect(Config{})
		defer r.end()
		r.peer.Deliver(hello(t)[:10])
		r.fake.Advance(2 * time.Second)
		if out := r.peer.TakeOutput(); len(out) > 0 {
			t.Errorf("plaintext leaked: %q", out)
		}
		if !a.closed || a.err != reason || r.outcome() != OutcomePeerGone {
			t.Errorf("closed %t, %v", a.closed, a.err)
		}
		if _, ok := State(a.conn); ok {
			t.Error("there is a state without a handshake")
		}
	})
}

// A callback of the configuration that panics costs its own connection.
func TestPanicInAHandshake(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		cfg := serverConfig()
		cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("broken") }
		r := newRig(t, Config{TLS: func() *tls.Config { return cfg }}, new(app), true)
		defer r.end()
		if _, err := r.shake(nil); err == nil {
			t.Error("the handshake succeeded")
		}
		if !r.app.closed || !strings.Contains(r.app.err.Error(), "broken") {
			t.Errorf("closed %t, %v", r.app.closed, r.app.err)
		}
	})
}

// A ClientHello in every way of cutting it is one.
func TestHelloReady(t *testing.T) {
	h := hello(t)
	for n := range len(h) {
		if helloReady(h[:n]) {
			t.Fatalf("ready after %d of %d bytes", n, len(h))
		}
	}
	if !helloReady(h) {
		t.Fatal("not ready when whole")
	}
	long := append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff}, make([]byte, helloBytesMax)...)
	if helloReady(long[:helloBytesMax-1]) || !helloReady(long[:helloBytesMax]) {
		t.Fatal("a long one is not passed on at the bound")
	}
	var pieces []byte // the same message in records of one byte
	for _, b := range h[recordHeaderBytes:] {
		pieces = append(pieces, typeHandshake, 3, 1, 0, 1, b)
	}
	if helloReady(pieces[:len(pieces)-1]) || !helloReady(pieces) {
		t.Fatal("fragmented over records")
	}
}

// Turned-away sockets get no plaintext parting.
func TestPartingIsNotSent(t *testing.T) {
	s := NewServer(Config{})
	defer s.Close()
	v := s.Wrap(dropper{}).Admit(peerAddr)
	if !v.Drop || v.Parting != nil {
		t.Errorf("%+v", v)
	}
}

type dropper struct{ poller.Acceptor }

func (dropper) Admit(netip.AddrPort) poller.Admission {
	return poller.Admission{Drop: true, Parting: []byte("HTTP/1.1 503 ...")}
}
