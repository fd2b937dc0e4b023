package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	testIssuer   = "https://issuer.test"
	testAudience = "sluice"
	testSecret   = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// signers are private keys of every type, made once: RSA takes long.
type signers struct {
	rsa     *rsa.PrivateKey
	rsa1024 *rsa.PrivateKey
	p256    *ecdsa.PrivateKey
	p384    *ecdsa.PrivateKey
	ed      ed25519.PrivateKey
}

var testSigners = sync.OnceValue(func() *signers {
	s := &signers{}
	var errs [5]error
	s.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	s.rsa1024, errs[1] = rsa.GenerateKey(rand.Reader, 1024)
	s.p256, errs[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.p384, errs[3] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, s.ed, errs[4] = ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(errs[:]...); err != nil {
		panic(err)
	}
	return s
})

// goodClaims are claims that the tests' verifiers accept.
func goodClaims() jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{
		"sub": "alice", "iss": testIssuer, "aud": testAudience, "jti": "t-1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

// with returns the good claims with changes; a nil takes one away.
func with(changes jwt.MapClaims) jwt.MapClaims {
	c := goodClaims()
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// sign makes a token. header changes the header.
func sign(t testing.TB, algorithm string, key any, header, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(algorithm), jwt.MapClaims(claims))
	maps.Copy(token.Header, header)
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signRaw makes a token of any bytes with HS256.
func signRaw(t testing.TB, header, payload string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(payload))
	sig, err := jwt.SigningMethodHS256.Sign(text, []byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// kid is a header with a key id.
func kid(id string) map[string]any { return map[string]any{"kid": id} }

// pemOf is a public key as PEM.
func pemOf(t testing.TB, public any) Secret {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return Secret(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// fileOf writes a file and returns it as a source.
func fileOf(t testing.TB, content Secret) Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return Secret("@" + path)
}

func staticKeys(t testing.TB, configs ...KeyConfig) *StaticKeys {
	t.Helper()
	keys, err := NewStaticKeys(configs...)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// allKeys are keys of every type.
func allKeys(t testing.TB) *StaticKeys {
	s := testSigners()
	return staticKeys(t,
		KeyConfig{ID: "hs", Algorithm: "HS256", Source: testSecret},
		KeyConfig{ID: "rs", Source: pemOf(t, s.rsa.Public())},
		KeyConfig{ID: "ps", Algorithm: "PS256", Source: pemOf(t, s.rsa.Public())},
		KeyConfig{ID: "es", Source: pemOf(t, s.p256.Public())},
		KeyConfig{ID: "es384", Source: pemOf(t, s.p384.Public())},
		KeyConfig{ID: "ed", Source: pemOf(t, s.ed.Public())},
	)
}

// verifierOf verifies tokens of testIssuer for testAudience.
func verifierOf(t testing.TB, keys Keys) *JWT {
	t.Helper()
	v, err := NewJWT(JWTConfig{
		Keys:     keys,
		Issuer:   testIssuer,
		Audience: []string{testAudience},
		Leeway:   DefaultLeeway,
		Fields:   Fields{User: "sub", Rooms: "rooms", RoomsOptional: true, Copied: []string{"tier"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func verify(v Verifier, token string) (Identity, error) {
	return v.Verify(context.Background(), Credential{Token: Secret(token), Kind: KindHeader})
}

// wantReason fails the test unless err is a refusal for a reason.
func wantReason(t testing.TB, err error, want Reason) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want %v", err, want)
	}
	if e.Reason != want {
		t.Fatalf("refused: %v, want %v", e, want)
	}
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// counter counts the calls of a verifier.
type counter struct {
	next  Verifier
	calls atomic.Int64
}

func (c *counter) Verify(ctx context.Context, cred Credential) (Identity, error) {
	c.calls.Add(1)
	return c.next.Verify(ctx, cred)
}

// guardedBy refuses what next accepts and r has taken back.
func guardedBy(r *Revocations, next Verifier) Verifier {
	return VerifierFunc(func(ctx context.Context, c Credential) (Identity, error) {
		return r.Guarded(next.Verify(ctx, c))
	})
}

// always is a verifier that accepts every token, as the user of its name.
var always = VerifierFunc(func(_ context.Context, c Credential) (Identity, error) {
	return Identity{User: string(c.Token)}, nil
})
