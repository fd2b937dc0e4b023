package auth

import (
	"errors"
	"maps"
	"sync"
	"time"
)

// ErrRevocationsFull is returned when there is no room for another revocation. It was not taken:
// forgetting an earlier one would let somebody in again.
var ErrRevocationsFull = errors.New("auth: too many revocations")

// AnyIssuer stands for all issuers in a revocation.
const AnyIssuer = "*"

// Revocations are tokens and users that were taken back before their time. Each is remembered until
// a moment that the caller gives, when the tokens have expired anyway. It is safe for concurrent
// use.
type Revocations struct {
	max int

	mu     sync.RWMutex // guards what follows
	users  map[revoked]revokedUser
	tokens map[revoked]time.Time // when to forget; zero for never
}

// revoked is a user or a token of an issuer.
type revoked struct{ issuer, name string }

type revokedUser struct {
	at, until time.Time // until is zero for never
}

// NewRevocations returns an empty set of at most entriesMax.
func NewRevocations(entriesMax int) *Revocations {
	return &Revocations{
		max:    entriesMax,
		users:  map[revoked]revokedUser{},
		tokens: map[revoked]time.Time{},
	}
}

// RevokeUser takes back what an issuer, or AnyIssuer, has said of a user up to a moment: tokens
// that may have been made until then (Identity.Made). A token that does not say when it was made
// counts if a service was asked about it until then (Identity.Asked): asked later, it vouches for
// the user anew. A token that says neither stays out. until is when the last of these tokens
// expires, zero for never; the revocation is remembered until then, and not for less than an
// earlier call said. It returns ErrRevocationsFull if there is no room.
func (r *Revocations) RevokeUser(issuer, user string, at, until time.Time) error {
	key := revoked{issuer, user}
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.users[key]
	if !ok && !r.makeRoomLocked(time.Now()) {
		return ErrRevocationsFull
	}
	if ok {
		until = later(old.until, until)
		if old.at.After(at) {
			at = old.at
		}
	}
	r.users[key] = revokedUser{at: at, until: until}
	return nil
}

// RevokeToken takes back a token of an issuer, or of AnyIssuer, by its id. until is when it
// expires, zero for never. It returns ErrRevocationsFull if there is no room.
func (r *Revocations) RevokeToken(issuer, id string, until time.Time) error {
	key := revoked{issuer, id}
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.tokens[key]
	if !ok && !r.makeRoomLocked(time.Now()) {
		return ErrRevocationsFull
	}
	if ok {
		until = later(old, until)
	}
	r.tokens[key] = until
	return nil
}

// later returns the later of two moments, of which zero is never.
func later(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && a.After(b) {
		return a
	}
	return b
}

// over reports whether a revocation can be forgotten.
func over(until, now time.Time) bool { return !until.IsZero() && !now.Before(until) }

// makeRoomLocked forgets what is over if the set is full.
func (r *Revocations) makeRoomLocked(now time.Time) bool {
	if len(r.users)+len(r.tokens) < r.max {
		return true
	}
	maps.DeleteFunc(r.users, func(_ revoked, u revokedUser) bool { return over(u.until, now) })
	maps.DeleteFunc(r.tokens, func(_ revoked, until time.Time) bool { return over(until, now) })
	return len(r.users)+len(r.tokens) < r.max
}

// Check returns Refuse(ReasonRevoked) if an identity was taken back.
func (r *Revocations) Check(id *Identity) error {
	now := time.Now()
	made := id.Made()
	if made.IsZero() {
		made = id.Asked
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, issuer := range [...]string{id.Issuer, AnyIssuer} {
		until, ok := r.tokens[revoked{issuer, id.TokenID}]
		if ok && id.TokenID != "" && !over(until, now) {
			return Refuse(ReasonRevoked)
		}
		user, ok := r.users[revoked{issuer, id.User}]
		if ok && !over(user.until, now) && !made.After(user.at) {
			return Refuse(ReasonRevoked)
		}
	}
	return nil
}

// Len is the number of revocations that are remembered.
func (r *Revocations) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.users) + len(r.tokens)
}

// Guarded is what becomes of the result of a verifier: Check decides if there is an identity. One
// that was taken back comes with the error, for the record.
func (r *Revocations) Guarded(id Identity, err error) (Identity, error) {
	if err != nil {
		return Identity{}, err
	}
	return id, r.Check(&id)
}
