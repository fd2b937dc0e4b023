// Package sessions verifies session cookies against the sessions that an application keeps in
// Redis.
package sessions

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"sluice/gateway/auth"
)

// Bounds of session ids, in bytes. A shorter one could be guessed.
const (
	idBytesMin = 16
	idBytesMax = 256
)

// valueBytesMax bounds the value of a session.
const valueBytesMax = 64 << 10

// leftMax is the most, in milliseconds, that a key is taken to live. A Redis key may live for
// longer than a time.Duration can say.
const leftMax = 100 * 365 * 24 * 3600 * 1000

// Config is where the sessions are.
type Config struct {
	// Address is host:port, or the absolute path of a Unix socket.
	Address string
	// Username and Password authenticate this service; Database is the number of the database.
	Username string
	Password auth.Secret
	Database int
	// TLS configures the connection; nil is plain.
	TLS *tls.Config
	// Prefix precedes the session id in the key.
	Prefix string
	// Fields says which members of the value, a JSON object, make the identity.
	Fields auth.Fields
	// Backend bounds the lookups. Its Timeout bounds connecting, too.
	Backend auth.BackendConfig
}

// DefaultConfig returns the defaults: keys "session:<id>", with a field "user".
func DefaultConfig() Config {
	return Config{
		Address: "127.0.0.1:6379",
		Prefix:  "session:",
		Fields:  auth.Fields{User: "user"},
		Backend: auth.DefaultBackend(),
	}
}

// Check joins all faults of a configuration.
func (c *Config) Check() error {
	err := c.Backend.Check()
	if c.Address == "" {
		err = errors.Join(err, errors.New("sessions: no address"))
	}
	if c.Fields.User == "" {
		err = errors.Join(err, errors.New("sessions: no field is the user"))
	}
	if c.Database < 0 {
		err = errors.Join(err, errors.New("sessions: the database is negative"))
	}
	return err
}

// Verifier verifies session cookies: the token is a session id. The identity ends with the key, or
// with its own claim exp if that is earlier. It implements auth.Verifier.
type Verifier struct {
	cfg     Config
	client  rueidis.Client
	backend *auth.Backend
}

// New returns a verifier. It tries to connect once; a Redis that is down is an ErrUnavailable for
// every session until it is up, not a reason to fail. Close must be called.
func New(cfg Config) (*Verifier, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	client, err := rueidis.NewClient(options(&cfg))
	if client == nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	return &Verifier{cfg: cfg, client: client, backend: auth.NewBackend(cfg.Backend)}, nil
}

// options are those of the client. Buffers and rings are small: rueidis would take a megabyte a
// connection, for pipelines far deeper than CallsMax.
func options(cfg *Config) rueidis.ClientOption {
	return rueidis.ClientOption{
		InitAddress:       []string{cfg.Address},
		Username:          cfg.Username,
		Password:          string(cfg.Password),
		SelectDB:          cfg.Database,
		TLSConfig:         cfg.TLS,
		Dialer:            net.Dialer{Timeout: cfg.Backend.Timeout, KeepAlive: 15 * time.Second},
		DialCtxFn:         dial,
		ForceSingleClient: true, // the one kind of client that a Redis that is down does not stop
		// A session that is gone must be gone: nothing is kept on this side, and Redis need not
		// know CLIENT TRACKING.
		DisableCache: true,
		// The breaker decides whether to try again.
		DisableRetry:        true,
		ConnWriteTimeout:    cfg.Backend.Timeout,
		MaxFlushDelay:       20 * time.Microsecond,
		PipelineMultiplex:   1,
		RingScaleEachConn:   8,
		ReadBufferEachConn:  16 << 10,
		WriteBufferEachConn: 16 << 10,
	}
}

// dial connects to an address, or to a path.
func dial(ctx context.Context, address string, d *net.Dialer, cfg *tls.Config) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	if cfg != nil {
		return (&tls.Dialer{NetDialer: d, Config: cfg}).DialContext(ctx, network, address)
	}
	return d.DialContext(ctx, network, address)
}

// Verify implements auth.Verifier.
func (v *Verifier) Verify(ctx context.Context, c auth.Credential) (id auth.Identity, err error) {
	if !isID(string(c.Token)) {
		return auth.Identity{}, auth.Refuse(auth.ReasonMalformed)
	}
	err = v.backend.Call(ctx, func(ctx context.Context) error {
		id, err = v.lookup(ctx, v.cfg.Prefix+string(c.Token))
		return err
	})
	return id, err
}

// Keep implements auth.Rechecker: it is the session id.
func (v *Verifier) Keep(c auth.Credential) auth.Secret { return c.Token }

// Recheck implements auth.Rechecker.
func (v *Verifier) Recheck(ctx context.Context, kept auth.Secret) (auth.Identity, error) {
	return v.Verify(ctx, auth.Credential{Token: kept})
}

// Close ends the lookups under way; later ones fail.
func (v *Verifier) Close() {
	v.backend.Close()
	v.client.Close()
}

// lookup reads a session and how long it lives.
func (v *Verifier) lookup(ctx context.Context, key string) (auth.Identity, error) {
	b := v.client.B()
	// A value that somebody blew up must not come over the wire, so it is not GET.
	results := v.client.DoMulti(ctx, b.Getrange().Key(key).Start(0).End(valueBytesMax).Build(),
		b.Pttl().Key(key).Build())
	now := time.Now()
	value, err := results[0].AsBytes()
	if e, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(e.Error(), "WRONGTYPE") {
		// It is the fault of this key, and a peer must not open the breaker with it.
		return auth.Identity{}, auth.Refuse(auth.ReasonClaims)
	}
	if err != nil {
		return auth.Identity{}, auth.Unavailable(err)
	}
	left, err := results[1].AsInt64()
	if err != nil {
		return auth.Identity{}, auth.Unavailable(err)
	}
	switch {
	case len(value) == 0:
		return auth.Identity{}, auth.Refuse(auth.ReasonInactive)
	case len(value) > valueBytesMax:
		return auth.Identity{}, auth.Refuse(auth.ReasonClaims)
	}
	id, err := v.cfg.Fields.Decode(value)
	if err != nil {
		return auth.Identity{}, err
	}
	return settle(id, left, now)
}

// settle ends an identity with its key. left is as Redis says it: milliseconds, -1 for a key that
// stays, -2 for one that has just gone.
func settle(id auth.Identity, left int64, now time.Time) (auth.Identity, error) {
	if left == -2 || !id.Expires.IsZero() && !now.Before(id.Expires) {
		return auth.Identity{}, auth.Refuse(auth.ReasonExpired)
	}
	if left >= 0 {
		end := now.Add(time.Duration(min(left, leftMax)) * time.Millisecond)
		if id.Expires.IsZero() || end.Before(id.Expires) {
			id.Expires = end
		}
	}
	return id, nil
}

// isID reports whether a token can be a session id. Control characters and spaces are out already;
// what is left of the bytes cannot leave the prefix, as keys are compared as they are.
func isID(token string) bool {
	return len(token) >= idBytesMin && len(token) <= idBytesMax &&
		!strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7F })
}
