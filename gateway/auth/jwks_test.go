package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
)

// publisher publishes the keys of an issuer, and fails on command.
type publisher struct {
	*service
	keys      *JWKS
	refreshed chan error // one of every refresh; unbuffered, so a refresh waits for the test
}

// newPublisher starts a server, and a key set whose refreshes the test sees one by one. Its
// intervals are as short as can be: the test is the clock.
func newPublisher(t *testing.T, handler http.HandlerFunc, change func(*JWKSConfig)) *publisher {
	t.Helper()
	p := &publisher{service: newService(t, handler), refreshed: make(chan error)}
	stop := make(chan struct{})
	cfg := DefaultJWKS()
	cfg.URL = p.URL
	cfg.Interval = time.Millisecond
	cfg.OnRefresh = func(err error) {
		select {
		case p.refreshed <- err:
		case <-stop:
		}
	}
	if change != nil {
		change(&cfg)
	}
	keys, err := NewJWKS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p.keys = keys
	t.Cleanup(func() { close(stop); keys.Close() })
	return p
}

// refresh waits for a refresh that began after the call.
func (p *publisher) refresh() error {
	<-p.refreshed // may have begun before
	return <-p.refreshed
}

// setOf is a key set.
func setOf(t testing.TB, keys ...jwkset.JWKMarshal) string {
	t.Helper()
	return jsonOf(t, jwkset.JWKSMarshal{Keys: keys})
}

func newECKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestA08_Rotation(t *testing.T) {
	old, young := newECKey(t), newECKey(t)
	oldJWK := jwkOf(t, old.Public(), "old", "ES256", false)
	youngJWK := jwkOf(t, young.Public(), "young", "ES256", false)
	p := newPublisher(t, says(200, setOf(t, oldJWK)), nil)
	chain, err := NewChain(Route{Issuer: testIssuer, Verifier: verifierOf(t, p.keys)})
	if err != nil {
		t.Fatal(err)
	}
	c := NewCache(chain, DefaultCache())
	oldToken := sign(t, "ES256", old, kid("old"), goodClaims())
	youngToken := sign(t, "ES256", young, kid("young"), goodClaims())
	want := func(token string, reason Reason, ok bool) {
		t.Helper()
		_, err := verify(c, token)
		if !ok {
			wantReason(t, err, reason)
		} else if err != nil {
			t.Fatal(err)
		}
	}

	if err := p.refresh(); err != nil {
		t.Fatal(err)
	}
	want(oldToken, 0, true)
	want(oldToken, 0, true) // from the cache

	p.answer(says(200, setOf(t, oldJWK, youngJWK)))
	if err := p.refresh(); err != nil {
		t.Fatal(err)
	}
	want(oldToken, 0, true)
	want(youngToken, 0, true)

	// A key that is gone takes with it what the cache remembers.
	p.answer(says(200, setOf(t, youngJWK)))
	if err := p.refresh(); err != nil {
		t.Fatal(err)
	}
	want(oldToken, ReasonKey, false)
	want(youngToken, 0, true)
	hits := c.Stats().Hits
	want(youngToken, 0, true)
	if c.Stats().Hits != hits+1 {
		t.Error("after a key was lost nothing is remembered any more")
	}

	// So does one that changes under its id.
	p.answer(says(200, setOf(t, jwkOf(t, old.Public(), "young", "ES256", false))))
	if err := p.refresh(); err != nil {
		t.Fatal(err)
	}
	want(youngToken, ReasonSignature, false)
}

func TestA08_FaultsKeepTheKeys(t *testing.T) {
	key := newECKey(t)
	good := says(200, setOf(t, jwkOf(t, key.Public(), "k", "ES256", false)))
	weak := jwkOf(t, testSigners().rsa1024.Public(), "weak", "RS256", false)
	oct := jwkOf(t, []byte(testSecret), "oct", "HS256", true)
	many := make([]jwkset.JWKMarshal, keysMax+1)
	for i := range many {
		many[i] = jwkOf(t, key.Public(), fmt.Sprint(i), "ES256", false)
	}
	canary := newService(t, good)
	p := newPublisher(t, good, func(c *JWKSConfig) { c.Timeout = time.Second })
	if err := p.refresh(); err != nil { // the keys of before
		t.Fatal(err)
	}
	v := verifierOf(t, p.keys)
	token := sign(t, "ES256", key, kid("k"), goodClaims())
	version := p.keys.version()
	rows := []struct {
		name    string
		handler http.HandlerFunc
	}{
		{"500", says(500, setOf(t, weak))},
		{"404", says(404, ``)},
		{"html", says(200, `<html>`)},
		{"empty", says(200, ``)},
		{"empty_object", says(200, `{}`)},
		{"empty_set", says(200, `{"keys":[]}`)},
		{"error_object", says(200, `{"error":"x"}`)},
		{"array", says(200, `[]`)},
		{"broken_key", says(200, `{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`)},
		{"only_A07_rsa_1024", says(200, setOf(t, weak))},
		{"only_A02_secret", says(200, setOf(t, oct))},
		{"too_many_keys", says(200, setOf(t, many...))},
		{"10MB", says(200, `{"keys":[`+strings.Repeat(" ", 10<<20)+`]}`)},
		{"endless", endless},
		{"slow", silent},
		{"cut", cut},
		{"A04_redirect", http.RedirectHandler(canary.URL, http.StatusFound).ServeHTTP},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			p.answer(r.handler)
			if err := p.refresh(); err == nil {
				t.Fatal("the refresh did not fail")
			}
			if _, err := verify(v, token); err != nil {
				t.Errorf("with the keys of before: %v", err)
			}
			if !p.keys.Ready() || p.keys.version() != version {
				t.Error("the keys are no longer what they were")
			}
			p.answer(good)
			if err := p.refresh(); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
	if n := canary.hits.Load(); n != 0 {
		t.Errorf("followed a redirect %d times", n)
	}
	t.Run("down", func(t *testing.T) {
		p.service.Close()
		if err := p.refresh(); err == nil {
			t.Fatal("the refresh did not fail")
		}
		if _, err := verify(v, token); err != nil {
			t.Errorf("with the keys of before: %v", err)
		}
	})
}

func TestA08_DownAtStart(t *testing.T) {
	key := newECKey(t)
	p := newPublisher(t, says(503, ``), nil)
	v := verifierOf(t, p.keys)
	token := sign(t, "ES256", key, kid("k"), goodClaims())
	_, err := verify(v, token)
	wantReason(t, err, ReasonNoKeys)
	if err := p.refresh(); err == nil || p.keys.Ready() {
		t.Fatalf("ready, %v", err)
	}
	_, err = verify(v, token)
	wantReason(t, err, ReasonNoKeys)
	p.answer(says(200, setOf(t, jwkOf(t, key.Public(), "k", "", false))))
	if err := p.refresh(); err != nil || !p.keys.Ready() {
		t.Fatalf("not ready, %v", err)
	}
	if _, err := verify(v, token); err != nil {
		t.Error(err)
	}
}

func TestA02_PublishedKeysHaveOneAlgorithm(t *testing.T) {
	s := testSigners()
	ec := newECKey(t)
	enc := jwkOf(t, newECKey(t).Public(), "enc", "ES256", false)
	enc.USE = jwkset.UseEnc
	p := newPublisher(t, says(200, setOf(t,
		jwkOf(t, s.rsa.Public(), "rsa", "", false),
		jwkOf(t, s.rsa.Public(), "ps", "PS256", false),
		jwkOf(t, ec.Public(), "ec", "ES256", false),
		jwkOf(t, []byte(testSecret), "oct", "HS256", true),
		jwkOf(t, s.rsa1024.Public(), "weak", "RS256", false),
		jwkOf(t, s.ed, "private", "", true),
		jwkOf(t, ec.Public(), strings.Repeat("k", keyIDBytesMax+1), "ES256", false),
		enc,
	)), nil)
	if err := p.refresh(); err != nil {
		t.Fatal(err)
	}
	v := verifierOf(t, p.keys)
	rows := []struct {
		name, algorithm, id string
		key                 any
		want                Reason
		ok                  bool
	}{
		{"rsa_without_alg_is_RS256", "RS256", "rsa", s.rsa, 0, true},
		{"rsa_without_alg_as_PS256", "PS256", "rsa", s.rsa, ReasonKey, false},
		{"rsa_without_alg_as_RS512", "RS512", "rsa", s.rsa, ReasonKey, false},
		{"ps256", "PS256", "ps", s.rsa, 0, true},
		{"ps256_as_RS256", "RS256", "ps", s.rsa, ReasonKey, false},
		{"es256", "ES256", "ec", ec, 0, true},
		{"private_key_published", "EdDSA", "private", s.ed, 0, true},
		{"secret_published", "HS256", "oct", []byte(testSecret), ReasonAlgorithm, false},
		{"HS256_with_public_key", "HS256", "rsa", []byte(pemOf(t, s.rsa.Public())),
			ReasonAlgorithm, false},
		{"A07_rsa_1024", "RS256", "weak", s.rsa1024, ReasonKey, false},
		{"for_encryption", "ES256", "enc", ec, ReasonKey, false},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := verify(v, sign(t, r.algorithm, r.key, kid(r.id), goodClaims()))
			if !r.ok {
				wantReason(t, err, r.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("no_kid_and_several_keys", func(t *testing.T) {
		for algorithm, key := range map[string]any{"ES256": ec, "RS256": s.rsa} {
			_, err := verify(v, sign(t, algorithm, key, nil, goodClaims()))
			wantReason(t, err, ReasonKey)
		}
	})
	t.Run("no_kid_and_one_key", func(t *testing.T) {
		p.answer(says(200, setOf(t, jwkOf(t, ec.Public(), "", "ES256", false))))
		if err := p.refresh(); err != nil {
			t.Fatal(err)
		}
		if _, err := verify(v, sign(t, "ES256", ec, nil, goodClaims())); err != nil {
			t.Error(err)
		}
	})
}

func TestA03_TwoPublishersWithTheSameKeyID(t *testing.T) {
	keys := map[string]*ecdsa.PrivateKey{"a": newECKey(t), "b": newECKey(t)}
	var routes []Route
	for issuer, key := range keys {
		p := newPublisher(t, says(200, setOf(t, jwkOf(t, key.Public(), "1", "ES256", false))), nil)
		if err := p.refresh(); err != nil {
			t.Fatal(err)
		}
		v, err := NewJWT(JWTConfig{Keys: p.keys, Issuer: issuer,
			Audience: []string{testAudience}, Fields: DefaultFields()})
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, Route{Issuer: issuer, Verifier: NewCache(v, DefaultCache())})
	}
	c, err := NewChain(routes...)
	if err != nil {
		t.Fatal(err)
	}
	for issuer := range keys {
		for signer, key := range keys {
			_, err := verify(c, sign(t, "ES256", key, kid("1"),
				with(map[string]any{"iss": issuer})))
			if issuer != signer {
				wantReason(t, err, ReasonSignature)
			} else if err != nil {
				t.Error(err)
			}
		}
	}
}

// clocked is a transport that answers by a function and notes when it was asked. It opens no
// sockets, so that the clock can be a fake.
type clocked struct {
	start  time.Time
	answer func() (status int, body string)

	mu    sync.Mutex
	asked []time.Duration
}

func (c *clocked) times() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

func (c *clocked) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.asked = append(c.asked, time.Since(c.start))
	c.mu.Unlock()
	status, body := c.answer()
	if status == 0 {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: status, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body))}, nil
}

// clockedJWKS is a key set on a fake clock.
func clockedJWKS(t *testing.T, tr *clocked) *JWKS {
	t.Helper()
	cfg := DefaultJWKS()
	cfg.URL = testIssuer
	tr.start = time.Now()
	keys, err := newJWKS(cfg, &http.Client{Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	synctest.Wait()
	return keys
}

func TestA03_UnknownKeysRefreshOnceInAWhile(t *testing.T) {
	key := newECKey(t)
	set := setOf(t, jwkOf(t, key.Public(), "k", "ES256", false))
	token := sign(t, "ES256", key, kid("unknown"), with(map[string]any{"exp": 4e9}))
	synctest.Test(t, func(t *testing.T) {
		tr := &clocked{answer: func() (int, string) { return 200, set }}
		keys := clockedJWKS(t, tr)
		v := verifierOf(t, keys)
		began := time.Now()
		storm := func() {
			t.Helper()
			for range 1000 {
				_, err := verify(v, token)
				wantReason(t, err, ReasonKey)
			}
			if time.Since(began) != 0 {
				t.Fatal("a token with an unknown key waited")
			}
		}
		storm()
		for i := range 5 {
			<-time.After(keys.cfg.UnknownInterval - 1)
			synctest.Wait()
			if asked := tr.times(); len(asked) != 1+i {
				t.Fatalf("asked at %v", asked)
			}
			<-time.After(1)
			synctest.Wait()
			if asked := tr.times(); len(asked) != 2+i {
				t.Fatalf("asked at %v", asked)
			}
			began = time.Now()
			storm()
		}
	})
}

func TestA08_IntervalsAndBackOff(t *testing.T) {
	key := newECKey(t)
	set := setOf(t, jwkOf(t, key.Public(), "k", "ES256", false))
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		tr := &clocked{answer: func() (int, string) {
			if down.Load() {
				return 500, ""
			}
			return 200, set
		}}
		keys := clockedJWKS(t, tr)
		between := func(i int, least, most time.Duration) {
			t.Helper()
			asked := tr.times()
			if d := asked[i] - asked[i-1]; d < least || d > most {
				t.Errorf("refresh %d came %v after the one before, want %v to %v", i, d,
					least, most)
			}
		}
		fifth := keys.cfg.Interval / 5
		<-time.After(time.Hour)
		asked := tr.times()
		n := len(asked)
		distinct := map[time.Duration]bool{}
		for i := 1; i < n; i++ {
			between(i, keys.cfg.Interval-fifth, keys.cfg.Interval+fifth)
			distinct[asked[i]-asked[i-1]] = true
		}
		if n < 4 || len(distinct) != n-1 {
			t.Errorf("no jitter: %v", asked)
		}
		down.Store(true)
		<-time.After(time.Hour)
		for i, pause := n+1, retryMin; i < len(tr.times()) && pause < keys.cfg.Interval/2; i++ {
			between(i, pause*4/5, pause*6/5)
			pause *= 2
		}
	})
}

func TestA08_StaleKeysAreNoLongerTrusted(t *testing.T) {
	key := newECKey(t)
	set := setOf(t, jwkOf(t, key.Public(), "k", "ES256", false))
	synctest.Test(t, func(t *testing.T) {
		token := sign(t, "ES256", key, kid("k"), with(map[string]any{"exp": 4e9}))
		var down atomic.Bool
		tr := &clocked{answer: func() (int, string) {
			if down.Load() {
				return 0, "" // a black hole
			}
			return 200, set
		}}
		keys := clockedJWKS(t, tr)
		v := verifierOf(t, keys)
		down.Store(true)
		<-time.After(keys.cfg.StaleMax)
		if _, err := verify(v, token); err != nil || !keys.Ready() {
			t.Fatalf("at the end: %v", err)
		}
		<-time.After(2) // a refresh at the very start counts as one of the first nanosecond
		_, err := verify(v, token)
		wantReason(t, err, ReasonNoKeys)
		if keys.Ready() {
			t.Error("ready with stale keys")
		}
		down.Store(false)
		<-time.After(keys.cfg.Interval * 6 / 5)
		synctest.Wait()
		if _, err := verify(v, token); err != nil || !keys.Ready() {
			t.Errorf("after the outage: %v", err)
		}
	})
}

func TestJWKSCloseEndsARefresh(t *testing.T) {
	arrived := make(chan struct{}, 1)
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		silent(w, r)
	})
	cfg := DefaultJWKS()
	cfg.URL, cfg.Timeout = s.URL, time.Hour
	cfg.OnRefresh = func(err error) { t.Errorf("told of a refresh that Close ended: %v", err) }
	keys, err := NewJWKS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-arrived
	keys.Close()
}

func TestJWKSCheck(t *testing.T) {
	rows := map[string]func(*JWKSConfig){
		"A04_http":        func(c *JWKSConfig) { c.URL = "http://issuer.test/keys" },
		"no_url":          func(c *JWKSConfig) { c.URL = "" },
		"A01_none":        func(c *JWKSConfig) { c.Algorithms = []string{"none"} },
		"A02_secret":      func(c *JWKSConfig) { c.Algorithms = []string{"RS256", "HS256"} },
		"no_algorithm":    func(c *JWKSConfig) { c.Algorithms = nil },
		"interval":        func(c *JWKSConfig) { c.Interval = 0 },
		"stale":           func(c *JWKSConfig) { c.StaleMax = 0 },
		"unknown":         func(c *JWKSConfig) { c.UnknownInterval = -1 },
		"answer_of_bytes": func(c *JWKSConfig) { c.BytesMax = 0 },
	}
	for name, change := range rows {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultJWKS()
			cfg.URL = testIssuer
			if err := cfg.Check(); err != nil {
				t.Fatal(err)
			}
			change(&cfg)
			if _, err := NewJWKS(cfg); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestCappedBody(t *testing.T) {
	for n, want := range map[int]bool{0: true, 9: true, 10: true, 11: false, 1000: false} {
		tr := &cappedTransport{bytesMax: 10, next: &clocked{answer: func() (int, string) {
			return 200, strings.Repeat("a", n)
		}}}
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, testIssuer, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if (err == nil) != want || want && len(b) != n {
			t.Errorf("%d bytes: read %d, %v", n, len(b), errors.Unwrap(err))
		}
	}
}
