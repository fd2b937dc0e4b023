package tlsio

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// issue makes a self-signed certificate for names and writes its files, named after stem.
func issue(
	t *testing.T, dir, stem string, key crypto.Signer, notAfter time.Time, names ...string,
) Pair {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: stem},
		NotBefore:    notAfter.Add(-24 * time.Hour),
		NotAfter:     notAfter,
		DNSNames:     names,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := Pair{filepath.Join(dir, stem+".crt"), filepath.Join(dir, stem+".key")}
	writePEM(t, p.CertFile, "CERTIFICATE", der)
	writePEM(t, p.KeyFile, "PRIVATE KEY", raw)
	return p
}

func writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func ecdsaKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// chosen returns the common name of the certificate that a store chooses.
func chosen(t *testing.T, s *Store, name string, suites ...uint16) string {
	t.Helper()
	schemes := []tls.SignatureScheme{tls.PSSWithSHA256, tls.PKCS1WithSHA256}
	if !slices.Contains(suites, rsaSuite) {
		schemes = append(schemes, tls.ECDSAWithP256AndSHA256)
	}
	cert, err := s.Certificate(&tls.ClientHelloInfo{
		ServerName:        name,
		SupportedVersions: []uint16{tls.VersionTLS12},
		CipherSuites:      append(suites, rsaSuite),
		SupportedCurves:   []tls.CurveID{tls.CurveP256},
		SupportedPoints:   []uint8{0},
		SignatureSchemes:  schemes,
	})
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.Subject.CommonName
}

const (
	rsaSuite   = tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	ecdsaSuite = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
)

func TestStoreChoosesByNameAndKey(t *testing.T) {
	dir, later := t.TempDir(), time.Now().Add(time.Hour)
	s, warnings, err := NewStore([]Pair{
		issue(t, dir, "main-rsa", rsaKey(t), later, "main.test"),
		issue(t, dir, "main-ecdsa", ecdsaKey(t), later.Add(time.Hour), "main.test"),
		issue(t, dir, "other", ecdsaKey(t), later, "other.test", "*.other.test"),
	})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	both, onlyRSA := []uint16{ecdsaSuite}, []uint16{rsaSuite}
	for _, c := range []struct {
		name, sni string
		suites    []uint16
		want      string
	}{
		{"ecdsa_preferred", "main.test", both, "main-ecdsa"},
		{"rsa_only_client", "main.test", onlyRSA, "main-rsa"},
		{"upper_case", "MAIN.test", both, "main-ecdsa"},
		{"H21_sni_unknown", "unknown.test", both, "main-ecdsa"},
		{"H21_sni_unknown_rsa_only", "unknown.test", onlyRSA, "main-rsa"},
		{"no_sni", "", both, "main-ecdsa"},
		{"no_sni_rsa_only", "", onlyRSA, "main-rsa"},
		{"second_name", "other.test", both, "other"},
		{"wildcard", "a.other.test", both, "other"},
		{"wildcard_is_one_label", "a.b.other.test", both, "main-ecdsa"},
		{"nothing_fits", "other.test", onlyRSA, "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := chosen(t, s, c.sni, c.suites...); got != c.want {
				t.Errorf("chose %s, want %s", got, c.want)
			}
		})
	}
	if !s.Expiry().Equal(later.Truncate(time.Second)) {
		t.Errorf("expiry %v", s.Expiry())
	}
}

// P06: whatever is wrong with the new files, the old certificates stay.
func TestReloadKeepsTheOldOnFailure(t *testing.T) {
	key, later := ecdsaKey(t), time.Now().Add(time.Hour)
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, p Pair)
	}{
		{"P06_key_of_another_certificate", func(t *testing.T, p Pair) {
			other := issue(t, t.TempDir(), "other", ecdsaKey(t), later, "a.test")
			rename(t, other.KeyFile, p.KeyFile)
		}},
		{"P06_no_pem", func(t *testing.T, p Pair) { writeText(t, p.CertFile, "nonsense") }},
		{"P06_empty", func(t *testing.T, p Pair) { writeText(t, p.KeyFile, "") }},
		{"P06_broken_der", func(t *testing.T, p Pair) {
			writePEM(t, p.CertFile, "CERTIFICATE", []byte{0x30, 1, 2})
		}},
		{"P06_missing", func(t *testing.T, p Pair) {
			if err := os.Remove(p.CertFile); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			p := issue(t, dir, "old", key, later, "a.test")
			good := issue(t, dir, "good", key, later, "b.test")
			s, _, err := NewStore([]Pair{p, good})
			if err != nil {
				t.Fatal(err)
			}
			issue(t, dir, "good", key, later.Add(time.Minute), "b.test")
			c.spoil(t, p)
			before := s.Expiry()
			if _, err := s.Reload(); err == nil || !strings.Contains(err.Error(), p.CertFile) {
				t.Errorf("reload: %v", err)
			}
			if got := chosen(t, s, "a.test", ecdsaSuite); got != "old" || s.Expiry() != before {
				t.Errorf("chose %s", got)
			}
		})
	}
}

func TestStoreWarnsOfDates(t *testing.T) {
	key := ecdsaKey(t)
	for name, notAfter := range map[string]time.Time{
		"expired":          time.Now().Add(-time.Minute),
		"not valid before": time.Now().Add(48 * time.Hour),
	} {
		_, warnings, err := NewStore([]Pair{issue(t, t.TempDir(), "a", key, notAfter, "a.test")})
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], name) {
			t.Errorf("%s: %q, %v", name, warnings, err)
		}
	}
}

func TestStoreNeedsACertificate(t *testing.T) {
	if _, _, err := NewStore(nil); err == nil {
		t.Error("an empty store")
	}
}

// P06: each swap is for the next handshake; who is connected stays.
func TestP06_swaps_under_connections(t *testing.T) {
	key, later := ecdsaKey(t), time.Now().Add(time.Hour)
	dir := t.TempDir()
	pairs := []Pair{issue(t, dir, "tls", key, later, "0.test")}
	s, _, err := NewStore(pairs)
	if err != nil {
		t.Fatal(err)
	}
	server := NewTLSConfig(s.Certificate, ClientAuthNone, nil)
	cfg := Config{TLS: func() *tls.Config { return server }}
	onEngines(t, cfg, func(b *bed) {
		client := &tls.Config{InsecureSkipVerify: true}
		first := b.dial(client)
		for i := range 10 {
			name := strconv.Itoa(i) + ".test"
			issue(t, dir, "tls", key, later, name)
			if _, err := s.Reload(); err != nil {
				b.Fatal(err)
			}
			c := b.dial(client)
			if got := c.ConnectionState().PeerCertificates[0].DNSNames[0]; got != name {
				b.Errorf("served %s, want %s", got, name)
			}
			first.exchange(name)
			c.hangUp()
		}
		first.hangUp()
	})
}

// The directory of a mounted Kubernetes secret: files are links through ..data, which is swapped.
func TestWatchNoticesASwappedDirectory(t *testing.T) {
	key, later := ecdsaKey(t), time.Now().Add(time.Hour)
	root := t.TempDir()
	version := func(name, host string) {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		issue(t, dir, "tls", key, later, host)
		link(t, name, filepath.Join(root, "..new"))
		rename(t, filepath.Join(root, "..new"), filepath.Join(root, "..data"))
	}
	version("..1", "one.test")
	p := Pair{filepath.Join(root, "tls.crt"), filepath.Join(root, "tls.key")}
	link(t, filepath.Join("..data", "tls.crt"), p.CertFile)
	link(t, filepath.Join("..data", "tls.key"), p.KeyFile)
	s, _, err := NewStore([]Pair{p})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var reports []error
		stop := s.Watch(time.Second, func(_ []string, err error) { reports = append(reports, err) })
		turn := func() { <-time.After(time.Second + 1); synctest.Wait() }
		turn()
		if len(reports) != 0 {
			t.Fatalf("%d reloads of what has not changed", len(reports))
		}
		version("..2", "two.test")
		turn()
		if len(reports) != 1 || reports[0] != nil || s.first() != "two.test" {
			t.Fatalf("%v, %s", reports, s.first())
		}
		writeText(t, filepath.Join(root, "..2", "tls.crt"), "nonsense")
		turn()
		turn()
		if len(reports) != 2 || reports[1] == nil || s.first() != "two.test" {
			t.Fatalf("%v, %s", reports, s.first())
		}
		version("..3", "three.test")
		turn()
		if len(reports) != 3 || reports[2] != nil || s.first() != "three.test" {
			t.Fatalf("%v, %s", reports, s.first())
		}
		stop()
		stop()
	})
}

// first returns the name of the default certificate.
func (s *Store) first() string { return s.current.Load().fallback[0].Leaf.DNSNames[0] }

func writeText(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

func TestSelfSignedIsForThisHost(t *testing.T) {
	cert, err := SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", host} {
		if err := cert.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if w := validity(&cert, time.Now()); w != "" || cert.Leaf.IsCA {
		t.Errorf("%q, CA %t", w, cert.Leaf.IsCA)
	}
}

func TestUserOf(t *testing.T) {
	full := &x509.Certificate{
		URIs:     []*url.URL{{Scheme: "spiffe", Host: "test", Path: "/alice"}},
		DNSNames: []string{"alice.test"},
		Subject:  pkix.Name{CommonName: "Alice"},
	}
	commonName := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "Alice"}
	two := &x509.Certificate{
		URIs:     append(full.URIs, full.URIs[0]),
		DNSNames: []string{"alice.test", "b.test"},
		Subject: pkix.Name{
			CommonName: "Alice", Names: []pkix.AttributeTypeAndValue{commonName, commonName},
		},
	}
	for _, c := range []struct {
		name string
		cert *x509.Certificate
		from Identity
		want string
	}{
		{"uri", full, IdentityURI, "spiffe://test/alice"},
		{"dns", full, IdentityDNS, "alice.test"},
		{"cn", full, IdentityCommonName, "Alice"},
		{"no_uri", &x509.Certificate{}, IdentityURI, ""},
		{"no_dns", &x509.Certificate{}, IdentityDNS, ""},
		{"two_uris", two, IdentityURI, ""},
		{"two_dns_names", two, IdentityDNS, ""},
		{"two_common_names", two, IdentityCommonName, ""},
		{"unknown_part", full, "email", ""},
	} {
		if got := UserOf(c.cert, c.from); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestClientAuthKinds(t *testing.T) {
	for auth, want := range map[ClientAuth]tls.ClientAuthType{
		"":                tls.NoClientCert,
		ClientAuthNone:    tls.NoClientCert,
		ClientAuthRequest: tls.VerifyClientCertIfGiven,
		ClientAuthRequire: tls.RequireAndVerifyClientCert,
	} {
		if got := NewTLSConfig(nil, auth, nil).ClientAuth; got != want {
			t.Errorf("%q: %v", auth, got)
		}
	}
}
