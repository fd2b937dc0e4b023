package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Bounds of RSA keys, in bits. A longer one makes every check slow.
const (
	rsaBitsMin = 2048
	rsaBitsMax = 8192
)

// DefaultAlgorithms are the algorithms for keys that somebody else publishes, in the order in which
// a key that names none takes one.
func DefaultAlgorithms() []string {
	return []string{"RS256", "ES256", "ES384", "ES512", "EdDSA", "PS256", "RS384", "RS512",
		"PS384", "PS512"}
}

// secretBytesMin is the least size of a secret: that of the hash, RFC 7518 section 3.2. It has the
// algorithms that take a secret, and no others.
var secretBytesMin = map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}

// curves are the curves of the algorithms for elliptic curves, RFC 7518 section 3.4.
var curves = map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

// checkPublished returns an error if an algorithm is not one for published keys.
func checkPublished(algorithms []string) error {
	if len(algorithms) == 0 {
		return errors.New("auth: no algorithm")
	}
	for _, a := range algorithms {
		if !slices.Contains(DefaultAlgorithms(), a) {
			return fmt.Errorf("auth: %q is not an algorithm for published keys", a)
		}
	}
	return nil
}

// fits returns nil if a key is of the type and the strength that an algorithm wants. That a key
// serves one algorithm alone is what keeps a public key from being used as a secret.
func fits(key any, algorithm string) error {
	switch k := key.(type) {
	case []byte:
		atLeast, ok := secretBytesMin[algorithm]
		if ok && len(k) < atLeast {
			return fmt.Errorf("auth: a secret for %s needs %d bytes", algorithm, atLeast)
		}
		if ok {
			return nil
		}
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		if bits < rsaBitsMin || bits > rsaBitsMax {
			return fmt.Errorf("auth: RSA key of %d bits, need %d to %d",
				bits, rsaBitsMin, rsaBitsMax)
		}
		if strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS") {
			return nil
		}
	case *ecdsa.PublicKey:
		if curves[algorithm] == k.Curve.Params().Name {
			return nil
		}
	case ed25519.PublicKey:
		if algorithm == jwt.SigningMethodEdDSA.Alg() {
			return nil
		}
	}
	return fmt.Errorf("auth: the key is not one for %q", algorithm)
}

// publicPart returns what checks signatures: a private key's public one, else the key itself.
func publicPart(key any) any {
	if private, ok := key.(crypto.Signer); ok {
		return private.Public()
	}
	return key
}
