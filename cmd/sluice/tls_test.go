package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pair is a certificate on disk.
type pair struct{ cert, key string }

func newPair(t *testing.T) pair {
	dir := t.TempDir()
	return pair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

func (p pair) settings() []string { return []string{"--tls-cert", p.cert, "--tls-key", p.key} }

// issue writes a certificate that expires after life.
func (p pair) issue(t *testing.T, serial int64, life time.Duration) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(life),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, p.cert, "CERTIFICATE", der)
	p.write(t, p.key, "PRIVATE KEY", raw)
}

func (p pair) write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// address is where a process with TLS listens, by its banner.
func (p *process) address(t *testing.T) string {
	t.Helper()
	_, after, ok := strings.Cut(p.echo, "wss://")
	address, _, slash := strings.Cut(after, "/")
	if !ok || !slash {
		t.Fatalf("no wss:// in %q", p.echo)
	}
	return address
}

func TestSelfSignedForOpenSSL(t *testing.T) {
	p := start(t, nil, "--tls-self-signed")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := exec.CommandContext(ctx, "openssl", "s_client", "-connect", p.address(t),
		"-servername", "localhost", "-alpn", "http/1.1", "-ign_eof")
	client.Stdin = strings.NewReader("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
	out, err := client.CombinedOutput()
	if err != nil {
		t.Errorf("openssl: %v", err)
	}
	for _, want := range []string{
		"sluice, self-signed", "TLSv1.3", "ALPN protocol: http/1.1", "HTTP/1.1 4",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("openssl did not say %q but %s", want, out)
		}
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// upgrade makes a connection a WebSocket to the echo.
func upgrade(t *testing.T, c net.Conn) {
	t.Helper()
	req, err := http.NewRequest("GET", "https://localhost/echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-WebSocket-Version": {"13"},
		"Sec-WebSocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	if err := req.Write(c); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
}

// TestP06_process_replaces_certificates: on SIGHUP, and by itself when the files have changed.
func TestP06_process_replaces_certificates(t *testing.T) {
	files := newPair(t)
	files.issue(t, 1, time.Hour)
	p := start(t, nil, append(files.settings(), "--ping-interval", "0")...)
	dial := func() *tls.Conn {
		c, err := tls.Dial("tcp", p.address(t), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	old := dial()
	upgrade(t, old)
	inUse := func(serial int64) {
		t.Helper()
		got := dial().ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		if got != serial {
			t.Errorf("certificate %d is in use, want %d", got, serial)
		}
	}
	files.issue(t, 2, time.Hour)
	p.signal(t, syscall.SIGHUP)
	p.await(t, p.stderr, "certificates_loaded")
	inUse(2)
	files.write(t, files.key, "PRIVATE KEY", []byte("garbage"))
	p.signal(t, syscall.SIGHUP)
	p.await(t, p.stderr, "certificates_failed")
	inUse(2)
	files.issue(t, 3, time.Hour)
	p.await(t, p.stderr, "certificates_loaded")
	inUse(3)

	// An echo: the mask of the first frame is zero, the second has none.
	if _, err := io.WriteString(old, "\x81\x82\x00\x00\x00\x00hi"); err != nil {
		t.Error(err)
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(old, answer); err != nil || string(answer) != "\x81\x02hi" {
		t.Errorf("the old connection got %q, %v", answer, err)
	}
	old.Close() // a drain would take its time with it
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestCheckOfCertificates(t *testing.T) {
	const day = 24 * time.Hour
	good, soon, expired := newPair(t), newPair(t), newPair(t)
	good.issue(t, 1, 90*day)
	soon.issue(t, 2, 3*day+time.Hour)
	expired.issue(t, 3, -time.Hour)
	garbage := newPair(t)
	garbage.write(t, garbage.cert, "CERTIFICATE", []byte("garbage"))
	garbage.write(t, garbage.key, "PRIVATE KEY", []byte("garbage"))
	for _, r := range []struct {
		name string
		pair pair
		code int
		want string
	}{
		{"good", good, exitOK, ""},
		{"expires_soon", soon, exitOK, "expires in 3 days"},
		{"expired", expired, exitOK, "expired on"},
		{"mismatch", pair{good.cert, soon.key}, exitUsage, "does not match"},
		{"no_key", pair{good.cert, "/no/key"}, exitUsage, "/no/key: no such file"},
		{"garbage", garbage, exitUsage, garbage.cert},
	} {
		t.Run(r.name, func(t *testing.T) {
			o := execute(nil, append([]string{"check"}, r.pair.settings()...)...)
			if o.code != r.code || !strings.Contains(o.stderr, r.want) ||
				r.want == "" && o.stderr != "" {
				t.Errorf("%+v, want exit code %d and %q", o, r.code, r.want)
			}
			if r.code == exitOK {
				return
			}
			run := execute(nil, append([]string{"--admin", ""}, r.pair.settings()...)...)
			if run.code != exitRun || !strings.Contains(run.stderr, r.want) {
				t.Errorf("a start: %+v, want %q", run, r.want)
			}
		})
	}
}
