package gateway

import (
	"math/rand/v2"
	"time"

	"sluice/gateway/wire"
	"sluice/poller"
)

const (
	// busyBytes is how much a peer must have acknowledged since its ping to be taken for busy
	// reading it: more than the chatter of a quiet room.
	busyBytes = 16 << 10
	// lingerCheck is how often it is looked whether our last word has arrived.
	lingerCheck = 300 * time.Millisecond
)

// ticks converts a duration to timer ticks, rounding up.
func ticks(d time.Duration) uint32 {
	return uint32((d + poller.TimerTick - 1) / poller.TimerTick)
}

// watchAssembly gives an unfinished message its deadline.
func (s *session) watchAssembly() {
	if s.state != stateOpen || !s.dec.Pending() {
		s.assembled = 0
		return
	}
	if s.assembled == 0 {
		s.assembled = s.lane.tick() + ticks(s.lane.cfg().MessageTimeout)
		s.schedule()
	}
}

// startHeart sets the first ping to a random point of the interval, so that sessions which began
// together do not ping together.
func (s *session) startHeart() {
	if every := s.lane.cfg().PingInterval; every > 0 {
		s.beat = s.lane.tick() + 1 + uint32(rand.Int64N(int64(ticks(every))))
	}
}

// nextBeat sets the next ping, up to a fifth early: the interval is also the promise of how soon a
// dead peer is noticed.
func (s *session) nextBeat() {
	s.beat, s.pulse = 0, pulseResting
	if every := int64(ticks(s.lane.cfg().PingInterval)); every > 0 {
		s.beat = s.lane.tick() + uint32(max(every-rand.Int64N(every/5+1), 1))
	}
}

// OnTimer implements poller.Handler.
func (s *session) OnTimer() {
	defer s.contain()
	s.wakes = 0
	now := s.lane.tick()
	switch s.state {
	case stateHandshake, stateVerifying:
		if due(s.quit, now) {
			s.handshakeTimeout()
		}
	case stateOpen:
		s.checkOpen(now)
	case stateClosing:
		if due(s.quit, now) {
			s.farewell(s.active.code, s.active.text)
		}
	case stateLingering:
		s.checkLinger(now)
	}
	s.schedule()
}

// renewDeadlines gives the peer its time again that reading was held.
func (s *session) renewDeadlines() {
	s.messaged = s.lane.tick()
	if s.assembled != 0 {
		s.assembled = s.lane.tick() + ticks(s.lane.cfg().MessageTimeout)
	}
	s.schedule()
}

func due(at, now uint32) bool { return at != 0 && at <= now }

// checkOpen acts on every deadline of an open session that has passed. While reading is held the
// peer cannot meet those that are about what it sends; they begin anew when that ends.
func (s *session) checkOpen(now uint32) {
	cfg := s.lane.cfg()
	switch {
	case due(s.quit, now):
		s.endForAge()
		return
	case s.proof != nil && due(s.proof.deadline, now):
		s.lapse()
		return
	case s.proof != nil && due(s.proof.recheckAt, now):
		s.recheck()
		return
	case s.held == 0 && due(s.assembled, now):
		s.end(endMessageTimeout)
		return
	case s.held == 0 && cfg.IdleTimeout > 0 && due(s.messaged+ticks(cfg.IdleTimeout), now):
		s.end(endIdle)
		return
	case s.blocked && s.stalled(cfg):
		return
	}
	if due(s.beat, now) {
		s.heartbeat(now)
	}
}

// endForAge ends a session whose time is over: because of a drain, or its age.
func (s *session) endForAge() {
	if s.lane.g.drain.closing() {
		s.end(endDrain)
		return
	}
	s.end(endAge)
}

// ageDeadline is when a session that begins now has reached its age, which is up to a tenth more or
// less for each: those who came together must not come back together. It is 0 for never.
func (s *session) ageDeadline() uint32 {
	age := s.lane.cfg().ConnectionAgeMax
	if age == 0 {
		return 0
	}
	return s.lane.tick() + ticks(time.Duration((0.9+0.2*rand.Float64())*float64(age)))
}

// heartbeat sends a ping, or judges the peer by what it did since the last one: anything that
// arrived proves that it lives, and so do the bytes that it takes while the ping is behind them.
// While reading is held nothing can arrive, so nothing is judged.
func (s *session) heartbeat(now uint32) {
	switch {
	case s.pulse == pulseResting:
		s.pulse = pulseAsked
		s.beat = now + ticks(s.lane.cfg().PongTimeout)
		s.taken = uint32(s.conn.Transit().Acked)
		s.lane.m.ControlSent.Inc()
		s.lane.scratch = wire.AppendFrame(s.lane.scratch[:0], wire.OpPing, false, nil)
		s.reply(s.lane.scratch)
		s.rest()
	case s.pulse == pulseHeard || s.held != 0:
		s.nextBeat()
	case s.takes():
		s.beat = now + ticks(s.lane.cfg().PongTimeout)
	default:
		s.ended = endPongTimeout
		s.conn.Abort(nil)
	}
}

// takes reports whether a peer that has not answered its ping may still have to read what was sent
// before it: it has acknowledged something since it was pinged or last asked about, and either more
// waits for it, or that was so much that it may be busy with it. The ping alone, which the kernel
// of a process that hangs acknowledges too, proves nothing.
func (s *session) takes() bool {
	t := s.conn.Transit()
	acked := uint32(t.Acked) - s.taken
	s.taken = uint32(t.Acked)
	waiting := s.conn.Queue().Bytes > 0 || !t.Arrived()
	return acked >= busyBytes || acked > 0 && waiting
}

// checkLinger ends a lingering session. Once the peer has acknowledged our last word it has
// lingerMax to close, counted from that word if it went through at once. If it has not at
// CloseTimeout, the connection is reset, so that nothing of it stays in the kernel.
func (s *session) checkLinger(now uint32) {
	arrived := s.pulse == pulseHeard || s.conn.Queue().Bytes == 0 && s.conn.Transit().Arrived()
	switch {
	case arrived && (s.pulse == pulseResting || due(s.quit, now)):
		s.conn.Close(nil)
	case due(s.quit, now):
		s.conn.Abort(nil)
	case arrived:
		s.pulse, s.beat = pulseHeard, 0
		s.quit = min(s.quit, now+ticks(lingerMax))
	default:
		s.pulse, s.beat = pulseAsked, now+ticks(lingerCheck)
	}
}

// rest gives the memory back that only a session with messages under way needs.
func (s *session) rest() {
	if a := s.active; a != nil && s.held == 0 && a.idle(s.lane.loop.Now()) {
		s.active = nil
	}
}

// schedule sets the connection's timer to the earliest deadline.
func (s *session) schedule() {
	now := s.lane.tick()
	next := uint32(0)
	consider := func(at uint32) {
		if at != 0 && (next == 0 || at < next) {
			next = max(at, now+1)
		}
	}
	consider(s.quit)
	consider(s.beat)
	if s.state == stateOpen {
		if s.proof != nil {
			consider(s.proof.deadline)
			consider(s.proof.recheckAt)
		}
		if s.held == 0 {
			consider(s.assembled)
			if idle := s.lane.cfg().IdleTimeout; idle > 0 {
				consider(s.messaged + ticks(idle))
			}
		}
		if s.blocked {
			check := now + ticks(blockedCheck)
			if s.wakes > now {
				check = min(check, s.wakes) // else a peer that sends often would never be checked
			}
			consider(check)
		}
	}
	if next == s.wakes {
		return
	}
	s.wakes = next
	if next == 0 {
		s.conn.SetTimer(0)
		return
	}
	s.conn.SetTimer(time.Duration(next-now) * poller.TimerTick)
}
