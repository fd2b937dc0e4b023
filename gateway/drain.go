package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"sluice/gateway/metrics"
	"sluice/poller"
)

// drainPoll is how often Drain looks whether everybody has gone.
const drainPoll = 50 * time.Millisecond

// drainState is how far a gateway has been taken out of service.
type drainState struct{ state atomic.Uint32 }

func (d *drainState) load() metrics.DrainState { return metrics.DrainState(d.state.Load()) }

// begin reports whether this call began the drain.
func (d *drainState) begin() bool {
	return d.state.CompareAndSwap(uint32(metrics.DrainServing), uint32(metrics.DrainAnnounced))
}

// close ends accepting.
func (d *drainState) close() { d.state.Store(uint32(metrics.DrainClosing)) }

// closing reports whether who comes now is turned away.
func (d *drainState) closing() bool { return d.load() == metrics.DrainClosing }

// Drain takes the gateway out of service without cutting anybody off: it reports not ready, goes on
// accepting for Config.DrainDelay, stops accepting, closes the sessions with 1012 in random order
// spread over Config.DrainDuration, each after what was queued for it, and returns when all are
// gone. It returns early, with what is left still open, when Config.DrainDeadline has passed or ctx
// ends; the error then says how many. Close must follow. Further calls return at once.
func (g *Gateway) Drain(ctx context.Context) error {
	if !g.drain.begin() {
		return nil
	}
	cfg := g.current.Load().Config
	g.log.Info("draining", "event", "drain_started", "connections", g.door.inside.Load(),
		"delay", cfg.DrainDelay.String(), "duration", cfg.DrainDuration.String())
	ctx, cancel := context.WithTimeout(ctx, cfg.DrainDeadline)
	defer cancel()

	if !sleep(ctx, cfg.DrainDelay) {
		return g.drainCut()
	}
	g.drain.close()
	g.engine.StopAccepting()
	for _, l := range g.lanes {
		l.loop.Post(&drainer{l, cfg.DrainDuration})
	}
	for g.connections() > 0 {
		if !sleep(ctx, drainPoll) {
			return g.drainCut()
		}
	}
	g.log.Info("drained", "event", "drain_finished")
	return nil
}

// drainCut reports a drain that did not end in time.
func (g *Gateway) drainCut() error {
	left := g.connections()
	if left == 0 {
		return nil
	}
	return &DrainError{Connections: left}
}

// DrainError says that a drain was cut short.
type DrainError struct{ Connections int }

func (e *DrainError) Error() string {
	return fmt.Sprintf("drain cut short with %d connections open", e.Connections)
}

// connections counts the connections of all loops, whatever their state.
func (g *Gateway) connections() int {
	n := 0
	for _, l := range g.engine.Loops() {
		n += l.Stats().Conns
	}
	return n
}

// sleep waits for d; it reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// drainer gives every session of a lane its moment to close. It is a poller.Runner.
type drainer struct {
	lane   *lane
	spread time.Duration
}

// Run implements poller.Runner.
func (d *drainer) Run() {
	now := d.lane.tick()
	d.lane.loop.Each(func(h poller.Handler) {
		s, ok := sessionOf(h)
		if !ok {
			return
		}
		at := now + 1
		if n := ticks(d.spread); n > 0 {
			at += uint32(rand.Int64N(int64(n)))
		}
		s.drainAt(at)
	})
}

// drainAt sets when an open session is to end; a handshake ends now.
func (s *session) drainAt(tick uint32) {
	defer s.contain()
	switch s.state {
	case stateHandshake, stateVerifying:
		s.refuse(refusals[tagDraining])
	case stateOpen:
		s.quit = tick
		s.schedule()
	}
}
