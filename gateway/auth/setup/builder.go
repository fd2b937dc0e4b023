package setup

import (
	"crypto/tls"
	"fmt"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/auth/sessions"
)

// builder collects the routes of the verifiers, and what is wrong with them.
type builder struct {
	cfg   *Config
	setup *Setup
	errs  []error

	named, cookies, rest []auth.Route
	realms               []*auth.Realm
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

// source makes the end of a route out of a verifier of a realm. of is the service that it asks, nil
// if it computes only.
func (b *builder) source(r *auth.Realm, v auth.Verifier, of *Service, cached bool) *source {
	b.realms = append(b.realms, r)
	s := &source{named: r.Wrap(v), service: computes}
	s.Verifier = s.named
	cfg := auth.DefaultCache()
	if cfg.TTL = b.cfg.CacheTTL; cached && cfg.TTL > 0 {
		s.cache = auth.NewCache(s.named, cfg)
		s.Verifier = s.cache
		b.setup.caches = append(b.setup.caches, s.cache)
	}
	if of != nil {
		s.service = len(b.setup.services)
		b.setup.services = append(b.setup.services, service{*of, s})
	}
	return s
}

// issuer notes whose users a verifier knows, and for how long a token of theirs may be good; 0 for
// as long as it says.
func (b *builder) issuer(r *auth.Realm, lifetimeMax time.Duration) {
	if lifetimeMax > 0 {
		lifetimeMax += 2 * maxLeeway // of iat, and of exp
	}
	b.setup.issuers = append(b.setup.issuers, issuer{r.Issuer, r.Claimed, lifetimeMax})
}

// reserve keeps the users of every verifier out of the prefixes of others.
func (b *builder) reserve() {
	for _, r := range b.realms {
		if r.Prefix != "" {
			b.setup.prefixes = append(b.setup.prefixes, r.Prefix)
		}
	}
	for _, r := range b.realms {
		for _, p := range b.setup.prefixes {
			if len(p) > len(r.Prefix) {
				r.Reserved = append(r.Reserved, p)
			}
		}
	}
}

func (b *builder) addJWT(text string) error {
	s := parseSpec(text, []string{
		"issuer", "audience", "jwks", "key", "kid", "alg", "leeway", "max-age", "user", "rooms",
		"claims", "prefix",
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
		LifetimeMax: s.duration("max-age", 0),
	}
	if cfg.Leeway > maxLeeway {
		s.fail("leeway is more than %v", maxLeeway)
	}
	realm := s.realm(auth.IssuerJWT, cfg.Issuer, "prefix")
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
	b.issuer(realm, cfg.LifetimeMax)
	route := auth.Route{Issuer: cfg.Issuer, Verifier: b.source(realm, v, nil, true)}
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
		"url", "client-id", "client-secret", "issuer", "audience", "timeout", "calls", "wait",
		"queue", "max-age", "user", "rooms", "claims", "prefix",
	}, []string{"url"})
	cfg := auth.IntrospectionConfig{
		URL: s.text("url", ""), ClientID: s.text("client-id", ""),
		ClientSecret: s.secret("client-secret"), Issuer: s.text("issuer", ""),
		Audience: s.list("audience"), Fields: s.fields("sub"), Backend: s.backend(),
		LifetimeMax: s.duration("max-age", 0),
	}
	realm := s.realm(auth.IssuerIntrospection, cfg.Issuer, "prefix")
	of := s.service(auth.IssuerIntrospection, cfg.Backend)
	if err := s.err(); err != nil {
		return err
	}
	v, err := auth.NewIntrospection(cfg)
	if err != nil {
		return err
	}
	b.setup.closers = append(b.setup.closers, v.Close)
	b.issuer(realm, cfg.LifetimeMax)
	b.rest = append(b.rest, auth.Route{Verifier: b.source(realm, v, of, true)})
	return nil
}

var hookNames = []string{
	"url", "secret", "headers", "timeout", "calls", "wait", "queue", "rooms", "prefix",
}

// addHook adds a hook. What it says holds for one handshake, so it is not cached.
func (b *builder) addHook(text string) error {
	s := parseSpec(text, hookNames, []string{"url"})
	cfg := auth.DefaultHook()
	cfg.URL, cfg.Secret = s.text("url", ""), s.secret("secret")
	cfg.Headers, cfg.Backend = s.list("headers"), s.backend()
	if s.has("rooms") {
		cfg.Rooms, cfg.RoomsOptional = s.rooms()
	}
	realm := s.realm(auth.IssuerHook, auth.IssuerHook, "prefix")
	of := s.service(auth.IssuerHook, cfg.Backend)
	if err := s.err(); err != nil {
		return err
	}
	v, err := auth.NewHook(cfg)
	if err != nil {
		return err
	}
	b.setup.asksHook, b.setup.headers = true, cfg.Headers
	b.setup.closers = append(b.setup.closers, v.Close)
	b.issuer(realm, 0)
	b.rest = append(b.rest, auth.Route{Verifier: b.source(realm, v, of, false)})
	return nil
}

// addSessions adds the sessions of an application. They are not cached: who logs out is out.
func (b *builder) addSessions(text string) error {
	s := parseSpec(text, []string{
		"addr", "prefix", "username", "password", "db", "tls", "timeout", "calls", "wait", "queue",
		"user", "rooms", "claims", "user-prefix",
	}, nil)
	cfg := sessions.DefaultConfig()
	cfg.Address = s.text("addr", cfg.Address)
	cfg.Prefix = s.text("prefix", cfg.Prefix)
	cfg.Username, cfg.Password = s.text("username", ""), s.secret("password")
	cfg.Database = s.count("db", 0)
	cfg.Fields, cfg.Backend = s.fields(cfg.Fields.User), s.backend()
	realm := s.realm(auth.IssuerSessions, auth.IssuerSessions, "user-prefix")
	of := s.service(auth.IssuerSessions, cfg.Backend)
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
	b.issuer(realm, 0)
	b.cookies = append(b.cookies, auth.Route{
		Kind: auth.KindCookie, Verifier: b.source(realm, v, of, false),
	})
	return nil
}
