package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// HookConfig is a service of the operator that decides about handshakes.
type HookConfig struct {
	// URL is https, or http on this machine. Redirects are not followed.
	URL string
	// Secret is sent as "Authorization: Bearer", so that the service knows who asks. Empty sends
	// none.
	Secret Secret
	// Headers are the names of the headers of the handshake that the service gets to see.
	Headers []string
	// Rooms is the member of the answer with the rooms that the user may join. An answer that lacks
	// it is refused; with RoomsOptional its user may join all.
	Rooms         string
	RoomsOptional bool
	// TLS configures the connection; nil is Go's default.
	TLS *tls.Config
	// Backend bounds the calls.
	Backend BackendConfig
}

// DefaultHook returns the defaults; the URL is missing.
func DefaultHook() HookConfig {
	return HookConfig{Rooms: "rooms", RoomsOptional: true, Backend: DefaultBackend()}
}

// Hook asks a service of the operator about a handshake:
//
//	POST {"token": "...", "kind": "header", "path": "/chat", "remote_ip": "192.0.2.1",
//	      "connection": "q3kzt-1f", "headers": {"X-Tenant": "..."}}
//
// and, when it is asked again about a connection that is open, "recheck": true.
//
// The answer is 200 with
//
//	{"user": "...", "rooms": [...], "claims": {...}, "expires": 1767225600}
//
// of which all but the user may be missing (rooms: all, but see HookConfig; expires, in Unix
// seconds: never); or 401,
// 403, or 429 with Retry-After. Anything else counts as a failure.
//
// The service sees the path and the address, so what it says holds for one handshake: it must not
// be cached by the token.
type Hook struct {
	cfg     HookConfig
	client  *http.Client
	backend *Backend
}

// NewHook returns a verifier that asks a service. It does not connect yet. Close must be called.
func NewHook(cfg HookConfig) (*Hook, error) {
	if err := errors.Join(checkURL(cfg.URL), cfg.Backend.Check()); err != nil {
		return nil, err
	}
	if cfg.Rooms == "" {
		return nil, errors.New("auth: the member with the rooms has no name")
	}
	return &Hook{
		cfg:     cfg,
		client:  newHTTPClient(cfg.TLS, cfg.Backend.CallsMax),
		backend: NewBackend(cfg.Backend),
	}, nil
}

// Verify implements Verifier. The token may be empty: the service can go by headers.
func (v *Hook) Verify(ctx context.Context, c Credential) (id Identity, err error) {
	if len(c.Token) > TokenBytesMax {
		return Identity{}, Refuse(ReasonTooLarge)
	}
	return v.call(ctx, v.question(c, false))
}

// Keep implements Rechecker: it is the question to ask.
func (v *Hook) Keep(c Credential) Secret { return Secret(v.question(c, true)) }

// Recheck implements Rechecker.
func (v *Hook) Recheck(ctx context.Context, kept Secret) (Identity, error) {
	return v.call(ctx, []byte(kept))
}

func (v *Hook) call(ctx context.Context, question []byte) (id Identity, err error) {
	err = v.backend.Call(ctx, func(ctx context.Context) error {
		id, err = v.ask(ctx, question)
		return err
	})
	return id, err
}

// Close ends the calls under way; later ones fail.
func (v *Hook) Close() {
	v.backend.Close()
	v.client.CloseIdleConnections()
}

// question is what the service is asked.
type question struct {
	Token      string            `json:"token"`
	Kind       string            `json:"kind"`
	Path       string            `json:"path"`
	RemoteIP   string            `json:"remote_ip"`
	Connection string            `json:"connection"`
	Headers    map[string]string `json:"headers"`
	Recheck    bool              `json:"recheck,omitempty"`
}

// question is the body of a request. It keeps nothing of the credential alive.
func (v *Hook) question(c Credential, recheck bool) []byte {
	q := question{
		Token: string(c.Token), Kind: c.Kind.String(), Headers: map[string]string{},
		Recheck: recheck,
	}
	if r := c.Request; r != nil {
		q.Path, q.Connection = r.Path, r.Connection
		if r.Remote.IsValid() {
			q.RemoteIP = r.Remote.Unmap().String()
		}
		for _, name := range v.cfg.Headers {
			if value, ok := r.Header(name); ok {
				q.Headers[name] = value
			}
		}
	}
	body, err := json.Marshal(q)
	if err != nil {
		panic("auth: " + err.Error()) // texts can always be written
	}
	return body
}

func (v *Hook) ask(ctx context.Context, question []byte) (Identity, error) {
	r, err := http.NewRequest(http.MethodPost, v.cfg.URL, bytes.NewReader(question))
	if err != nil {
		return Identity{}, Unavailable(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	if v.cfg.Secret != "" {
		r.Header.Set("Authorization", "Bearer "+string(v.cfg.Secret))
	}
	a, err := ask(ctx, v.client, r)
	if err != nil {
		return Identity{}, err
	}
	switch a.status {
	case http.StatusOK:
		return v.decode(a.body, time.Now())
	case http.StatusUnauthorized:
		return Identity{}, Refuse(ReasonInactive)
	case http.StatusForbidden:
		return Identity{}, Refuse(ReasonForbidden)
	case http.StatusTooManyRequests:
		return Identity{}, &Error{Reason: ReasonLimited, RetryAfter: a.retryAfter()}
	}
	return Identity{}, a.unexpected()
}

// decode makes an identity of an answer. A wrong one is the service's fault, not the peer's.
func (v *Hook) decode(body []byte, now time.Time) (Identity, error) {
	object, ok := decodeObject(body)
	if !ok {
		return Identity{}, Unavailable(errors.New("the answer is not a JSON object"))
	}
	r := reader{claims: object}
	id := Identity{User: r.text("user"), Rooms: r.texts(v.cfg.Rooms), Expires: r.date("expires")}
	if raw, ok := object["claims"]; ok {
		claims, isObject := raw.(map[string]any)
		r.failed = r.failed || !isObject
		inner := reader{claims: claims}
		id.Claims = make(map[string]string, min(len(claims), ClaimsMax))
		for name := range claims {
			id.Claims[name] = inner.scalar(name)
		}
		r.failed = r.failed || inner.failed
	}
	if r.failed || !id.check() {
		return Identity{}, Unavailable(errors.New("the answer is out of bounds"))
	}
	if !id.Expires.IsZero() && !now.Before(id.Expires) {
		return Identity{}, Refuse(ReasonExpired)
	}
	if id.Rooms == nil && !v.cfg.RoomsOptional {
		return Identity{}, Refuse(ReasonForbidden)
	}
	return id, nil
}
