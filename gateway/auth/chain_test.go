package auth

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// issuerOf verifies tokens of an issuer by one secret, with a key id that others have too.
func issuerOf(t *testing.T, issuer, secret string) *JWT {
	t.Helper()
	v, err := NewJWT(JWTConfig{
		Keys:     staticKeys(t, KeyConfig{ID: "1", Algorithm: "HS256", Source: Secret(secret)}),
		Issuer:   issuer,
		Audience: []string{testAudience},
		Fields:   DefaultFields(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestA03_SameKeyIDInTwoIssuers(t *testing.T) {
	secrets := map[string]string{"a": testSecret + "a", "b": testSecret + "b"}
	c, err := NewChain(
		Route{Issuer: "a", Verifier: issuerOf(t, "a", secrets["a"])},
		Route{Issuer: "b", Verifier: issuerOf(t, "b", secrets["b"])})
	if err != nil {
		t.Fatal(err)
	}
	for issuer := range secrets {
		for signer, secret := range secrets {
			t.Run(signer+"_signs_for_"+issuer, func(t *testing.T) {
				id, err := verify(c, sign(t, "HS256", []byte(secret), kid("1"),
					with(jwt.MapClaims{"iss": issuer})))
				if issuer != signer {
					wantReason(t, err, ReasonSignature)
					return
				}
				if err != nil || id.Issuer != issuer {
					t.Errorf("%+v, %v", id, err)
				}
			})
		}
	}
	for _, issuer := range []any{"c", "A", "", nil, 1, []string{"a"}} {
		_, err := verify(c, sign(t, "HS256", []byte(secrets["a"]), kid("1"),
			with(jwt.MapClaims{"iss": issuer})))
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("issuer %v: %v", issuer, err)
		}
	}
}

// named is a verifier that accepts everything, as a user of its own name.
func named(name string) Verifier {
	return VerifierFunc(func(context.Context, Credential) (Identity, error) {
		return Identity{User: name}, nil
	})
}

func TestChainRoutes(t *testing.T) {
	c, err := NewChain(
		Route{Kind: KindCookie, Verifier: named("sessions")},
		Route{Issuer: "a", Verifier: named("jwt a")},
		Route{Kind: KindQuery, Verifier: named("query")},
		Route{Verifier: named("hook")})
	if err != nil {
		t.Fatal(err)
	}
	a := sign(t, "HS256", []byte(testSecret), nil, jwt.MapClaims{"iss": "a"})
	b := sign(t, "HS256", []byte(testSecret), nil, jwt.MapClaims{"iss": "b"})
	rows := []struct {
		name, token string
		kind        Kind
		want        string
	}{
		{"cookie", "opaque", KindCookie, "sessions"},
		{"cookie_with_jwt", a, KindCookie, "sessions"},
		{"jwt", a, KindHeader, "jwt a"},
		{"jwt_in_query", a, KindQuery, "jwt a"},
		{"opaque_in_query", "opaque", KindQuery, "query"},
		{"other_issuer", b, KindHeader, "hook"},
		{"opaque", "opaque", KindMessage, "hook"},
		{"dots", "a.b.c", KindHeader, "hook"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			id, err := c.Verify(context.Background(),
				Credential{Token: Secret(r.token), Kind: r.kind})
			if err != nil || id.User != r.want {
				t.Errorf("%q, %v, want %q", id.User, err, r.want)
			}
		})
	}
	_, err = verify(c, strings.Repeat("a", TokenBytesMax+1))
	wantReason(t, err, ReasonTooLarge)
}

func TestChainTriesNoSecondVerifier(t *testing.T) {
	refuse := VerifierFunc(func(context.Context, Credential) (Identity, error) {
		return Identity{}, Refuse(ReasonSignature)
	})
	c, err := NewChain(Route{Issuer: "a", Verifier: refuse}, Route{Verifier: named("weak")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify(c, sign(t, "HS256", []byte(testSecret), nil, jwt.MapClaims{"iss": "a"}))
	wantReason(t, err, ReasonSignature)
}

func TestNewChainRefuses(t *testing.T) {
	rows := []struct {
		name   string
		routes []Route
	}{
		{"none", nil},
		{"no_verifier", []Route{{Issuer: "a"}}},
		{"same_issuer", []Route{{Issuer: "a", Verifier: always}, {Issuer: "a", Verifier: always}}},
		{"behind_all", []Route{{Verifier: always}, {Issuer: "a", Verifier: always}}},
		{"behind_kind", []Route{{Kind: KindCookie, Verifier: always},
			{Kind: KindCookie, Issuer: "a", Verifier: always}}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if _, err := NewChain(r.routes...); err == nil {
				t.Error("accepted")
			}
		})
	}
}
