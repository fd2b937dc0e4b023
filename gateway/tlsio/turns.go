package tlsio

import (
	"container/list"
	"net/netip"
	"time"
)

// lookMax bounds the sources, and the silent handshakes, that one decision looks at.
const lookMax = 64

// source is an address, or an IPv6 network of 64 bits, with handshakes waiting or under way.
type source struct {
	addr    netip.Addr
	started int
	waiting list.List     // of *handshake, the oldest first
	turn    *list.Element // in scheduler.turns; nil if none waits
}

// sourceAddr is what an address counts by: an IPv6 peer has its whole /64.
func sourceAddr(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}

// next takes the handshake whose turn it is out of those that wait; nil if none may be begun.
func (s *scheduler) next(turned *decisions, now time.Time) *handshake {
	if s.closed {
		return nil
	}
	if s.owed != nil && s.owed.turn != nil {
		s.turns.MoveToFront(s.owed.turn)
	}
	var fewest *source
	for range min(s.turns.Len(), lookMax) {
		src := s.turns.Front().Value.(*source)
		h := s.first(src, turned, now)
		if h == nil {
			continue
		}
		s.turns.MoveToBack(src.turn)
		if len(s.started) < s.share(src) {
			if src == s.owed {
				s.owed = nil
			}
			s.remove(h)
			s.sources[src.addr] = src // it has one under way
			return h
		}
		if fewest == nil || src.started < fewest.started {
			fewest = src
		}
	}
	if fewest != nil {
		s.makeRoom(fewest, turned, now)
	}
	return nil
}

// first is the oldest handshake of src that there is time for; the others are turned away. It is
// nil, and src has no turn any more, if there is none.
func (s *scheduler) first(src *source, turned *decisions, now time.Time) *handshake {
	for src.turn != nil {
		h := src.waiting.Front().Value.(*handshake)
		if !s.pace.late(h.deadline.Sub(now)) {
			return h
		}
		s.remove(h)
		turned.busy = append(turned.busy, h)
	}
	return nil
}

// share is how many handshakes may be under way for one of src to be begun.
func (s *scheduler) share(src *source) int {
	limit := s.pace.window
	if src.started >= max(limit/64, 1) {
		return limit - limit/8
	}
	return limit
}

// makeRoom chooses a handshake that has waited long for its peer to end for src's sake, if one
// belongs to a source that has more under way. If there is none yet it will look again.
func (s *scheduler) makeRoom(src *source, turned *decisions, now time.Time) {
	if s.leaving > 0 {
		return
	}
	patience := s.pace.patience()
	var victim *handshake
	e := s.silent.Front()
	for range lookMax {
		if e == nil || now.Sub(e.Value.(*handshake).place.since) < patience {
			break
		}
		h := e.Value.(*handshake)
		if h.place.source.started > src.started &&
			(victim == nil || h.place.source.started > victim.place.source.started) {
			victim = h
		}
		e = e.Next()
	}
	switch {
	case victim != nil:
		s.silent.Remove(victim.place.element)
		victim.place.stage, victim.place.element = stageLeaving, nil
		victim.place.evicted = true
		s.leaving++
		s.owed = src
		turned.evicted = victim
	case s.again == nil:
		s.again = time.AfterFunc(patience/8+1, s.lookAgain)
	}
}

func (s *scheduler) lookAgain() {
	s.mu.Lock()
	s.again = nil
	var turned decisions
	s.dispatch(&turned)
	s.mu.Unlock()
	turned.carryOut()
}

// displace takes one out of those that wait so that one of src can: the newest of a source with
// more. It returns nil if there is none.
func (s *scheduler) displace(src *source) *handshake {
	e := s.turns.Back()
	for range lookMax {
		if e == nil {
			return nil
		}
		if other := e.Value.(*source); other.waiting.Len() > src.waiting.Len()+1 {
			h := other.waiting.Back().Value.(*handshake)
			s.remove(h)
			return h
		}
		e = e.Prev()
	}
	return nil
}

// remove takes h out of those that wait.
func (s *scheduler) remove(h *handshake) {
	p := &h.place
	src := p.source
	src.waiting.Remove(p.element)
	p.stage, p.element = stageOutside, nil
	s.waiting--
	if src.waiting.Len() == 0 {
		s.turns.Remove(src.turn)
		src.turn = nil
	}
	s.forget(src)
}

// forget drops a source that has nothing left.
func (s *scheduler) forget(src *source) {
	if src.started == 0 && src.waiting.Len() == 0 {
		delete(s.sources, src.addr)
	}
}
