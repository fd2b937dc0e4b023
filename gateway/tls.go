package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/metrics"
	"sluice/gateway/tlsio"
	"sluice/gateway/wire"
	"sluice/poller"
)

// certificatesEvery is how often the files of certificates are looked at.
const certificatesEvery = 10 * time.Second

// encryption is TLS on the listener of the clients.
type encryption struct {
	server   *tlsio.Server
	store    *tlsio.Store // nil if there are no files
	own      time.Time    // when the certificate of our own expires; zero with files of others
	identity tlsio.Identity
	asks     bool // clients are asked for certificates
	unwatch  func()

	reloaded, failed atomic.Uint64
}

// newEncryption returns nil if the configuration asks for none.
func newEncryption(cfg *Config) (e *encryption, warnings []string, err error) {
	if !cfg.Encrypted() {
		return nil, nil, nil
	}
	e = &encryption{
		identity: tlsio.Identity(cfg.TLSIdentity), unwatch: func() {},
		asks: cfg.asksCertificates(),
	}
	files := tlsio.Files{Pairs: pairs(cfg), Authorities: cfg.TLSClientCA}
	if len(files.Pairs) > 0 || files.Authorities != "" {
		if e.store, warnings, err = tlsio.Load(files); err != nil {
			return nil, warnings, err
		}
	}
	choose := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return e.store.Certificate(hello)
	}
	if cfg.TLSSelfSigned {
		own, err := tlsio.SelfSigned()
		if err != nil {
			return nil, nil, err
		}
		e.own = own.Leaf.NotAfter
		choose = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &own, nil }
	}
	conf := tlsio.NewTLSConfig(choose, tlsio.ClientAuth(cfg.TLSClientAuth), nil)
	if files.Authorities != "" {
		tlsio.FollowAuthorities(conf, e.store.Authorities)
	}
	if cfg.TLSMinVersion == "1.3" {
		conf.MinVersion = tls.VersionTLS13
	}
	e.server = tlsio.NewServer(tlsio.Config{
		// Always the same one: another would end the sessions that clients want to resume.
		TLS:           func() *tls.Config { return conf },
		HandshakesMax: cfg.TLSHandshakesMax, HandshakeTimeout: cfg.TLSHandshakeTimeout,
	})
	return e, warnings, nil
}

// pairs are the files of the certificates; Validate has seen to it that there are as many keys.
func pairs(cfg *Config) (list []tlsio.Pair) {
	for i, cert := range cfg.TLSCerts {
		list = append(list, tlsio.Pair{CertFile: cert, KeyFile: cfg.TLSKeys[i]})
	}
	return list
}

// startTLS puts TLS in front of the door, if it is configured, and follows the files.
func (g *Gateway) startTLS(cfg *Config) error {
	e, warnings, err := newEncryption(cfg)
	if err != nil || e == nil {
		return err
	}
	g.encryption = e
	g.door.tells = limits.NewBucket(tellRate, tellBurst)
	g.warnCertificates(warnings)
	if e.store != nil {
		e.unwatch = e.store.Watch(certificatesEvery, g.certificatesLoaded)
	}
	return nil
}

// acceptor returns what the engine gives connections to.
func (g *Gateway) acceptor() poller.Acceptor {
	a := poller.Acceptor(g.door)
	if g.encryption != nil {
		a = g.encryption.server.Wrap(a)
	}
	if g.clients.proxied != nil {
		a = g.clients.proxied.Wrap(a)
	}
	return a
}

// reloadCertificates loads the certificates again because somebody asked for it.
func (g *Gateway) reloadCertificates() {
	if a := g.adminTLS; a != nil {
		g.adminCertificateLoaded(a.store.Reload())
	}
	if e := g.encryption; e != nil && e.store != nil {
		g.certificatesLoaded(e.store.Reload())
	}
}

// certificatesLoaded notes how loading the certificates again went.
func (g *Gateway) certificatesLoaded(warnings []string, err error) {
	e := g.encryption
	if err != nil {
		e.failed.Add(1)
		g.log.Error("the certificates could not be loaded; the old ones stay in use",
			"event", "certificates_failed", "error", err)
		return
	}
	e.reloaded.Add(1)
	g.log.Info("certificates loaded", "event", "certificates_loaded", "expires", e.expiry())
	g.warnCertificates(warnings)
}

func (g *Gateway) warnCertificates(warnings []string) {
	for _, w := range warnings {
		g.log.Warn("a certificate is in use that clients will not accept",
			slog.String("event", "certificate_invalid"), slog.String("problem", w))
	}
}

// expiry is when the first of the certificates expires.
func (e *encryption) expiry() time.Time {
	if !e.own.IsZero() {
		return e.own
	}
	return e.store.Expiry()
}

// close ends what goes on beside the connections, which must be closed already.
func (e *encryption) close() {
	e.server.Close()
	e.unwatch()
}

// stats is the state of TLS for the metrics.
func (e *encryption) stats() metrics.TLS {
	s := e.server.Stats()
	return metrics.TLS{
		Outcomes: s.Outcomes[:], Resumed: s.Resumed, Begun: s.Begun, Pending: s.Pending,
		Waiting: s.Waiting, Expires: e.expiry(),
		Reloaded: e.reloaded.Load(), Failed: e.failed.Load(),
	}
}

// outcomeLabels are the labels of the outcomes of TLS handshakes.
func outcomeLabels() (labels []string) {
	for o := range tlsio.Outcomes {
		labels = append(labels, o.String())
	}
	return labels
}

// certificateIdentity returns the user that the client's certificate names. It is zero if clients
// are not asked for any, or this one has shown none, or one that names no user.
func (s *session) certificateIdentity() (id auth.Identity) {
	e := s.lane.g.encryption
	if e == nil || !e.asks {
		return id
	}
	state, ok := tlsio.State(s.conn)
	if !ok || len(state.VerifiedChains) == 0 {
		return id
	}
	leaf := state.VerifiedChains[0][0]
	user := tlsio.UserOf(leaf, e.identity)
	if !auth.IsUser(user) || s.lane.g.authority.setup.Reserved(user) {
		return id
	}
	sum := sha256.Sum256(leaf.Raw)
	return auth.Identity{
		User: user, Issuer: auth.IssuerCertificate, TokenID: hex.EncodeToString(sum[:]),
		Issued: leaf.NotBefore, Expires: chainsEnd(state.VerifiedChains),
	}
}

// chainsEnd is when the last of the chains that lead to an authority ends: each does with the first
// of its certificates that expires.
func chainsEnd(chains [][]*x509.Certificate) (end time.Time) {
	for _, chain := range chains {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int {
			return a.NotAfter.Compare(b.NotAfter)
		})
		if first.NotAfter.After(end) {
			end = first.NotAfter
		}
	}
	return end
}

// mayBePage reports whether a request is not of a page, or of one that may use what its browser
// adds by itself, like cookies and certificates: such pages are listed.
func (s *session) mayBePage(r *wire.Request) bool {
	return !r.HasOrigin || s.lane.g.current.Load().origins != nil
}
