package gateway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/workers"
)

// recheckRetry is when a recheck is tried again whose service could not be asked, if AuthRecheck is
// not sooner.
const recheckRetry = time.Minute

// recheckable is what an identity that a service vouches for is verified again with. It is kept as
// long as its connection is open, and is as secret as the credential.
type recheckable struct {
	service int32 // its number
	kept    auth.Secret
}

// Format implements fmt.Formatter: what is kept is shown under no verb. It would be otherwise, as
// package fmt uses no method of a field that is not exported.
func (r *recheckable) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "service %d", r.service) }

// toRecheck returns what the identity of a verification can be verified again with, nil if it
// does not come from a service, or ends before it would be.
func (v *verification) toRecheck() *recheckable {
	every, service := v.session.lane.cfg().AuthRecheck, v.service.Load()
	if v.err != nil || every == 0 || service < 0 ||
		!v.id.Expires.IsZero() && time.Until(v.id.Expires) <= every {
		return nil
	}
	if v.recheck != nil {
		return v.recheck
	}
	setup := v.session.lane.g.authority.setup
	return &recheckable{service: service, kept: setup.Keep(int(service), v.credential)}
}

// early is a random moment in the last part of an interval, in ticks: as many as begin together
// must not end together, and none late.
func early(interval time.Duration, part float64) uint32 {
	return max(ticks(interval-time.Duration(rand.Float64()*part*float64(interval))), 1)
}

// planRecheck sets when the identity is verified again. The first time is anywhere in the second
// half of the interval, as those who came back together after an outage were verified together.
func (s *session) planRecheck(again *recheckable) {
	p := s.proof
	part := 0.2
	if p.again == nil {
		part = 0.5
	}
	p.again, p.recheckAt = again, 0
	if every := s.lane.cfg().AuthRecheck; again != nil && every > 0 {
		p.recheckAt = s.lane.tick() + early(every, part)
	}
}

// retryRecheck sets when a recheck that could not be made is tried again.
func (s *session) retryRecheck() {
	s.proof.recheckAt = s.lane.tick() + early(min(s.lane.cfg().AuthRecheck, recheckRetry), 0.5)
}

// recheck has the identity verified again. What the session was let in for holds meanwhile.
func (s *session) recheck() {
	p, a := s.proof, s.lane.g.authority
	p.recheckAt = 0
	if s.lane.cfg().AuthRecheck == 0 {
		return
	}
	s.retryRecheck() // unless the verdict comes sooner
	v := s.newVerification()
	v.recheck, v.id = p.again, p.id
	v.service.Store(p.again.service)
	if !p.pending.CompareAndSwap(nil, v) {
		v.cancel() // a renewal is being verified
		return
	}
	a.pending.Add(1)
	q := a.services[p.again.service]
	if why := q.PutBackground(&v.asks, (*serviceCall)(v)); why != workers.Kept {
		v.Dropped(why)
	}
}

// rechecked acts on what a service said of a session that is open. If it could not say, the session
// stays, and it is asked again.
func (s *session) rechecked(v *verification) {
	err := v.err
	if err == nil {
		err = s.admits(&v.id)
	}
	switch {
	case err == nil:
		s.lane.m.Rechecked.Inc()
		s.renew(v)
	case errors.Is(err, auth.ErrUnavailable), errors.Is(err, auth.ErrLimited):
		s.lane.m.RecheckPostponed.Inc()
		s.retryRecheck()
	case errors.Is(err, auth.ErrForbidden):
		s.lane.m.RecheckRefused.Inc()
		s.end(endForbidden)
	default:
		s.lane.m.RecheckRefused.Inc()
		s.end(endWithdrawn)
	}
	s.schedule()
}
