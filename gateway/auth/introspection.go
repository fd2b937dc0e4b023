package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// IntrospectionConfig is an OAuth 2.0 introspection endpoint, RFC 7662.
type IntrospectionConfig struct {
	// URL is https, or http on this machine. Redirects are not followed.
	URL string
	// ClientID and ClientSecret are this service's own credentials, sent by HTTP Basic.
	ClientID     string
	ClientSecret Secret
	// Issuer and Audience are what the answer must say; empty accepts any.
	Issuer   string
	Audience []string
	// LifetimeMax bounds the time from iat to exp, which must be there then; 0 means unlimited.
	LifetimeMax time.Duration
	// Fields says which members of the answer make the identity.
	Fields Fields
	// TLS configures the connection; nil is Go's default.
	TLS *tls.Config
	// Backend bounds the calls.
	Backend BackendConfig
}

// Introspection asks the authority that made a token what it is worth. Every Verify is a call: put
// a Cache in front, for no longer than a token that was taken back may live on.
type Introspection struct {
	cfg     IntrospectionConfig
	client  *http.Client
	backend *Backend
}

// NewIntrospection returns a verifier that asks an endpoint. It does not connect yet. Close must be
// called.
func NewIntrospection(cfg IntrospectionConfig) (*Introspection, error) {
	if err := errors.Join(checkURL(cfg.URL), cfg.Backend.Check()); err != nil {
		return nil, err
	}
	if cfg.Fields.User == "" {
		return nil, errors.New("auth: no field is the user")
	}
	return &Introspection{
		cfg:     cfg,
		client:  newHTTPClient(cfg.TLS, cfg.Backend.CallsMax),
		backend: NewBackend(cfg.Backend),
	}, nil
}

// Verify implements Verifier.
func (v *Introspection) Verify(ctx context.Context, c Credential) (id Identity, err error) {
	if err := checkToken(string(c.Token)); err != nil {
		return Identity{}, err
	}
	err = v.backend.Call(ctx, func(ctx context.Context) error {
		id, err = v.ask(ctx, c.Token)
		return err
	})
	return id, err
}

// Keep implements Rechecker: it is the token.
func (v *Introspection) Keep(c Credential) Secret { return c.Token }

// Recheck implements Rechecker.
func (v *Introspection) Recheck(ctx context.Context, kept Secret) (Identity, error) {
	return v.Verify(ctx, Credential{Token: kept})
}

// Close ends the calls under way; later ones fail.
func (v *Introspection) Close() {
	v.backend.Close()
	v.client.CloseIdleConnections()
}

func (v *Introspection) ask(ctx context.Context, token Secret) (Identity, error) {
	form := url.Values{"token": {string(token)}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequest(http.MethodPost, v.cfg.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return Identity{}, Unavailable(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if v.cfg.ClientID != "" {
		// RFC 6749 section 2.3.1 encodes both for a form before they become Basic.
		r.SetBasicAuth(url.QueryEscape(v.cfg.ClientID),
			url.QueryEscape(string(v.cfg.ClientSecret)))
	}
	a, err := ask(ctx, v.client, r)
	if err != nil {
		return Identity{}, err
	}
	// A 401 is about our own credentials: the token is as good as ever.
	if a.status != http.StatusOK {
		return Identity{}, a.unexpected()
	}
	return v.judge(a.body, time.Now())
}

// judge makes an identity of an answer, RFC 7662 section 2.2.
func (v *Introspection) judge(body []byte, now time.Time) (Identity, error) {
	claims, ok := decodeObject(body)
	active, isBool := claims["active"].(bool)
	if !ok || !isBool {
		return Identity{}, Unavailable(errors.New("the answer does not say if the token is active"))
	}
	if !active {
		return Identity{}, Refuse(ReasonInactive)
	}
	id, err := v.cfg.Fields.identity(claims)
	if err != nil {
		return Identity{}, err
	}
	r := reader{claims: claims}
	begins := r.date("nbf")
	switch {
	case !id.Expires.IsZero() && !now.Before(id.Expires):
		return Identity{}, Refuse(ReasonExpired)
	case begins.After(now.Add(DefaultLeeway)):
		return Identity{}, Refuse(ReasonNotYet)
	case v.cfg.Issuer != "" && id.Issuer != v.cfg.Issuer:
		return Identity{}, Refuse(ReasonIssuer)
	case len(v.cfg.Audience) > 0 && !meantFor(claims["aud"], v.cfg.Audience):
		return Identity{}, Refuse(ReasonAudience)
	}
	if err := checkLifetime(&id, v.cfg.LifetimeMax); err != nil {
		return Identity{}, err
	}
	id.Leeway = DefaultLeeway
	return id, nil
}

// meantFor reports whether an aud claim, a text or a list of texts, has one of names.
func meantFor(aud any, names []string) bool {
	switch aud := aud.(type) {
	case string:
		return slices.Contains(names, aud)
	case []any:
		return slices.ContainsFunc(aud, func(e any) bool {
			s, ok := e.(string)
			return ok && slices.Contains(names, s)
		})
	}
	return false
}
