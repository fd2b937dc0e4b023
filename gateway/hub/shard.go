package hub

import "sync"

// joinBytesMax bounds a run. Joining costs one copy per run and encoding and saves one queue entry
// and one iovec per receiver and frame; large frames gain nothing by it.
const joinBytesMax = 16 << 10

// pendingKept is the capacity that a channel's list of pending publications may keep.
const pendingKept = 64

// shard is the part of a hub that belongs to one loop: an inbox that everybody fills, and scratch
// space for delivering it.
type shard struct {
	mu        sync.Mutex
	inbox     []waiting
	bytes     int         // frames in the inbox
	scheduled bool        // RunShard will be called
	paused    []Publisher // to be told when there is room

	// What follows belongs to the loop.
	batch   []waiting
	touched []*Channel
	runs    [Encodings][]Run // of the channel being delivered, made when first wanted
	_       [64]byte         // keeps the next shard's lock out of this one's cache line
}

// waiting is a publication in the inbox of a shard.
type waiting struct {
	channel *Channel
	pub     *Publication
}

// Publish hands a publication to every shard that has a subscriber of the channel. It never blocks
// and always accepts. It reports congestion when an inbox is over its bound: then the publisher
// must stop taking messages in until its Resume is called; that is what bounds the inboxes, at what
// each publisher had already read. A nil publisher is never told to pause.
func (h *Hub) Publish(c *Channel, pub *Publication, p Publisher) (congested bool) {
	h.published.Add(1)
	for i := range c.members {
		if c.members[i].count.Load() == 0 {
			continue
		}
		ask := p
		if congested {
			ask = nil // one Resume is enough
		}
		full, wake := h.shards[i].put(waiting{c, pub}, ask, h.cfg.InboxBytesMax)
		congested = congested || full
		if wake {
			h.cfg.Wake(i)
		}
	}
	return congested
}

func (s *shard) put(w waiting, p Publisher, bytesMax int) (full, wake bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbox = append(s.inbox, w)
	s.bytes += len(w.pub.Frame)
	if s.bytes > bytesMax && p != nil {
		s.paused = append(s.paused, p)
		full = true
	}
	wake = !s.scheduled
	s.scheduled = true
	return full, wake
}

// RunShard delivers what waits for a shard, up to Config.TakeBytesMax; if more is left it asks to
// be called again. It is called on the shard's loop, after Wake. It returns the number of
// deliveries.
func (h *Hub) RunShard(i int) (deliveries int) {
	s := &h.shards[i]
	defer s.forget(i) // also when a subscriber panics
	more, resume := s.take(h.cfg.TakeBytesMax, h.cfg.InboxBytesMax)
	if more {
		h.cfg.Wake(i)
	}
	for _, p := range resume {
		p.Resume()
	}
	for _, w := range s.batch {
		m := &w.channel.members[i]
		if len(m.pending) == 0 {
			s.touched = append(s.touched, w.channel)
		}
		m.pending = append(m.pending, w.pub)
	}
	for _, c := range s.touched {
		deliveries += s.deliver(&c.members[i], uint16(i))
	}
	if h.cfg.Delivered != nil {
		for _, w := range s.batch {
			h.cfg.Delivered(i, w.pub)
		}
	}
	return deliveries
}

// forget drops every reference to what has been delivered.
func (s *shard) forget(i int) {
	for _, c := range s.touched {
		m := &c.members[i]
		clear(m.pending)
		m.pending = m.pending[:0]
		if cap(m.pending) > pendingKept {
			m.pending = nil
		}
	}
	s.forgetRuns()
	clear(s.touched)
	clear(s.batch)
	s.touched, s.batch = s.touched[:0], s.batch[:0]
}

// take moves publications from the inbox to the batch.
func (s *shard) take(bytesMax, inboxMax int) (more bool, resume []Publisher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, taken := 0, 0
	for n < len(s.inbox) && (n == 0 || taken < bytesMax) {
		taken += len(s.inbox[n].pub.Frame)
		n++
	}
	if n == len(s.inbox) {
		s.batch, s.inbox = s.inbox, s.batch[:0]
	} else {
		s.batch = append(s.batch, s.inbox[:n]...)
		rest := copy(s.inbox, s.inbox[n:])
		clear(s.inbox[rest:])
		s.inbox = s.inbox[:rest]
	}
	s.bytes -= taken
	if s.bytes <= inboxMax/2 {
		resume, s.paused = s.paused, nil
	}
	s.scheduled = len(s.inbox) > 0
	return s.scheduled, resume
}

// deliver queues a channel's pending publications with its members of this shard.
func (s *shard) deliver(m *members, index uint16) (deliveries int) {
	markAuthors(m.pending, index, true)
	for _, sub := range m.list {
		if sub.author {
			deliveries += deliverOthers(sub, m.pending)
			continue
		}
		runs := s.runs[sub.encoding]
		if len(runs) == 0 {
			runs = join(runs, m.pending, sub.encoding)
			s.runs[sub.encoding] = runs
		}
		for _, r := range runs {
			sub.subscriber.Deliver(r)
		}
		deliveries += len(m.pending)
	}
	markAuthors(m.pending, index, false)
	s.forgetRuns()
	return deliveries
}

func (s *shard) forgetRuns() {
	for e := range s.runs {
		clear(s.runs[e])
		s.runs[e] = s.runs[e][:0]
	}
}

// markAuthors tells the subscriptions of this shard that wrote one of pubs from the others, without
// a look at pubs for every member.
func markAuthors(pubs []*Publication, index uint16, author bool) {
	for _, p := range pubs {
		if p.Author != nil && p.Author.shard == index {
			p.Author.author = author
		}
	}
}

// deliverOthers delivers, one by one, what the subscriber did not write itself.
func deliverOthers(sub *Subscription, pubs []*Publication) (deliveries int) {
	for _, p := range pubs {
		if p.Author != sub {
			f := p.frame(sub.encoding)
			sub.subscriber.Deliver(Run{Frames: f, Messages: 1, Last: f})
			deliveries++
		}
	}
	return deliveries
}

// join makes the runs of one encoding: frames in a row are copied together up to joinBytesMax, a
// frame alone is not copied.
func join(runs []Run, pubs []*Publication, encoding uint8) []Run {
	for len(pubs) > 0 {
		n, size := 1, len(pubs[0].frame(encoding))
		for n < len(pubs) && size+len(pubs[n].frame(encoding)) <= joinBytesMax {
			size += len(pubs[n].frame(encoding))
			n++
		}
		run := Run{Messages: n, Last: pubs[n-1].frame(encoding), Frames: pubs[0].frame(encoding)}
		if n > 1 {
			run.Frames = make([]byte, 0, size)
			for _, p := range pubs[:n] {
				run.Frames = append(run.Frames, p.frame(encoding)...)
			}
		}
		runs = append(runs, run)
		pubs = pubs[n:]
	}
	return runs
}
