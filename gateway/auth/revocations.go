package auth

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrRevocationsFull is returned when there is no room for another revocation. It was not taken:
// forgetting an earlier one would let somebody in again.
var ErrRevocationsFull = errors.New("auth: too many revocations")

// Revocations are tokens and users that were taken back before their time. Each is remembered until
// a moment that the caller gives, when the tokens have expired anyway. It is safe for concurrent
// use.
type Revocations struct {
	max int

	mu     sync.RWMutex // guards what follows
	users  map[string]revokedUser
	tokens map[string]time.Time // when to forget, by token id
}

type revokedUser struct {
	at, until time.Time
}

// NewRevocations returns an empty set of at most entriesMax.
func NewRevocations(entriesMax int) *Revocations {
	return &Revocations{
		max:    entriesMax,
		users:  map[string]revokedUser{},
		tokens: map[string]time.Time{},
	}
}

// RevokeUser takes back every token of a user that was made up to now; one that does not say when
// it was made is taken back too. The user may come again with a new token, of the next second at
// the earliest, as tokens count in seconds. until is when the last of the old tokens expires. It
// returns ErrRevocationsFull if there is no room.
func (r *Revocations) RevokeUser(user string, until time.Time) error {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.users[user]
	if !ok && !r.makeRoomLocked(now) {
		return ErrRevocationsFull
	}
	if old.until.After(until) {
		until = old.until
	}
	r.users[user] = revokedUser{at: now, until: until}
	return nil
}

// RevokeToken takes back a token by its id. until is when it expires. It returns
// ErrRevocationsFull if there is no room.
func (r *Revocations) RevokeToken(id string, until time.Time) error {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.tokens[id]
	if !ok && !r.makeRoomLocked(now) {
		return ErrRevocationsFull
	}
	if old.After(until) {
		until = old
	}
	r.tokens[id] = until
	return nil
}

// makeRoomLocked forgets what is over if the set is full.
func (r *Revocations) makeRoomLocked(now time.Time) bool {
	if len(r.users)+len(r.tokens) < r.max {
		return true
	}
	for user, revoked := range r.users {
		if !now.Before(revoked.until) {
			delete(r.users, user)
		}
	}
	for id, until := range r.tokens {
		if !now.Before(until) {
			delete(r.tokens, id)
		}
	}
	return len(r.users)+len(r.tokens) < r.max
}

// Check returns Refuse(ReasonRevoked) if an identity was taken back.
func (r *Revocations) Check(id *Identity) error {
	now := time.Now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if until, ok := r.tokens[id.TokenID]; ok && id.TokenID != "" && now.Before(until) {
		return Refuse(ReasonRevoked)
	}
	user, ok := r.users[id.User]
	if ok && now.Before(user.until) && !id.Issued.After(user.at) {
		return Refuse(ReasonRevoked)
	}
	return nil
}

// Len is the number of revocations that are remembered.
func (r *Revocations) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.users) + len(r.tokens)
}

// Guard returns a verifier that refuses what next accepts and r has taken back. It belongs in front
// of every cache.
func (r *Revocations) Guard(next Verifier) Verifier {
	return VerifierFunc(func(ctx context.Context, c Credential) (Identity, error) {
		id, err := next.Verify(ctx, c)
		if err != nil {
			return Identity{}, err
		}
		if err := r.Check(&id); err != nil {
			return Identity{}, err
		}
		return id, nil
	})
}
