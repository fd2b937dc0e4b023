package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/gateway/admin"
	"sluice/gateway/audit"
	"sluice/gateway/auth"
	"sluice/gateway/auth/setup"
	"sluice/gateway/local"
	"sluice/gateway/tlsio"
)

// expirySoon is when an operator is told that a certificate is about to expire.
const expirySoon = 14 * 24 * time.Hour

// Encrypted reports whether clients connect by wss.
func (c *Config) Encrypted() bool { return c.TLSSelfSigned || len(c.TLSCerts) > 0 }

// ServesEcho reports whether /echo is served: it is for trying out, so by default only to this
// machine.
func (c *Config) ServesEcho() bool {
	return c.Echo == EchoOn || c.Echo == EchoAuto && local.Listens(c.Listen)
}

// Authenticated reports whether every client has to prove who its user is.
func (c *Config) Authenticated() bool {
	a := c.auth()
	return a.Enabled() || c.asksCertificates()
}

// asksCertificates reports whether a client may prove who its user is by a certificate.
func (c *Config) asksCertificates() bool {
	return c.Encrypted() && c.TLSClientAuth != string(tlsio.ClientAuthNone)
}

// adminIsOpen reports whether others than this machine reach the admin listener.
func (c *Config) adminIsOpen() bool {
	_, unix := admin.SocketPath(c.Admin)
	return c.Admin != "" && !unix && !local.Listens(c.Admin)
}

// Warnings lists what a valid configuration does that an operator may not want, in sentences. It
// opens no file.
func (c *Config) Warnings() (list []string) {
	warn := func(when bool, text string) {
		if when {
			list = append(list, text)
		}
	}
	open := !local.Listens(c.Listen)
	query := slices.ContainsFunc(c.AuthSources, func(s string) bool {
		return strings.HasPrefix(s, "query:")
	})
	a := c.auth()
	warn(open && !c.Authenticated(), "anyone who can reach the listener can connect as anybody: "+
		"there is no authentication")
	warn(open && !c.Authenticated() && len(c.Origins) == 0, "pages of every site can connect "+
		"through the browsers of their visitors: list allowed-origins")
	warn(!open && !c.Authenticated() && len(c.Origins) == 0 && len(c.TrustedProxies) > 0,
		"only pages of this machine may connect: list in allowed-origins those that come through "+
			"the proxy")
	believed := c.ProxyProtocol || c.ClientHeader != "none"
	warn(len(c.TrustedProxies) > 0 && !believed, "trusted-proxies has no effect without "+
		"client-header or proxy-protocol")
	warn(open && c.Authenticated() && !c.Encrypted(), "tokens come in plain text: there is no TLS "+
		"here, so there must be a proxy in front that has it")
	warn(open && c.Echo == EchoOn, "/echo is for trying out, and served to anyone who can connect")
	warn(query && a.Enabled(), "tokens in the query end up in logs of proxies and in histories")
	warn(slices.Contains(c.Origins, "*") && a.Ambient(), "every page may use the cookies of its "+
		"visitors: allowed-origins is *")
	warn(c.AuditLog != "" && !c.Authenticated(), "the audit log stays empty: there is no "+
		"authentication")
	for _, prefix := range a.SharedPrefixes() {
		reason := "have no prefix"
		if prefix != "" {
			reason = fmt.Sprintf("share the prefix %q", prefix)
		}
		warn(true, "users of several verifiers may have the same name in chat, as they "+reason+
			": give each verifier its own prefix")
	}
	warn(c.AdminTokenFile != "" && c.AdminTLSCert == "" && c.adminIsOpen(), "the admin token "+
		"comes in plain text: the admin listener is on a network and has no TLS")
	warn(c.TLSSelfSigned, "nobody trusts the self-signed certificate; it is for trying out")
	return list
}

// expiresSoon warns of a certificate that is about to expire.
func expiresSoon(whose string, expiry time.Time) []string {
	left := time.Until(expiry)
	if left <= 0 || left >= expirySoon {
		return nil
	}
	return []string{fmt.Sprintf("%s certificate expires in %d days", whose, int(left.Hours()/24))}
}

// Examine opens what a valid configuration needs besides a listener: the files of certificates,
// keys and secrets. Its error says why a gateway would not start. It asks no service.
func Examine(cfg Config) (warnings []string, err error) {
	warnings = append(cfg.Warnings(), cfg.FileWarnings()...)
	e, more, err := newEncryption(&cfg)
	warnings = append(warnings, more...)
	if err != nil {
		return warnings, err
	}
	if e != nil {
		defer e.close()
		if e.own.IsZero() {
			warnings = append(warnings, expiresSoon("a", e.expiry())...)
		}
	}
	more, err = checkAdmin(&cfg)
	warnings = append(warnings, more...)
	if err != nil {
		return warnings, err
	}
	if _, err := newSigner(&cfg); err != nil {
		return warnings, err
	}
	if cfg.AuditLog != "" {
		if err := audit.Check(cfg.AuditLog); err != nil {
			return warnings, err
		}
	}
	a := cfg.auth()
	if !a.Enabled() {
		return warnings, nil
	}
	s, err := setup.New(a)
	if err != nil {
		return warnings, err
	}
	s.Close()
	return warnings, nil
}

// CheckToken says whose a token is, as a gateway with a valid configuration would. It waits for
// published keys as long as ctx allows. It returns ErrNoAuthentication if there is none; other
// errors of the verifiers are of type *auth.Error.
func CheckToken(ctx context.Context, cfg Config, token string) (auth.Identity, error) {
	c := cfg.auth()
	if !c.Enabled() {
		return auth.Identity{}, ErrNoAuthentication
	}
	s, err := setup.New(c)
	if err != nil {
		return auth.Identity{}, err
	}
	defer s.Close()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for s.Ready() != nil && ctx.Err() == nil {
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
	return s.Verify(ctx, auth.Credential{Token: auth.Secret(token), Kind: auth.KindHeader})
}
