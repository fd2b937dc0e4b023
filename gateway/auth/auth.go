// Package auth says who a peer is. It takes a credential out of a handshake and has it verified: a
// JSON Web Token by static keys or by the keys that an issuer publishes, any token by its authority
// (introspection), a whole handshake by a service of the operator (hook). It knows no sockets.
//
// What a remote service decides goes through a Backend, which bounds calls, time and failures. A
// Cache in front of a verifier keeps what it said; Revocations take it back.
package auth

import (
	"context"
	"slices"
	"time"
)

// Bounds of an identity. Whatever exceeds one is refused, never cut.
const (
	UserBytesMax  = 128
	RoomsMax      = 128
	RoomBytesMax  = 128
	ClaimsMax     = 16
	ClaimBytesMax = 256
)

// issuerBytesMax bounds the issuer of an identity: an address, and what a Realm adds.
const issuerBytesMax = 1 << 10

// Identity is who a peer is, as long as it lasts. Its slice and map are shared with caches and must
// not be changed.
type Identity struct {
	// User is never empty; IsUser says what it may be.
	User string
	// Issuer is who vouched for the user: an issuer that the configuration names, or what the
	// realm of the verifier calls it. Two users are the same one only if their issuers are.
	Issuer string
	// TokenID is the token that said so: its claim jti or, of a token that is no JSON Web Token
	// and has none, what TokenHash makes of it. It belongs to the issuer. It may be empty.
	TokenID string
	// KeyID names the key that the token was signed with; empty if the token does not.
	KeyID string
	// Issued is when the token was made; zero means unknown.
	Issued time.Time
	// Leeway is how far the clock that Issued is by may be ahead, as the verifier allows.
	Leeway time.Duration
	// Asked is when a service was asked about the token; zero if none was.
	Asked time.Time
	// Expires is when the identity ends. Zero means never. It may have just passed: a clock may
	// be wrong by the leeway of the verifier.
	Expires time.Time
	// Rooms are the rooms that the user may join. nil means all, empty means none.
	Rooms []string
	// Claims are the further claims that the configuration asked for, as text.
	Claims map[string]string
}

// Made returns the earliest moment at which the token may have been made; zero means unknown.
func (id *Identity) Made() time.Time {
	if id.Issued.IsZero() {
		return time.Time{}
	}
	return id.Issued.Add(-id.Leeway)
}

// MayJoin reports whether the user may join a room.
func (id *Identity) MayJoin(room string) bool {
	return id.Rooms == nil || slices.Contains(id.Rooms, room)
}

// check reports whether an identity keeps the bounds.
func (id *Identity) check() bool {
	ok := isName(id.User, UserBytesMax) && len(id.TokenID) <= ClaimBytesMax &&
		len(id.Issuer) <= issuerBytesMax &&
		len(id.Rooms) <= RoomsMax && len(id.Claims) <= ClaimsMax
	for _, room := range id.Rooms {
		ok = ok && isName(room, RoomBytesMax)
	}
	for name, value := range id.Claims {
		ok = ok && len(name) <= ClaimBytesMax && len(value) <= ClaimBytesMax
	}
	return ok
}

// Verifier says whose credential it is. Verify may block for as long as the timeout of the services
// it asks, and costs up to a millisecond of CPU if it asks none: it is not for an event loop. Its
// errors are always of type *Error. It is safe for concurrent use.
type Verifier interface {
	Verify(ctx context.Context, c Credential) (Identity, error)
}

// Rechecker is a Verifier whose service can be asked again about a credential that it has accepted.
type Rechecker interface {
	Verifier
	// Keep returns what must be remembered of a credential for that, and no more: it is in memory
	// for as long as its connection is open. It is as secret as the credential.
	Keep(c Credential) Secret
	// Recheck asks again, past every cache. Its errors are those of Verify.
	Recheck(ctx context.Context, kept Secret) (Identity, error)
}

// VerifierFunc is a function as a Verifier.
type VerifierFunc func(ctx context.Context, c Credential) (Identity, error)

// Verify implements Verifier.
func (f VerifierFunc) Verify(ctx context.Context, c Credential) (Identity, error) {
	return f(ctx, c)
}
