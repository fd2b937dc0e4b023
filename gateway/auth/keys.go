package auth

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

const (
	// keysMax bounds the keys of an issuer.
	keysMax = 64
	// keyIDBytesMax bounds the key id of a token.
	keyIDBytesMax = 64
)

// Keys are the keys of one issuer, each for one algorithm. NewStaticKeys and NewJWKS make them.
// They are safe for concurrent use.
type Keys interface {
	// algorithms are those that the keys may have.
	algorithms() []string
	// find returns the key for a token whose header has been checked.
	find(token *jwt.Token) (any, error)
	// version changes when a key is no longer to be trusted.
	version() uint64
}

// KeyConfig is where a key comes from.
type KeyConfig struct {
	// ID is the key id that a token names; empty is that of the key itself (JWK), or serves every
	// token that names no other key.
	ID string
	// Algorithm is what the key is for. A secret must have one. Empty is that of a JWK, or of the
	// type: RS256, ES256, ES384, ES512, EdDSA.
	Algorithm string
	// Source is a public key (PEM: PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE; or JWK, or JWK set)
	// or a secret, or "@path" of a file with one.
	Source Secret
}

// staticKey is a key that was configured.
type staticKey struct {
	id, algorithm string
	key           any
}

// StaticKeys are keys that were configured. They never change.
type StaticKeys struct {
	keys []staticKey
}

// NewStaticKeys loads keys.
func NewStaticKeys(configs ...KeyConfig) (*StaticKeys, error) {
	s := &StaticKeys{}
	for _, cfg := range configs {
		keys, err := cfg.load()
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			for _, other := range s.keys {
				if other.id == k.id && other.algorithm == k.algorithm {
					return nil, errors.New("auth: two keys with the same id and algorithm")
				}
			}
			s.keys = append(s.keys, k)
		}
	}
	if len(s.keys) == 0 || len(s.keys) > keysMax {
		return nil, fmt.Errorf("auth: %d keys, need 1 to %d", len(s.keys), keysMax)
	}
	return s, nil
}

func (s *StaticKeys) algorithms() []string {
	var list []string
	for _, k := range s.keys {
		list = append(list, k.algorithm)
	}
	return list
}

func (s *StaticKeys) version() uint64 { return 0 }

// find returns the key that a token names. A token that names none gets the only one for its
// algorithm: with several, whoever signs must say which.
func (s *StaticKeys) find(token *jwt.Token) (any, error) {
	id, _ := token.Header["kid"].(string)
	var nameless, only any
	count := 0
	for _, k := range s.keys {
		switch {
		case k.algorithm != token.Method.Alg():
			continue
		case k.id == "":
			nameless = k.key
		case k.id == id:
			return k.key, nil
		}
		count++
		only = k.key
	}
	switch {
	case id != "" && nameless != nil:
		return nameless, nil
	case id == "" && count == 1:
		return only, nil
	}
	return nil, Refuse(ReasonKey)
}

// load reads the keys of a source. What looks like a public key is never taken for a secret.
func (c *KeyConfig) load() ([]staticKey, error) {
	secret, err := LoadSecret(string(c.Source))
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(string(secret))
	switch {
	case strings.HasPrefix(text, "-----BEGIN"):
		key, err := parsePEM([]byte(text))
		if err != nil {
			return nil, err
		}
		return c.settle(key, "", "")
	case strings.HasPrefix(text, "{"):
		return c.loadJWK([]byte(text))
	}
	return c.settle([]byte(secret), "", "")
}

// settle fixes the algorithm of a key, of which the file says id and algorithm.
func (c *KeyConfig) settle(key any, id, algorithm string) ([]staticKey, error) {
	if c.Algorithm != "" && algorithm != "" && c.Algorithm != algorithm {
		return nil, fmt.Errorf("auth: the key is for %q, not %q", algorithm, c.Algorithm)
	}
	k := staticKey{id: c.ID, algorithm: c.Algorithm, key: key}
	if k.id == "" {
		k.id = id
	}
	if k.algorithm == "" {
		k.algorithm = algorithm
	}
	if k.algorithm == "" {
		k.algorithm = firstFit(key, DefaultAlgorithms())
	}
	if len(k.id) > keyIDBytesMax {
		return nil, fmt.Errorf("auth: a key id is longer than %d bytes", keyIDBytesMax)
	}
	if err := fits(key, k.algorithm); err != nil {
		return nil, err
	}
	return []staticKey{k}, nil
}

// firstFit returns the first algorithm that a key is for, empty if there is none.
func firstFit(key any, algorithms []string) string {
	for _, a := range algorithms {
		if fits(key, a) == nil {
			return a
		}
	}
	return ""
}

// loadJWK reads a JWK or a JWK set.
func (c *KeyConfig) loadJWK(data []byte) ([]staticKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		// The text of the error could have a part of a secret in it.
		return nil, errors.New("auth: the key file is not valid JSON")
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{data}
	}
	var keys []staticKey
	for _, raw := range set.Keys {
		jwk, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{Private: true},
			jwkset.JWKValidateOptions{})
		if err != nil {
			return nil, errors.New("auth: the key file has a JWK that is not valid")
		}
		m := jwk.Marshal()
		k, err := c.settle(publicPart(jwk.Key()), m.KID, string(m.ALG))
		if err != nil {
			return nil, err
		}
		keys = append(keys, k...)
	}
	return keys, nil
}

// parsePEM reads a public key.
func parsePEM(data []byte) (any, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("auth: the key file is not valid PEM")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	// A private key would do, but it has no business on an edge.
	return nil, fmt.Errorf("auth: need a public key, not a %s", block.Type)
}
