package gateway

import (
	"errors"
	"time"
)

// Revocation takes back a user or a token.
type Revocation struct {
	// User loses every token made up to now, and those dated up to the leeway of their verifier
	// later, because the clock of the issuer may be ahead. TokenID is a single one (claim jti, or
	// what auth.TokenHash makes of it). At least one is set.
	User, TokenID string
	// Issuer is whose user and token they are; auth.AnyIssuer for those of all. It may be empty
	// if there is one verifier only.
	Issuer string
	// Until is until when it is to be remembered at least; zero is as short as can be. It is always
	// remembered until the last token that it is about has expired.
	Until time.Time
	// Caller is who asks for it, for the log and the audit log.
	Caller string
}

// Revoked is what became of a Revocation.
type Revoked struct {
	// Closed is how many connections it has ended.
	Closed int
	// Until is when it is forgotten; zero if it is remembered for as long as the process runs,
	// because nothing says when the last token expires.
	Until time.Time
	// Issuer is whose user and token were revoked, or auth.AnyIssuer.
	Issuer string
}

// Revoke takes a user or a token back: new handshakes are refused, and the connections that it let
// in are closed with 3000. A user of a source whose tokens do not say when they were made may come
// in again with another token at once: its service is asked again. Revoke fails with
// ErrNoAuthentication, a *setup.IssuerError, or auth.ErrRevocationsFull.
func (g *Gateway) Revoke(r Revocation) (done Revoked, err error) {
	done, err = g.takeBack(r)
	g.auditRevocation(r, done, err)
	return done, err
}

func (g *Gateway) takeBack(r Revocation) (done Revoked, err error) {
	a := g.authority
	if a == nil {
		return done, ErrNoAuthentication
	}
	if done.Issuer, err = a.setup.Issuer(r.Issuer); err != nil {
		return done, err
	}
	now := time.Now()
	done.Until = a.setup.Outlives(done.Issuer, now)
	if !done.Until.IsZero() && r.Until.After(done.Until) {
		done.Until = r.Until
	}
	found := map[*session]struct{}{}
	if r.User != "" {
		err = a.revokeUser(done.Issuer, r.User, now, done.Until, found)
	}
	if r.TokenID != "" && err == nil {
		err = a.setup.Revocations().RevokeToken(done.Issuer, r.TokenID, done.Until)
		for _, m := range a.roster.ofToken(done.Issuer, r.TokenID) {
			found[m.session] = struct{}{}
		}
	}
	for s := range found {
		s.conn.Loop().Post(&expulsion{s})
	}
	done.Closed = len(found)
	return done, err
}

// revokeUser takes back a user and adds its sessions to found. What they were let in with stays out
// even if a service vouches for it again, or if the clock of its issuer is ahead of this one.
func (a *authority) revokeUser(issuer, user string, now, until time.Time,
	found map[*session]struct{}) error {
	revocations := a.setup.Revocations()
	if err := revocations.RevokeUser(issuer, user, now, until); err != nil {
		return err
	}
	var errs []error
	for _, m := range a.roster.ofUser(issuer, user) {
		found[m.session] = struct{}{}
		switch {
		case m.made.After(now):
			errs = append(errs, revocations.RevokeUser(issuer, user, m.made, until))
		case m.made.IsZero() && m.tokenID != "":
			errs = append(errs, revocations.RevokeToken(m.issuer, m.tokenID, until))
		}
	}
	return errors.Join(errs...)
}

// expulsion ends a session whose token was taken back. It is a poller.Runner.
type expulsion struct{ session *session }

// Run implements poller.Runner.
func (e *expulsion) Run() {
	defer e.session.contain()
	e.session.end(endRevoked)
}
