package scenario

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sluice/bench/load"
	"sluice/gateway/wire"
)

// Fanout lets one client of a room publish, at a rate or as fast as the server delivers; the others
// check that they get every message once and in order. It is a load.Script. Messages that come
// compressed are counted unchecked.
type Fanout struct {
	size      int
	publisher *load.Client
	ready     chan struct{} // closed when the publisher is open
	tallies   []tally
	sent      atomic.Uint32 // number of the next message; only the publisher's loop changes it
	seen      atomic.Uint32 // number of the message that the witness waits for
	progress  chan struct{} // holds one when seen has changed
}

// The first connections of a swarm have roles. What the witness has received makes room for more in
// the window of a flood.
const (
	publisherIndex = 0
	witnessIndex   = 1
)

// NewFanout makes a fan-out of messages of size bytes for a swarm of so many loops. The first
// connection of the swarm is the publisher, all others receive.
func NewFanout(lanes, size int) *Fanout {
	return &Fanout{
		size: max(size, stampBytes), ready: make(chan struct{}), tallies: newTallies(lanes),
		progress: make(chan struct{}, 1),
	}
}

// Open implements load.Script.
func (f *Fanout) Open(c *load.Client) {
	if c.Index == publisherIndex {
		f.publisher = c
		close(f.ready)
		return
	}
	c.Data = new(receiver)
}

// receiver is what a client remembers: the number of the next message, once it knows it.
type receiver struct {
	next  uint32
	known bool
}

// Message implements load.Script.
func (f *Fanout) Message(c *load.Client, ev wire.Event) {
	t := &f.tallies[c.Lane()]
	t.received.Add(1)
	if ev.Compressed {
		return
	}
	at, seq, ok := readStamp(ev.Payload)
	r, isReceiver := c.Data.(*receiver)
	if !ok || !isReceiver {
		t.broken.Add(1)
		return
	}
	t.latency.RecordValue(max((now() - at).Microseconds(), 1))
	switch {
	case r.known && seq < r.next:
		t.repeated.Add(1)
		return
	case r.known && seq > r.next:
		t.lost.Add(uint64(seq - r.next))
	}
	r.next, r.known = seq+1, true
	if c.Index == witnessIndex {
		f.seen.Store(r.next)
		select {
		case f.progress <- struct{}{}:
		default:
		}
	}
}

// Closed implements load.Script.
func (f *Fanout) Closed(c *load.Client, _ error) { f.tallies[c.Lane()].closed.Add(1) }

// Counts returns what was seen until now.
func (f *Fanout) Counts() Counts { return sum(f.tallies) }

// Latency returns how long messages took from their planned time until they were received. It must
// be called when the swarm is closed.
func (f *Fanout) Latency() *hdrhistogram.Histogram {
	all := load.NewHistogram()
	for i := range f.tallies {
		all.Merge(f.tallies[i].latency)
	}
	return all
}

// pace is the shortest time between two wake-ups of a publisher. What is due in one leaves
// together; its latency counts from the moment that each was planned for all the same.
const pace = time.Millisecond

// Publish sends messages at a rate for a time, each at its planned moment or as soon after it as
// it can: what a stall holds up is sent late, not left out. It returns how many were sent.
func (f *Fanout) Publish(ctx context.Context, s *load.Swarm, rate float64, d time.Duration) (
	uint64, error) {
	if err := f.awaitPublisher(ctx); err != nil {
		return 0, err
	}
	begin := now()
	every := time.Duration(float64(time.Second) / rate)
	total := uint64(d / every)
	wake := time.NewTimer(0)
	defer wake.Stop()
	for n := uint64(0); n < total; {
		wake.Reset(begin + time.Duration(n)*every + max(pace-every, 0) - now())
		select {
		case <-wake.C:
		case <-ctx.Done():
			return n, ctx.Err()
		}
		due := min(uint64((now()-begin)/every)+1, total)
		from := n
		s.Post(f.publisher, func() {
			for i := from; i < due; i++ {
				f.publish(begin + time.Duration(i)*every)
			}
		})
		n = due
	}
	return total, nil
}

// stall is how long a flood waits for its witness. What is missing then is lost; the next message
// that arrives makes the gap visible.
const stall = time.Second

// Flood keeps window messages on their way for a time: one of the receivers, the second connection
// of the swarm, makes room for the next with each that it gets. It returns how many were sent. It
// must not run beside another Flood or Publish, nor compressed.
func (f *Fanout) Flood(ctx context.Context, s *load.Swarm, window uint32, d time.Duration) (
	uint64, error) {
	if err := f.awaitPublisher(ctx); err != nil {
		return 0, err
	}
	end, stalled := time.NewTimer(d), time.NewTimer(stall)
	defer end.Stop()
	defer stalled.Stop()
	first := f.sent.Load()
	sent, arrived := first, first
	for {
		if room := arrived + window - sent; room > 0 {
			sent += room
			s.Post(f.publisher, func() {
				for range room {
					f.publish(now())
				}
			})
		}
		select {
		case <-f.progress:
			arrived = max(arrived, f.seen.Load())
		case <-stalled.C:
			arrived = sent
		case <-end.C:
			return uint64(sent - first), nil
		case <-ctx.Done():
			return uint64(sent - first), ctx.Err()
		}
		stalled.Reset(stall)
	}
}

func (f *Fanout) awaitPublisher(ctx context.Context) error {
	select {
	case <-f.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publish sends the next message. It runs on the publisher's loop.
func (f *Fanout) publish(planned time.Duration) {
	t := &f.tallies[f.publisher.Lane()]
	t.scratch = appendStamped(t.scratch[:0], planned, f.sent.Load(), f.size)
	f.sent.Add(1)
	f.publisher.Send(wire.OpText, t.scratch)
}
