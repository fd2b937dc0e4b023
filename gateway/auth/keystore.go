package auth

import (
	"context"
	"crypto"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/MicahParks/jwkset"
)

// keyStore keeps the published keys of an issuer: only public ones, each with one algorithm. What
// is not usable here is left out: a set may have keys for encryption, or for other services.
type keyStore struct {
	jwkset.Storage
	algorithms []string
	version    atomic.Uint64 // counts the changes that took a key away
}

func newKeyStore(algorithms []string) *keyStore {
	return &keyStore{Storage: jwkset.NewMemoryStorage(), algorithms: algorithms}
}

// KeyReplaceAll replaces the keys by those of a set that are usable. A set without any is taken for
// an accident: the old keys stay.
func (s *keyStore) KeyReplaceAll(ctx context.Context, set []jwkset.JWK) error {
	var usable []jwkset.JWK
	for _, jwk := range set {
		if k, ok := s.usable(jwk); ok {
			usable = append(usable, k)
		}
	}
	if len(usable) == 0 || len(usable) > keysMax {
		return errors.New("the key set has no usable key, or too many")
	}
	before, err := s.KeyReadAll(ctx)
	if err != nil {
		return err
	}
	if err := s.Storage.KeyReplaceAll(ctx, usable); err != nil {
		return err
	}
	// After the keys: whoever sees the new version must not find an old key any more.
	if lost(before, usable) {
		s.version.Add(1)
	}
	return nil
}

// usable returns the public part of a key with its algorithm fixed.
func (s *keyStore) usable(jwk jwkset.JWK) (jwkset.JWK, bool) {
	m := jwk.Marshal()
	key, algorithm := publicPart(jwk.Key()), string(m.ALG)
	if algorithm == "" {
		algorithm = firstFit(key, s.algorithms)
	}
	isForSignatures := m.USE == "" || m.USE == jwkset.UseSig
	if !isForSignatures || len(m.KID) > keyIDBytesMax ||
		!slices.Contains(s.algorithms, algorithm) || fits(key, algorithm) != nil {
		return jwkset.JWK{}, false
	}
	k, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{
		Metadata: jwkset.JWKMetadataOptions{
			ALG: jwkset.ALG(algorithm),
			KID: m.KID,
			USE: jwkset.UseSig,
		},
	})
	return k, err == nil
}

// only returns the key of a set of one.
func (s *keyStore) only(algorithm string) (any, error) {
	keys, err := s.KeyReadAll(context.Background())
	if err != nil || len(keys) != 1 || string(keys[0].Marshal().ALG) != algorithm {
		return nil, Refuse(ReasonKey)
	}
	return keys[0].Key(), nil
}

// lost reports whether a key of before is not in after.
func lost(before, after []jwkset.JWK) bool {
	return slices.ContainsFunc(before, func(old jwkset.JWK) bool {
		return !slices.ContainsFunc(after, func(k jwkset.JWK) bool { return sameKey(old, k) })
	})
}

// sameKey reports whether two keys verify the same tokens.
func sameKey(a, b jwkset.JWK) bool {
	key, ok := a.Key().(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b.Key()) && a.Marshal().KID == b.Marshal().KID &&
		a.Marshal().ALG == b.Marshal().ALG
}
