// Package setup builds the verification of credentials from what the settings say.
package setup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/gateway/auth"
)

// revocationsMax bounds the revocations that are remembered, a few megabytes.
const revocationsMax = 64 << 10

// Config says who is let in. The verifiers are specs, "name=value,name=value"; docs/auth.md lists
// the names.
type Config struct {
	// Sources are the places where a credential may be, in the order in which they are looked at.
	Sources []string
	// JWT are issuers of JSON Web Tokens; Introspection, Hook and Sessions are services to ask.
	// At most one each of the services.
	JWT, Introspection, Hook, Sessions []string
	// CacheTTL is how long a token that was good is not verified again.
	CacheTTL time.Duration
	// Certificates says that certificates, which are not verified here, prove who a user is, too.
	Certificates bool
	// OnRefresh is told of every refresh of the keys of an issuer, with nil if it did not fail. It
	// may be nil.
	OnRefresh func(issuer string, err error)
}

// Enabled reports whether anybody has to show a credential.
func (c *Config) Enabled() bool {
	return len(c.JWT)+len(c.Introspection)+len(c.Hook)+len(c.Sessions) > 0
}

// Ambient reports whether browsers may prove who their user is without the page's doing: by a
// cookie that is a credential, or by a cookie or password that a hook gets to see.
func (c *Config) Ambient() bool {
	if !c.Enabled() {
		return false
	}
	cookie := func(text string) bool {
		source, err := ParseSource(text)
		return err == nil && source.Kind.Ambient()
	}
	sees := func(text string) bool {
		headers := parseSpec(text, hookNames, nil).list("headers")
		return slices.ContainsFunc(headers, func(h string) bool {
			return strings.EqualFold(h, "Cookie") || strings.EqualFold(h, "Authorization")
		})
	}
	return slices.ContainsFunc(c.Sources, cookie) || slices.ContainsFunc(c.Hook, sees)
}

// Setup verifies credentials. It is safe for concurrent use.
//
// Verify does all of it on one goroutine. Where one slow service must not delay the rest, Decide
// does what computing alone can do, and Ask what a service has to be asked for.
type Setup struct {
	sources     []auth.Source
	chain       *auth.Chain // nil if nobody has to show a credential
	services    []service
	issuers     []issuer
	prefixes    []string // of all verifiers that have one
	revocations *auth.Revocations
	caches      []*auth.Cache
	keys        []*auth.JWKS
	closers     []func()
	fromMessage bool
	asksHook    bool
	headers     []string // that the hook gets to see
}

// New builds what cfg says; it reads the files of keys and secrets, and starts to fetch published
// keys. Close must be called. If nobody has to show a credential, there is nothing to extract, and
// only revocations.
func New(cfg Config) (*Setup, error) {
	s := &Setup{revocations: auth.NewRevocations(revocationsMax)}
	if cfg.Certificates {
		s.issuers = append(s.issuers, issuer{name: auth.IssuerCertificate})
	}
	if !cfg.Enabled() {
		return s, nil
	}
	var errs []error
	for _, text := range cfg.Sources {
		source, err := ParseSource(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("auth-sources: %w", err))
			continue
		}
		s.fromMessage = s.fromMessage || source.Kind == auth.KindMessage
		s.sources = append(s.sources, source)
	}
	b := builder{cfg: &cfg, setup: s}
	b.build()
	errs = append(errs, b.errs...)
	if len(s.sources) == 0 && !s.asksHook {
		errs = append(errs, errors.New("auth-sources: there is none"))
	}
	if len(errs) > 0 {
		s.Close()
		return nil, errors.Join(errs...)
	}
	chain, err := auth.NewChain(b.routes()...)
	if err != nil {
		s.Close()
		return nil, errors.New("auth: what no issuer claims can go to one place only: a JWT " +
			"without issuer, an introspection or a hook; and each issuer to one")
	}
	s.chain = chain
	b.reserve()
	return s, nil
}

// Extract takes the credential out of a handshake. ok is false without one; then Anonymous and
// FromMessage say what else can be done.
func (s *Setup) Extract(r *auth.Request) (c auth.Credential, ok bool, err error) {
	return auth.Extract(r, s.sources)
}

// Enabled reports whether there is anything that verifies credentials.
func (s *Setup) Enabled() bool { return s.chain != nil }

// FromMessage reports whether a token may come in the first message.
func (s *Setup) FromMessage() bool { return s.fromMessage }

// Anonymous reports whether a handshake without a credential is to be verified nevertheless: a hook
// may go by the headers.
func (s *Setup) Anonymous() bool { return s.asksHook }

// Headers are the names of the headers that the hook gets to see. They must not be changed.
func (s *Setup) Headers() []string { return s.headers }

// Verify implements auth.Verifier. It may block for as long as the services may take. There must be
// something that verifies.
func (s *Setup) Verify(ctx context.Context, c auth.Credential) (auth.Identity, error) {
	return s.revocations.Guarded(s.chain.Verify(ctx, c))
}

// Revocations are what has been taken back; Verify refuses it.
func (s *Setup) Revocations() *auth.Revocations { return s.revocations }

// Ready returns an error while the keys of an issuer are missing or too old.
func (s *Setup) Ready() error {
	for _, k := range s.keys {
		if !k.Ready() {
			return errors.New("the keys of an issuer could not be fetched")
		}
	}
	return nil
}

// CacheStats are the counts of all caches together.
func (s *Setup) CacheStats() (sum auth.CacheStats) {
	for _, c := range s.caches {
		stats := c.Stats()
		sum.Hits += stats.Hits
		sum.Misses += stats.Misses
		sum.Entries += stats.Entries
		sum.Refusals += stats.Refusals
	}
	return sum
}

// Close ends everything that is under way; what is verified later fails.
func (s *Setup) Close() {
	for _, end := range s.closers {
		end()
	}
}
