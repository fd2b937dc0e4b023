package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// The issuers of users that no claim names an issuer for. No verifier can be configured with one of
// them as the issuer of its tokens.
const (
	IssuerJWT           = "jwt"
	IssuerIntrospection = "introspection"
	IssuerHook          = "hook"
	IssuerSessions      = "sessions"
	IssuerCertificate   = "certificate"
)

// Realm names the users of one verifier apart from those of others.
type Realm struct {
	// Issuer is the issuer of every identity; it is what the configuration trusts. Claimed says
	// that it is only the first part, and the claim iss the second, after a colon: for a verifier
	// that takes tokens of any issuer.
	Issuer  string
	Claimed bool
	// Prefix precedes the names of users.
	Prefix string
	// Reserved are prefixes that belong to other verifiers. A user whose name, with Prefix, begins
	// with one is refused.
	Reserved []string
	// Service says that the verifier asks a service.
	Service bool
}

// Wrap returns a verifier that names what next accepts. It belongs behind caches, if there are any:
// Identity.Asked is when next was asked. The Realm must not change once a credential is verified.
func (r *Realm) Wrap(next Verifier) Rechecker { return &realm{r, next} }

type realm struct {
	*Realm
	next Verifier
}

// Verify implements Verifier.
func (r *realm) Verify(ctx context.Context, c Credential) (Identity, error) {
	asked := time.Now()
	id, err := r.next.Verify(ctx, c)
	if err != nil {
		return Identity{}, err
	}
	if r.Service && id.TokenID == "" {
		id.TokenID = TokenHash(c.Token)
	}
	return r.name(id, asked)
}

// Keep implements Rechecker. It is empty if next asks no service.
func (r *realm) Keep(c Credential) Secret {
	if v, ok := r.next.(Rechecker); ok {
		return v.Keep(c)
	}
	return ""
}

// Recheck implements Rechecker. The identity has no token id unless the service gives one.
func (r *realm) Recheck(ctx context.Context, kept Secret) (Identity, error) {
	v, ok := r.next.(Rechecker)
	if !ok {
		return Identity{}, Refuse(ReasonBackend)
	}
	asked := time.Now()
	id, err := v.Recheck(ctx, kept)
	if err != nil {
		return Identity{}, err
	}
	return r.name(id, asked)
}

// name completes an identity.
func (r *realm) name(id Identity, asked time.Time) (Identity, error) {
	switch {
	case !r.Claimed || id.Issuer == "":
		id.Issuer = r.Issuer
	default:
		id.Issuer = r.Issuer + ":" + id.Issuer
	}
	if r.Prefix != "" {
		id.User = r.Prefix + id.User
	}
	if r.Service {
		id.Asked = asked
	}
	if !id.check() {
		return Identity{}, Refuse(ReasonClaims)
	}
	if HasReserved(id.User, r.Reserved) {
		return Identity{}, Refuse(ReasonForbidden)
	}
	return id, nil
}

// HasReserved reports whether the name of a user begins with one of prefixes.
func HasReserved(user string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(user, p) })
}

// version implements versioned.
func (r *realm) version() uint64 { return versionOf(r.next) }

// TokenHash names a token that has no id of its own: "sha256:" and 32 hexadecimal digits, the first
// half of its SHA-256. It is empty for no token. Tokens that name users are too random to be found
// by their hash. The signature of a JSON Web Token does not count: some have a second one.
func TokenHash(token Secret) string {
	if token == "" {
		return ""
	}
	text := string(token)
	if strings.HasPrefix(text, "eyJ") && strings.Count(text, ".") == 2 {
		text = text[:strings.LastIndexByte(text, '.')]
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:16])
}
