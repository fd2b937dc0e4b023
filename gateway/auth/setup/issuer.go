package setup

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/gateway/auth"
)

// issuer is whose users a verifier knows.
type issuer struct {
	name string
	// claimed says that a colon and what tokens claim may follow the name.
	claimed bool
	// lifetime is how long after its revocation a token may still be good; 0 is without end.
	lifetime time.Duration
}

func (i *issuer) is(name string) bool {
	return name == i.name || i.claimed && strings.HasPrefix(name, i.name+":")
}

// IssuerError says that a revocation names no issuer where several are possible, or an unknown one.
type IssuerError struct{ Known []string }

func (e *IssuerError) Error() string {
	return fmt.Sprintf("issuer must be one of %s, or %s for all of them",
		strings.Join(e.Known, ", "), auth.AnyIssuer)
}

// Issuer returns the issuer that a revocation is about. If there is but one verifier it need not be
// named. The error is an *IssuerError.
func (s *Setup) Issuer(named string) (string, error) {
	switch {
	case named == "" && len(s.issuers) == 1, named == auth.AnyIssuer:
		return auth.AnyIssuer, nil
	case slices.ContainsFunc(s.issuers, func(i issuer) bool { return i.is(named) }):
		return named, nil
	}
	e := &IssuerError{}
	for _, i := range s.issuers {
		if !slices.Contains(e.Known, i.name) {
			e.Known = append(e.Known, i.name)
		}
	}
	return "", e
}

// Outlives returns when the last token of an issuer, or of AnyIssuer, that was made until a moment
// is no longer accepted. It is zero if that cannot be said.
func (s *Setup) Outlives(name string, at time.Time) time.Time {
	longest := time.Duration(0)
	for _, i := range s.issuers {
		switch {
		case name != auth.AnyIssuer && !i.is(name):
		case i.lifetime == 0:
			return time.Time{}
		default:
			longest = max(longest, i.lifetime)
		}
	}
	return at.Add(longest)
}

// Reserved reports whether the name of a user who is not verified here begins with the prefix of a
// verifier, so that it would be taken for a user of that one.
func (s *Setup) Reserved(user string) bool { return auth.HasReserved(user, s.prefixes) }

// SharedPrefixes lists the prefixes that several verifiers give their users, who may have the same
// names then. It opens no file.
func (c *Config) SharedPrefixes() (shared []string) {
	count := map[string]int{}
	for _, of := range []struct {
		specs  []string
		prefix string
	}{
		{c.JWT, "prefix"}, {c.Introspection, "prefix"}, {c.Hook, "prefix"},
		{c.Sessions, "user-prefix"},
	} {
		for _, text := range of.specs {
			count[parseSpec(text, []string{of.prefix}, nil).text(of.prefix, "")]++
		}
	}
	if c.Certificates {
		count[""]++
	}
	for prefix, n := range count {
		if n > 1 {
			shared = append(shared, prefix)
		}
	}
	slices.Sort(shared)
	return shared
}
