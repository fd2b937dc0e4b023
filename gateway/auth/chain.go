package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Route sends credentials to a verifier.
type Route struct {
	// Kind is the kind of credential that goes this way; zero means any.
	Kind Kind
	// Issuer is the issuer of the JSON Web Tokens that go this way; empty means any token.
	Issuer   string
	Verifier Verifier
}

// Chain verifies each credential by the first route that takes it, and by that one only: a
// credential that one verifier refuses is not offered to a weaker one. A token names its issuer
// before anything is proven, so the issuer chooses the route and nothing else; the verifier at its
// end trusts keys of this issuer only, and checks the claim again.
type Chain struct {
	routes []Route
}

// NewChain returns a chain, or an error if it has a route that no credential could take.
func NewChain(routes ...Route) (*Chain, error) {
	for i, r := range routes {
		if r.Verifier == nil {
			return nil, fmt.Errorf("auth: route %d has no verifier", i)
		}
		for _, before := range routes[:i] {
			if (before.Kind == 0 || before.Kind == r.Kind) &&
				(before.Issuer == "" || before.Issuer == r.Issuer) {
				return nil, fmt.Errorf("auth: route %d is hidden by one before it", i)
			}
		}
	}
	if len(routes) == 0 {
		return nil, errors.New("auth: a chain needs a route")
	}
	return &Chain{routes: append([]Route(nil), routes...)}, nil
}

// Verify implements Verifier.
func (c *Chain) Verify(ctx context.Context, cred Credential) (Identity, error) {
	v, err := c.Route(cred)
	if err != nil {
		return Identity{}, err
	}
	return v.Verify(ctx, cred)
}

// Route returns the verifier that a credential goes to. It verifies nothing.
func (c *Chain) Route(cred Credential) (Verifier, error) {
	if len(cred.Token) > TokenBytesMax {
		return nil, Refuse(ReasonTooLarge)
	}
	issuer, known := "", false
	for _, r := range c.routes {
		if r.Kind != 0 && r.Kind != cred.Kind {
			continue
		}
		if r.Issuer != "" && !known {
			issuer, known = claimedIssuer(string(cred.Token)), true
		}
		if r.Issuer == "" || r.Issuer == issuer {
			return r.Verifier, nil
		}
	}
	return nil, Refuse(ReasonIssuer)
}

// version implements versioned.
func (c *Chain) version() uint64 {
	sum := uint64(0)
	for _, r := range c.routes {
		sum += versionOf(r.Verifier)
	}
	return sum
}

// claimedIssuer is the issuer that a token claims, empty if it is no JSON Web Token.
func claimedIssuer(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, ok := strings.Cut(rest, ".")
	if !ok {
		return ""
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(payload)
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(b, &claims) != nil {
		return ""
	}
	return claims.Issuer
}
