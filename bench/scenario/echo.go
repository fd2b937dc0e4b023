package scenario

import (
	"bytes"
	"context"
	"sync"
	"time"

	"sluice/bench/load"
	"sluice/gateway/wire"
)

// Echo keeps a number of messages in flight on every connection of an echo server: each answer is
// followed by the next message. With none in flight it sends only what Pace does. It is a
// load.Script.
type Echo struct {
	size, inFlight int
	message        []byte
	tallies        []tally
}

// NewEcho makes an echo of binary messages of size bytes for a swarm of so many loops.
func NewEcho(lanes, size, inFlight int) *Echo {
	return &Echo{
		size: size, inFlight: inFlight, tallies: newTallies(lanes),
		message: bytes.Repeat([]byte(filler), size/len(filler)+1)[:size],
	}
}

// Start sends the first messages of every client.
func (e *Echo) Start(s *load.Swarm) {
	s.Each(func(c *load.Client) {
		for range e.inFlight {
			c.Send(wire.OpBinary, e.message)
		}
	})
}

// Counts returns what was seen until now.
func (e *Echo) Counts() Counts { return sum(e.tallies) }

// Open implements load.Script.
func (e *Echo) Open(*load.Client) {}

// Message implements load.Script.
func (e *Echo) Message(c *load.Client, ev wire.Event) {
	t := &e.tallies[c.Lane()]
	t.received.Add(1)
	if len(ev.Payload) != e.size {
		t.broken.Add(1)
	}
	if e.inFlight > 0 {
		c.Send(wire.OpBinary, e.message)
	}
}

// Pace sends messages at a rate, from one client after the other, until ctx ends. What is due
// within a millisecond leaves together, so that servers at one rate get the same arrivals. The
// clients must be open, and stay so.
func (e *Echo) Pace(ctx context.Context, s *load.Swarm, rate float64) {
	var mu sync.Mutex
	var clients []*load.Client
	s.Each(func(c *load.Client) {
		mu.Lock()
		defer mu.Unlock()
		clients = append(clients, c)
	})
	wake := time.NewTicker(pace)
	defer wake.Stop()
	for begin, n := now(), uint64(0); ; {
		select {
		case <-wake.C:
		case <-ctx.Done():
			return
		}
		for due := uint64((now() - begin).Seconds() * rate); n < due; n++ {
			c := clients[n%uint64(len(clients))]
			s.Post(c, func() { c.Send(wire.OpBinary, e.message) })
		}
	}
}

// Closed implements load.Script.
func (e *Echo) Closed(c *load.Client, _ error) { e.tallies[c.Lane()].closed.Add(1) }
