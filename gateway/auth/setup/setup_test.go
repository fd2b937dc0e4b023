package setup

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/gateway/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// file writes a secret and returns how a spec refers to it.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return "@" + path
}

var header = []string{"header"}

func TestRefused(t *testing.T) {
	key := file(t, strings.Repeat("k", 32))
	rows := []struct {
		name string
		cfg  Config
		want string
	}{
		{"unknown_name", Config{JWT: []string{"isuer=a"}}, `there is no "isuer"`},
		{"twice", Config{JWT: []string{"alg=HS256,alg=HS256"}}, "alg is given twice"},
		{"no_value", Config{JWT: []string{"alg=,key=" + key}}, "alg is empty"},
		{"nothing", Config{JWT: []string{""}}, "not name=value"},
		{"inline_key", Config{JWT: []string{"key=hunter2"}}, "must be a file"},
		{"inline_secret", Config{Hook: []string{"url=https://h,secret=hunter2"}}, "must be a file"},
		{"secret_with_comma", Config{Hook: []string{"url=https://h,secret=@x,hunter2"}},
			"3. part is not"},
		{"no_key", Config{JWT: []string{"issuer=a"}}, "needs jwks=URL or key=@FILE"},
		{"two_keys", Config{JWT: []string{"issuer=a,jwks=https://h,key=" + key}}, "not both"},
		{"jwks_of_anybody", Config{JWT: []string{"jwks=https://h"}}, "need an issuer"},
		{"jwks_plain", Config{JWT: []string{"issuer=a,jwks=http://example.com"}}, "neither https"},
		{"leeway", Config{JWT: []string{"alg=HS256,leeway=5,key=" + key}}, "not a duration"},
		{"url_missing", Config{Introspection: []string{"client-id=a"}}, "url is missing"},
		{"url_plain", Config{Introspection: []string{"url=http://example.com/"}}, "neither https"},
		{"timeout", Config{Hook: []string{"url=https://h,timeout=0s"}}, "must be positive"},
		{"calls", Config{Hook: []string{"url=https://h,calls=many"}}, "not a count"},
		{"two_hooks", Config{Hook: []string{"url=https://a", "url=https://b"}}, "at most 1"},
		{"db", Config{Sessions: []string{"db=-1"}}, "not a count"},
		{"tls", Config{Sessions: []string{"tls=maybe"}}, "neither true nor false"},
		{"same_issuer", Config{JWT: []string{
			"issuer=a,alg=HS256,key=" + key, "issuer=a,alg=HS256,key=" + key,
		}}, "each issuer to one"},
		{"two_for_the_rest", Config{
			JWT: []string{"alg=HS256,key=" + key}, Hook: []string{"url=https://h"},
		}, "one place only"},
		{"B7_optional_nothing", Config{JWT: []string{"rooms=?,alg=HS256,key=" + key}}, "no name before"},
		{"B7_hook_optional_nothing", Config{Hook: []string{"url=https://h,rooms=?"}}, "no name before"},
		{"B10_prefix_with_space", Config{Hook: []string{"url=https://h,prefix=a: "}}, "without a space"},
		{"B10_prefix_too_long", Config{Sessions: []string{"user-prefix=" + strings.Repeat("x", 33)}},
			"at most 32"},
		{"B10_prefix_unprintable", Config{JWT: []string{"prefix=\t,alg=HS256,key=" + key}}, "printable"},
		{"B10_issuer_of_ours", Config{JWT: []string{"issuer=hook,alg=HS256,key=" + key}},
			"something else"},
		{"B10_issuer_like_ours", Config{JWT: []string{"issuer=jwt:us,alg=HS256,key=" + key}},
			"something else"},
		{"B10_issuer_of_all", Config{Introspection: []string{"url=https://h,issuer=*"}},
			"something else"},
		{"B3_no_wait", Config{Hook: []string{"url=https://h,wait=0s"}}, "must be positive"},
		{"B3_no_queue", Config{Sessions: []string{"queue=0"}}, "must be positive"},
		{"B13_max_age", Config{JWT: []string{"max-age=long,alg=HS256,key=" + key}}, "not a duration"},
		{"B13_leeway", Config{JWT: []string{"leeway=2h,alg=HS256,key=" + key}}, "more than 1h"},
		{"source", Config{JWT: []string{"alg=HS256,key=" + key}, Sources: []string{"cookie"}},
			`"cookie" is not header`},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if r.cfg.Sources == nil {
				r.cfg.Sources = header
			}
			s, err := New(r.cfg)
			if err == nil {
				s.Close()
				t.Fatal("it was taken")
			}
			if !strings.Contains(err.Error(), r.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, want %q", err, r.want)
			}
		})
	}
}

func TestSources(t *testing.T) {
	for text, want := range map[string]auth.Source{
		"header":      {Kind: auth.KindHeader},
		"cookie:sid":  {Kind: auth.KindCookie, Name: "sid"},
		"query:token": {Kind: auth.KindQuery, Name: "token"},
		"subprotocol": {Kind: auth.KindSubprotocol},
		"message":     {Kind: auth.KindMessage},
	} {
		if got, err := ParseSource(text); err != nil || got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "none", "cookie", "cookie:", "cookie:a b", "header:x", "header:"} {
		if got, err := ParseSource(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestAmbient(t *testing.T) {
	hook := func(headers string) Config {
		return Config{Sources: header, Hook: []string{"url=https://h,headers=" + headers}}
	}
	for name, r := range map[string]struct {
		cfg  Config
		want bool
	}{
		"cookie":            {Config{Sources: []string{"cookie:a"}, JWT: []string{"x"}}, true},
		"cookie_but_off":    {Config{Sources: []string{"cookie:a"}}, false},
		"header":            {Config{Sources: header, JWT: []string{"x"}}, false},
		"H17_hook_cookie":   {hook("X-A+cookie"), true},
		"H17_hook_password": {hook("AUTHORIZATION"), true},
		"hook_other_header": {hook("X-Cookie"), false},
	} {
		if got := r.cfg.Ambient(); got != r.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestServices verifies by each service at once: a token goes to the one that its issuer or kind
// says, and nowhere else.
func TestServices(t *testing.T) {
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		json.NewEncoder(w).Encode(map[string]any{
			"active": true, "sub": "of-introspection", "user": "of-hook",
			"exp": time.Now().Add(time.Hour).Unix(),
		})
		io.Copy(io.Discard, r.Body)
	}))
	defer server.Close()
	key := file(t, strings.Repeat("k", 32))
	sign := func(issuer string) auth.Secret {
		token, err := auth.Sign(auth.Secret(key), "", "", map[string]any{
			"sub": "of-jwt", "iss": issuer, "exp": time.Now().Add(time.Hour).Unix(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return auth.Secret(token)
	}
	s, err := New(Config{
		Sources: header, CacheTTL: time.Minute,
		JWT:           []string{"issuer=us,alg=HS256,key=" + key},
		Introspection: []string{"url=" + server.URL + "/introspect"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	verify := func(token auth.Secret) string {
		t.Helper()
		id, err := s.Verify(context.Background(), auth.Credential{Token: token, Kind: auth.KindHeader})
		if err != nil {
			return err.Error()
		}
		return id.User
	}
	for range 3 {
		if got := verify(sign("us")); got != "of-jwt" {
			t.Errorf("a token of ours is %q", got)
		}
		if got := verify("opaque"); got != "of-introspection" {
			t.Errorf("an opaque token is %q", got)
		}
	}
	if got := verify(sign("us") + "x"); got != "auth: signature" {
		t.Errorf("a spoilt token of ours is %q: no other verifier may be asked about it", got)
	}
	if asked["/introspect"] != 1 {
		t.Errorf("introspection was asked %d times, the cache is there for that", asked["/introspect"])
	}
	if stats := s.CacheStats(); stats.Hits < 4 || stats.Entries != 2 {
		t.Errorf("%+v", stats)
	}
	now := time.Now()
	if err := s.Revocations().RevokeUser("us", "of-jwt", now, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := verify(sign("us")); got != "auth: revoked" {
		t.Errorf("after the revocation %q", got)
	}
}
