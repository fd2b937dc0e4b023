package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keyFiles writes a private key and its public one, and returns how settings refer to them.
func keyFiles(t *testing.T, private any, public any) (own, others Secret) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte, err error) Secret {
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return Secret("@" + path)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	own = write("private.pem", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(public)
	return own, write("public.pem", "PUBLIC KEY", der, err)
}

func TestSignedTokensVerify(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := Secret(strings.Repeat("s", 32))
	type pair struct{ own, others Secret }
	pairs := map[string]pair{"HS256": {secret, secret}}
	for name, keys := range map[string][2]any{
		"ES256": {ec, ec.Public()}, "RS256": {long, long.Public()}, "EdDSA": {ed, edPublic},
	} {
		own, others := keyFiles(t, keys[0], keys[1])
		pairs[name] = pair{own, others}
	}
	for name, keys := range pairs {
		t.Run(name, func(t *testing.T) {
			token, err := Sign(keys.own, "", "k1", map[string]any{
				"sub": "ann", "exp": time.Now().Add(time.Hour).Unix(),
			})
			if err != nil {
				t.Fatal(err)
			}
			static, err := NewStaticKeys(KeyConfig{ID: "k1", Algorithm: name, Source: keys.others})
			if err != nil {
				t.Fatal(err)
			}
			v, err := NewJWT(JWTConfig{Keys: static, Fields: DefaultFields()})
			if err != nil {
				t.Fatal(err)
			}
			id, err := v.Verify(context.Background(), Credential{Token: Secret(token)})
			if err != nil || id.User != "ann" {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
	for name, r := range map[string]struct {
		key       Secret
		algorithm string
	}{
		"short_secret":    {"short", ""},
		"wrong_algorithm": {pairs["ES256"].own, "RS256"},
		"unknown":         {secret, "HS1"},
		"public_key":      {pairs["ES256"].others, ""},
		"no_file":         {"@/no/such/file", ""},
	} {
		if token, err := Sign(r.key, r.algorithm, "", nil); err == nil {
			t.Errorf("%s: signed %s", name, token)
		}
	}
}
