package benchtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"
)

// Identity describes the certificate of a server, which it signs itself.
type Identity struct {
	// Name is the host that it is for; empty means 127.0.0.1.
	Name string
	// Expired makes it one that was good until an hour ago.
	Expired bool
}

// ListenTLS returns a listener on loopback that speaks TLS and no more, and what makes clients
// trust it. It ends with the test; what it has accepted does not.
func ListenTLS(t testing.TB, id Identity) (net.Listener, *x509.CertPool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return secure(t, ln, id)
}

// secure puts TLS on a listener.
func secure(t testing.TB, ln net.Listener, id Identity) (net.Listener, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		NotBefore:    now.Add(-2 * time.Hour), NotAfter: now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if id.Name != "" {
		template.IPAddresses, template.DNSNames = nil, []string{id.Name}
	}
	if id.Expired {
		template.NotAfter = now.Add(-time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}}), roots
}
