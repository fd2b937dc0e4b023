package tlsio

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestP06_bundles: a bundle is read as a whole or not at all, both as authorities and as a chain.
func TestP06_bundles(t *testing.T) {
	dir := t.TempDir()
	pair := issue(t, dir, "good", ecdsaKey(t), time.Now().Add(time.Hour), "a.test")
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	good, key := read(pair.CertFile), read(pair.KeyFile)
	broken := string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte{0x30, 1, 2}}))
	lines := strings.SplitAfter(strings.TrimSuffix(good, "\n"), "\n")
	without := func(i int) string {
		return strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "")
	}
	const last = "-----END CERTIFICATE-----"
	for _, c := range []struct {
		name, text string
		n          int    // certificates
		want       string // in the error
	}{
		{"one", good, 1, ""},
		{"two", good + good, 2, ""},
		{"explained", "Some Root\n=========\n" + good + "\nAnother one\n" + good, 2, ""},
		{"commented", "# first\n" + good + "\n# that was all\n\n", 1, ""},
		{"carriage_returns", strings.ReplaceAll(good, "\n", "\r\n"), 1, ""},
		{"no_line_end", strings.TrimSuffix(good, "\n"), 1, ""},
		{"empty", "", 0, "no certificate in it"},
		{"comment_only", "# nothing\n", 0, "no certificate in it"},
		{"text_only", "nonsense", 0, "block 1"},
		{"broken_der_first", broken + good, 0, "block 1"},
		{"broken_der_last", good + broken, 0, "block 2"},
		{"broken_base64", good + strings.Replace(good, lines[1][:4], "!!!!", 1) + good, 0, "block 2"},
		{"truncated", good + good[:len(good)/2], 0, "block 2"},
		{"truncated_before_another", good[:len(good)/2] + "\n" + good, 0, "block 1"},
		{"no_begin", good + without(0), 0, "block 2"},
		{"no_end", without(len(lines)-1) + good, 0, "block 1"},
		{"other_end", strings.Replace(good, last, "-----END X-----", 1) + good, 0, "block 1"},
		{"garbage_behind", good + "MIIB\n", 0, "block 2"},
		{"nul_behind", good + "\x00", 0, "block 2"},
		{"trusted", strings.ReplaceAll(good, "CERTIFICATE", "TRUSTED CERTIFICATE"), 0,
			"no certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bundle.pem")
			writeText(t, path, c.text)
			list, err := readBundle(path, false)
			if len(list) != c.n || (err != nil) != (c.want != "") {
				t.Fatalf("%d certificates, %v", len(list), err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.want) ||
				!strings.Contains(err.Error(), path)) {
				t.Errorf("%v; want %q and the file in it", err, c.want)
			}
			if _, _, err := Load(Files{Authorities: path}); (err == nil) != (c.want == "") {
				t.Errorf("as authorities: %v", err)
			}
			if _, _, err := NewStore([]Pair{{path, pair.KeyFile}}); (err == nil) != (c.want == "") {
				t.Errorf("as a chain: %v", err)
			}
		})
	}
	combined := filepath.Join(dir, "combined.pem")
	writeText(t, combined, key+good)
	if _, _, err := NewStore([]Pair{{combined, combined}}); err != nil {
		t.Errorf("a chain and its key in one file: %v", err)
	}
	if _, err := readBundle(combined, false); err == nil || !strings.Contains(err.Error(), "block 1") {
		t.Errorf("authorities with a key among them: %v", err)
	}
	if _, err := readBundle(filepath.Join(dir, "missing"), false); err == nil {
		t.Error("a missing file is read")
	}
}

func FuzzBundle(f *testing.F) {
	cert := certificate()
	good := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: cert.Certificate[0]})
	f.Add(good)
	f.Add(append(bytes.Clone(good), good...))
	f.Add(append(bytes.Clone(good), "-----BEGIN CERTIFICATE-----\nMIIB"...))
	path := filepath.Join(f.TempDir(), "bundle.pem")
	f.Fuzz(func(t *testing.T, text []byte) {
		writeText(t, path, string(text))
		list, err := readBundle(path, false)
		if (err == nil) != (len(list) > 0) {
			t.Fatalf("%d certificates, %v", len(list), err)
		}
		if err == nil && bytes.Count(text, []byte(pemBegin)) != len(list) {
			t.Fatalf("%d certificates of %d", len(list), bytes.Count(text, []byte(pemBegin)))
		}
	})
}

// TestP06_authorities_and_resumption: the authorities in force judge full handshakes and those that
// are resumed; sessions of other clients are resumed all the same.
func TestP06_authorities_and_resumption(t *testing.T) {
	for name, version := range map[string]uint16{"TLS_1.2": tls.VersionTLS12, "TLS_1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := newClientPair(t, "ours"), newClientPair(t, "theirs")
			both := newPool([]*x509.Certificate{ours.Leaf, theirs.Leaf})
			current := both
			server := NewTLSConfig(serverConfig().GetCertificate, ClientAuthRequire, nil)
			server.Time = today
			FollowAuthorities(server, func() *x509.CertPool { return current })
			s := NewServer(Config{TLS: func() *tls.Config { return server }})
			defer s.Close()
			client := func(cert *tls.Certificate) *tls.Config {
				cfg := clientConfig()
				cfg.MaxVersion = version
				cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				cfg.GetClientCertificate =
					func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
				return cfg
			}
			connect := func(cfg *tls.Config) (resumed bool, err error) {
				r := newRigOf(t, s)
				r.app.onData = echo
				defer r.fake.Close()
				conn, err := r.shake(cfg)
				if err == nil {
					if _, err = conn.Write([]byte("x")); err == nil {
						r.waiting = true
						_, err = conn.Read(make([]byte, 1)) // the tickets come before it
					}
				}
				return err == nil && conn.ConnectionState().DidResume, err
			}
			staying, leaving := client(ours), client(theirs)
			for _, want := range []bool{false, true} {
				for _, cfg := range []*tls.Config{staying, leaving} {
					if resumed, err := connect(cfg); err != nil || resumed != want {
						t.Fatalf("resumed %t, want %t: %v", resumed, want, err)
					}
				}
			}
			current = newPool([]*x509.Certificate{ours.Leaf})
			for range 2 {
				if _, err := connect(leaving); err == nil {
					t.Error("a client of an authority that was taken away is let in")
				}
			}
			if resumed, err := connect(staying); err != nil || !resumed {
				t.Errorf("a client of an authority that has stayed: resumed %t, %v", resumed, err)
			}
			if n := s.Stats().Outcomes[OutcomeUnknownCA]; n != 2 {
				t.Errorf("%d refused for their authority", n)
			}
			current = both
			if _, err := connect(leaving); err != nil {
				t.Errorf("the authority is back: %v", err)
			}
		})
	}
}
