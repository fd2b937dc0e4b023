package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sluice/bench/benchtest"
)

// connected dials an address and returns the descriptor.
func connected(tb testing.TB, addr string) int {
	tb.Helper()
	target, err := ParseTarget("ws://"+addr, 0)
	if err != nil {
		tb.Fatal(err)
	}
	fd, err := dial(target, 0, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return fd
}

func TestStartTLSVerifies(t *testing.T) {
	trusting := func(roots *x509.CertPool) *tls.Config { return &tls.Config{RootCAs: roots} }
	for _, tt := range []struct {
		name  string
		id    benchtest.Identity
		cfg   func(roots *x509.CertPool) *tls.Config
		class string
		mend  string
	}{
		{"good", benchtest.Identity{}, trusting, "", ""},
		{"no_config", benchtest.Identity{}, func(*x509.CertPool) *tls.Config { return nil },
			"tls: unknown authority", "--tls-ca"},
		{"other_authority", benchtest.Identity{}, func(*x509.CertPool) *tls.Config {
			return &tls.Config{RootCAs: x509.NewCertPool()}
		}, "tls: unknown authority", "--tls-ca"},
		{"insecure", benchtest.Identity{Name: "other.example", Expired: true},
			func(*x509.CertPool) *tls.Config { return &tls.Config{InsecureSkipVerify: true} }, "", ""},
		{"other_name", benchtest.Identity{Name: "other.example"}, trusting, "tls: other name",
			"--tls-name"},
		{"name_told", benchtest.Identity{Name: "other.example"}, func(roots *x509.CertPool) *tls.Config {
			return &tls.Config{RootCAs: roots, ServerName: "other.example"}
		}, "", ""},
		{"expired", benchtest.Identity{Expired: true}, trusting, "tls: expired certificate",
			"--insecure"},
		{"version", benchtest.Identity{}, func(roots *x509.CertPool) *tls.Config {
			return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		}, "tls: refused by the server", "refuses our versions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := benchtest.New(t, benchtest.Faults{TLS: &tt.id})
			cfg := tt.cfg(s.Roots())
			conn, err := StartTLS(t.Context(), connected(t, s.Addr), "127.0.0.1", cfg)
			if err == nil {
				defer conn.Close()
			}
			if tt.class == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || Class(err) != tt.class || !strings.Contains(err.Error(), tt.mend) {
				t.Errorf("got %v as %q, want %q", err, Class(err), tt.class)
			}
		})
	}
}

// plain serves one connection by f.
func plain(t *testing.T, f func(net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		if c, err := ln.Accept(); err == nil {
			f(c)
			c.Close()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		done.Wait()
	})
	return ln.Addr().String()
}

func TestStartTLSWithoutTLS(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for _, tt := range []struct {
		name  string
		serve func(net.Conn)
		class string
	}{
		{"plain_http", func(c net.Conn) {
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			io.Copy(io.Discard, c)
		}, "tls: not TLS"},
		{"hangs_up", func(c net.Conn) { c.Read(make([]byte, 4096)) }, "tls: cut"},
		{"resets", func(c net.Conn) {
			c.Read(make([]byte, 1))
			c.(*net.TCPConn).SetLinger(0)
		}, "tls: cut"},
		{"silent_until_given_up", func(c net.Conn) {
			c.Read(make([]byte, 4096))
			cancel()
			io.Copy(io.Discard, c)
		}, "tls: given up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := StartTLS(ctx, connected(t, plain(t, tt.serve)), "127.0.0.1", nil)
			if err == nil {
				conn.Close()
			}
			if err == nil || Class(err) != tt.class {
				t.Errorf("got %v as %q, want %q", err, Class(err), tt.class)
			}
		})
	}
}

func TestClassTLS(t *testing.T) {
	for want, err := range map[string]error{
		"timed out":           context.DeadlineExceeded,
		"invalid certificate": x509.CertificateInvalidError{Reason: x509.TooManyConstraints},
		"failed":              errors.New("x"),
		"cut":                 syscall.EPIPE,
	} {
		if got, _ := classTLS(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

func TestClientConfig(t *testing.T) {
	shared := &tls.Config{NextProtos: []string{"x"}, ServerName: "told"}
	if c := clientConfig(shared, "host"); c.ServerName != "told" || c.NextProtos[0] != "x" || c == shared {
		t.Errorf("got %q, %q", c.ServerName, c.NextProtos)
	}
	c := clientConfig(nil, "host")
	if c.ServerName != "host" || c.NextProtos[0] != "http/1.1" || c.InsecureSkipVerify {
		t.Errorf("got %+v", c)
	}
}
