package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func hookOf(t *testing.T, s *service, change func(*HookConfig)) *Hook {
	t.Helper()
	cfg := DefaultHook()
	cfg.URL, cfg.Secret = s.URL, "hook secret"
	cfg.Headers = []string{"X-Tenant", "X-Absent"}
	if change != nil {
		change(&cfg)
	}
	v, err := NewHook(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func TestHookAsks(t *testing.T) {
	var got map[string]any
	var authorization string
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		authorization = r.Header.Get("Authorization")
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &got) != nil {
			t.Errorf("asked %q, %v", body, err)
		}
		says(200, `{"user":"alice","rooms":["a"],"expires":4000000000,
			"claims":{"tier":"gold","n":1.5,"ok":true}}`)(w, r)
	})
	req := requestOf(map[string]string{"X-Tenant": "t1", "Cookie": "other=secret"})
	req.Path, req.Remote = "/chat/alice", netip.MustParseAddr("::ffff:192.0.2.1")
	req.Connection = "q3kzt-1f"
	id, err := hookOf(t, s, nil).Verify(t.Context(),
		Credential{Token: "abc", Kind: KindSubprotocol, Request: req})
	if err != nil {
		t.Fatal(err)
	}
	want := Identity{User: "alice", Rooms: []string{"a"}, Expires: time.Unix(4000000000, 0),
		Claims: map[string]string{"tier": "gold", "n": "1.5", "ok": "true"}}
	if !reflect.DeepEqual(id, want) {
		t.Errorf("identity %+v, want %+v", id, want)
	}
	wantAsked := map[string]any{
		"token": "abc", "kind": "subprotocol", "path": "/chat/alice", "remote_ip": "192.0.2.1",
		"connection": "q3kzt-1f",
		"headers":    map[string]any{"X-Tenant": "t1"},
	}
	if !reflect.DeepEqual(got, wantAsked) || authorization != "Bearer hook secret" {
		t.Errorf("asked %v as %q", got, authorization)
	}
}

func TestHookWithoutTokenOrRequest(t *testing.T) {
	s := newService(t, says(200, `{"user":"alice"}`))
	id, err := hookOf(t, s, nil).Verify(t.Context(), Credential{})
	if err != nil || id.User != "alice" || id.Rooms != nil || !id.Expires.IsZero() {
		t.Errorf("%+v, %v", id, err)
	}
	_, err = verify(hookOf(t, s, nil), strings.Repeat("a", TokenBytesMax+1))
	wantReason(t, err, ReasonTooLarge)
}

func TestHookAnswers(t *testing.T) {
	s := newService(t, nil)
	v := hookOf(t, s, func(c *HookConfig) { c.Backend = quickBackend() })
	limited := func(after string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(429)
		}
	}
	rooms := jsonOf(t, make([]string, RoomsMax+1))
	claims := map[string]string{}
	for i := range ClaimsMax + 1 {
		claims[fmt.Sprint(i)] = "x"
	}
	rows := []struct {
		name    string
		handler http.HandlerFunc
		want    Reason
		after   time.Duration
	}{
		{"401", says(401, ``), ReasonInactive, 0},
		{"403", says(403, ``), ReasonForbidden, 0},
		{"A05_expired", says(200, `{"user":"a","expires":1000000000}`), ReasonExpired, 0},
		{"429", limited("7"), ReasonLimited, 7 * time.Second},
		{"429_forever", limited("999999999"), ReasonLimited, retryAfterMax},
		{"429_date", limited("Wed, 21 Oct 2015 07:28:00 GMT"), ReasonLimited, 0},
		{"429_negative", limited("-1"), ReasonLimited, 0},
		{"user_missing", says(200, `{}`), ReasonBackend, 0},
		{"user_number", says(200, `{"user":1}`), ReasonBackend, 0},
		{"user_newline", says(200, `{"user":"a\nb"}`), ReasonBackend, 0},
		{"rooms_text", says(200, `{"user":"a","rooms":"x"}`), ReasonBackend, 0},
		{"rooms_null", says(200, `{"user":"a","rooms":null}`), ReasonBackend, 0},
		{"rooms_too_many", says(200, `{"user":"a","rooms":`+rooms+`}`), ReasonBackend, 0},
		{"claims_list", says(200, `{"user":"a","claims":[]}`), ReasonBackend, 0},
		{"claims_deep", says(200, `{"user":"a","claims":{"x":{}}}`), ReasonBackend, 0},
		{"claims_too_many", says(200, `{"user":"a","claims":`+jsonOf(t, claims)+`}`),
			ReasonBackend, 0},
		{"expires_text", says(200, `{"user":"a","expires":"1"}`), ReasonBackend, 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			s.answer(r.handler)
			_, err := verify(v, "abc")
			wantReason(t, err, r.want)
			var e *Error
			if errors.As(err, &e) && e.RetryAfter != r.after {
				t.Errorf("retry after %v, want %v", e.RetryAfter, r.after)
			}
		})
	}
	canary := newService(t, says(200, `{"user":"alice"}`))
	for name, fault := range remoteFaults(canary.URL) {
		t.Run(name, func(t *testing.T) {
			s.answer(fault)
			_, err := verify(v, "abc")
			wantReason(t, err, ReasonBackend)
		})
	}
	if n := canary.hits.Load(); n != 0 {
		t.Errorf("followed a redirect with a token, %d times", n)
	}
}

func TestHookBreaker(t *testing.T) {
	s := newService(t, says(403, ``))
	v := hookOf(t, s, func(c *HookConfig) { c.Backend.Cooldown = time.Hour })
	failures := DefaultBackend().FailuresMax
	callN(t, v, 3*failures, ReasonForbidden) // these are answers
	s.answer(says(502, ``))
	callN(t, v, failures, ReasonBackend)
	callN(t, v, 100, ReasonBreaker)
}

func TestNewHookRefuses(t *testing.T) {
	for _, cfg := range []HookConfig{
		{URL: "http://hook.test", Backend: DefaultBackend()}, {URL: "https://hook.test"},
	} {
		if _, err := NewHook(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
