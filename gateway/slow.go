package gateway

import (
	"time"

	"sluice/gateway/hub"
)

// blockedCheck is how often a connection that takes no bytes is looked at.
const blockedCheck = 500 * time.Millisecond

// slowReason says by which bound a consumer was found slow.
type slowReason uint8

const (
	slowBytes slowReason = iota
	slowMessages
	slowAge
	slowStalled
	slowMemory
	slowReasons // how many there are
)

var slowReasonNames = [slowReasons]string{
	slowBytes: "bytes", slowMessages: "messages", slowAge: "age", slowStalled: "stalled",
	slowMemory: "memory",
}

// Deliver implements hub.Subscriber: it queues broadcast frames, within the bounds of the queue.
func (s *session) Deliver(r hub.Run) {
	if s.state != stateOpen {
		return
	}
	if s.signed != nil {
		r = s.sign(r) // also what is then dropped: the gap tells the peer
	}
	cfg := s.lane.cfg()
	if s.fits(r, cfg) {
		s.send(r)
		return
	}
	// What is queued may just not have been offered to the kernel yet: only a connection that
	// takes no more is slow.
	s.conn.Flush()
	if s.fits(r, cfg) {
		s.send(r)
		return
	}
	s.overflow(r, cfg)
}

func (s *session) send(r hub.Run) {
	s.conn.WriteShared(r.Frames, r.Messages)
	s.lane.m.MessagesSent.Add(uint64(r.Messages))
}

// fits reports whether the queue has room for r. An empty queue always has, unless the kernel takes
// no more.
func (s *session) fits(r hub.Run, cfg *Config) bool {
	bytes, messages := s.owed(cfg)
	return bytes == 0 && !s.blocked ||
		bytes+len(r.Frames) <= cfg.QueueBytesMax && messages+r.Messages <= cfg.QueueMessagesMax
}

// owed is what counts as queued: the queue, and what the kernel has not sent. Of the latter at most
// half the bound counts, so that a small bound leaves room for messages.
func (s *session) owed(cfg *Config) (bytes, messages int) {
	q := s.conn.Queue()
	return q.Bytes + min(q.Unsent, cfg.QueueBytesMax/2), q.Messages
}

// overflow applies the policy to a run that does not fit.
func (s *session) overflow(r hub.Run, cfg *Config) {
	why := slowBytes
	if bytes, _ := s.owed(cfg); bytes+len(r.Frames) <= cfg.QueueBytesMax {
		why = slowMessages
	}
	switch cfg.SlowConsumer {
	case SlowDropNewest:
		s.dropped(SlowDropNewest, why, r.Messages)
	case SlowDropOldest:
		s.dropOldest(r, why, cfg)
	case SlowLatest:
		n, _ := s.conn.DropOldest(s.conn.Queue().Bytes)
		s.dropped(SlowLatest, why, n+r.Messages-1)
		s.send(hub.Run{Frames: r.Last, Messages: 1, Last: r.Last})
	default:
		s.evict(why)
	}
}

// dropOldest makes room for r, and drops it too if there is none to be made.
func (s *session) dropOldest(r hub.Run, why slowReason, cfg *Config) {
	dropped := 0
	for !s.fits(r, cfg) {
		// Half the queue at a time: what is dropped for the bound in messages is not known in
		// bytes.
		n, _ := s.conn.DropOldest(max(len(r.Frames), s.conn.Queue().Bytes/2))
		if n == 0 {
			break
		}
		dropped += n
	}
	if s.fits(r, cfg) {
		s.send(r)
	} else {
		dropped += r.Messages
	}
	s.dropped(SlowDropOldest, why, dropped)
}

func (s *session) dropped(policy SlowPolicy, why slowReason, messages int) {
	s.lane.m.SlowConsumer(policyIndex(policy), uint8(why)).Add(uint64(messages))
}

// stalled asks the kernel about a blocked session, and evicts it if its queue makes no progress or
// its oldest message is too old. The dropping policies keep such a peer: the heartbeat decides
// about it, unless it has not taken the gateway's answers and is not read from.
func (s *session) stalled(cfg *Config) bool {
	s.conn.Transit() // refreshes what Queue tells
	if cfg.SlowConsumer != SlowDisconnect && !s.echo && s.held&holdBlocked == 0 {
		return false
	}
	q := s.conn.Queue()
	switch {
	case q.Stalled >= cfg.WriteTimeout:
		s.evict(slowStalled)
	case q.Age >= cfg.QueueAgeMax:
		s.evict(slowAge)
	default:
		return false
	}
	return true
}

// evict disconnects a slow consumer. What waits in its queue is dropped, but for a frame of which a
// part was sent; a peer that reads has CloseTimeout for what the kernel has taken and, behind it,
// the Close frame.
func (s *session) evict(why slowReason) {
	if s.state != stateOpen {
		return
	}
	s.lane.m.SlowConsumer(policyIndex(SlowDisconnect), uint8(why)).Inc()
	s.conn.DropOldest(s.conn.Queue().Bytes)
	s.end(endSlowConsumer)
}

// policyIndex is the policy's place in slowPolicies.
func policyIndex(p SlowPolicy) uint8 {
	for i, q := range slowPolicies {
		if p == q {
			return uint8(i)
		}
	}
	return 0
}

// policyNames lists the policies by their index.
func policyNames() []string {
	names := make([]string, len(slowPolicies))
	for i, p := range slowPolicies {
		names[i] = string(p)
	}
	return names
}

var slowPolicies = []SlowPolicy{SlowDisconnect, SlowDropOldest, SlowDropNewest, SlowLatest}
