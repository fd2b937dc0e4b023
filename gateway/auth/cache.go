package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// CacheConfig bounds what a Cache remembers.
type CacheConfig struct {
	// EntriesMax bounds the tokens that were good; an entry takes about half a kilobyte. TTL is
	// how long they are remembered, at most until they expire.
	EntriesMax int
	TTL        time.Duration
	// RefusalsMax and RefusalTTL are the same for tokens that were not. Their entries are counted
	// apart, so that a flood of bad tokens does not push out a good one. A token that will be good
	// later is refused for so much longer.
	RefusalsMax int
	RefusalTTL  time.Duration
}

// DefaultCache returns the defaults.
func DefaultCache() CacheConfig {
	return CacheConfig{
		EntriesMax:  32 << 10,
		TTL:         30 * time.Second,
		RefusalsMax: 8 << 10,
		RefusalTTL:  5 * time.Second,
	}
}

// Check returns an error if a bound is missing.
func (c *CacheConfig) Check() error {
	if c.EntriesMax <= 0 || c.TTL <= 0 || c.RefusalsMax <= 0 || c.RefusalTTL <= 0 {
		return errors.New("auth: every bound of a cache must be positive")
	}
	return nil
}

// CacheStats are counts since the start, and the tokens remembered now.
type CacheStats struct {
	Hits, Misses      uint64
	Entries, Refusals int
}

// digest stands for a token: a memory dump of the cache does not tell which.
type digest [sha256.Size]byte

// judgement is what a verifier said of a token, and the version of its keys by which it did.
type judgement struct {
	id      Identity
	refused *Error // nil for a good token
	version uint64
}

// Cache remembers what a verifier says of a token, so that a storm of reconnects verifies each one
// once; those who ask about the same token at the same time wait for one answer. It goes by the
// token alone: the verifier must not depend on the rest of the handshake. It knows nothing of
// Revocations: their guard belongs in front of it.
type Cache struct {
	next Verifier
	cfg  CacheConfig
	salt [32]byte
	// flights joins the callers with the same token. A call goes on when its caller's context
	// ends, as others wait for it; the verifier's own timeout ends it.
	flights singleflight.Group

	hits, misses atomic.Uint64

	mu   sync.Mutex // guards what follows
	good *lru[digest, judgement]
	bad  *lru[digest, judgement]
}

// NewCache returns a cache in front of a verifier. cfg must pass its Check.
func NewCache(next Verifier, cfg CacheConfig) *Cache {
	c := &Cache{
		next: next,
		cfg:  cfg,
		good: newLRU[digest, judgement](cfg.EntriesMax),
		bad:  newLRU[digest, judgement](cfg.RefusalsMax),
	}
	rand.Read(c.salt[:])
	return c
}

// Verify implements Verifier.
func (c *Cache) Verify(ctx context.Context, cred Credential) (Identity, error) {
	if err := checkToken(string(cred.Token)); err != nil {
		return Identity{}, err
	}
	key := c.digest(cred)
	if j, ok := c.lookup(key); ok {
		c.hits.Add(1)
		return j.result()
	}
	return c.flight(ctx, cred, key)
}

// Known is Verify for a credential that the cache remembers. ok is false if it does not, and then
// nothing has been asked or counted.
func (c *Cache) Known(cred Credential) (id Identity, err error, ok bool) {
	if err := checkToken(string(cred.Token)); err != nil {
		return Identity{}, err, true
	}
	j, ok := c.lookup(c.digest(cred))
	if !ok {
		return Identity{}, nil, false
	}
	c.hits.Add(1)
	id, err = j.result()
	return id, err, true
}

// flight has a credential verified, once for all who ask at the same time.
func (c *Cache) flight(ctx context.Context, cred Credential, key digest) (Identity, error) {
	c.misses.Add(1)
	v, _, _ := c.flights.Do(string(key[:]), func() (any, error) {
		// Another flight may have landed since the lookup.
		if j, ok := c.lookup(key); ok {
			return j, nil
		}
		j := c.verify(context.WithoutCancel(ctx), cred)
		c.keep(key, j)
		return j, nil
	})
	return v.(judgement).result()
}

func (j judgement) result() (Identity, error) {
	if j.refused != nil {
		return Identity{}, j.refused
	}
	return j.id, nil
}

// digest hashes a token, and its kind, as a chain may judge by it. The salt makes the hash useless
// outside of this process.
func (c *Cache) digest(cred Credential) digest {
	var buf [2 << 10]byte // most tokens fit; a longer one costs an allocation
	b := append(buf[:0], c.salt[:]...)
	b = append(b, byte(cred.Kind))
	b = append(b, cred.Token...)
	return sha256.Sum256(b)
}

func (c *Cache) lookup(key digest) (judgement, bool) {
	version, now := versionOf(c.next), time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	j, ok := c.good.get(key, now)
	if !ok {
		j, ok = c.bad.get(key, now)
	}
	return j, ok && j.version == version
}

func (c *Cache) verify(ctx context.Context, cred Credential) judgement {
	// The version before: a key that goes meanwhile spoils the answer.
	j := judgement{version: versionOf(c.next)}
	id, err := c.next.Verify(ctx, cred)
	if err != nil {
		j.refused = Unavailable(err)
		return j
	}
	j.id = id
	return j
}

// keep remembers a judgement, unless it may be another one the next time.
func (c *Cache) keep(key digest, j judgement) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case j.refused == nil:
		until := now.Add(c.cfg.TTL)
		if !j.id.Expires.IsZero() && j.id.Expires.Before(until) {
			until = j.id.Expires
		}
		if until.After(now) {
			c.good.put(key, j, until)
		}
	case errors.Is(j.refused, ErrInvalid), errors.Is(j.refused, ErrForbidden):
		c.bad.put(key, j, now.Add(c.cfg.RefusalTTL))
	}
}

// Stats returns the counts.
func (c *Cache) Stats() CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return CacheStats{
		Hits:     c.hits.Load(),
		Misses:   c.misses.Load(),
		Entries:  len(c.good.entries),
		Refusals: len(c.bad.entries),
	}
}

// version implements versioned.
func (c *Cache) version() uint64 { return versionOf(c.next) }

// versioned is a verifier whose judgements can lose their ground: the version is another one then.
type versioned interface{ version() uint64 }

func versionOf(v Verifier) uint64 {
	if v, ok := v.(versioned); ok {
		return v.version()
	}
	return 0
}
