// Package setup builds the verification of credentials from what the settings say.
package setup

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/auth/sessions"
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
	// OnRefresh is told of every refresh of the keys of an issuer, with nil if it did not fail. It
	// may be nil.
	OnRefresh func(issuer string, err error)
}

// Enabled reports whether anybody has to show a credential.
func (c *Config) Enabled() bool {
	return len(c.JWT)+len(c.Introspection)+len(c.Hook)+len(c.Sessions) > 0
}

// Ambient reports whether browsers may prove who their user is without the page's doing: by a
// cookie that is a credential, or that a hook gets to see.
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
			return strings.EqualFold(h, "Cookie")
		})
	}
	return slices.ContainsFunc(c.Sources, cookie) || slices.ContainsFunc(c.Hook, sees)
}

// Setup verifies credentials. It is safe for concurrent use.
type Setup struct {
	sources     []auth.Source
	verifier    auth.Verifier // nil if nobody has to show a credential
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
	s.verifier = s.revocations.Guard(chain)
	return s, nil
}

// Extract takes the credential out of a handshake. ok is false without one; then Anonymous and
// FromMessage say what else can be done.
func (s *Setup) Extract(r *auth.Request) (c auth.Credential, ok bool, err error) {
	return auth.Extract(r, s.sources)
}

// Enabled reports whether there is anything that verifies credentials.
func (s *Setup) Enabled() bool { return s.verifier != nil }

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
	return s.verifier.Verify(ctx, c)
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

// builder collects the routes of the verifiers, and what is wrong with them.
type builder struct {
	cfg   *Config
	setup *Setup
	errs  []error

	named, cookies, rest []auth.Route
}

// routes puts the narrow routes before the wide ones.
func (b *builder) routes() []auth.Route {
	return append(append(b.named, b.cookies...), b.rest...)
}

func (b *builder) build() {
	for _, service := range []struct {
		key   string
		specs []string
		max   int
		add   func(string) error
	}{
		{"auth-jwt", b.cfg.JWT, 32, b.addJWT},
		{"auth-sessions", b.cfg.Sessions, 1, b.addSessions},
		{"auth-introspection", b.cfg.Introspection, 1, b.addIntrospection},
		{"auth-hook", b.cfg.Hook, 1, b.addHook},
	} {
		if len(service.specs) > service.max {
			b.errs = append(b.errs, fmt.Errorf("%s: at most %d can be given", service.key,
				service.max))
			continue
		}
		for _, text := range service.specs {
			if err := service.add(text); err != nil {
				b.errs = append(b.errs, fmt.Errorf("%s: %w", service.key, err))
			}
		}
	}
}

// cached puts a cache in front of a verifier.
func (b *builder) cached(v auth.Verifier) auth.Verifier {
	cfg := auth.DefaultCache()
	cfg.TTL = b.cfg.CacheTTL
	if cfg.TTL <= 0 {
		return v
	}
	c := auth.NewCache(v, cfg)
	b.setup.caches = append(b.setup.caches, c)
	return c
}

func (b *builder) addJWT(text string) error {
	s := parseSpec(text, []string{
		"issuer", "audience", "jwks", "key", "kid", "alg", "leeway", "user", "rooms", "claims",
	}, nil)
	if s.err() == nil && s.has("jwks") == s.has("key") {
		s.fail("needs jwks=URL or key=@FILE, and not both")
	}
	if s.has("jwks") && !s.has("issuer") {
		s.fail("published keys need an issuer")
	}
	s.file("key")
	cfg := auth.JWTConfig{
		Issuer: s.text("issuer", ""), Audience: s.list("audience"),
		Leeway: s.duration("leeway", auth.DefaultLeeway), Fields: s.fields("sub"),
	}
	if err := s.err(); err != nil {
		return err
	}
	var err error
	if cfg.Keys, err = b.keys(s, cfg.Issuer); err != nil {
		return err
	}
	v, err := auth.NewJWT(cfg)
	if err != nil {
		return err
	}
	route := auth.Route{Issuer: cfg.Issuer, Verifier: b.cached(v)}
	if cfg.Issuer == "" {
		b.rest = append(b.rest, route)
	} else {
		b.named = append(b.named, route)
	}
	return nil
}

// keys are those of a file, or those that an issuer publishes.
func (b *builder) keys(s *spec, issuer string) (auth.Keys, error) {
	if s.has("key") {
		return auth.NewStaticKeys(auth.KeyConfig{
			ID: s.text("kid", ""), Algorithm: s.text("alg", ""),
			Source: auth.Secret(s.values["key"]),
		})
	}
	cfg := auth.DefaultJWKS()
	cfg.URL = s.values["jwks"]
	if s.has("alg") {
		cfg.Algorithms = s.list("alg")
	}
	if b.cfg.OnRefresh != nil {
		cfg.OnRefresh = func(err error) { b.cfg.OnRefresh(issuer, err) }
	}
	k, err := auth.NewJWKS(cfg)
	if err != nil {
		return nil, err
	}
	b.setup.keys = append(b.setup.keys, k)
	b.setup.closers = append(b.setup.closers, k.Close)
	return k, nil
}

func (b *builder) addIntrospection(text string) error {
	s := parseSpec(text, []string{
		"url", "client-id", "client-secret", "issuer", "audience", "timeout", "calls", "user",
		"rooms", "claims",
	}, []string{"url"})
	cfg := auth.IntrospectionConfig{
		URL: s.text("url", ""), ClientID: s.text("client-id", ""),
		ClientSecret: s.secret("client-secret"), Issuer: s.text("issuer", ""),
		Audience: s.list("audience"), Fields: s.fields("sub"), Backend: s.backend(),
	}
	if err := s.err(); err != nil {
		return err
	}
	v, err := auth.NewIntrospection(cfg)
	if err != nil {
		return err
	}
	b.setup.closers = append(b.setup.closers, v.Close)
	b.rest = append(b.rest, auth.Route{Verifier: b.cached(v)})
	return nil
}

var hookNames = []string{"url", "secret", "headers", "timeout", "calls"}

// addHook adds a hook. What it says holds for one handshake, so it is not cached.
func (b *builder) addHook(text string) error {
	s := parseSpec(text, hookNames, []string{"url"})
	cfg := auth.HookConfig{
		URL: s.text("url", ""), Secret: s.secret("secret"), Headers: s.list("headers"),
		Backend: s.backend(),
	}
	if err := s.err(); err != nil {
		return err
	}
	v, err := auth.NewHook(cfg)
	if err != nil {
		return err
	}
	b.setup.asksHook, b.setup.headers = true, cfg.Headers
	b.setup.closers = append(b.setup.closers, v.Close)
	b.rest = append(b.rest, auth.Route{Verifier: v})
	return nil
}

// addSessions adds the sessions of an application. They are not cached: who logs out is out.
func (b *builder) addSessions(text string) error {
	s := parseSpec(text, []string{
		"addr", "prefix", "username", "password", "db", "tls", "timeout", "calls", "user", "rooms",
		"claims",
	}, nil)
	cfg := sessions.DefaultConfig()
	cfg.Address = s.text("addr", cfg.Address)
	cfg.Prefix = s.text("prefix", cfg.Prefix)
	cfg.Username, cfg.Password = s.text("username", ""), s.secret("password")
	cfg.Database = s.count("db", 0)
	cfg.Fields, cfg.Backend = s.fields(cfg.Fields.User), s.backend()
	if s.is("tls") {
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if err := s.err(); err != nil {
		return err
	}
	v, err := sessions.New(cfg)
	if err != nil {
		return err
	}
	b.setup.closers = append(b.setup.closers, v.Close)
	b.cookies = append(b.cookies, auth.Route{Kind: auth.KindCookie, Verifier: v})
	return nil
}
