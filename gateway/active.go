package gateway

import (
	"sync"
	"time"

	"sluice/gateway/limits"
	"sluice/gateway/workers"
)

const (
	// inboxTasksMax and inboxBytesMax bound the messages of one session that wait for the workers.
	// At either, the loop stops reading its socket until they have done half.
	inboxTasksMax = 16
	inboxBytesMax = 256 << 10
)

// active is what a session needs while messages flow: its rates, its inbox at the workers, the
// answers on their way back. The loop owns it, but for what mu guards.
type active struct {
	messages limits.Bucket
	bytes    limits.Bucket
	control  limits.Bucket
	inbox    workers.Inbox
	stash    []byte // input that waits for every hold to end

	mu sync.Mutex
	// congested is how many publications of the session the hub has called congested, less the
	// Resumes that came for them. It is negative for a moment when a Resume comes first.
	congested int
	signals   hold   // holds that have ended
	out       []byte // frames of the workers for the peer; the loop takes it whole
	sent      int    // messages in out
	ending    endReason
	endCode   uint16
	posted    bool // Run will be called
	working   bool // a worker uses the compression state
	gone      bool // the session has ended
}

// activate returns the session's active part, making it first if need be.
func (s *session) activate() *active {
	if s.active == nil {
		cfg := s.lane.cfg()
		a := &active{
			messages: limits.NewBucket(cfg.MessageRate, cfg.MessageBurst),
			bytes:    limits.NewBucket(cfg.ByteRate, cfg.ByteBurst),
			control:  limits.NewBucket(cfg.ControlRate, cfg.ControlBurst),
		}
		a.inbox.Init(s)
		s.active = a
	}
	return s.active
}

// busy reports whether messages are at the workers or their answers under way.
func (a *active) busy() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.posted || a.inbox.Busy()
}

// idle reports whether a new active part would be no different from this one.
func (a *active) idle(now time.Duration) bool {
	return len(a.stash) == 0 && a.messages.Full(now) && a.bytes.Full(now) &&
		a.control.Full(now) && !a.busy()
}

// signal tells the loop, from any goroutine, that holds have ended.
func (s *session) signal(ended hold) {
	a := s.active
	a.mu.Lock()
	a.signals |= ended
	s.postLocked(a)
	a.mu.Unlock()
}

// postLocked makes the loop call Run, once for any number of reasons. a.mu must be held.
func (s *session) postLocked(a *active) {
	if !a.posted {
		a.posted = s.conn.Loop().Post(s)
	}
}

// Run implements poller.Runner: it takes over what other goroutines have left for the session.
func (s *session) Run() {
	defer s.contain()
	a := s.active
	a.mu.Lock()
	signals, out, sent := a.signals, a.out, a.sent
	congested := a.congested > 0
	ending, code := a.ending, a.endCode
	a.signals, a.out, a.sent, a.ending, a.posted = 0, nil, 0, endNone, false
	a.mu.Unlock()
	if s.state != stateOpen {
		return
	}
	if len(out) > 0 {
		s.replyOwned(out, sent)
	}
	if ending != endNone {
		s.finish(ending, code)
	}
	if congested {
		s.hold(holdHub)
	} else {
		signals |= holdHub
	}
	s.release(signals)
}

// replyOwned queues frames that nobody else will touch any more.
func (s *session) replyOwned(out []byte, messages int) {
	s.conn.WriteShared(out, messages)
	s.lane.m.MessagesSent.Add(uint64(messages))
	s.boundReplies()
}

// finish ends the session as a worker asked for.
func (s *session) finish(why endReason, code uint16) {
	if why == endPeerClosed {
		s.answerClose(code)
		return
	}
	s.end(why)
}

// Resume implements hub.Publisher.
func (s *session) Resume() { s.congest(-1) }

// congest notes a publication that was called congested, or a Resume, from any goroutine.
func (s *session) congest(n int) {
	a := s.active
	a.mu.Lock()
	a.congested += n
	s.postLocked(a)
	a.mu.Unlock()
}

// OnHalfEmpty implements workers.Owner: the workers have caught up.
func (s *session) OnHalfEmpty() { s.signal(holdInbox) }

// OnPanic implements workers.Owner: a task of the session panicked.
func (s *session) OnPanic(v any, stack []byte) {
	s.lane.g.logPanic(s, v, stack)
	s.lane.m.Panics.Inc()
	s.endFromWorker(endPanic, 0)
}

// endFromWorker asks the loop to end the session after what the workers have answered so far.
func (s *session) endFromWorker(why endReason, code uint16) {
	a := s.active
	a.mu.Lock()
	if a.ending == endNone {
		a.ending, a.endCode = why, code
	}
	s.postLocked(a)
	a.mu.Unlock()
}
