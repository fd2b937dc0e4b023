package auth

import (
	"testing"
	"time"
)

// BenchmarkVerify measures tokens of a usual size, with the form checks and the claims.
func BenchmarkVerify(b *testing.B) {
	s := testSigners()
	rows := []struct {
		name, algorithm, id string
		key                 any
	}{
		{"HS256", "HS256", "hs", []byte(testSecret)},
		{"ES256", "ES256", "es", s.p256},
		{"RS256", "RS256", "rs", s.rsa},
		{"EdDSA", "EdDSA", "ed", s.ed},
	}
	v := verifierOf(b, allKeys(b))
	for _, r := range rows {
		cred := Credential{
			Token: Secret(sign(b, r.algorithm, r.key, kid(r.id), goodClaims())),
			Kind:  KindHeader,
		}
		cfg := DefaultCache()
		cfg.TTL = time.Hour
		for name, verifier := range map[string]Verifier{
			"uncached": v, "cached": NewCache(v, cfg),
		} {
			b.Run(r.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				b.ReportMetric(float64(len(cred.Token)), "token-bytes")
				for b.Loop() {
					if _, err := verifier.Verify(b.Context(), cred); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRefuse measures what a bad token costs: with a wrong signature, and without any form.
func BenchmarkRefuse(b *testing.B) {
	s := testSigners()
	v := verifierOf(b, allKeys(b))
	good := sign(b, "RS256", s.rsa, kid("rs"), goodClaims())
	for name, token := range map[string]string{
		"RS256_signature": good[:len(good)-4] + "AAAA", "not_a_token": "abc",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := verify(v, token); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
