// Package run is the load generator: it connects a crowd of clients to a WebSocket server, lets
// them play a scenario and says what came of it.
package run

import (
	"errors"
	"fmt"
	"time"

	"sluice/gateway/wire"
)

// The scenarios.
const (
	Echo   = "echo"   // messages to an echo server
	Fanout = "fanout" // messages to rooms of a chat server
	Idle   = "idle"   // connections that say nothing
	Storm  = "storm"  // connecting as fast as asked, and coming back after a cut
	Slow   = "slow"   // a fan-out with receivers that read slowly or not at all
)

// Options describe a run.
type Options struct {
	Scenario    string
	URL         string // may hold {i} and {room}
	Connections int    // of all rooms together
	Loops       int    // event loops of the generator; 0 means 1
	Dialers     int    // connects under way at once; 0 means 64
	// ConnectRate is how many connects a second are begun; 0 means as many as Dialers allow.
	ConnectRate float64
	// ReceiveBuffer is the size in bytes of the kernel's receive buffer for each slow receiver; 0
	// leaves it to the kernel.
	ReceiveBuffer int
	// Churn is how many connections a second are cut and replaced by others.
	Churn float64
	// FirstIndex is the number of the first connection, and Runs the number of runs, of a crowd of
	// equal runs that this one belongs to; 0 means a run for itself.
	FirstIndex, Runs int
	// Rate is the number of messages a second of all connections, planned ahead: an open loop. 0
	// is a closed loop, for echoes only: every answer is followed by the next message.
	Rate     float64
	Poisson  bool // space the planned messages at random instead of evenly
	InFlight int  // messages without an answer per connection; 0 means 1
	Bytes    int  // of a message
	Text     bool // echo text instead of binary
	Verify   bool // compare contents byte by byte
	// Message is the text of a message, as load.ParseTemplate reads it; empty for a filler of
	// Bytes.
	Message string
	// Connect is how connections are made.
	Connect Connect

	// Warmup comes before the measured phase and does not count; Duration is the measured phase, of
	// a storm the longest time that connecting or coming back may take.
	Warmup, Duration time.Duration

	// Rooms and Publishers (in each room) are of a fan-out; 0 means 1.
	Rooms, Publishers int
	// Cuts is how often a storm cuts all its connections to see them come back. With AwaitCut it
	// is the server that is to cut them, by a restart for example. Greeting is what a connection
	// says first, for an answer to be timed; empty for nothing.
	Cuts     int
	AwaitCut bool
	Greeting string
	// Slope opens idle connections in steps, to tell the server's memory by connection.
	Slope bool
	// SlowShare of the receivers, from 0 to 1, read SlowRate bytes a second; 0 means nothing.
	SlowShare float64
	SlowRate  int

	// PID of the server, to read from /proc what it costs; 0 means unknown. MetricsURL is its
	// Prometheus endpoint, for the same; empty for none.
	PID        int
	MetricsURL string
}

// Check fills in defaults and says what is wrong.
func (o *Options) Check() error {
	o.Loops = max(o.Loops, 1)
	o.InFlight = max(o.InFlight, 1)
	o.Rooms = max(o.Rooms, 1)
	o.Publishers = max(o.Publishers, 1)
	o.Runs = max(o.Runs, 1)
	var errs []error
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(o.Connections < 1, "%d connections are too few", o.Connections)
	wrong(o.Rate < 0, "the rate %v is negative", o.Rate)
	wrong(o.Bytes < 0 || o.Bytes > 64<<20, "%d bytes are not within 0 and 64 MiB", o.Bytes)
	wrong(o.Duration <= 0, "the duration %v is not positive", o.Duration)
	wrong(o.ConnectRate < 0 || o.Churn < 0, "a negative rate of connections means nothing")
	wrong(o.Warmup < 0, "the warm-up %v is negative", o.Warmup)
	switch o.Scenario {
	case Echo, Idle, Storm:
	case Fanout, Slow:
		wrong(o.Rate == 0, "a fan-out needs a rate")
		wrong(o.Connections%o.Rooms != 0, "%d connections do not fill %d rooms evenly",
			o.Connections, o.Rooms)
		wrong(o.Connections/o.Rooms <= o.Publishers,
			"a room of %d connections with %d publishers has no receiver",
			o.Connections/o.Rooms, o.Publishers)
	default:
		wrong(true, "there is no scenario %q", o.Scenario)
	}
	wrong(o.SlowShare < 0 || o.SlowShare > 1, "the share %v is not within 0 and 1", o.SlowShare)
	return errors.Join(errs...)
}

// roomSize is the number of connections that share a {room} of the URL.
func (o *Options) roomSize() int {
	if o.Scenario == Idle {
		return min(o.Connections, 100)
	}
	return o.Connections / o.Rooms
}

func (o *Options) op() wire.Opcode {
	if o.Text {
		return wire.OpText
	}
	return wire.OpBinary
}
