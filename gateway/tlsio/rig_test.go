package tlsio

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/poller"
	"sluice/poller/pollertest"
)

var peerAddr = netip.MustParseAddrPort("192.0.2.1:40000")

// certificate is made once: all tests may use it.
var certificate = sync.OnceValue(func() tls.Certificate {
	cert, err := SelfSigned()
	if err != nil {
		panic(err)
	}
	return cert
})

// today is when the certificate is valid; in a bubble it is not what the clock says.
func today() time.Time { return certificate().Leaf.NotBefore.Add(2 * clockSkewMax) }

// serverConfig is the configuration in production, with the self-signed certificate.
func serverConfig() *tls.Config {
	cert := certificate()
	cfg := NewTLSConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		ClientAuthNone, nil)
	cfg.Time = today
	return cfg
}

func clientConfig() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(certificate().Leaf)
	return &tls.Config{
		RootCAs: roots, ServerName: "localhost", NextProtos: []string{"http/1.1"}, Time: today,
	}
}

// app is an application's handler. What it does with data is the test's to say.
type app struct {
	conn    poller.Conn
	onData  func(a *app, p []byte)
	onTimer func(a *app)

	got     []byte
	reads   int
	blocked []bool // OnBlocked and OnDrained in the order of their calls
	closed  bool
	err     error
}

func (a *app) OnData(p []byte) {
	a.reads++
	a.got = append(a.got, p...)
	if a.onData != nil {
		a.onData(a, p)
	}
}
func (a *app) OnBlocked() { a.blocked = append(a.blocked, true) }
func (a *app) OnDrained() { a.blocked = append(a.blocked, false) }
func (a *app) OnTimer() {
	if a.onTimer != nil {
		a.onTimer(a)
	}
}
func (a *app) OnClose(err error) { a.closed, a.err = true, err }

func echo(a *app, p []byte) { a.conn.Write(p) }

// rig is one connection of a wrapped acceptor on a fake engine, and its peer.
type rig struct {
	t       testing.TB
	server  *Server
	from    netip.AddrPort
	fake    *pollertest.Fake
	peer    *pollertest.Peer
	app     *app
	bubble  bool   // in a bubble of testing/synctest
	waiting bool   // Read waits for the handshake's goroutine
	corked  bool   // Write keeps what the client sends
	held    []byte // what it has kept
	ended   bool   // the client has been told of the end of the connection
	spare   []byte // output that the client has not read
	opened  func(a *app)

	answered func() // called when the client gets to read something; may be nil
}

func (r *rig) Admit(netip.AddrPort) poller.Admission { return poller.Admission{} }

func (r *rig) Open(c poller.Conn, _ uint8) poller.Handler {
	r.app.conn = c
	if r.opened != nil {
		r.opened(r.app)
	}
	return r.app
}

// newRig connects. The zero Config serves with serverConfig.
func newRig(t testing.TB, cfg Config, a *app, bubble bool) *rig {
	t.Helper()
	r := &rig{t: t, from: peerAddr, fake: pollertest.NewFake(), app: a, bubble: bubble}
	r.connect(cfg)
	return r
}

// newRigOf connects to a server that several rigs share.
func newRigOf(t testing.TB, s *Server) *rig {
	t.Helper()
	return newRigFrom(t, s, peerAddr, false)
}

// newRigFrom does it from an address.
func newRigFrom(t testing.TB, s *Server, from netip.AddrPort, bubble bool) *rig {
	t.Helper()
	r := &rig{
		t: t, server: s, from: from, fake: pollertest.NewFake(), app: new(app), bubble: bubble,
	}
	r.connect(Config{})
	return r
}

func (r *rig) connect(cfg Config) {
	if cfg.TLS == nil {
		c := serverConfig()
		cfg.TLS = func() *tls.Config { return c }
	}
	if r.server == nil {
		r.server = NewServer(cfg)
	}
	addr, err := r.fake.Listen("127.0.0.1:0", r.server.Wrap(r))
	if err != nil {
		r.t.Fatal(err)
	}
	r.peer = r.fake.Connect(addr, r.from)
}

// end closes the engine and the server.
func (r *rig) end() {
	r.t.Helper()
	if err := r.fake.Close(); err != nil {
		r.t.Error(err)
	}
	r.server.Close()
	if !r.app.closed {
		r.t.Error("the application was not told of the end")
	}
	if st := r.server.Stats(); st.Pending != 0 {
		r.t.Errorf("%d handshakes are pending after the end", st.Pending)
	}
}

// settle lets everything happen that can without the peer.
func (r *rig) settle() {
	if r.bubble {
		synctest.Wait()
	} else {
		runtime.Gosched()
	}
	r.fake.RunPosted()
}

// Read implements net.Conn for the client.
func (r *rig) Read(p []byte) (int, error) {
	for {
		r.settle()
		r.spare = append(r.spare, r.peer.TakeOutput()...)
		if len(r.spare) > 0 {
			if r.answered != nil {
				r.answered()
			}
			n := copy(p, r.spare)
			r.spare = r.spare[n:]
			return n, nil
		}
		if closed, _ := r.peer.Closed(); closed || r.peer.FIN() {
			r.ended = true
			return 0, io.EOF
		}
		if r.bubble || !r.waiting {
			return 0, errBlocked
		}
	}
}

// Write implements net.Conn for the client.
func (r *rig) Write(p []byte) (int, error) {
	if r.corked {
		r.held = append(r.held, p...)
	} else {
		r.peer.Deliver(p)
	}
	return len(p), nil
}

// atOnce delivers in one piece what write sends.
func (r *rig) atOnce(write func()) {
	r.corked = true
	write()
	r.corked = false
	r.peer.Deliver(r.held)
	r.held = nil
}

func (r *rig) Close() error                     { return nil }
func (r *rig) LocalAddr() net.Addr              { return net.TCPAddrFromAddrPort(peerAddr) }
func (r *rig) RemoteAddr() net.Addr             { return net.TCPAddrFromAddrPort(peerAddr) }
func (r *rig) SetDeadline(time.Time) error      { return nil }
func (r *rig) SetReadDeadline(time.Time) error  { return nil }
func (r *rig) SetWriteDeadline(time.Time) error { return nil }

// shake makes the handshake as a client with cfg, which may be nil.
func (r *rig) shake(cfg *tls.Config) (*tls.Conn, error) {
	r.t.Helper()
	if cfg == nil {
		cfg = clientConfig()
	}
	client := tls.Client(r, cfg)
	r.waiting = true
	err := client.Handshake()
	for r.waiting = false; err == nil && !r.bubble && r.server.Stats().Pending > 0; {
		runtime.Gosched() // the client is done first in TLS 1.3
	}
	r.settle()
	return client, err
}

func (r *rig) mustShake(cfg *tls.Config) *tls.Conn {
	r.t.Helper()
	client, err := r.shake(cfg)
	if err != nil {
		r.t.Fatalf("handshake: %v", err)
	}
	return client
}

// drain reads what the client has got.
func (r *rig) drain(client *tls.Conn) ([]byte, error) {
	var all bytes.Buffer
	_, err := all.ReadFrom(client)
	if errors.Is(err, errBlocked) {
		err = nil
	}
	return all.Bytes(), err
}

// inBubble runs a test in a bubble of testing/synctest.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	certificate()
	synctest.Test(t, f)
}

// openDescriptors counts the descriptors of the process.
func openDescriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
