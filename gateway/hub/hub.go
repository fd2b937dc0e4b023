// Package hub fans publications out to the subscribers of a channel.
//
// Subscribers are spread over shards, one per event loop, and each shard's subscribers are touched
// by its loop only. A publication goes into the inbox of every shard that has a subscriber of its
// channel; the shard takes everything that is waiting at once, joins it into one run of bytes per
// encoding, and queues that with every receiver. So the cost per receiver is one queued slice and
// one write for any number of waiting publications.
//
// Delivery is at most once. Publications of one publisher to one channel arrive in order.
package hub

import (
	"sync"
	"sync/atomic"
	"time"
)

// Encodings is the number of ways a message may be put on the wire: plain, and one for each
// parameter set of the compression. Plain is what every subscriber understands.
const (
	Encodings = 9
	Plain     = 0
)

// Publication is one message for all subscribers of a channel but its author. It must not change
// once published.
type Publication struct {
	// Frame is the message in plain, Encoded what it is in the other encodings, by encoding less
	// one; a nil Encoded, or a nil element, means that plain serves. All of them are immutable
	// from now on and shared by all receivers.
	Frame   []byte
	Encoded *[Encodings - 1][]byte
	// At is when it was published, by a clock of the publisher's choice.
	At time.Duration
	// Author does not get the publication; nil if everybody does.
	Author *Subscription
}

func (p *Publication) frame(encoding uint8) []byte {
	if encoding != Plain && p.Encoded != nil && p.Encoded[encoding-1] != nil {
		return p.Encoded[encoding-1]
	}
	return p.Frame
}

// Subscriber receives what is published on the channels it has subscribed to.
type Subscriber interface {
	// Deliver queues a run of frames for the subscriber. It is called on the loop of the
	// subscriber's shard and must not block, nor subscribe or unsubscribe anybody. The run's
	// bytes are shared and immutable.
	Deliver(r Run)
}

// Run is one or several frames in a row, in one encoding.
type Run struct {
	Frames   []byte
	Messages int
	// Last is the newest of the frames.
	Last []byte
}

// Publisher is told when it may go on.
type Publisher interface {
	// Resume says that the shard which was congested has room again. It is called once for every
	// Publish that reported congestion, on any goroutine, and must not block.
	Resume()
}

// Config configures a hub.
type Config struct {
	// Shards is the number of shards, at least 1 and at most 65535.
	Shards int
	// Wake makes the loop of a shard call RunShard soon. It must not block.
	Wake func(shard int)
	// Delivered is called on the loop of a shard for every publication that has been handed to
	// all its subscribers there; nil for nobody. It must not block.
	Delivered func(shard int, p *Publication)
	// InboxBytesMax is how much may wait in the inbox of one shard before publishers are told to
	// pause; TakeBytesMax is how much of it one RunShard delivers. Both must be positive.
	InboxBytesMax int
	TakeBytesMax  int
}

// Hub is safe for concurrent use, but for what is said to belong to a shard's loop.
type Hub struct {
	cfg    Config
	shards []shard

	mu       sync.Mutex
	channels map[string]*Channel

	published atomic.Uint64
}

// Channel is where publications meet subscribers. It exists while it has subscribers.
type Channel struct {
	hub     *Hub
	name    string
	refs    int       // subscriptions; guarded by hub.mu
	members []members // by shard
	wants   [Encodings]atomic.Int32
}

// members is a channel's part in one shard. The loop owns list and pending.
type members struct {
	list    []*Subscription
	pending []*Publication // of the batch being delivered
	count   atomic.Int32   // len(list), for publishers
}

// Subscription ties a subscriber to a channel.
type Subscription struct {
	channel    *Channel
	subscriber Subscriber
	index      int32 // in the shard's list
	shard      uint16
	encoding   uint8
	author     bool // wrote a publication of the run being delivered
}

// New returns an empty hub.
func New(cfg Config) *Hub {
	h := &Hub{cfg: cfg, shards: make([]shard, cfg.Shards), channels: map[string]*Channel{}}
	return h
}

// Subscribe adds a subscriber to a channel. It is called on the loop of shard. What was published
// before, and is still waiting, may or may not be delivered to it.
func (h *Hub) Subscribe(name string, shard int, encoding uint8, s Subscriber) *Subscription {
	h.mu.Lock()
	ch := h.channels[name]
	if ch == nil {
		ch = &Channel{hub: h, name: name, members: make([]members, len(h.shards))}
		h.channels[name] = ch
	}
	ch.refs++
	h.mu.Unlock()

	m := &ch.members[shard]
	sub := &Subscription{
		channel: ch, subscriber: s,
		index: int32(len(m.list)), shard: uint16(shard), encoding: encoding,
	}
	m.list = append(m.list, sub)
	ch.wants[encoding].Add(1)
	m.count.Add(1)
	return sub
}

// Unsubscribe ends a subscription; nothing is delivered to it any more. It is called once, on the
// loop of its shard.
func (h *Hub) Unsubscribe(sub *Subscription) {
	ch := sub.channel
	m := &ch.members[sub.shard]
	m.count.Add(-1)
	ch.wants[sub.encoding].Add(-1)
	last := len(m.list) - 1
	m.list[sub.index] = m.list[last]
	m.list[sub.index].index = sub.index
	m.list[last] = nil
	m.list = m.list[:last]
	if c := cap(m.list); c > 64 && last < c/4 {
		m.list = append(make([]*Subscription, 0, c/2), m.list...)
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	ch.refs--
	if ch.refs == 0 {
		delete(h.channels, ch.name)
	}
}

// Channel returns the subscription's channel.
func (s *Subscription) Channel() *Channel { return s.channel }

// Wants reports whether the channel has a subscriber that takes encoding, so that a publisher
// encodes for nobody.
func (c *Channel) Wants(encoding uint8) bool { return c.wants[encoding].Load() > 0 }

// Stats describes a hub.
type Stats struct {
	Channels  int
	Published uint64 // publications since the start
	Waiting   int    // bytes in the inboxes of all shards
}

// Stats returns a snapshot.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	st := Stats{Channels: len(h.channels), Published: h.published.Load()}
	h.mu.Unlock()
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		st.Waiting += s.bytes
		s.mu.Unlock()
	}
	return st
}
