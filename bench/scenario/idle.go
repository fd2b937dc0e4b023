package scenario

import (
	"sync/atomic"

	"sluice/bench/load"
	"sluice/gateway/wire"
)

// Idle says nothing and counts what it hears. It is a load.Script.
type Idle struct{ received, closed atomic.Uint64 }

// Open implements load.Script.
func (i *Idle) Open(*load.Client) {}

// Message implements load.Script.
func (i *Idle) Message(*load.Client, wire.Event) { i.received.Add(1) }

// Closed implements load.Script.
func (i *Idle) Closed(*load.Client, error) { i.closed.Add(1) }

// Counts returns what was seen until now.
func (i *Idle) Counts() Counts {
	return Counts{Received: i.received.Load(), Closed: i.closed.Load()}
}
