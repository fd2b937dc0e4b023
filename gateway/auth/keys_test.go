package auth

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
)

// jwkOf is a key as JWK.
func jwkOf(t testing.TB, key any, id, algorithm string, private bool) jwkset.JWKMarshal {
	t.Helper()
	jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{
		Marshal:  jwkset.JWKMarshalOptions{Private: private},
		Metadata: jwkset.JWKMetadataOptions{KID: id, ALG: jwkset.ALG(algorithm)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return jwk.Marshal()
}

func pemBlock(kind string, der []byte) Secret {
	return Secret(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestStaticKeysLoad(t *testing.T) {
	s := testSigners()
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now(),
	}, &x509.Certificate{}, s.p256.Public(), s.rsa)
	if err != nil {
		t.Fatal(err)
	}
	set := Secret(jsonOf(t, jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{
		jwkOf(t, s.rsa.Public(), "a", "PS256", false),
		jwkOf(t, s.p256.Public(), "b", "", false),
	}}))
	rows := []struct {
		name string
		cfg  KeyConfig
		want string // ids and algorithms
	}{
		{"secret", KeyConfig{Algorithm: "HS256", Source: Secret(testSecret[:32])}, ":HS256"},
		{"secret_file", KeyConfig{ID: "k", Algorithm: "HS512",
			Source: fileOf(t, testSecret+"\n")}, "k:HS512"},
		{"pem_rsa", KeyConfig{Source: pemOf(t, s.rsa.Public())}, ":RS256"},
		{"pem_rsa_ps", KeyConfig{Algorithm: "PS384", Source: pemOf(t, s.rsa.Public())}, ":PS384"},
		{"pem_pkcs1_file", KeyConfig{Source: fileOf(t, pemBlock("RSA PUBLIC KEY",
			x509.MarshalPKCS1PublicKey(&s.rsa.PublicKey)))}, ":RS256"},
		{"pem_p384", KeyConfig{Source: pemOf(t, s.p384.Public())}, ":ES384"},
		{"pem_ed", KeyConfig{Source: pemOf(t, s.ed.Public())}, ":EdDSA"},
		{"pem_cert", KeyConfig{Source: pemBlock("CERTIFICATE", cert)}, ":ES256"},
		{"jwk", KeyConfig{Source: Secret(jsonOf(t, jwkOf(t, s.ed.Public(), "a", "", false)))},
			"a:EdDSA"},
		{"jwk_private", KeyConfig{Source: Secret(jsonOf(t, jwkOf(t, s.p256, "a", "", true)))},
			"a:ES256"},
		{"jwk_oct", KeyConfig{Source: fileOf(t, Secret(jsonOf(t,
			jwkOf(t, []byte(testSecret), "a", "HS256", true))))}, "a:HS256"},
		{"jwk_other_id", KeyConfig{ID: "b",
			Source: Secret(jsonOf(t, jwkOf(t, s.ed.Public(), "a", "", false)))}, "b:EdDSA"},
		{"jwk_set", KeyConfig{Source: fileOf(t, set)}, "a:PS256 b:ES256"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			keys, err := NewStaticKeys(r.cfg)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, k := range keys.keys {
				got = append(got, k.id+":"+k.algorithm)
				if _, isPrivate := k.key.(*ecdsa.PrivateKey); isPrivate {
					t.Error("keeps a private key")
				}
			}
			if strings.Join(got, " ") != r.want {
				t.Errorf("%q, want %q", got, r.want)
			}
		})
	}
}

func TestStaticKeysRefuse(t *testing.T) {
	s := testSigners()
	private, err := x509.MarshalPKCS8PrivateKey(s.ed)
	if err != nil {
		t.Fatal(err)
	}
	oct := Secret(jsonOf(t, jwkOf(t, []byte(testSecret), "a", "", true)))
	rows := []struct {
		name string
		cfg  KeyConfig
	}{
		{"A02_pem_as_secret", KeyConfig{Algorithm: "HS256", Source: pemOf(t, s.rsa.Public())}},
		{"A02_pem_file_as_secret", KeyConfig{Algorithm: "HS256",
			Source: fileOf(t, pemOf(t, s.rsa.Public()))}},
		{"A07_rsa_1024", KeyConfig{Source: pemOf(t, s.rsa1024.Public())}},
		{"A07_rsa_1024_named", KeyConfig{Algorithm: "RS256", Source: pemOf(t, s.rsa1024.Public())}},
		{"secret_31_bytes", KeyConfig{Algorithm: "HS256", Source: Secret(testSecret[:31])}},
		{"secret_47_bytes_hs384", KeyConfig{Algorithm: "HS384", Source: Secret(testSecret[:47])}},
		{"secret_63_bytes_hs512", KeyConfig{Algorithm: "HS512", Source: Secret(testSecret[:63])}},
		{"secret_without_algorithm", KeyConfig{Source: testSecret}},
		{"oct_without_algorithm", KeyConfig{Source: oct}},
		{"secret_for_rs256", KeyConfig{Algorithm: "RS256", Source: testSecret}},
		{"A01_none", KeyConfig{Algorithm: "none", Source: testSecret}},
		{"p256_for_es384", KeyConfig{Algorithm: "ES384", Source: pemOf(t, s.p256.Public())}},
		{"jwk_for_another_algorithm", KeyConfig{Algorithm: "PS256",
			Source: Secret(jsonOf(t, jwkOf(t, s.rsa.Public(), "a", "RS256", false)))}},
		{"private_key", KeyConfig{Source: pemBlock("PRIVATE KEY", private)}},
		{"broken_pem", KeyConfig{Source: "-----BEGIN PUBLIC KEY-----"}},
		{"broken_der", KeyConfig{Source: pemBlock("PUBLIC KEY", []byte("x"))}},
		{"broken_json", KeyConfig{Source: `{"kty":`}},
		{"broken_jwk", KeyConfig{Source: `{"kty":"RSA"}`}},
		{"empty_set", KeyConfig{Source: `{"keys":[]}`}},
		{"id_65_bytes", KeyConfig{ID: strings.Repeat("k", keyIDBytesMax+1), Algorithm: "HS256",
			Source: testSecret}},
		{"empty", KeyConfig{Algorithm: "HS256"}},
		{"no_file", KeyConfig{Algorithm: "HS256", Source: "@/nonexistent/file"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := NewStaticKeys(r.cfg)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), testSecret[:8]) {
				t.Errorf("the error quotes the secret: %v", err)
			}
		})
	}
	t.Run("same_id", func(t *testing.T) {
		k := KeyConfig{ID: "a", Algorithm: "HS256", Source: testSecret}
		if _, err := NewStaticKeys(k, k); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("none_at_all", func(t *testing.T) {
		if _, err := NewStaticKeys(); err == nil {
			t.Error("accepted")
		}
	})
}
