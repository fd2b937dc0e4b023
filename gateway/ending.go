package gateway

import (
	"errors"
	"io"

	"sluice/gateway/tlsio"
	"sluice/gateway/wire"
	"sluice/poller"
)

// OnClose implements poller.Handler. What was received before is still delivered to others: by a
// client that has sent a message and then left, the room must have it. dissolve follows, at once or
// after the last message.
func (s *session) OnClose(err error) {
	if s.ended == endNone {
		s.ended = endError
		switch err {
		case io.EOF:
			s.ended = endPeerGone
		case poller.ErrEngineClosed:
			s.ended = endShutdown
		}
	}
	if e, ok := errors.AsType[*tlsio.HandshakeError](err); ok && e.ByPeer() {
		s.lane.g.door.blame(s)
	}
	if s.sub != nil {
		s.lane.g.hub.Unsubscribe(s.sub)
	}
	if err == poller.ErrEngineClosed || s.echo || s.unproven() {
		s.ignoreInput() // nobody is there to get it
		if s.active != nil {
			s.lane.g.workers.Discard(&s.active.inbox)
		}
	}
	s.state = stateDetached
	s.unblock()
	if s.settle(); s.state == stateDetached {
		s.lane.detached[s] = struct{}{}
	}
}

// unproven reports whether the peer has yet to prove who it is.
func (s *session) unproven() bool { return s.proof != nil && !s.proof.proven }

// ignoreInput drops what was received and not looked at, and all that follows.
func (s *session) ignoreInput() {
	s.deaf = true
	if s.active != nil {
		s.active.stash = nil
	}
}

// unsettled reports whether something that was received is not handled yet, or answers to it are
// under way. Once it is called for a session that reads nothing more, settle follows.
func (s *session) unsettled() bool {
	a := s.active
	return a != nil &&
		(len(a.stash) > 0 || !s.lane.g.workers.Finish(&a.inbox, a.wake) || a.expected())
}

// settle goes on with an end that waits for what was received before it.
func (s *session) settle() {
	switch {
	case s.state != stateClosing && s.state != stateDetached, s.unsettled():
	case s.state == stateDetached:
		s.dissolve()
	default:
		s.farewell(s.active.code, s.active.text)
	}
}

// farewell says our last word.
func (s *session) farewell(code uint16, text string) {
	s.lane.scratch = wire.AppendClose(s.lane.scratch[:0], code, text)
	s.conn.Write(s.lane.scratch)
	s.linger(s.ended)
	if s.echo {
		s.ignoreInput() // its answers could not be sent any more
	}
	s.unblock()
}

// unblock lets messages for others wait no longer until this peer takes its answers: they cannot be
// sent any more.
func (s *session) unblock() {
	if a := s.active; s.held&holdBlocked != 0 && a != nil {
		a.signal(holdBlocked)
	}
}

// dissolve gives back all that the session held. It is called once: on the loop, or by
// Gateway.Close when the loops and workers have ended.
func (s *session) dissolve() {
	s.state = stateClosed
	delete(s.lane.detached, s)
	s.forgetProof()
	if s.comp != nil {
		s.comp.Close()
	}
	s.dec.Release()
	s.lane.closed(s)
}

// dissolveDetached ends the sessions whose loop has ended before they could.
func (g *Gateway) dissolveDetached() {
	for _, l := range g.lanes {
		for s := range l.detached {
			s.dissolve()
		}
	}
}
