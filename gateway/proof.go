package gateway

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/metrics"
	"sluice/gateway/wire"
)

// ErrNoAuthentication is returned by Revoke if nobody has to prove who they are.
var ErrNoAuthentication = errors.New("gateway: authentication is not configured")

// deadlineMax is the furthest deadline that a session sets. A later one is set again when it comes.
const deadlineMax = 24 * time.Hour

// proof is who the peer of a session has proven to be. A session without authentication has none.
// It belongs to the loop, but for pending and renewals.
type proof struct {
	proven   bool
	id       auth.Identity // zero until proven
	claimed  string        // the user that the path names; empty if it names none
	room     string        // where the session goes once it is proven
	protocol string        // to select in the answer to the handshake
	source   string        // where the credential came from, for the audit log
	asked    *auth.Request // the handshake, for who verifies a token to come; nil once proven
	deadline uint32        // in ticks: of the token to come, or of the identity; 0 for none
	again    *recheckable  // what the identity is verified again with; nil if it is not

	recheckAt uint32 // in ticks: when it is; 0 for never

	// renewals is the rate of renewals. It belongs to whatever handles the session's messages: a
	// task, or the loop if there is none.
	renewals limits.Bucket

	// pending is the credential that is being verified, nil for none. Any goroutine may set it.
	pending atomic.Pointer[verification]
}

// identify finds out who asks for an endpoint, and lets the peer in. claimed is the user in the
// path, empty if there is none; room is empty for an echo.
func (s *session) identify(r *wire.Request, claimed, room string) {
	a := s.lane.g.authority
	if a == nil {
		s.user = claimed
		s.accept(r, room)
		return
	}
	if refusal := r.CheckSingle(a.setup.Headers()); refusal != nil {
		s.auditRefused(refusal.Reason.String(), claimant{})
		s.refuse(refusal)
		return
	}
	s.proof = &proof{claimed: claimed, room: room}
	if slices.Contains(r.Protocols, auth.BearerProtocol) {
		s.proof.protocol = auth.BearerProtocol // browsers insist on one of those that they offered
	}
	asked := request(r, s.clientAddr(), s.name())
	c, ok, err := a.setup.Extract(asked)
	s.proof.source = c.Kind.String()
	_, hasCookie := r.Header("Cookie")
	switch {
	case s.lane.g.auditFull():
		s.deny(auth.Refuse(auth.ReasonAudit), claimant{})
		return
	case err != nil:
		s.deny(err, claimant{})
		return
	case !r.HasOrigin && (c.Kind.Ambient() || !ok && hasCookie && a.setup.Anonymous()):
		// Faults H17: what a browser adds by itself proves nothing of who asked it to.
		s.refuseOrigin(claimant{})
		return
	case !ok && s.proveByCertificate(r):
		return
	case !ok && a.setup.FromMessage():
		s.proof.asked, s.proof.source = asked, auth.KindMessage.String()
		s.proof.deadline = s.lane.tick() + ticks(s.lane.cfg().AuthTimeout)
		s.accept(r, room)
		return
	case !ok && !a.setup.Enabled():
		s.deny(auth.Refuse(auth.ReasonForbidden), claimant{})
		return
	case !ok && !a.setup.Anonymous():
		s.deny(auth.Refuse(auth.ReasonMissing), claimant{})
		return
	case !ok && !s.mayBePage(r):
		// The hook may go by what a browser adds: cookies, passwords, the address it comes from.
		s.refuseOrigin(claimant{})
		return
	case !ok:
		c.Request = asked
	}
	s.state = stateVerifying
	s.quit = s.lane.tick() + ticks(s.lane.cfg().HandshakeTimeout)
	s.schedule()
	if err := s.verify(c); err != nil {
		s.deny(err, claimant{})
	}
}

// proveByCertificate lets a peer in that shows no token and has a certificate. It reports whether
// the request has been answered.
func (s *session) proveByCertificate(r *wire.Request) bool {
	id := s.certificateIdentity()
	if id.User == "" {
		return false // there may be a token yet
	}
	s.proof.source = sourceCertificate
	err := s.lane.g.authority.setup.Revocations().Check(&id)
	if err == nil {
		err = s.admits(&id)
	}
	if who := (claimant{&id, true}); err != nil {
		s.deny(err, who)
	} else if !s.mayBePage(r) {
		s.refuseOrigin(who)
	} else {
		s.prove(id, nil)
	}
	return true
}

// judged acts on what the verifiers said.
func (s *session) judged(v *verification) {
	p := s.proof
	if !p.pending.CompareAndSwap(v, nil) || s.state != stateVerifying && s.state != stateOpen {
		return
	}
	if v.recheck != nil {
		s.rechecked(v)
		return
	}
	err, who := v.err, v.claimant()
	if err == nil {
		err = s.admits(&v.id)
	}
	switch {
	case p.proven && (errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrLimited)):
		s.countVerdict(err, who) // what was proven before holds until it ends
	case err != nil:
		s.deny(err, who)
	case p.proven:
		s.countVerdict(nil, who)
		s.renew(v)
	default:
		s.prove(v.id, v.again)
	}
}

// renew takes over the identity of a verification in place of one of the same user.
func (s *session) renew(v *verification) {
	s.lane.g.authority.roster.renew(s, &v.id)
	s.keep(v.id, v.again)
	s.checkRevoked()
}

// admits checks what an identity may do here. A name with the separator in it would be mistaken for
// another user by who reads "name: text".
func (s *session) admits(id *auth.Identity) error {
	p := s.proof
	switch {
	case p.claimed != "" && p.claimed != id.User,
		p.proven && (p.id.User != id.User || p.id.Issuer != id.Issuer),
		!s.echo && strings.Contains(id.User, chatSeparator),
		!s.echo && !id.MayJoin(p.room):
		return auth.Refuse(auth.ReasonForbidden)
	}
	return nil
}

// prove lets a peer in that has proven who it is.
func (s *session) prove(id auth.Identity, again *recheckable) {
	p := s.proof
	if !s.lane.g.authority.roster.add(s, &id, s.lane.cfg().ConnectionsPerUserMax) {
		s.lane.m.RateLimited(metrics.ScopeConnectionsUser).Inc()
		s.auditRefused(endUserConnections.String(), claimant{&id, true})
		if s.state == stateOpen {
			s.end(endUserConnections)
			return
		}
		s.refuse(&wire.Refusal{Status: 429, Reason: wire.ReasonRateLimited})
		return
	}
	s.countVerdict(nil, claimant{&id, true})
	p.proven, p.asked, s.user = true, nil, id.User
	s.keep(id, again)
	if s.state == stateOpen {
		s.join(p.room)
		s.release(holdProof)
	} else {
		s.accept(s.hs.parser.Request(), p.room)
	}
	s.checkRevoked()
}

// keep takes over an identity, its end, and what it is verified again with before that.
func (s *session) keep(id auth.Identity, again *recheckable) {
	p := s.proof
	p.id, p.deadline = id, 0
	if !id.Expires.IsZero() {
		p.deadline = s.lane.tick() + ticks(min(s.identityLeft(), deadlineMax))
	}
	s.planRecheck(again)
	s.schedule()
}

// identityLeft is how long an identity that ends has yet to live, the grace included, which lets a
// client renew it in the last moment. It is not negative.
func (s *session) identityLeft() time.Duration {
	// A time.Duration has no room for more than 292 years.
	left := min(time.Until(s.proof.id.Expires), math.MaxInt64-s.lane.cfg().AuthGrace)
	return max(left+s.lane.cfg().AuthGrace, 0)
}

// checkRevoked closes a hole: what was revoked after it was verified and before it was on the
// roster.
func (s *session) checkRevoked() {
	if s.lane.g.authority.setup.Revocations().Check(&s.proof.id) != nil {
		s.end(endRevoked)
	}
}

// lapse ends a session whose proof did not come, or has ended.
func (s *session) lapse() {
	switch p := s.proof; {
	case p.proven && s.identityLeft() > 0: // it ends later than a deadline can say
		p.deadline = s.lane.tick() + ticks(min(s.identityLeft(), deadlineMax))
	case p.proven:
		s.end(endExpired)
	case p.pending.Load() != nil:
		s.auditRefused(endAuthUnavailable.String(), claimant{})
		s.end(endAuthUnavailable)
	default:
		s.auditRefused(endAuthTimeout.String(), claimant{})
		s.lane.g.door.blame(s) // like a request that does not come
		s.end(endAuthTimeout)
	}
}

// forgetProof ends what is under way for a session that has ended.
func (s *session) forgetProof() {
	if s.proof == nil {
		return
	}
	a := s.lane.g.authority
	if v := s.proof.pending.Swap(nil); v != nil {
		a.abandon(v)
		if !s.proof.proven && (s.ended == endPeerGone || s.ended == endError) {
			// Or guesses would cost nothing to a peer that does not wait for the answer.
			s.auditRefused(endPeerGone.String(), claimant{})
			s.lane.g.door.blame(s)
		}
	}
	if s.proof.proven {
		a.roster.remove(s, &s.proof.id)
	}
	s.proof.again = nil
}

// deny ends a session that is not let in: with the answer to its handshake, or with a Close frame.
func (s *session) deny(err error, who claimant) {
	s.countVerdict(err, who)
	if s.state == stateOpen {
		s.blameFor(err)
		s.end(endOf(err))
		return
	}
	e := auth.Unavailable(err)
	refusal := &wire.Refusal{
		Status: e.Status(), Reason: refusalReason(e), Challenge: e.Challenge(),
		RetryAfter: int((e.RetryAfter + time.Second - 1) / time.Second),
	}
	if !s.lane.g.authority.setup.Enabled() { // no token would do, so none is asked for
		refusal = &wire.Refusal{Status: 403, Reason: wire.ReasonForbidden}
	}
	if !s.lane.cfg().AuthExplain || !s.lane.g.door.mayExplain(s) ||
		!s.lane.explains.Allow(s.lane.loop.Now()) {
		s.refuse(refusal)
		return
	}
	// A browser hides the answer to a handshake from its scripts, but not a close code.
	s.blameFor(err)
	s.lane.m.Rejected(uint8(refusal.Reason)).Inc()
	s.lane.g.logRefused(s, refusal)
	s.accept(s.hs.parser.Request(), "")
	s.end(endOf(err))
}

// blameFor notes a bad handshake where the peer learns by a Close frame what else a refusal would
// have said. It may be called from any goroutine.
func (s *session) blameFor(err error) {
	if status := auth.Unavailable(err).Status(); status < 500 && status != 429 {
		s.lane.g.door.blame(s)
	}
}

// refuseOrigin refuses a page that may not use what its browser adds by itself.
func (s *session) refuseOrigin(who claimant) {
	s.auditRefused(wire.ReasonOrigin.String(), who)
	s.refuse(badOrigin)
}

// countVerdict counts and records what was said of a credential. It may be called from any
// goroutine.
func (s *session) countVerdict(err error, who claimant) {
	s.auditVerdict(err, who)
	if err == nil {
		s.lane.m.Verdict(0).Inc()
		return
	}
	s.lane.m.Verdict(1 + uint8(auth.Unavailable(err).Reason)).Inc()
}

// verdictLabels are those of countVerdict.
func verdictLabels() []string { return append([]string{"accepted"}, auth.ReasonNames()...) }

// refusalReason is the reason by which a refusal is counted among those of handshakes.
func refusalReason(e *auth.Error) wire.Reason {
	switch e.Status() {
	case 403:
		return wire.ReasonForbidden
	case 429:
		return wire.ReasonRateLimited
	case 503:
		return wire.ReasonAuthUnavailable
	}
	return wire.ReasonUnauthorized
}

// endOf is how a session ends that an error concerns.
func endOf(err error) endReason {
	switch {
	case errors.Is(err, auth.ErrForbidden):
		return endForbidden
	case errors.Is(err, auth.ErrUnavailable), errors.Is(err, auth.ErrLimited):
		return endAuthUnavailable
	}
	return endUnauthorized
}
