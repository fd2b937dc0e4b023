package gateway

import (
	"errors"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/limits"
	"sluice/gateway/metrics"
	"sluice/gateway/wire"
)

// firstMessage takes the first message of a peer that has yet to prove who it is: it must be a
// token. Nothing more is handled until it has been verified.
func (s *session) firstMessage(ev wire.Event) {
	s.hold(holdProof)
	s.proof.deadline = s.lane.tick() + ticks(s.lane.cfg().HandshakeTimeout)
	s.schedule()
	switch {
	case ev.Op != wire.OpText:
		s.deny(auth.Refuse(auth.ReasonRequest), claimant{})
	case ev.Compressed:
		s.enqueue(newTask(s, ev))
	default:
		s.present(ev.Payload, s.end)
	}
}

// present has the token of a first message verified. Like the rest of this file it runs on the loop
// or in a task.
func (s *session) present(payload []byte, end func(endReason)) {
	c, err := auth.ParseFirstMessage(payload)
	if err == nil {
		c.Request = s.proof.asked
		err = s.verify(c)
	}
	if err != nil {
		s.countVerdict(err, claimant{})
		s.blameFor(err)
		end(endOf(err))
	}
}

// chatText returns what a chat message says to others. It is not ok if it says nothing to them: it
// renews the identity, or it is wrong, which tell gets the answer to, or end the reason.
func (s *session) chatText(payload []byte, tell func(frame []byte), end func(endReason)) (
	text []byte, ok bool) {
	if s.renewal(payload, end) {
		return nil, false
	}
	text, ok = s.unsign(payload, tell, end)
	if !ok || s.signed != nil && s.renewal(text, end) {
		return nil, false
	}
	return text, true
}

// renewal deals with a text that has a token in it, and reports whether it was one. A text that is
// no good renewal ends the session: others must not see the token, and the peer must learn that it
// was not used.
func (s *session) renewal(text []byte, end func(endReason)) bool {
	if s.proof == nil || !auth.HasToken(text) {
		return false
	}
	if !s.lane.g.authority.setup.Enabled() { // only certificates count here
		end(endBadRenewal)
		return true
	}
	if !s.allowRenewal() {
		s.lane.m.RateLimited(metrics.ScopeRenewals).Inc()
		end(endRenewalRate)
		return true
	}
	c, err := auth.ParseFirstMessage(text)
	if err != nil {
		s.countVerdict(err, claimant{})
		s.blameFor(err)
		end(endBadRenewal)
		return true
	}
	err = s.verify(c)
	// If it cannot be verified now, what was proven before holds until it ends.
	if err != nil && !errors.Is(err, auth.ErrUnavailable) && !errors.Is(err, auth.ErrLimited) {
		s.countVerdict(err, claimant{})
		s.blameFor(err)
		end(endOf(err))
	}
	return true
}

// allowRenewal counts a renewal against its rate. A reload takes effect once the bucket is full.
func (s *session) allowRenewal() bool {
	now := time.Since(s.lane.g.start) // the loop's clock is not for tasks
	b := &s.proof.renewals
	if b.Full(now) {
		cfg := s.lane.cfg()
		*b = limits.NewBucket(cfg.RenewalRate, cfg.RenewalBurst)
	}
	return b.Allow(now)
}
