package run

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"sluice/bench/load"
	"sluice/gateway/wire"
)

// echo sends messages to an echo server and measures the answers. It is a script.
//
// In an open loop, a message that is due while every connection has its fill of messages without an
// answer waits for one that has not. If it still waits when the run ends, it counts as late as
// that. Its corrected latency counts from the moment it was planned for, its raw latency from when
// it was sent.
type echo struct {
	opts     *Options
	template *load.Template // nil for the filler
	lanes    []echoLane
}

// echoLane is the part of one event loop.
type echoLane struct {
	tally
	idle    []*echoClient // may send; a client stands there once for each message it may send
	plan    schedule      // of an open loop: the next message that was not sent
	due     schedule      // the next message that was not yet found to be due
	seq     uint64
	message []byte

	flooding bool // a closed loop is under way
}

// echoClient is what a connection remembers: its messages without an answer, oldest first. Servers
// answer a connection in order.
type echoClient struct {
	*load.Client
	flights []flight
	head, n int
}

type flight struct {
	planned, sent time.Duration
	seq           uint64
}

func newEcho(opts *Options) (e *echo, err error) {
	e = &echo{opts: opts, lanes: make([]echoLane, opts.Loops)}
	if opts.Message != "" {
		e.template, err = load.ParseTemplate(opts.Message, opts.Verify)
	}
	return e, err
}

func (e *echo) tally(lane int) *tally { return &e.lanes[lane].tally }

// run implements script.
func (e *echo) run(ctx context.Context, s *load.Swarm, w Window) {
	s.OnLanes(func(i int) {
		e.lanes[i].init(w)
		e.lanes[i].message = bytes.Repeat([]byte(filler), e.opts.Bytes/len(filler)+1)[:e.opts.Bytes]
	})
	if e.opts.Rate == 0 {
		s.OnLanes(func(i int) { e.lanes[i].flood(e) })
		<-ctx.Done()
		return
	}
	var paced sync.WaitGroup
	rate := e.opts.Rate / float64(len(e.lanes))
	for i := range e.lanes {
		l := &e.lanes[i]
		l.plan = newSchedule(w.From-e.opts.Warmup, rate, e.opts.Poisson)
		l.due = l.plan
		paced.Go(func() {
			metronome(ctx, func() { s.PostLane(i, func() { l.catchUp(e) }) })
		})
	}
	paced.Wait()
}

// flood starts a closed loop, on the connections that are not yet part of it.
func (l *echoLane) flood(e *echo) {
	l.flooding = true
	idle := l.idle
	l.idle = nil
	for _, c := range idle {
		l.send(e, c, now())
	}
}

// catchUp sends what is due, as far as there are idle connections. That a message is found to be
// due late is the generator's doing; what it waits for a connection from then on is the server's.
func (l *echoLane) catchUp(e *echo) {
	at, n := now(), 0
	for end := min(at, l.window.To-1); l.due.at <= end; l.due.next() {
		l.late(l.due.at, at)
	}
	for ; n < len(l.idle) && l.plan.at < l.due.at; n++ {
		planned := l.plan.at
		l.plan.next()
		l.send(e, l.idle[n], planned)
	}
	l.idle = l.idle[n:]
}

// unsent counts the messages that were planned and never sent, as late as at a moment.
func (l *echoLane) unsent(at time.Duration) (n uint64) {
	for ; l.plan.every > 0 && l.plan.at < min(at, l.window.To) && n < unsentMax; l.plan.next() {
		if l.window.holds(l.plan.at) {
			l.corrected.RecordValue(microseconds(at - l.plan.at))
		}
		n++
	}
	return n
}

// unsentMax bounds the messages that are counted one by one although nobody has sent them.
const unsentMax = 10_000_000

func (l *echoLane) send(e *echo, c *echoClient, planned time.Duration) {
	f := &c.flights[(c.head+c.n)%len(c.flights)]
	c.n++
	*f = flight{planned: planned, sent: now(), seq: l.seq}
	if e.opts.Rate == 0 {
		f.planned = f.sent
	}
	l.seq++
	l.sent.Add(1)
	c.Send(e.opts.op(), l.compose(e, c.Index, f))
}

// compose makes the message of a flight. It is valid until the next call.
func (l *echoLane) compose(e *echo, i int, f *flight) []byte {
	if e.template == nil {
		return l.fill(f.seq)
	}
	l.message = e.template.AppendTo(l.message[:0], i, f.seq, f.planned)
	return l.message
}

// fill writes the number of a message into its pattern, as far as it has room.
func (l *echoLane) fill(seq uint64) []byte {
	var digits [16]byte
	copy(l.message, appendHex(digits[:0], seq, len(digits)))
	return l.message
}

// Open implements load.Script.
func (e *echo) Open(c *load.Client) {
	l := &e.lanes[c.Lane()]
	ec := &echoClient{Client: c, flights: make([]flight, e.opts.InFlight)}
	c.Data = ec
	for range e.opts.InFlight {
		l.idle = append(l.idle, ec)
	}
	if l.flooding {
		l.flood(e)
	}
}

// Message implements load.Script.
func (e *echo) Message(c *load.Client, ev wire.Event) {
	l := &e.lanes[c.Lane()]
	ec, ok := c.Data.(*echoClient)
	if !ok || ec.n == 0 {
		l.broken.Add(1)
		return
	}
	f := ec.flights[ec.head]
	ec.head, ec.n = (ec.head+1)%len(ec.flights), ec.n-1
	l.received.Add(1)
	if e.template == nil && len(ev.Payload) != e.opts.Bytes ||
		e.opts.Verify && !bytes.Equal(ev.Payload, l.compose(e, ec.Index, &f)) {
		l.broken.Add(1)
	}
	arrived := now()
	l.measure(f.planned, f.sent, arrived)
	if e.opts.Rate == 0 {
		l.send(e, ec, 0)
		return
	}
	l.idle = append(l.idle, ec)
	l.catchUp(e)
}

// Closed implements load.Script.
func (e *echo) Closed(c *load.Client, err error) {
	l := &e.lanes[c.Lane()]
	ec, ok := c.Data.(*echoClient)
	if !ok {
		return
	}
	if !errors.Is(err, load.ErrCut) {
		l.lost.Add(uint64(ec.n))
	}
	kept := l.idle[:0]
	for _, i := range l.idle {
		if i != ec {
			kept = append(kept, i)
		}
	}
	l.idle = kept
}
