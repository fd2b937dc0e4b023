package run

import (
	"context"

	"sluice/bench/load"
	"sluice/gateway/wire"
)

// idle says nothing and counts what it hears. It is a script.
type idle struct {
	lanes []tally
}

func newIdle(opts *Options) *idle { return &idle{lanes: make([]tally, opts.Loops)} }

func (i *idle) tally(lane int) *tally { return &i.lanes[lane] }

// run implements script.
func (i *idle) run(ctx context.Context, s *load.Swarm, w Window) {
	s.OnLanes(func(lane int) { i.lanes[lane].init(w) })
	<-ctx.Done()
}

// Open implements load.Script.
func (i *idle) Open(*load.Client) {}

// Message implements load.Script.
func (i *idle) Message(c *load.Client, _ wire.Event) { i.lanes[c.Lane()].received.Add(1) }

// Closed implements load.Script.
func (i *idle) Closed(*load.Client, error) {}
