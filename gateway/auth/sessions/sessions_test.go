package sessions

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/gateway/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sessionID = "0123456789abcdefABCDEF_-"

// verifierOf asks a server.
func verifierOf(t *testing.T, s *redisServer, change func(*Config)) *Verifier {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Address = s.path
	cfg.Fields.Rooms, cfg.Fields.RoomsOptional = "rooms", true
	cfg.Fields.Copied = []string{"tier"}
	if change != nil {
		change(&cfg)
	}
	v, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func verify(v *Verifier, id string) (auth.Identity, error) {
	return v.Verify(context.Background(),
		auth.Credential{Token: auth.Secret(id), Kind: auth.KindCookie})
}

func wantReason(t *testing.T, err error, want auth.Reason) {
	t.Helper()
	var e *auth.Error
	if !errors.As(err, &e) || e.Reason != want {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func TestSessions(t *testing.T) {
	s := newRedis(t)
	v := verifierOf(t, s, nil)
	future := time.Now().Add(time.Hour).Unix()
	good := []struct {
		name, value string
		ttl         time.Duration // of the key; 0 is none
		expires     time.Duration // from now, at most; 0 is never
	}{
		{"user", `{"user":"alice","tier":"gold"}`, 0, 0},
		{"ttl", `{"user":"alice","tier":"gold"}`, time.Minute, time.Minute},
		{"exp", fmt.Sprintf(`{"user":"alice","tier":"gold","exp":%d}`, future), 0, time.Hour},
		{"ttl_before_exp", fmt.Sprintf(`{"user":"alice","tier":"gold","exp":%d}`, future),
			time.Minute, time.Minute},
		{"exp_before_ttl", fmt.Sprintf(`{"user":"alice","tier":"gold","exp":%d}`, future),
			2 * time.Hour, time.Hour},
	}
	for _, r := range good {
		t.Run(r.name, func(t *testing.T) {
			s.do("SET", "session:"+sessionID, r.value)
			if r.ttl != 0 {
				s.do("PEXPIRE", "session:"+sessionID, fmt.Sprint(r.ttl.Milliseconds()))
			}
			before := time.Now()
			id, err := verify(v, sessionID)
			after := time.Now()
			if err != nil || id.User != "alice" || id.Claims["tier"] != "gold" {
				t.Fatalf("%+v, %v", id, err)
			}
			if r.expires == 0 {
				if !id.Expires.IsZero() {
					t.Errorf("expires %v", id.Expires)
				}
				return
			}
			if id.Expires.After(after.Add(r.expires)) ||
				id.Expires.Before(before.Add(r.expires/2)) {
				t.Errorf("expires %v after the lookup, want %v", id.Expires.Sub(after), r.expires)
			}
		})
	}
}

func TestSessionsRefused(t *testing.T) {
	s := newRedis(t)
	v := verifierOf(t, s, nil)
	past := time.Now().Add(-time.Hour).Unix()
	bad := []struct {
		name, value string
		want        auth.Reason
	}{
		{"not_json", `alice`, auth.ReasonClaims},
		{"user_missing", `{"name":"alice"}`, auth.ReasonClaims},
		{"user_number", `{"user":1}`, auth.ReasonClaims},
		{"A06_duplicate", `{"user":"alice","user":"bob"}`, auth.ReasonClaims},
		{"too_large", `{"user":"alice","x":"` + strings.Repeat("x", valueBytesMax) + `"}`,
			auth.ReasonClaims},
		{"A05_exp_past", fmt.Sprintf(`{"user":"alice","exp":%d}`, past), auth.ReasonExpired},
		{"empty", ``, auth.ReasonInactive},
	}
	for _, r := range bad {
		t.Run(r.name, func(t *testing.T) {
			s.do("SET", "session:"+sessionID, r.value)
			_, err := verify(v, sessionID)
			wantReason(t, err, r.want)
		})
	}
	t.Run("A09_logout", func(t *testing.T) {
		s.do("SET", "session:"+sessionID, `{"user":"alice"}`)
		if _, err := verify(v, sessionID); err != nil {
			t.Fatal(err)
		}
		s.do("DEL", "session:"+sessionID)
		_, err := verify(v, sessionID)
		wantReason(t, err, auth.ReasonInactive)
	})
	t.Run("other_type_does_not_open_the_breaker", func(t *testing.T) {
		s.do("HSET", "session:"+sessionID, "user", "alice")
		for range 3 * auth.DefaultBackend().FailuresMax {
			_, err := verify(v, sessionID)
			wantReason(t, err, auth.ReasonClaims)
		}
	})
}

func TestSessionIDs(t *testing.T) {
	s := newRedis(t)
	v := verifierOf(t, s, func(c *Config) { c.Prefix = "app:" })
	long := strings.Repeat("i", idBytesMax)
	for _, id := range []string{sessionID, long, "s%3A0123456789abcdef.sig", "..:..:..:..:..:.."} {
		s.do("SET", "app:"+id, `{"user":"alice"}`)
		if got, err := verify(v, id); err != nil || got.User != "alice" {
			t.Errorf("%q: %+v, %v", id, got, err)
		}
	}
	s.do("SET", "0123456789abcdef", `{"user":"alice"}`)
	_, err := verify(v, "0123456789abcdef") // the prefix is not optional
	wantReason(t, err, auth.ReasonInactive)
	for _, id := range []string{
		"", "short", sessionID[:idBytesMin-1], long + "i", "0123456789abcdef\r\nFLUSHALL",
		"0123456789 abcdef", "0123456789abcdef\x00", "0123456789abcdé0",
	} {
		_, err := verify(v, id)
		wantReason(t, err, auth.ReasonMalformed)
	}
}

func TestB01_DownAtStart(t *testing.T) {
	s := newRedis(t)
	s.kill()
	v := verifierOf(t, s, func(c *Config) { c.Backend.FailuresMax = 1 << 30 })
	_, err := verify(v, sessionID)
	wantReason(t, err, auth.ReasonBackend)
	s.start()
	s.do("SET", "session:"+sessionID, `{"user":"alice"}`)
	eventually(t, v)
}

// eventually wants a session to be good soon: the first calls may still meet a broken connection.
func eventually(t *testing.T, v *Verifier) {
	t.Helper()
	for {
		id, err := verify(v, sessionID)
		if err == nil && id.User == "alice" {
			return
		}
		if !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("%+v, %v", id, err)
		}
	}
}

func TestB02_KilledAndBackEmpty(t *testing.T) {
	s := newRedis(t)
	v := verifierOf(t, s, func(c *Config) { c.Backend.FailuresMax = 1 << 30 })
	s.do("SET", "session:"+sessionID, `{"user":"alice"}`)
	if _, err := verify(v, sessionID); err != nil {
		t.Fatal(err)
	}
	// Under load, so that calls are under way when it dies.
	var callers sync.WaitGroup
	failed := make(chan struct{})
	var once sync.Once
	for range 8 {
		callers.Go(func() {
			for {
				_, err := verify(v, sessionID)
				if err != nil {
					if !errors.Is(err, auth.ErrUnavailable) {
						t.Errorf("while it dies: %v", err)
					}
					once.Do(func() { close(failed) })
					return
				}
			}
		})
	}
	s.kill()
	<-failed
	callers.Wait()
	s.start()
	for {
		// Gone, and not "alice" out of some memory.
		_, err := verify(v, sessionID)
		if errors.Is(err, auth.ErrUnavailable) {
			continue
		}
		wantReason(t, err, auth.ReasonInactive)
		break
	}
	s.do("SET", "session:"+sessionID, `{"user":"alice"}`)
	eventually(t, v)
}

func TestB04_HangingRedis(t *testing.T) {
	s := newRedis(t)
	v := verifierOf(t, s, func(c *Config) {
		c.Backend.Timeout = 200 * time.Millisecond
		c.Backend.FailuresMax = 2
		c.Backend.Cooldown = time.Hour
	})
	s.do("SET", "session:"+sessionID, `{"user":"alice"}`)
	s.freeze()
	defer s.thaw()
	for range 2 {
		_, err := verify(v, sessionID)
		wantReason(t, err, auth.ReasonBackend)
	}
	for range 1000 {
		_, err := verify(v, sessionID)
		wantReason(t, err, auth.ReasonBreaker)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s := newRedis(t)
	v := verifierOf(t, s, func(c *Config) {
		c.Backend.CallsMax = 4
		c.Backend.Timeout = time.Hour
	})
	s.do("SET", "session:"+sessionID, `{"user":"alice"}`)
	s.freeze()
	results := make(chan error)
	for range 5 {
		go func() {
			_, err := verify(v, sessionID)
			results <- err
		}()
	}
	// While it hangs, only the one that is too many has an answer.
	wantReason(t, <-results, auth.ReasonBusy)
	s.thaw()
	for range 4 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestA10_ErrorsQuoteNothing(t *testing.T) {
	s := newRedis(t)
	s.do("CONFIG", "SET", "requirepass", "hunter2")
	v := verifierOf(t, s, func(c *Config) { c.Password = "wrong-hunter2" })
	_, err := verify(v, sessionID)
	wantReason(t, err, auth.ReasonBackend)
	if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), sessionID) {
		t.Error(err)
	}
	v = verifierOf(t, s, func(c *Config) { c.Password = "hunter2" })
	_, err = verify(v, sessionID)
	wantReason(t, err, auth.ReasonInactive)
}

func TestConfigCheck(t *testing.T) {
	rows := map[string]func(*Config){
		"address":  func(c *Config) { c.Address = "" },
		"user":     func(c *Config) { c.Fields.User = "" },
		"database": func(c *Config) { c.Database = -1 },
		"backend":  func(c *Config) { c.Backend.CallsMax = 0 },
	}
	for name, change := range rows {
		cfg := DefaultConfig()
		if err := cfg.Check(); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestB6_Recheck looks a session up again, with what was kept of its cookie.
func TestB6_Recheck(t *testing.T) {
	s := newRedis(t)
	v := verifierOf(t, s, nil)
	s.do("SET", "session:"+sessionID, `{"user":"alice"}`)
	kept := v.Keep(auth.Credential{Token: sessionID, Request: &auth.Request{Path: "/chat/"}})
	if id, err := v.Recheck(t.Context(), kept); err != nil || id.User != "alice" {
		t.Errorf("%+v, %v", id, err)
	}
	s.do("DEL", "session:"+sessionID)
	_, err := v.Recheck(t.Context(), kept)
	wantReason(t, err, auth.ReasonInactive)
}

// TestFarEnds has keys that live for longer than a time.Duration can say.
func TestFarEnds(t *testing.T) {
	now := time.Now()
	for _, left := range []int64{math.MaxInt64, math.MaxInt64 / 1000, leftMax + 1, leftMax} {
		id, err := settle(auth.Identity{User: "alice"}, left, now)
		if err != nil || id.Expires.Sub(now) < 99*365*24*time.Hour {
			t.Errorf("%d ms: %v, %v", left, id.Expires, err)
		}
	}
}
