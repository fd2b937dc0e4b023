package auth

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// quickBackend gives up soon, and never opens its breaker.
func quickBackend() BackendConfig {
	cfg := DefaultBackend()
	cfg.Timeout = time.Second
	cfg.FailuresMax = 1000
	return cfg
}

func introspectionOf(t *testing.T, s *service, change func(*IntrospectionConfig)) *Introspection {
	t.Helper()
	cfg := IntrospectionConfig{
		URL:      s.URL,
		ClientID: "sluice:edge", ClientSecret: "p&ss",
		Issuer:   testIssuer,
		Audience: []string{testAudience},
		Fields:   Fields{User: "sub", Copied: []string{"client_id"}},
		Backend:  DefaultBackend(),
	}
	if change != nil {
		change(&cfg)
	}
	v, err := NewIntrospection(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// activeAnswer is the answer about a good token, with changes.
func activeAnswer(t *testing.T, changes map[string]any) string {
	claims := with(changes)
	if _, ok := changes["active"]; !ok {
		claims["active"] = true
	}
	return jsonOf(t, claims)
}

func TestA13_IntrospectionAsks(t *testing.T) {
	var form, user, password string
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
		form = r.Method + " " + r.PostFormValue("token") + " " + r.PostFormValue("token_type_hint")
		says(200, activeAnswer(t, map[string]any{"client_id": "web"}))(w, r)
	})
	id, err := verify(introspectionOf(t, s, nil), "a+b/c==")
	if err != nil {
		t.Fatal(err)
	}
	if id.User != "alice" || id.Issuer != testIssuer || id.Claims["client_id"] != "web" ||
		id.Expires.IsZero() {
		t.Errorf("identity %+v", id)
	}
	if form != "POST a+b/c== access_token" {
		t.Errorf("asked %q", form)
	}
	// RFC 6749 section 2.3.1 wants both encoded.
	if user != "sluice%3Aedge" || password != "p%26ss" {
		t.Errorf("credentials %q %q", user, password)
	}
}

func TestA13_IntrospectionJudges(t *testing.T) {
	s := newService(t, nil)
	v := introspectionOf(t, s, nil)
	rows := []struct {
		name string
		body string
		want Reason
	}{
		{"inactive", `{"active":false}`, ReasonInactive},
		{"inactive_with_claims", activeAnswer(t, map[string]any{"active": false}), ReasonInactive},
		{"active_missing", `{"sub":"alice"}`, ReasonBackend},
		{"active_text", activeAnswer(t, map[string]any{"active": "true"}), ReasonBackend},
		{"A05_expired", activeAnswer(t, map[string]any{"exp": 1e9}), ReasonExpired},
		{"A05_exp_text", activeAnswer(t, map[string]any{"exp": "1"}), ReasonClaims},
		{"A05_nbf_future", activeAnswer(t, map[string]any{"nbf": 1e11}), ReasonNotYet},
		{"A05_nbf_text", activeAnswer(t, map[string]any{"nbf": "1"}), ReasonClaims},
		{"A05_iss_other", activeAnswer(t, map[string]any{"iss": "x"}), ReasonIssuer},
		{"A05_iss_missing", activeAnswer(t, map[string]any{"iss": nil}), ReasonIssuer},
		{"A05_aud_other", activeAnswer(t, map[string]any{"aud": "x"}), ReasonAudience},
		{"A05_aud_missing", activeAnswer(t, map[string]any{"aud": nil}), ReasonAudience},
		{"A05_aud_list_other", activeAnswer(t, map[string]any{"aud": []any{"x", 1}}),
			ReasonAudience},
		{"sub_missing", activeAnswer(t, map[string]any{"sub": nil}), ReasonClaims},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s.answer(says(200, r.body))
			_, err := verify(v, "abc")
			wantReason(t, err, r.want)
		})
	}
	for name, changes := range map[string]map[string]any{
		"aud_list": {"aud": []any{"x", testAudience}}, "no_exp": {"exp": nil},
	} {
		t.Run(name, func(t *testing.T) {
			s.answer(says(200, activeAnswer(t, changes)))
			if id, err := verify(v, "abc"); err != nil || id.User != "alice" {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
}

func TestA13_IntrospectionFaults(t *testing.T) {
	canary := newService(t, says(200, activeAnswer(t, nil)))
	s := newService(t, nil)
	v := introspectionOf(t, s, func(c *IntrospectionConfig) { c.Backend = quickBackend() })
	faults := remoteFaults(canary.URL)
	faults["own_credentials_401"] = says(401, `{"active":false}`)
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			s.answer(fault)
			_, err := verify(v, "abc")
			wantReason(t, err, ReasonBackend)
			if strings.Contains(err.Error(), s.URL) || strings.Contains(err.Error(), "abc") {
				t.Errorf("the error tells too much: %v", err)
			}
			s.answer(says(200, activeAnswer(t, nil)))
			if _, err := verify(v, "abc"); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
	if n := canary.hits.Load(); n != 0 {
		t.Errorf("followed a redirect with a token, %d times", n)
	}
	t.Run("down", func(t *testing.T) {
		s.Close()
		_, err := verify(v, "abc")
		wantReason(t, err, ReasonBackend)
	})
}

func TestA13_IntrospectionBreaker(t *testing.T) {
	s := newService(t, says(500, ``))
	v := introspectionOf(t, s, func(c *IntrospectionConfig) { c.Backend.Cooldown = time.Hour })
	failures := DefaultBackend().FailuresMax
	callN(t, v, failures, ReasonBackend)
	callN(t, v, 100, ReasonBreaker)
	if n := s.hits.Load(); int(n) != failures {
		t.Errorf("%d requests, want %d", n, failures)
	}
}

func TestA13_IntrospectionIsCached(t *testing.T) {
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("token") == "bad" {
			says(200, `{"active":false}`)(w, r)
			return
		}
		says(200, activeAnswer(t, map[string]any{"sub": r.PostFormValue("token")}))(w, r)
	})
	c := NewCache(introspectionOf(t, s, nil), DefaultCache())
	var callers sync.WaitGroup
	for i := range 40 {
		callers.Go(func() {
			token := fmt.Sprint("user-", i%4)
			if id, err := verify(c, token); err != nil || id.User != token {
				t.Errorf("%s: %q, %v", token, id.User, err)
			}
			if _, err := verify(c, "bad"); err == nil {
				t.Error("a bad token is accepted")
			}
		})
	}
	callers.Wait()
	if n := s.hits.Load(); n != 5 {
		t.Errorf("%d requests for 5 tokens", n)
	}
}

func TestA13_IntrospectionIsBounded(t *testing.T) {
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		says(200, activeAnswer(t, nil))(w, r)
	})
	v := introspectionOf(t, s, func(c *IntrospectionConfig) {
		c.Backend.CallsMax = 2
		c.Backend.Timeout = time.Hour
	})
	var callers sync.WaitGroup
	for range 2 {
		callers.Go(func() {
			if _, err := verify(v, "abc"); err != nil {
				t.Error(err)
			}
		})
	}
	<-arrived
	<-arrived
	callN(t, v, 100, ReasonBusy)
	close(release)
	callers.Wait()
	if n := s.hits.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestIntrospectionCloseEndsCalls(t *testing.T) {
	arrived := make(chan struct{})
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		silent(w, r)
	})
	v := introspectionOf(t, s, func(c *IntrospectionConfig) { c.Backend.Timeout = time.Hour })
	failed := make(chan error, 1)
	go func() {
		_, err := verify(v, "abc")
		failed <- err
	}()
	<-arrived
	v.Close()
	wantReason(t, <-failed, ReasonBackend)
	callN(t, v, 1, ReasonBackend)
}

func TestNewIntrospectionRefuses(t *testing.T) {
	for name, cfg := range map[string]IntrospectionConfig{
		"url":     {URL: "http://issuer.test", Fields: DefaultFields(), Backend: DefaultBackend()},
		"user":    {URL: "https://issuer.test", Backend: DefaultBackend()},
		"backend": {URL: "https://issuer.test", Fields: DefaultFields()},
	} {
		if _, err := NewIntrospection(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
