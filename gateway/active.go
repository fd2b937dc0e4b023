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
// answers on their way back. The loop owns it, but for what mu guards. Workers and the hub have it
// from the session's loop, and may use it for as long as they like: one that has been given back is
// used by nobody else.
type active struct {
	session  *session // never changes
	messages limits.Bucket
	bytes    limits.Bucket
	control  limits.Bucket
	inbox    workers.Inbox
	stash    []byte // input that waits for every hold to end
	code     uint16 // of the Close frame that stateClosing waits with, and its text
	text     string

	mu sync.Mutex
	// congested is how many publications of the session the hub has called congested, less the
	// Resumes that came for them. It is negative for a moment when a Resume comes first.
	congested int
	signals   hold   // holds that have ended
	out       []byte // frames of the workers for the peer; the loop takes it whole
	sent      int    // messages in out
	ending    endReason
	posted    bool // Run will be called
}

// activate returns the session's active part, making it first if need be.
func (s *session) activate() *active {
	if s.active == nil {
		cfg := s.lane.cfg()
		a := &active{
			session:  s,
			messages: limits.NewBucket(cfg.MessageRate, cfg.MessageBurst),
			bytes:    limits.NewBucket(cfg.ByteRate, cfg.ByteBurst),
			control:  limits.NewBucket(cfg.ControlRate, cfg.ControlBurst),
		}
		a.inbox.Init(a)
		s.active = a
	}
	return s.active
}

// busy reports whether messages are at the workers or their answers under way. It looks at the
// workers first: a task that has just ended has left its answer by then.
func (a *active) busy() bool { return a.inbox.Busy() || a.expected() }

// expected reports whether Run will be called.
func (a *active) expected() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.posted
}

// idle reports whether a new active part would be no different from this one.
func (a *active) idle(now time.Duration) bool {
	return len(a.stash) == 0 && a.messages.Full(now) && a.bytes.Full(now) &&
		a.control.Full(now) && !a.busy()
}

// signal tells the loop, from any goroutine, that holds have ended.
func (a *active) signal(ended hold) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.signals |= ended
	a.postLocked()
}

// wake has the loop call Run, from any goroutine: the workers are done with the session.
func (a *active) wake() { a.signal(0) }

// postLocked makes the loop call Run, once for any number of reasons. a.mu must be held.
func (a *active) postLocked() {
	if !a.posted {
		a.posted = a.session.lane.loop.Post(a)
	}
}

// Run implements poller.Runner: the session takes over what other goroutines have left for it.
func (a *active) Run() {
	s := a.session
	defer s.contain()
	a.mu.Lock()
	signals, out, sent := a.signals, a.out, a.sent
	congested, ending := a.congested > 0, a.ending
	a.signals, a.out, a.sent, a.ending, a.posted = 0, nil, 0, endNone, false
	a.mu.Unlock()
	if len(out) > 0 && (s.state == stateOpen || s.state == stateClosing) {
		s.replyOwned(out, sent)
	}
	if ending != endNone {
		s.end(ending)
	}
	if congested {
		s.hold(holdHub)
	} else {
		signals |= holdHub
	}
	s.release(signals)
	s.settle()
}

// replyOwned queues frames that nobody else will touch any more.
func (s *session) replyOwned(out []byte, messages int) {
	s.conn.WriteShared(out, messages)
	s.lane.m.MessagesSent.Add(uint64(messages))
	s.boundReplies()
}

// Resume implements hub.Publisher.
func (a *active) Resume() { a.congest(-1) }

// congest notes a publication that was called congested, or a Resume, from any goroutine.
func (a *active) congest(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.congested += n
	a.postLocked()
}

// OnHalfEmpty implements workers.Owner: the workers have caught up.
func (a *active) OnHalfEmpty() { a.signal(holdInbox) }

// OnPanic implements workers.Owner: a task of the session panicked.
func (a *active) OnPanic(v any, stack []byte) {
	a.session.lane.g.logPanic(a.session, v, stack)
	a.session.lane.m.Panics.Inc()
	a.end(endPanic)
}

// end asks the loop, from a worker, to end the session after what the workers have answered so far.
func (a *active) end(why endReason) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending == endNone {
		a.ending = why
	}
	a.postLocked()
}

// answer hands a frame for the peer, which belongs to the loop from then on, from a worker to the
// loop.
func (a *active) answer(frame []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.out) == 0 {
		a.out = frame
	} else {
		a.out = append(a.out, frame...)
	}
	a.sent++
	a.postLocked()
}
