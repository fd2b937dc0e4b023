package tlsio

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Pair names the PEM files of a certificate chain and its private key.
type Pair struct {
	CertFile, KeyFile string
}

// Files are what a Store loads: chains with their keys, and the bundle of the authorities that
// clients' certificates are verified by; empty for none.
type Files struct {
	Pairs       []Pair
	Authorities string
}

// Store holds the certificates of a server and chooses among them, and the authorities of its
// clients. Its methods may be called from any goroutine.
type Store struct {
	files Files

	mu   sync.Mutex    // held throughout a reload
	seen []os.FileInfo // the files before the last reload, nil for the unreadable; guarded by mu

	current atomic.Pointer[certificates]
}

// certificates are what a Store has loaded. They never change.
type certificates struct {
	fallback candidates            // for names that no certificate has, and for clients without SNI
	byName   map[string]candidates // wildcards as they are written; all in lower case
	expiry   time.Time

	authorities *x509.CertPool // nil for none
}

// candidates are certificates for the same name, in order of preference.
type candidates []*tls.Certificate

// NewStore loads pairs, at least one, without authorities.
func NewStore(pairs []Pair) (s *Store, warnings []string, err error) {
	if len(pairs) == 0 {
		return nil, nil, errors.New("tlsio: no certificate configured")
	}
	return Load(Files{Pairs: pairs})
}

// Load loads files. The first pair is the default, together with those that have a name in common
// with it: a second one with a key of another type. Without a pair Certificate must not be called.
// warnings tell of certificates that are loaded, but that clients will not accept now. The error
// names the file, and in it the block, that is broken.
func Load(files Files) (s *Store, warnings []string, err error) {
	s = &Store{files: files}
	if warnings, err = s.Reload(); err != nil {
		return nil, warnings, err
	}
	return s, warnings, nil
}

// Reload loads all files again. If it fails, whatever the reason, everything stays as it was; if
// not, the next handshakes get the new certificates and are judged by the new authorities, and
// established connections stay.
func (s *Store) Reload() (warnings []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = s.stat()
	var all candidates
	var errs []error
	for _, p := range s.files.Pairs {
		cert, err := loadPair(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if w := validity(&cert, time.Now()); w != "" {
			warnings = append(warnings, p.CertFile+": "+w)
		}
		all = append(all, &cert)
	}
	next := newCertificates(all)
	if s.files.Authorities != "" {
		list, err := readBundle(s.files.Authorities, false)
		if err != nil {
			errs = append(errs, fmt.Errorf("tlsio: authorities of clients: %w", err))
		}
		next.authorities = newPool(list)
	}
	if len(errs) > 0 {
		return warnings, errors.Join(errs...)
	}
	s.current.Store(next)
	return warnings, nil
}

// loadPair loads a chain and its key. tls.LoadX509KeyPair itself parses the first certificate only.
func loadPair(p Pair) (cert tls.Certificate, err error) {
	cert, err = tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err == nil {
		_, err = readBundle(p.CertFile, true)
	}
	if err != nil {
		return cert, fmt.Errorf("tlsio: load %s with %s: %w", p.CertFile, p.KeyFile, err)
	}
	return cert, nil
}

// validity says what is wrong with the dates of a certificate; empty means nothing.
func validity(cert *tls.Certificate, now time.Time) string {
	switch {
	case now.After(cert.Leaf.NotAfter):
		return "expired on " + cert.Leaf.NotAfter.UTC().Format(time.RFC3339)
	case now.Before(cert.Leaf.NotBefore):
		return "not valid before " + cert.Leaf.NotBefore.UTC().Format(time.RFC3339)
	}
	return ""
}

func newCertificates(all candidates) *certificates {
	c := &certificates{byName: make(map[string]candidates)}
	if len(all) == 0 {
		return c
	}
	c.expiry = all[0].Leaf.NotAfter
	for _, cert := range all {
		for _, name := range namesOf(cert) {
			c.byName[name] = c.byName[name].add(cert)
		}
		if cert.Leaf.NotAfter.Before(c.expiry) {
			c.expiry = cert.Leaf.NotAfter
		}
	}
	c.fallback = candidates{all[0]}
	for _, name := range namesOf(all[0]) {
		for _, cert := range c.byName[name] {
			c.fallback = c.fallback.add(cert)
		}
	}
	return c
}

// namesOf returns the names that a certificate is for.
func namesOf(cert *tls.Certificate) []string {
	names := make([]string, 0, len(cert.Leaf.DNSNames))
	for _, name := range cert.Leaf.DNSNames {
		names = append(names, strings.ToLower(name))
	}
	return names
}

// add puts a certificate in its place: ECDSA first, whose signatures cost a twentieth of RSA's.
func (c candidates) add(cert *tls.Certificate) candidates {
	for _, have := range c {
		if have == cert {
			return c
		}
	}
	if isECDSA(cert) && (len(c) == 0 || !isECDSA(c[0])) {
		return append(candidates{cert}, c...)
	}
	return append(c, cert)
}

func isECDSA(cert *tls.Certificate) bool {
	_, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	return ok
}

// Certificate chooses for a ClientHello, as tls.Config.GetCertificate: by name, and of several for
// that name the first that the client can verify.
func (s *Store) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	of := s.current.Load().named(hello.ServerName)
	can := *hello
	can.ServerName = "" // has been seen to; the default certificate need not have the name
	for _, cert := range of {
		if can.SupportsCertificate(cert) == nil {
			return cert, nil
		}
	}
	return of[0], nil // crypto/tls says what is missing
}

func (c *certificates) named(name string) candidates {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if of, ok := c.byName[name]; ok {
		return of
	}
	// A wildcard stands for exactly one label, RFC 9525 section 6.3.
	if _, parent, ok := strings.Cut(name, "."); ok {
		if of, ok := c.byName["*."+parent]; ok {
			return of
		}
	}
	return c.fallback
}

// Authorities returns the authorities of clients; nil if there is no file of them.
func (s *Store) Authorities() *x509.CertPool { return s.current.Load().authorities }

// Expiry returns when the first of the certificates expires; the zero time without any.
func (s *Store) Expiry() time.Time { return s.current.Load().expiry }
