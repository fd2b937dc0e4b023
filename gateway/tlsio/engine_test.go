package tlsio

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/poller"
	"sluice/poller/pollertest"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// bed is a TLS echo server on an engine with real sockets.
type bed struct {
	*testing.T
	server *Server
	engine poller.Engine
	addr   string
	ended  chan error // what each OnClose got
}

// echoes is the server's acceptor and makes its handlers.
type echoes struct{ bed *bed }

func (e echoes) Admit(netip.AddrPort) poller.Admission { return poller.Admission{} }
func (e echoes) Open(c poller.Conn, _ uint8) poller.Handler {
	return &echoHandler{bed: e.bed, conn: c}
}

type echoHandler struct {
	app
	bed  *bed
	conn poller.Conn
}

func (e *echoHandler) OnData(p []byte)   { e.conn.Write(p) }
func (e *echoHandler) OnClose(err error) { e.bed.ended <- err }

// onEngines runs a test on each engine of this system, and checks that nothing is left behind.
func onEngines(t *testing.T, cfg Config, test func(b *bed)) {
	t.Helper()
	warmUp(t)
	for _, name := range []string{"auto", "netpoll"} {
		t.Run(name, func(t *testing.T) {
			before := openDescriptors(t)
			goroutines := goleak.IgnoreCurrent()
			b := newBed(t, name, cfg)
			test(b)
			b.close()
			goleak.VerifyNone(t, goroutines, pollertest.IgnoreNetpoll())
			if n := openDescriptors(t); n != before {
				t.Errorf("%d descriptors are open, %d were before", n, before)
			}
		})
	}
}

// warmUp opens what a process keeps once it has it.
func warmUp(t *testing.T) {
	t.Helper()
	b := newBed(t, "netpoll", Config{})
	c := b.dial(nil)
	c.exchange("warm")
	c.hangUp()
	b.close()
}

func newBed(t *testing.T, engine string, cfg Config) *bed {
	t.Helper()
	if cfg.TLS == nil {
		c := serverConfig()
		cfg.TLS = func() *tls.Config { return c }
	}
	e, err := poller.New(engine, poller.Config{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{T: t, server: NewServer(cfg), engine: e, ended: make(chan error, 1000)}
	addr, err := e.Listen("127.0.0.1:0", b.server.Wrap(echoes{b}))
	if err != nil {
		t.Fatal(err)
	}
	b.addr = addr.String()
	return b
}

func (b *bed) close() {
	b.Helper()
	if err := b.engine.Close(); err != nil {
		b.Error(err)
	}
	b.server.Close()
	if n := b.server.Stats().Pending; n != 0 {
		b.Errorf("%d handshakes are pending", n)
	}
}

// waitEnd returns what the next OnClose gets.
func (b *bed) waitEnd() error {
	b.Helper()
	select {
	case err := <-b.ended:
		return err
	case <-time.After(patience):
		b.Fatal("no connection ended")
		return nil
	}
}

// tlsClient is a client.
type tlsClient struct {
	*tls.Conn
	bed *bed
}

// dial connects and makes the handshake; cfg may be nil. hangUp must follow.
func (b *bed) dial(cfg *tls.Config) *tlsClient {
	b.Helper()
	if cfg == nil {
		cfg = clientConfig()
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", b.addr, cfg)
	if err != nil {
		b.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		b.Fatal(err)
	}
	return &tlsClient{c, b}
}

// exchange sends text and expects it back.
func (c *tlsClient) exchange(text string) {
	c.bed.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.bed.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		c.bed.Fatalf("echo of %d bytes: %v", len(text), err)
	}
}

// hangUp closes and expects the server to see that as the end.
func (c *tlsClient) hangUp() {
	c.bed.Helper()
	if err := c.Close(); err != nil {
		c.bed.Error(err)
	}
	if err := c.bed.waitEnd(); !errors.Is(err, io.EOF) {
		c.bed.Errorf("the server's end: %v", err)
	}
}

func TestVersionsAndProtocols(t *testing.T) {
	onEngines(t, Config{}, func(b *bed) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			cfg := clientConfig()
			cfg.MinVersion, cfg.MaxVersion = version, version
			c := b.dial(cfg)
			if s := c.ConnectionState(); s.Version != version || s.NegotiatedProtocol != "http/1.1" {
				b.Errorf("version %x, protocol %q", s.Version, s.NegotiatedProtocol)
			}
			c.exchange("x")
			c.exchange(strings.Repeat("large", 20_000))
			c.hangUp()
		}
	})
}

func TestResumption(t *testing.T) {
	onEngines(t, Config{}, func(b *bed) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			cfg := clientConfig()
			cfg.MaxVersion, cfg.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
			for i := range 3 {
				c := b.dial(cfg)
				c.exchange("the ticket comes before this")
				if got := c.ConnectionState().DidResume; got != (i > 0) {
					b.Errorf("version %x, connection %d: resumed %t", version, i, got)
				}
				c.hangUp()
			}
		}
		if n := b.server.Stats().Resumed; n != 4 {
			b.Errorf("%d resumptions were counted", n)
		}
	})
}

func TestBulk(t *testing.T) {
	onEngines(t, Config{}, func(b *bed) {
		c := b.dial(nil)
		for range 40 {
			c.exchange(strings.Repeat("0123456789abcdef", 8<<10))
		}
		c.hangUp()
	})
}

// R05: a storm. Everybody gets in, and no more than HandshakesMax compute at once.
func TestR05_300_handshakes_at_once(t *testing.T) {
	const clients, slots = 300, 8
	var gauge gauge
	cfg := serverConfig()
	choose := cfg.GetCertificate
	cfg.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		defer gauge.enter()()
		return choose(h)
	}
	c := Config{TLS: func() *tls.Config { return cfg }, HandshakesMax: slots,
		HandshakeTimeout: patience}
	onEngines(t, c, func(b *bed) {
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				c, err := tls.Dial("tcp", b.addr, clientConfig())
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				if _, err := io.WriteString(c, "x"); err != nil {
					b.Error(err)
				}
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		if n := b.server.Stats().Outcomes[OutcomeEstablished]; n != clients {
			b.Errorf("%d handshakes", n)
		}
		if n := gauge.most(); n > slots {
			b.Errorf("%d handshakes computed at once", n)
		}
	})
}

// gauge knows the most that were inside at once.
type gauge struct {
	mu       sync.Mutex
	now, max int
}

func (g *gauge) enter() (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now++
	g.max = max(g.max, g.now)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.now--
	}
}

func (g *gauge) most() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.max
}

func TestH21_plain_http_over_a_socket(t *testing.T) {
	onEngines(t, Config{}, func(b *bed) {
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			b.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != plainAnswer {
			b.Errorf("%q, %v", got, err)
		}
		c.Close()
		if err := b.waitEnd(); !errors.Is(err, ErrPlainHTTP) {
			b.Errorf("end: %v", err)
		}
	})
}

func TestPeersThatVanish(t *testing.T) {
	h := hello(t)
	onEngines(t, Config{}, func(b *bed) {
		for _, first := range [][]byte{nil, h[:5], h, []byte("\x00garbage that is not TLS")} {
			c, err := net.Dial("tcp", b.addr)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := c.Write(first); err != nil {
				b.Fatal(err)
			}
			c.Close()
			if err := b.waitEnd(); err == nil {
				b.Error("an end without a reason")
			}
		}
	})
}

// openSSL runs s_client, which sends input, until it has printed want; then its input ends.
func (b *bed) openSSL(want string, input string, args ...string) string {
	b.Helper()
	ca := filepath.Join(b.TempDir(), "ca.pem")
	raw := pem.EncodeToMemory(&pem.Block{
		Type: "CERTIFICATE", Bytes: certificate().Certificate[0]})
	if err := os.WriteFile(ca, raw, 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), "openssl", append([]string{"s_client", "-CAfile", ca,
		"-connect", b.addr, "-servername", "localhost", "-verify_return_error"}, args...)...)
	out := &watched{want: want, seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := io.WriteString(stdin, input); err != nil {
		b.Fatal(err)
	}
	select {
	case <-out.seen:
	case <-time.After(patience):
		b.Errorf("openssl did not say %q but %s", want, out.text())
	}
	stdin.Close()
	b.waitEnd()
	cmd.Wait() // its exit code says nothing about the session
	return out.text()
}

// watched tells when a text has been written to it.
type watched struct {
	mu   sync.Mutex
	b    bytes.Buffer
	want string
	seen chan struct{}
	done bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p)
	if !w.done && strings.Contains(w.b.String(), w.want) {
		w.done = true
		close(w.seen)
	}
	return len(p), nil
}

func (w *watched) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func TestOpenSSL(t *testing.T) {
	onEngines(t, Config{}, func(b *bed) {
		for _, version := range []string{"tls1_2", "tls1_3"} {
			session := filepath.Join(b.TempDir(), "session")
			flags := []string{"-" + version, "-alpn", "http/1.1"}
			out := b.openSSL("\necho this\n", "echo this\n",
				append(flags, "-sess_out", session)...)
			for _, want := range []string{"ALPN protocol: http/1.1", "Verify return code: 0 (ok)"} {
				if !strings.Contains(out, want) {
					b.Errorf("%s: no %q in %s", version, want, out)
				}
			}
			out = b.openSSL("\nand this\n", "and this\n", append(flags, "-sess_in", session)...)
			if !strings.Contains(out, "Reused, TLS") {
				b.Errorf("%s: no resumption in %s", version, out)
			}
		}
		if s := b.server.Stats(); s.Resumed != 2 || s.Outcomes[OutcomeEstablished] != 4 {
			b.Errorf("%+v", s)
		}
	})
}

// s_client's commands: K updates the keys and asks for the same, R renegotiates.
func TestOpenSSLKeyUpdate(t *testing.T) {
	onEngines(t, Config{}, func(b *bed) {
		b.openSSL("\nafter\n", "before\nK\nafter\n", "-tls1_3")
	})
}

func TestRenegotiationIsRefused(t *testing.T) {
	onEngines(t, Config{}, func(b *bed) {
		out := b.openSSL("alert unexpected message", "R\n", "-tls1_2")
		if !strings.Contains(out, "RENEGOTIATING") {
			b.Errorf("did not try: %s", out)
		}
	})
}

func TestOpenSSLIsRefused(t *testing.T) {
	onEngines(t, Config{}, func(b *bed) {
		for i, args := range [][]string{
			{"-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"},
			{"-alpn", "h2"},
			{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"},
		} {
			b.openSSL("alert", "", args...)
			want := []Outcome{OutcomeVersion, OutcomeProtocol, OutcomeCipher}[i]
			if n := b.server.Stats().Outcomes[want]; n != 1 {
				b.Errorf("%v: counted %d as %v", args, n, want)
			}
		}
	})
}
