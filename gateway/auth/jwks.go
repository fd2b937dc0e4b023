package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// retryMin is the first pause after a refresh that failed; it doubles up to the interval.
const retryMin = time.Second

// JWKSConfig is the address where an issuer publishes its keys, RFC 7517 section 5.
type JWKSConfig struct {
	// URL is https, or http on this machine. Redirects are not followed. It never depends on a
	// token.
	URL string
	// Algorithms are those that the keys may have. A key that names none takes the first that it
	// is for.
	Algorithms []string
	// Interval is the time between two refreshes, jittered by a fifth. Timeout bounds one.
	Interval, Timeout time.Duration
	// UnknownInterval is the least time between two refreshes when tokens name keys that are not
	// known. Such a token is refused meanwhile: it waits for nothing.
	UnknownInterval time.Duration
	// StaleMax is how long the keys are good after the last refresh that did not fail. Then every
	// token is answered with ErrUnavailable.
	StaleMax time.Duration
	// BytesMax bounds the answer.
	BytesMax int64
	// TLS configures the connection; nil is Go's default.
	TLS *tls.Config
	// OnRefresh is told of every refresh, with nil if it did not fail. It runs on the refreshing
	// goroutine and must not call Close. It may be nil.
	OnRefresh func(error)
}

// DefaultJWKS returns the defaults; the URL is missing.
func DefaultJWKS() JWKSConfig {
	return JWKSConfig{
		Algorithms:      DefaultAlgorithms(),
		Interval:        15 * time.Minute,
		Timeout:         5 * time.Second,
		UnknownInterval: 30 * time.Second,
		StaleMax:        time.Hour,
		BytesMax:        256 << 10,
	}
}

// Check joins all faults of a configuration.
func (c *JWKSConfig) Check() error {
	err := errors.Join(checkURL(c.URL), checkPublished(c.Algorithms))
	if c.Interval <= 0 || c.Timeout <= 0 || c.UnknownInterval <= 0 || c.StaleMax <= 0 ||
		c.BytesMax <= 0 {
		err = errors.Join(err, errors.New("auth: every bound of a key set must be positive"))
	}
	return err
}

// JWKS are the keys that an issuer publishes. One goroutine refreshes them; a refresh that fails
// leaves them as they are.
type JWKS struct {
	cfg     JWKSConfig
	client  *http.Client
	set     *keyStore
	keyfunc keyfunc.Keyfunc

	unknown chan struct{} // holds a word that a token named an unknown key
	cancel  context.CancelFunc
	ended   chan struct{}

	start  time.Time
	loaded atomic.Int64 // nanoseconds from start to the last refresh; 0 if there was none
}

// NewJWKS returns the keys of an issuer and starts to fetch them. Until they are there, tokens are
// answered with ErrUnavailable. Close must be called.
func NewJWKS(cfg JWKSConfig) (*JWKS, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	client := newHTTPClient(cfg.TLS, 1)
	client.Transport = &cappedTransport{next: client.Transport, bytesMax: cfg.BytesMax}
	return newJWKS(cfg, client)
}

// newJWKS is NewJWKS with a client.
func newJWKS(cfg JWKSConfig, client *http.Client) (*JWKS, error) {
	k := &JWKS{
		cfg:     cfg,
		client:  client,
		set:     newKeyStore(cfg.Algorithms),
		unknown: make(chan struct{}, 1),
		ended:   make(chan struct{}),
		start:   time.Now(),
	}
	var err error
	k.keyfunc, err = keyfunc.New(keyfunc.Options{Storage: k.set})
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	go k.run(ctx)
	return k, nil
}

// Ready reports whether the keys are there and not too old.
func (k *JWKS) Ready() bool {
	loaded := k.loaded.Load()
	return loaded != 0 && time.Since(k.start)-time.Duration(loaded) <= k.cfg.StaleMax
}

// Close ends the refreshing and waits for it.
func (k *JWKS) Close() {
	k.cancel()
	<-k.ended
	k.client.CloseIdleConnections()
}

func (k *JWKS) algorithms() []string { return slices.Clone(k.cfg.Algorithms) }

func (k *JWKS) version() uint64 { return k.set.version.Load() }

// find returns the key that a token names; a token that names none gets the only key.
func (k *JWKS) find(token *jwt.Token) (any, error) {
	if !k.Ready() {
		return nil, Refuse(ReasonNoKeys)
	}
	if _, named := token.Header["kid"]; !named {
		return k.set.only(token.Method.Alg())
	}
	key, err := k.keyfunc.Keyfunc(token)
	if err == nil {
		return key, nil
	}
	if errors.Is(err, jwkset.ErrKeyNotFound) {
		select {
		case k.unknown <- struct{}{}:
		default: // a word is enough
		}
	}
	return nil, Refuse(ReasonKey)
}

// run refreshes the keys: at once, then at intervals, earlier after a failure or when a token named
// an unknown key.
func (k *JWKS) run(ctx context.Context) {
	defer close(k.ended)
	retry := retryMin
	for ctx.Err() == nil {
		err := k.refresh(ctx)
		last, pause := time.Now(), jitter(k.cfg.Interval)
		if err != nil {
			pause = min(jitter(retry), pause)
			retry = min(2*retry, k.cfg.Interval)
		} else {
			retry = retryMin
		}
		k.wait(ctx, last, pause)
	}
}

// wait waits for the next refresh.
func (k *JWKS) wait(ctx context.Context, last time.Time, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	unknown := k.unknown
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-unknown:
			unknown = nil // the next word is for after the refresh
			left := time.Until(last.Add(pause))
			timer.Reset(min(left, time.Until(last.Add(k.cfg.UnknownInterval))))
		}
	}
}

// refresh fetches the keys once.
func (k *JWKS) refresh(ctx context.Context) error {
	_, err := jwkset.NewStorageFromHTTP(k.cfg.URL, jwkset.HTTPClientStorageOptions{
		Client:      k.client,
		Ctx:         ctx,
		HTTPTimeout: k.cfg.Timeout,
		Storage:     k.set,
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("auth: refresh keys: %w", withoutURL(err))
	} else {
		k.loaded.Store(int64(max(time.Since(k.start), 1)))
	}
	if k.cfg.OnRefresh != nil {
		k.cfg.OnRefresh(err)
	}
	return err
}

// cappedTransport bounds the answers.
type cappedTransport struct {
	next     http.RoundTripper
	bytesMax int64
}

// RoundTrip implements http.RoundTripper.
func (t *cappedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &cappedBody{ReadCloser: resp.Body, left: t.bytesMax + 1}
	return resp, nil
}

// CloseIdleConnections lets http.Client close those of the transport behind.
func (t *cappedTransport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// cappedBody fails instead of ending early: half of a key set is none.
type cappedBody struct {
	io.ReadCloser
	left int64
}

func (b *cappedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the answer is too large")
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
