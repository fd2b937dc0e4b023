package setup

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/gateway/auth"
)

// TestB7_missing_rooms has each kind of verifier meet a user without the configured rooms.
func TestB7_missing_rooms(t *testing.T) {
	key := file(t, strings.Repeat("k", 32))
	secret := auth.Secret(strings.Repeat("k", 32))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hook" {
			io.WriteString(w, `{"user":"ann","places":["a"]}`)
			return
		}
		io.WriteString(w, `{"active":true,"sub":"ann","places":["a"]}`)
	}))
	defer server.Close()
	token, err := auth.Sign(secret, "HS256", "", map[string]any{
		"sub": "ann", "exp": time.Now().Add(time.Hour).Unix(), "places": []string{"a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]func(rooms string) Config{
		"jwt":           func(r string) Config { return Config{JWT: []string{"alg=HS256,key=" + key + r}} },
		"introspection": func(r string) Config { return Config{Introspection: []string{"url=" + server.URL + r}} },
		"hook":          func(r string) Config { return Config{Hook: []string{"url=" + server.URL + "/hook" + r}} },
	}
	for kind, of := range kinds {
		for _, r := range []struct {
			rooms string
			want  string
		}{
			{"", "all"},
			{",rooms=rooms", "auth: forbidden"},
			{",rooms=rooms?", "all"},
			{",rooms=places", "a"},
			{",rooms=places?", "a"},
		} {
			t.Run(kind+r.rooms, func(t *testing.T) {
				cfg := of(r.rooms)
				cfg.Sources = header
				s, err := New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				id, err := s.Verify(context.Background(),
					auth.Credential{Token: auth.Secret(token), Kind: auth.KindHeader})
				got := "all"
				if id.Rooms != nil {
					got = strings.Join(id.Rooms, "+")
				}
				if err != nil {
					got = err.Error()
				}
				if got != r.want {
					t.Errorf("rooms %q, want %q", got, r.want)
				}
			})
		}
	}
}

func TestB10_issuers(t *testing.T) {
	key := file(t, strings.Repeat("k", 32))
	jwt := func(values string) string { return "alg=HS256,key=" + key + values }
	for _, r := range []struct {
		name  string
		cfg   Config
		named string
		want  string // the issuer, or a part of the error
	}{
		{"only_one", Config{JWT: []string{jwt(",issuer=a")}}, "", "*"},
		{"only_one_named", Config{JWT: []string{jwt(",issuer=a")}}, "a", "a"},
		{"only_certificates", Config{Certificates: true}, "", "*"},
		{"two", Config{JWT: []string{jwt(",issuer=a"), jwt("")}}, "", "one of a, jwt, or *"},
		{"two_all", Config{JWT: []string{jwt(",issuer=a"), jwt("")}}, "*", "*"},
		{"claimed", Config{JWT: []string{jwt(",issuer=a"), jwt("")}}, "jwt:b", "jwt:b"},
		{"nobody", Config{JWT: []string{jwt(",issuer=a"), jwt("")}}, "jwtb", "one of a, jwt"},
		{"with_certificates", Config{JWT: []string{jwt(",issuer=a")}, Certificates: true}, "",
			"one of certificate, a"},
		{"sessions", Config{Sessions: []string{"addr=/no/such/socket"}, Certificates: true},
			"sessions", "sessions"},
	} {
		t.Run(r.name, func(t *testing.T) {
			r.cfg.Sources = []string{"header", "cookie:session"}
			s, err := New(r.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got, err := s.Issuer(r.named)
			if wrong, ok := errors.AsType[*IssuerError](err); ok {
				got = wrong.Error()
			}
			if got != r.want && (err == nil || !strings.Contains(got, r.want)) {
				t.Errorf("%q, want %q", got, r.want)
			}
		})
	}
}

func TestB13_outlives(t *testing.T) {
	key := file(t, strings.Repeat("k", 32))
	at := time.Now()
	s, err := New(Config{Sources: header, JWT: []string{
		"issuer=a,max-age=1h,alg=HS256,key=" + key, "issuer=b,max-age=2h,alg=HS256,key=" + key,
		"max-age=3h,alg=HS256,key=" + key, "issuer=d,alg=HS256,key=" + key,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for issuer, want := range map[string]time.Duration{
		"a": time.Hour, "b": 2 * time.Hour, "jwt": 3 * time.Hour, "jwt:x": 3 * time.Hour,
		"d": 0, "*": 0,
	} {
		got := s.Outlives(issuer, at)
		if want == 0 && !got.IsZero() || want > 0 && !got.Equal(at.Add(want+2*maxLeeway)) {
			t.Errorf("%s: %v", issuer, got.Sub(at))
		}
	}
}

func TestB10_shared_prefixes(t *testing.T) {
	for _, r := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"one", Config{JWT: []string{"issuer=a"}}, nil},
		{"two", Config{JWT: []string{"issuer=a", "issuer=b"}}, []string{""}},
		{"one_has_a_prefix", Config{JWT: []string{"issuer=a", "issuer=b,prefix=b:"}}, nil},
		{"the_same_prefix", Config{JWT: []string{"prefix=b:"}, Hook: []string{"prefix=b:"}},
			[]string{"b:"}},
		{"keys_of_sessions_are_no_names", Config{
			JWT: []string{"prefix=b:"}, Sessions: []string{"prefix=b:"}, Certificates: true,
		}, []string{""}},
		{"sessions", Config{JWT: []string{"issuer=a"}, Sessions: []string{"user-prefix=s:"}}, nil},
	} {
		if got := r.cfg.SharedPrefixes(); !slices.Equal(got, r.want) {
			t.Errorf("%s: %q, want %q", r.name, got, r.want)
		}
	}
}

// TestB3_decide says which credentials need a service, and asks none.
func TestB3_decide(t *testing.T) {
	key := file(t, strings.Repeat("k", 32))
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		io.WriteString(w, `{"active":true,"sub":"ann"}`)
	}))
	defer server.Close()
	s, err := New(Config{
		Sources: []string{"header", "cookie:session"}, CacheTTL: time.Minute,
		JWT:           []string{"issuer=us,alg=HS256,key=" + key},
		Introspection: []string{"calls=3,queue=5,url=" + server.URL},
		Sessions:      []string{"wait=3s,timeout=1s,addr=/no/such/socket"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	services := s.Services()
	want := []Service{
		{"sessions", auth.DefaultBackend().CallsMax, queueMax, 3 * time.Second},
		{"introspection", 3, 5, auth.DefaultBackend().Timeout},
	}
	if !slices.Equal(services, want) {
		t.Fatalf("%+v", services)
	}
	ours, err := auth.Sign(auth.Secret(strings.Repeat("k", 32)), "HS256", "", map[string]any{
		"iss": "us", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	decide := func(token string, kind auth.Kind, asks bool, service int) Decision {
		t.Helper()
		d := s.Decide(ctx, auth.Credential{Token: auth.Secret(token), Kind: kind})
		if d.Asks != asks || d.Service != service {
			t.Errorf("%.10s by %v: %+v", token, kind, d)
		}
		return d
	}
	if d := decide(ours, auth.KindHeader, false, computes); d.Err != nil || d.ID.User != "ann" {
		t.Errorf("%+v", d)
	}
	if d := decide(ours+"x", auth.KindHeader, false, computes); d.Err == nil {
		t.Error("a spoilt token is fine")
	}
	decide(ours, auth.KindCookie, false, computes) // its issuer says where it goes
	decide("opaque", auth.KindCookie, true, 0)
	decide("opaque", auth.KindHeader, true, 1)
	if asked != 0 {
		t.Error("a service was asked")
	}
	opaque := auth.Credential{Token: "opaque", Kind: auth.KindHeader}
	if id, err := s.Ask(ctx, 1, opaque); err != nil || id.User != "ann" {
		t.Errorf("%+v, %v", id, err)
	}
	if d := decide("opaque", auth.KindHeader, false, 1); d.Err != nil || d.ID.User != "ann" {
		t.Errorf("what the cache knows: %+v", d)
	}
	now := time.Now()
	if err := s.Revocations().RevokeUser(auth.AnyIssuer, "ann", now, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if d := decide("opaque", auth.KindHeader, false, 1); d.Err == nil {
		t.Error("a revoked user comes in through the cache")
	}
}
