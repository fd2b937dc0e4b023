package auth

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestB10_Realm(t *testing.T) {
	for _, r := range []struct {
		name  string
		realm Realm
		id    Identity
		want  string // issuer, a space, and the user; or the reason of a refusal
	}{
		{"configured", Realm{Issuer: "us"}, Identity{User: "ann", Issuer: "us"}, "us ann"},
		{"claims_of_a_service_count_for_nothing", Realm{Issuer: IssuerHook},
			Identity{User: "ann", Issuer: "us"}, "hook ann"},
		{"claimed", Realm{Issuer: IssuerJWT, Claimed: true}, Identity{User: "ann", Issuer: "us"},
			"jwt:us ann"},
		{"claimed_none", Realm{Issuer: IssuerJWT, Claimed: true}, Identity{User: "ann"}, "jwt ann"},
		{"prefix", Realm{Issuer: "us", Prefix: "a:"}, Identity{User: "ann"}, "us a:ann"},
		{"reserved", Realm{Issuer: "us", Reserved: []string{"a:"}}, Identity{User: "a:ann"}, "forbidden"},
		{"reserved_by_a_longer_prefix", Realm{Issuer: "us", Prefix: "a", Reserved: []string{"a:"}},
			Identity{User: ":ann"}, "forbidden"},
		{"too_long_with_prefix", Realm{Issuer: "us", Prefix: "a:"},
			Identity{User: strings.Repeat("x", UserBytesMax-1)}, "claims"},
		{"issuer_too_long", Realm{Issuer: IssuerJWT, Claimed: true},
			Identity{User: "ann", Issuer: strings.Repeat("x", issuerBytesMax)}, "claims"},
	} {
		t.Run(r.name, func(t *testing.T) {
			v := r.realm.Wrap(VerifierFunc(func(context.Context, Credential) (Identity, error) {
				return r.id, nil
			}))
			id, err := verify(v, "token")
			got := id.Issuer + " " + id.User
			if err != nil {
				got = strings.TrimPrefix(err.Error(), "auth: ")
			}
			if got != r.want {
				t.Errorf("%q, want %q", got, r.want)
			}
			if id.TokenID != "" || !id.Asked.IsZero() {
				t.Errorf("%+v", id)
			}
		})
	}
}

// TestB13_RealmOfAService says when a service was asked, also through a cache, and by what its
// tokens are called.
func TestB13_RealmOfAService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &counter{next: always}
		named := (&Realm{Issuer: "us", Service: true}).Wrap(v)
		cached := NewCache(named, DefaultCache())
		asked := time.Now()
		for range 2 {
			id, err := verify(cached, "ann")
			if err != nil || !id.Asked.Equal(asked) || id.TokenID != TokenHash("ann") {
				t.Errorf("%+v, %v", id, err)
			}
			time.Sleep(time.Second)
		}
		if _, err := named.Recheck(context.Background(), "x"); err == nil || named.Keep(Credential{}) != "" {
			t.Error("a verifier that cannot be asked again was")
		}
	})
}

func TestTokenHash(t *testing.T) {
	if got := TokenHash("0123456789abcdef"); got != "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd" {
		t.Errorf("%s; it must be what `printf %%s ID | sha256sum | cut -c1-32` prints", got)
	}
	if TokenHash("") != "" {
		t.Error("no token has a hash")
	}
	if TokenHash("eyJh.eyJz.a") != TokenHash("eyJh.eyJz.b") {
		t.Error("the signature counts, of which ECDSA has two")
	}
	if TokenHash("s:one.two.a") == TokenHash("s:one.two.b") {
		t.Error("two session ids are one")
	}
}

func TestB13_Lifetime(t *testing.T) {
	now := time.Now()
	for name, r := range map[string]struct {
		most     time.Duration
		iat, exp int64 // seconds from now
		without  string
		want     string
	}{
		"unlimited":        {0, 0, 1e9, "", ""},
		"unlimited_no_iat": {0, 0, 1e9, "iat", ""},
		"at_the_bound":     {time.Hour, -10, 3590, "", ""},
		"past_the_bound":   {time.Hour, -10, 3591, "", "lifetime"},
		// One that is about to end could have been made long before a revocation was forgotten.
		"long_but_nearly_over": {time.Hour, -1e6, 10, "", "lifetime"},
		"no_iat":               {time.Hour, 0, 10, "iat", "claims"},
		"far":                  {time.Hour, 0, 1 << 37, "", "lifetime"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := NewJWT(JWTConfig{
				Keys:   staticKeys(t, KeyConfig{Algorithm: "HS256", Source: testSecret}),
				Fields: DefaultFields(), LifetimeMax: r.most,
			})
			if err != nil {
				t.Fatal(err)
			}
			claims := jwt.MapClaims{"sub": "ann", "iat": now.Unix() + r.iat, "exp": now.Unix() + r.exp}
			delete(claims, r.without)
			_, err = verify(v, sign(t, "HS256", []byte(testSecret), nil, claims))
			got := ""
			if err != nil {
				got = strings.TrimPrefix(err.Error(), "auth: ")
			}
			if got != r.want {
				t.Errorf("%q, want %q", got, r.want)
			}
		})
	}
}
