package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/auth"
	"sluice/gateway/tlsio"
	"sluice/gateway/wire"
)

// authority makes certificates for tests.
type certAuthority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newCertAuthority(t *testing.T) *certAuthority {
	t.Helper()
	ca := &certAuthority{t: t, dir: t.TempDir()}
	ca.issue("ca", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	return ca
}

// issue writes NAME.pem and NAME.key and returns their paths. The first certificate signs itself,
// and the others.
func (ca *certAuthority) issue(name string, change func(*x509.Certificate)) (cert, key string) {
	ca.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	ca.next++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(ca.next), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	change(c)
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = c, private
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, private.Public(), signer)
	if err != nil {
		ca.t.Fatal(err)
	}
	if ca.cert == nil {
		if ca.cert, err = x509.ParseCertificate(der); err != nil {
			ca.t.Fatal(err)
		}
		ca.key = private
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, key = filepath.Join(ca.dir, name+".pem"), filepath.Join(ca.dir, name+".key")
	ca.write(cert, "CERTIFICATE", der)
	ca.write(key, "PRIVATE KEY", raw)
	return cert, key
}

func (ca *certAuthority) write(path, kind string, der []byte) {
	ca.t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		ca.t.Fatal(err)
	}
}

func (ca *certAuthority) path() string { return filepath.Join(ca.dir, "ca.pem") }

// client is the configuration of a client that trusts the authority.
func (ca *certAuthority) client(certificate ...string) *tls.Config {
	ca.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	conf := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
	if len(certificate) == 2 {
		pair, err := tls.LoadX509KeyPair(certificate[0], certificate[1])
		if err != nil {
			ca.t.Fatal(err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf
}

// dialTLS opens a WebSocket over TLS.
func dialTLS(t *testing.T, g *Gateway, conf *tls.Config, target string, headers ...string) *peer {
	t.Helper()
	return overTLS(t, dialRaw(t, g), conf, target, headers...)
}

// overTLS opens a WebSocket over TLS on a connection.
func overTLS(t *testing.T, raw net.Conn, conf *tls.Config, target string, headers ...string) *peer {
	t.Helper()
	c := tls.Client(raw, conf)
	p := &peer{t: t, c: c}
	p.dec.Init(&clientLimits, wire.Client, true)
	if head := tlsHead(t, c, target, headers...); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("handshake answered %q", head)
	}
	return p
}

// tlsHead sends a request and returns the head of the answer.
func tlsHead(t *testing.T, c *tls.Conn, target string, headers ...string) string {
	t.Helper()
	if _, err := io.WriteString(c, upgradeRequest(target, headers...)); err != nil {
		t.Fatal(err)
	}
	var head strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(head.String(), "\r\n\r\n"); {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("%v after %q", err, head.String())
		}
		head.Write(b)
	}
	return head.String()
}

func withTLS(t *testing.T, ca *certAuthority, change func(*Config)) func(*Config) {
	cert, key := ca.issue("server", func(*x509.Certificate) {})
	return func(cfg *Config) {
		cfg.TLSCerts, cfg.TLSKeys = []string{cert}, []string{key}
		if change != nil {
			change(cfg)
		}
	}
}

func TestTLS(t *testing.T) {
	ca := newCertAuthority(t)
	onEachEngine(t, withTLS(t, ca, nil), func(t *testing.T, g *Gateway) {
		files := openDescriptors(t)
		ann := dialTLS(t, g, ca.client(), "/chat/ann")
		bob := dialTLS(t, g, ca.client(), "/chat/bob")
		ann.send(wire.OpText, "hello")
		bob.wantMessage("ann: hello")
		echo := dialTLS(t, g, ca.client(), "/echo")
		long := strings.Repeat("0123456789abcdef", 3000)
		echo.send(wire.OpBinary, long)
		if ev := echo.next(); string(ev.Payload) != long {
			t.Errorf("%d bytes came back", len(ev.Payload))
		}
		if n := g.encryption.server.Stats().Outcomes[tlsio.OutcomeEstablished]; n != 3 {
			t.Errorf("%d handshakes counted", n)
		}
		for _, p := range []*peer{ann, bob, echo} {
			p.c.Close()
		}
		settled(t, "all connections are closed", func() bool {
			return g.connections() == 0 && openDescriptors(t) <= files
		})
	})
}

func TestTLSDrain(t *testing.T) {
	ca := newCertAuthority(t)
	onEachEngine(t, withTLS(t, ca, nil), func(t *testing.T, g *Gateway) {
		ann := dialTLS(t, g, ca.client(), "/chat/ann")
		silent := dialRaw(t, g) // in the middle of a handshake
		settled(t, "both are there", func() bool { return g.connections() == 2 })
		done := make(chan error, 1)
		go func() { done <- g.Drain(t.Context()) }()
		ann.wantClose(1012)
		ann.c.Close()
		silent.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestPlainHTTPOnTheTLSPort(t *testing.T) {
	ca := newCertAuthority(t)
	onEachEngine(t, withTLS(t, ca, nil), func(t *testing.T, g *Gateway) {
		c := dialRaw(t, g)
		io.WriteString(c, upgradeRequest("/echo"))
		if out, _ := io.ReadAll(c); !strings.HasPrefix(string(out), "HTTP/1.1 400 ") {
			t.Errorf("answered %q", out)
		}
	})
}

func TestClientCertificates(t *testing.T) {
	ca := newCertAuthority(t)
	uri, err := url.Parse("spiffe://example.com/ann")
	if err != nil {
		t.Fatal(err)
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, key := ca.issue("ann", func(c *x509.Certificate) {
		c.URIs, c.ExtKeyUsage = []*url.URL{uri}, usage
	})
	nobody, nobodyKey := ca.issue("nobody", func(c *x509.Certificate) { c.ExtKeyUsage = usage })
	change := func(cfg *Config) {
		cfg.TLSClientAuth, cfg.TLSClientCA = "request", ca.path()
		cfg.ConnectionsPerUserMax = 2
	}
	path := "/chat/" // a slash cannot be escaped in a path, so the certificate names the user
	tokens := false  // may be shown instead
	status := func(t *testing.T, g *Gateway, conf *tls.Config, target string, headers ...string) string {
		head := tlsHead(t, tls.Client(dialRaw(t, g), conf), target, headers...)
		if strings.Contains(head, "WWW-Authenticate") != tokens {
			t.Errorf("%s is answered %q", target, head)
		}
		return strings.Fields(head)[1]
	}
	onEachEngine(t, withTLS(t, ca, change), func(t *testing.T, g *Gateway) {
		bob := dialTLS(t, g, ca.client(cert, key), "/chat/")
		ann := dialTLS(t, g, ca.client(cert, key), path)
		ann.send(wire.OpText, "hello")
		bob.wantMessage("spiffe://example.com/ann: hello")
		for _, r := range []struct {
			name, target, want string
			conf               *tls.Config
			header             string
		}{
			{"other_name", "/chat/bob", "403", ca.client(cert, key), "X: y"},
			{"no_certificate", "/chat/bob", "403", ca.client(), "X: y"},
			{"no_certificate_echo", "/echo", "403", ca.client(), "X: y"},
			{"no_user_in_it", "/echo", "403", ca.client(nobody, nobodyKey), "X: y"},
			{"H17_page", path, "403", ca.client(cert, key), "Origin: https://evil.com"},
		} {
			if got := status(t, g, r.conf, r.target, r.header); got != r.want {
				t.Errorf("%s: %s, want %s", r.name, got, r.want)
			}
		}
		if got := status(t, g, ca.client(cert, key), path); got != "429" {
			t.Errorf("the third connection of a user gets %s", got)
		}
		ann.send(wire.OpText, `{"token":"e30.e30.e30"}`)
		ann.wantClose(3000)
		settled(t, "ann has left", func() bool {
			return len(g.authority.roster.ofUser(auth.AnyIssuer, uri.String())) == 1
		})
		if done, err := g.Revoke(Revocation{User: uri.String()}); done.Closed != 1 {
			t.Errorf("revoking closes %+v, %v", done, err)
		}
		bob.wantClose(3000) // and no token before
		if got := status(t, g, ca.client(cert, key), path); got != "403" {
			t.Errorf("a revoked user gets %s", got)
		}
		settled(t, "a certificate of a later second lets the user in", func() bool {
			later, laterKey := ca.issue("later", func(c *x509.Certificate) {
				c.URIs, c.ExtKeyUsage, c.NotBefore = []*url.URL{uri}, usage, time.Now()
			})
			return status(t, g, ca.client(later, laterKey), path) == "101"
		})
	})
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		change(cfg)
		guarded(t, cfg)
		tokens = true
	}), func(t *testing.T, g *Gateway) {
		token := bearer(sign(t, jwt.MapClaims{"sub": "bob"}))
		// A token is more than a certificate; a certificate is as good as a token.
		dialTLS(t, g, ca.client(cert, key), "/chat/bob", token)
		dialTLS(t, g, ca.client(), "/chat/bob", token)
		dialTLS(t, g, ca.client(cert, key), path)
		if got := status(t, g, ca.client(cert, key), "/chat/bob"); got != "403" {
			t.Errorf("a name that is not the certificate's gets %s", got)
		}
	})
}

func TestCertificatesAreReplaced(t *testing.T) {
	ca := newCertAuthority(t)
	onEachEngine(t, withTLS(t, ca, nil), func(t *testing.T, g *Gateway) {
		serial := func() int64 {
			c := tls.Client(dialRaw(t, g), ca.client())
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		}
		before := serial()
		old := dialTLS(t, g, ca.client(), "/echo")
		cert, key := ca.issue("server", func(*x509.Certificate) {})
		cfg := g.current.Load().Config
		if err := g.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		replaced := serial()
		if replaced == before {
			t.Error("the new certificate is not in use")
		}
		for _, path := range []string{cert, key} {
			if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := g.Reload(cfg); err != nil {
				t.Errorf("a bad certificate fails the whole reload: %v", err)
			}
		}
		if after := serial(); after != replaced {
			t.Error("a bad pair has replaced a good one")
		}
		if s := g.encryption.stats(); s.Reloaded != 1 || s.Failed != 2 || s.Expires.IsZero() {
			t.Errorf("stats %+v", s)
		}
		old.send(wire.OpText, "still here")
		old.wantMessage("still here")
		ca.issue("server", func(*x509.Certificate) {}) // for the next engine
	})
}

func TestTLSThatCannotStart(t *testing.T) {
	ca := newCertAuthority(t)
	cert, key := ca.issue("server", func(*x509.Certificate) {})
	_, other := ca.issue("other", func(*x509.Certificate) {})
	for name, r := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"mismatch":    {func(c *Config) { c.TLSCerts, c.TLSKeys = []string{cert}, []string{other} }, "private key"},
		"no_file":     {func(c *Config) { c.TLSCerts, c.TLSKeys = []string{"/no/file"}, []string{key} }, "/no/file"},
		"no_key":      {func(c *Config) { c.TLSCerts = []string{cert} }, "0 keys for 1"},
		"both":        {func(c *Config) { c.TLSCerts, c.TLSKeys, c.TLSSelfSigned = []string{cert}, []string{key}, true }, "already"},
		"no_ca":       {func(c *Config) { c.TLSSelfSigned, c.TLSClientAuth = true, "require" }, "authorities"},
		"ca_is_a_key": {func(c *Config) { c.TLSSelfSigned, c.TLSClientAuth, c.TLSClientCA = true, "require", key }, "no certificate"},
		"no_tls":      {func(c *Config) { c.TLSClientAuth, c.TLSClientCA = "require", cert }, "listener with TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := quick()
			r.change(&cfg)
			g, err := New(cfg, Options{})
			if err == nil {
				g.Close()
			}
			if err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("%v; want %q in it", err, r.want)
			}
		})
	}
}

func TestExamine(t *testing.T) {
	ca := newCertAuthority(t)
	cert, key := ca.issue("server", func(*x509.Certificate) {})
	cfg := quick()
	cfg.TLSCerts, cfg.TLSKeys = []string{cert}, []string{key}
	guarded(t, &cfg)
	warnings, err := Examine(cfg)
	text := strings.Join(warnings, "\n")
	if err != nil || !strings.Contains(text, "expires in 0 days") || !strings.Contains(text, "query") {
		t.Errorf("%v, %v", warnings, err)
	}
	cfg.AuthJWT = []string{"alg=HS256,key=@/no/such/file"}
	if _, err := Examine(cfg); err == nil {
		t.Error("a key that is missing goes unnoticed")
	}
	open := DefaultConfig()
	open.Listen = ":8080"
	if w := open.Warnings(); len(w) != 2 || !strings.Contains(w[0], "no authentication") ||
		!strings.Contains(w[1], "allowed-origins") {
		t.Errorf("%q", w)
	}
	open.Origins = []string{"https://good.com"}
	if w := open.Warnings(); len(w) != 1 {
		t.Errorf("%q", w)
	}
	local := DefaultConfig()
	if w := local.Warnings(); len(w) != 0 {
		t.Errorf("%q", w)
	}
	local.TrustedProxies, local.ClientHeader = []string{"127.0.0.1"}, "x-forwarded-for"
	if w := local.Warnings(); len(w) != 1 || !strings.Contains(w[0], "allowed-origins") {
		t.Errorf("%q", w)
	}
	local.Origins, local.ClientHeader = []string{"https://good.com"}, "none"
	if w := local.Warnings(); len(w) != 1 || !strings.Contains(w[0], "client-header") {
		t.Errorf("%q", w)
	}
}
