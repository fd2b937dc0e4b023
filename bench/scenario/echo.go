package scenario

import (
	"bytes"

	"sluice/bench/load"
	"sluice/gateway/wire"
)

// Echo keeps a number of messages in flight on every connection of an echo server: each answer is
// followed by the next message. It is a load.Script.
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
	c.Send(wire.OpBinary, e.message)
}

// Closed implements load.Script.
func (e *Echo) Closed(c *load.Client, _ error) { e.tallies[c.Lane()].closed.Add(1) }
