package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sluice/bench/load"
	"sluice/gateway/wire"
)

// storm connects as fast as it may, cuts everything, and comes back. It is a script.
type storm struct {
	opts  *Options
	lanes []tally

	mu     sync.Mutex
	began  time.Duration           // of the wave; guarded by mu
	wave   *hdrhistogram.Histogram // when connections of the wave were open; guarded by mu
	opened *hdrhistogram.Histogram // of the first wave
	back   *hdrhistogram.Histogram // of the others
}

// Clients that could not connect try again after a pause that doubles between these, less a random
// part of up to a half.
const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 5 * time.Second
)

func newStorm(opts *Options) *storm {
	return &storm{
		opts: opts, lanes: make([]tally, opts.Loops),
		opened: load.NewHistogram(), back: load.NewHistogram(),
	}
}

func (s *storm) tally(lane int) *tally { return &s.lanes[lane] }

// run implements script.
func (s *storm) run(context.Context, *load.Swarm, Window) {}

// Open implements load.Script.
func (s *storm) Open(c *load.Client) {
	s.mu.Lock()
	s.wave.RecordValue(microseconds(now() - s.began))
	s.mu.Unlock()
	if s.opts.Greeting != "" {
		s.lanes[c.Lane()].sent.Add(1)
		c.Send(wire.OpText, []byte(s.opts.Greeting))
	}
}

// Message implements load.Script.
func (s *storm) Message(c *load.Client, _ wire.Event) { s.lanes[c.Lane()].received.Add(1) }

// Closed implements load.Script.
func (s *storm) Closed(*load.Client, error) {}

// next begins a wave.
func (s *storm) next(wave *hdrhistogram.Histogram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began, s.wave = now(), wave
}

// weather plays a storm: the first wave, then a cut and the next wave, as often as asked.
func (r *runner) weather(ctx context.Context, s *storm) error {
	begin := now()
	// The measured phase is all of it; only the waves bound it.
	r.window = Window{begin, begin + r.opts.Duration*time.Duration(2*r.opts.Cuts+1)}
	r.swarm.OnLanes(func(i int) { s.lanes[i].init(r.window) })
	over := make(chan struct{})
	var blown error
	go func() {
		defer close(over)
		blown = r.waves(ctx, s)
	}()
	before, after, err := r.watch(ctx, over)
	<-over
	r.settle(ctx)
	r.summarise(before, after, 0)
	if n := r.swarm.Phases().TLS.TotalCount(); n > 0 {
		r.result.Notes = append(r.result.Notes, fmt.Sprintf(
			"%d of %d TLS handshakes resumed a session", r.swarm.Resumed(), n))
	}
	if blown != nil {
		r.result.Notes = append(r.result.Notes, blown.Error())
	}
	return err
}

func (r *runner) waves(ctx context.Context, s *storm) error {
	s.next(s.opened)
	if err := r.ashore(ctx); err != nil {
		return err
	}
	for range r.opts.Cuts {
		r.settle(ctx) // greetings are answered
		if err := r.seen.Connected(ctx); err != nil {
			return err
		}
		if r.opts.AwaitCut {
			if err := r.awaitCut(ctx); err != nil {
				return err
			}
			s.next(s.back)
		} else {
			s.next(s.back)
			if err := r.cutAll(ctx); err != nil {
				return err
			}
		}
		if err := r.ashore(ctx); err != nil {
			return err
		}
	}
	return nil
}

// cutAll cuts every connection, and returns when they are closed.
func (r *runner) cutAll(ctx context.Context) error {
	r.swarm.Each(func(c *load.Client) { c.Cut() })
	for r.swarm.Open() > 0 {
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// awaitCut waits until the server has cut a connection.
func (r *runner) awaitCut(ctx context.Context) error {
	const look = 5 * time.Millisecond
	for end := now() + r.opts.Duration; r.swarm.Open() >= r.opts.Connections; {
		if now() > end {
			return fmt.Errorf("the server has cut nothing within %v", r.opts.Duration)
		}
		if err := sleep(ctx, look); err != nil {
			return err
		}
	}
	return nil
}

// ashore connects until all connections are open.
func (r *runner) ashore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Duration)
	defer cancel()
	pause := backoffMin
	for {
		err := r.swarm.Connect(ctx, r.opts.Connections-r.swarm.Open())
		if r.swarm.Open() >= r.opts.Connections {
			return nil
		}
		if err == nil {
			pause = backoffMin
		}
		if err := sleep(ctx, pause-rand.N(pause/2)); err != nil {
			return fmt.Errorf("%d of %d connections were not open after %v",
				r.opts.Connections-r.swarm.Open(), r.opts.Connections, r.opts.Duration)
		}
		pause = min(2*pause, backoffMax)
	}
}
