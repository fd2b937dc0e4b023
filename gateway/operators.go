package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"sluice/gateway/admin"
	"sluice/gateway/admin/demo"
	"sluice/gateway/audit"
	"sluice/gateway/auth"
	"sluice/gateway/auth/setup"
	"sluice/gateway/metrics"
	"sluice/gateway/tlsio"
)

// adminTokenBytesMin is the shortest token of the admin listener: one that nobody guesses.
const adminTokenBytesMin = 16

// loadAdminToken reads the token of the operators; it is empty if there is none.
func loadAdminToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	token, err := auth.LoadSecret("@" + path)
	if err != nil {
		return "", fmt.Errorf("token of the admin listener: %w", err)
	}
	if len(token) < adminTokenBytesMin {
		return "", fmt.Errorf("token of the admin listener: %s has %d bytes, less than %d", path,
			len(token), adminTokenBytesMin)
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c >= 0x7f {
			return "", fmt.Errorf("token of the admin listener: %s must be one line of ASCII "+
				"without spaces: it comes in a header", path)
		}
	}
	return string(token), nil
}

// adminTLS is TLS on the admin listener.
type adminTLS struct {
	store   *tlsio.Store
	config  *tls.Config
	unwatch func()

	reloaded, failed atomic.Uint64
}

// newAdminTLS returns nil if the configuration asks for none.
func newAdminTLS(cfg *Config) (a *adminTLS, warnings []string, err error) {
	if cfg.AdminTLSCert == "" {
		return nil, nil, nil
	}
	a = &adminTLS{unwatch: func() {}}
	a.store, warnings, err = tlsio.NewStore(
		[]tlsio.Pair{{CertFile: cfg.AdminTLSCert, KeyFile: cfg.AdminTLSKey}})
	if err != nil {
		return nil, warnings, err
	}
	a.config = tlsio.NewTLSConfig(a.store.Certificate, tlsio.ClientAuthNone, nil)
	if cfg.TLSMinVersion == "1.3" {
		a.config.MinVersion = tls.VersionTLS13
	}
	return a, warnings, nil
}

// startAdminTLS loads the certificate of the admin listener, if it has one, and follows its files.
func (g *Gateway) startAdminTLS(cfg *Config) error {
	a, warnings, err := newAdminTLS(cfg)
	if err != nil || a == nil {
		return err
	}
	g.adminTLS = a
	g.warnCertificates(warnings)
	a.unwatch = a.store.Watch(certificatesEvery, g.adminCertificateLoaded)
	return nil
}

// adminCertificateLoaded notes how loading the certificate again went.
func (g *Gateway) adminCertificateLoaded(warnings []string, err error) {
	a := g.adminTLS
	if err != nil {
		a.failed.Add(1)
		g.log.Error("the certificate of the admin listener could not be loaded; the old one "+
			"stays in use", "event", "certificates_failed", "error", err)
		return
	}
	a.reloaded.Add(1)
	g.log.Info("certificate of the admin listener loaded", "event", "certificates_loaded",
		"expires", a.store.Expiry())
	g.warnCertificates(warnings)
}

// startAdmin binds the admin listener, if there is to be one.
func (g *Gateway) startAdmin() (err error) {
	cfg := g.current.Load()
	if cfg.Admin == "" {
		return nil
	}
	conf := admin.Config{
		Addr:         cfg.Admin,
		Live:         g.live,
		Ready:        g.ready,
		Metrics:      g.metrics.Handler(),
		Page:         demo.New(),
		WebSocketURL: g.webSocketURL,
		Revoke:       g.revoke,
		Token:        g.adminToken,
		Denied:       g.adminDenied,
		Pprof:        cfg.Pprof,
		Logger:       g.log,
	}
	if g.adminTLS != nil {
		conf.TLS = g.adminTLS.config
	}
	g.admin, err = admin.Start(conf)
	return err
}

// revoke is Revoke for the admin listener.
func (g *Gateway) revoke(r admin.Revocation) (admin.Revoked, error) {
	if r.User != "" && !auth.IsUser(r.User) {
		return admin.Revoked{}, &admin.RequestError{Text: "no user can have that name"}
	}
	done, err := g.Revoke(Revocation{
		User: r.User, TokenID: r.Token, Issuer: r.Issuer, Until: r.Until, Caller: r.Caller,
	})
	issuer, unknown := errors.AsType[*setup.IssuerError](err)
	switch {
	case unknown:
		return admin.Revoked{}, &admin.RequestError{Text: issuer.Error()}
	case err == ErrNoAuthentication:
		return admin.Revoked{}, admin.ErrUnknown
	case err == nil:
		until := slog.Time("until", done.Until)
		if done.Until.IsZero() {
			until = slog.String("until", audit.UntilRestart)
		}
		g.log.Info("credentials revoked",
			"event", "revoked", "user", r.User, "token_id", r.Token, "issuer", done.Issuer,
			"caller", r.Caller, "connections", done.Closed, until)
	}
	return admin.Revoked{Closed: done.Closed, Until: done.Until}, err
}

// adminDenied records that somebody has shown a wrong admin token. The admin listener bounds how
// often that can be.
func (g *Gateway) adminDenied(caller string) {
	g.logSampled(slog.LevelWarn, "admin denied", "a request without the admin token was refused",
		slog.String("event", "admin_denied"), slog.String("caller", caller))
	if g.audit != nil {
		g.audit.Append(audit.Event{
			Time: time.Now(), Event: audit.EventRevocation, Verdict: audit.Refused,
			Reason: "admin_token", Caller: caller,
		})
	}
}

// adminStats is the state of the admin listener for the metrics.
func (g *Gateway) adminStats() metrics.Admin {
	if g.admin == nil {
		return metrics.Admin{}
	}
	return metrics.Admin(g.admin.Stats())
}

// checkAdmin returns an error if the admin listener could not start for its files.
func checkAdmin(cfg *Config) (warnings []string, err error) {
	if cfg.Admin == "" {
		return nil, nil
	}
	_, tokenErr := loadAdminToken(cfg.AdminTokenFile)
	a, warnings, err := newAdminTLS(cfg)
	if a != nil {
		warnings = append(warnings, expiresSoon("the admin listener's", a.store.Expiry())...)
	}
	return warnings, errors.Join(tokenErr, err)
}
