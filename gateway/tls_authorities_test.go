package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/gateway/tlsio"
)

// TestP06_client_authorities_are_replaced: on reload and without one, for full handshakes and for
// those that are resumed, also with a certificate of our own. A bundle that is broken changes
// nothing, and is reported with its file and block.
func TestP06_client_authorities_are_replaced(t *testing.T) {
	ca, old, new := newCertAuthority(t), newCertAuthority(t), newCertAuthority(t)
	bundle := ca.path() + ".clients"
	write := func(parts ...string) {
		t.Helper()
		text := ""
		for _, path := range parts {
			if part, err := os.ReadFile(path); err == nil {
				path = string(part)
			}
			text += path
		}
		// As those who replace bundles do, so that none is read half-way.
		if err := os.WriteFile(bundle+".next", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(bundle+".next", bundle); err != nil {
			t.Fatal(err)
		}
	}
	client := func(from *certAuthority, own bool) *tls.Config {
		cert, key := from.issue("ann", func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})
		conf := ca.client()
		conf.InsecureSkipVerify = own
		conf.Certificates = from.client(cert, key).Certificates
		conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		return presenting(conf)
	}
	for _, own := range []bool{false, true} {
		change := func(cfg *Config) {
			cfg.TLSClientAuth, cfg.TLSClientCA, cfg.TLSIdentity = "require", bundle, "cn"
			if own {
				cfg.TLSSelfSigned, cfg.TLSCerts, cfg.TLSKeys = true, nil, nil
			}
		}
		write(old.path())
		onEachEngine(t, withTLS(t, ca, change), func(t *testing.T, g *Gateway) {
			write(old.path())
			g.reloadCertificates()
			before, after := client(old, own), client(new, own)
			staying := dialTLS(t, g, before, "/chat/")
			again := dialTLS(t, g, before, "/chat/")
			again.c.Close()
			if g.encryption.server.Stats().Resumed == 0 {
				t.Error("nothing is resumed")
			}
			refused := func(conf *tls.Config) {
				t.Helper()
				was := ended(g, tlsio.OutcomeUnknownCA)
				c := tls.Client(dialRaw(t, g), conf)
				if err := c.Handshake(); err == nil {
					c.Read(make([]byte, 1))
				}
				settled(t, "the refusal is counted", func() bool {
					return ended(g, tlsio.OutcomeUnknownCA) == was+1
				})
			}
			refused(after)
			failed := g.encryption.failed.Load()
			write(old.path(), new.path(), "-----BEGIN CERTIFICATE-----\nbroken\n")
			if err := g.Reload(g.current.Load().Config); err != nil {
				t.Error(err)
			}
			if n := g.encryption.failed.Load(); n != failed+1 {
				t.Errorf("%d reloads have failed", n-failed)
			}
			refused(after)
			dialTLS(t, g, before, "/chat/").c.Close()

			g.encryption.unwatch()
			g.encryption.unwatch = g.encryption.store.Watch(time.Millisecond, g.certificatesLoaded)
			loaded := g.encryption.reloaded.Load()
			write(new.path())
			settled(t, "the new authorities are in use", func() bool {
				return g.encryption.reloaded.Load() > loaded
			})
			dialTLS(t, g, after, "/chat/").c.Close()
			refused(before)
			if g.connections() == 0 {
				t.Error("an established connection has ended")
			}
			staying.c.Close()
		})
	}
}

// TestP06_broken_bundles_are_named: where a gateway does not start, and in what check says.
func TestP06_broken_bundles_are_named(t *testing.T) {
	ca := newCertAuthority(t)
	cert, key := ca.issue("server", func(*x509.Certificate) {})
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	broken := cert + ".broken"
	half := string(text) + string(text[:len(text)/2])
	if err := os.WriteFile(broken, []byte(half), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"chain": func(c *Config) { c.TLSCerts, c.TLSKeys = []string{broken}, []string{key} },
		"authorities": func(c *Config) {
			c.TLSSelfSigned, c.TLSClientAuth, c.TLSClientCA = true, "require", broken
		},
	} {
		cfg := quick()
		change(&cfg)
		if _, err := Examine(cfg); err == nil || !strings.Contains(err.Error(), broken) ||
			!strings.Contains(err.Error(), "block 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
