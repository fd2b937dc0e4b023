package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestCacheReconnectStorm(t *testing.T) {
	const tokens, reconnects, workers = 10_000, 3, 8
	v := &counter{next: verifierOf(t, staticKeys(t,
		KeyConfig{Algorithm: "HS256", Source: testSecret}))}
	cfg := DefaultCache()
	cfg.TTL = time.Hour // however slow the machine is
	c := NewCache(v, cfg)
	texts := make([]string, tokens)
	for i := range texts {
		texts[i] = sign(t, "HS256", []byte(testSecret), nil,
			with(jwt.MapClaims{"sub": fmt.Sprint("user-", i)}))
	}
	var all sync.WaitGroup
	var next atomic.Int64
	for range workers {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= tokens*reconnects {
					return
				}
				id, err := verify(c, texts[i%tokens])
				if err != nil || id.User != fmt.Sprint("user-", i%tokens) {
					t.Errorf("token %d: %q, %v", i%tokens, id.User, err)
					return
				}
			}
		})
	}
	all.Wait()
	if n := v.calls.Load(); n != tokens {
		t.Errorf("%d tokens were verified %d times", tokens, n)
	}
	if s := c.Stats(); s.Entries != tokens || s.Hits+s.Misses != tokens*reconnects {
		t.Errorf("stats %+v", s)
	}
}

func TestCacheJoinsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		v := &counter{next: VerifierFunc(func(ctx context.Context, _ Credential) (Identity, error) {
			<-release
			return Identity{User: "alice"}, ctx.Err()
		})}
		c := NewCache(v, DefaultCache())
		// The first caller goes away; the others must not lose the answer by that.
		first, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		for i := range 100 {
			ctx := t.Context()
			if i == 0 {
				ctx = first
			}
			callers.Go(func() {
				id, err := c.Verify(ctx, Credential{Token: "abc", Kind: KindHeader})
				if err != nil || id.User != "alice" {
					t.Errorf("%q, %v", id.User, err)
				}
			})
			synctest.Wait()
		}
		cancel()
		close(release)
		callers.Wait()
		if n := v.calls.Load(); n != 1 {
			t.Errorf("verified %d times", n)
		}
	})
}

func TestCacheTimes(t *testing.T) {
	cfg := CacheConfig{EntriesMax: 10, TTL: 30 * time.Second, RefusalsMax: 10,
		RefusalTTL: 5 * time.Second}
	rows := []struct {
		name    string
		expires time.Duration // of the identity; 0 is never
		err     error
		want    time.Duration // how long it is remembered
	}{
		{"ttl", 0, nil, cfg.TTL},
		{"ttl_before_exp", time.Hour, nil, cfg.TTL},
		{"A09_exp_before_ttl", 10 * time.Second, nil, 10 * time.Second},
		{"A05_expired_within_leeway", -time.Second, nil, 0},
		{"invalid", 0, Refuse(ReasonSignature), cfg.RefusalTTL},
		{"forbidden", 0, Refuse(ReasonForbidden), cfg.RefusalTTL},
		{"A13_unavailable", 0, Refuse(ReasonBackend), 0},
		{"limited", 0, Refuse(ReasonLimited), 0},
		{"foreign_error", 0, errors.New("x"), 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				id := Identity{User: "alice"}
				if r.expires != 0 {
					id.Expires = time.Now().Add(r.expires)
				}
				answer := func(context.Context, Credential) (Identity, error) { return id, r.err }
				v := &counter{next: VerifierFunc(answer)}
				c := NewCache(v, cfg)
				calls := func(want int64) {
					t.Helper()
					_, err := verify(c, "abc")
					if (err == nil) != (r.err == nil) {
						t.Errorf("error %v, want %v", err, r.err)
					}
					if n := v.calls.Load(); n != want {
						t.Fatalf("verified %d times, want %d", n, want)
					}
				}
				calls(1)
				if r.want == 0 {
					calls(2)
					return
				}
				<-time.After(r.want - time.Nanosecond)
				calls(1)
				<-time.After(time.Nanosecond)
				calls(2)
			})
		})
	}
}

func TestA14_BadTokensDoNotPushOutGoodOnes(t *testing.T) {
	v := &counter{next: VerifierFunc(func(_ context.Context, c Credential) (Identity, error) {
		if strings.HasPrefix(string(c.Token), "good") {
			return Identity{User: "alice"}, nil
		}
		return Identity{}, Refuse(ReasonSignature)
	})}
	c := NewCache(v, CacheConfig{EntriesMax: 4, TTL: time.Hour, RefusalsMax: 4,
		RefusalTTL: time.Hour})
	if _, err := verify(c, "good"); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		_, err := verify(c, fmt.Sprint("bad-", i))
		wantReason(t, err, ReasonSignature)
	}
	if _, err := verify(c, "good"); err != nil {
		t.Fatal(err)
	}
	if n := v.calls.Load(); n != 1001 {
		t.Errorf("verified %d times, want 1001", n)
	}
	for i := range 1000 {
		if _, err := verify(c, fmt.Sprint("good-", i)); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.Stats(); s.Entries != 4 || s.Refusals != 4 {
		t.Errorf("stats %+v", s)
	}
}

func TestCacheTellsKindsApart(t *testing.T) {
	c := NewCache(VerifierFunc(func(_ context.Context, c Credential) (Identity, error) {
		return Identity{User: c.Kind.String()}, nil
	}), DefaultCache())
	for range 2 {
		for k := KindHeader; k <= KindMessage; k++ {
			id, err := c.Verify(t.Context(), Credential{Token: "abc", Kind: k})
			if err != nil || id.User != k.String() {
				t.Errorf("%v: %q, %v", k, id.User, err)
			}
		}
	}
}

func TestCacheRefusesWithoutAsking(t *testing.T) {
	v := &counter{next: always}
	c := NewCache(v, DefaultCache())
	for token, want := range map[string]Reason{
		"": ReasonMissing, "a b": ReasonRequest,
		strings.Repeat("a", TokenBytesMax+1): ReasonTooLarge,
	} {
		_, err := verify(c, token)
		wantReason(t, err, want)
	}
	if _, err := verify(c, strings.Repeat("a", TokenBytesMax)); err != nil {
		t.Error(err)
	}
	if n := v.calls.Load(); n != 1 {
		t.Errorf("verified %d times", n)
	}
}

func TestCacheHoldsNoToken(t *testing.T) {
	c := NewCache(named("alice"), DefaultCache())
	other := NewCache(named("alice"), DefaultCache())
	cred := Credential{Token: "abc", Kind: KindHeader}
	if c.digest(cred) == other.digest(cred) {
		t.Error("two caches have the same digest for a token")
	}
}

func TestCacheHitAllocatesNothing(t *testing.T) {
	c := NewCache(named("alice"), DefaultCache())
	cred := Credential{Token: Secret(strings.Repeat("a", 1<<10)), Kind: KindHeader}
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := c.Verify(t.Context(), cred); err != nil {
			t.Error(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestCacheCheck(t *testing.T) {
	good := DefaultCache()
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	if (&CacheConfig{EntriesMax: 1, TTL: 1, RefusalsMax: 1}).Check() == nil {
		t.Error("a bound of zero is accepted")
	}
}
