package gateway

import (
	"errors"
	"fmt"
	"time"

	"sluice/gateway/admin"
	"sluice/gateway/metrics"
	"sluice/gateway/wire"
)

// loopHangs is how long a loop may go without beginning a turn before the process counts as dead.
// An idle loop turns every second, and no callback takes longer than milliseconds.
const loopHangs = 5 * time.Second

// newMetrics makes the metrics, with the label sets of this package.
func (g *Gateway) newMetrics(loops int, version string) *metrics.Metrics {
	return metrics.New(metrics.Config{
		Loops:         loops,
		CloseReasons:  endLabels(),
		RejectReasons: wire.ReasonNames(),
		AuthVerdicts:  verdictLabels(),
		TLSOutcomes:   outcomeLabels(),
		Policies:      policyNames(),
		SlowReasons:   slowReasonNames[:],
		Version:       version,
		Snapshot:      g.snapshot,
		Logger:        g.log,
	})
}

func (g *Gateway) webSocketURL() string {
	if g.encryption != nil {
		return "wss://" + g.addr.String()
	}
	return "ws://" + g.addr.String()
}

// live says what is wrong with the process: a loop that no longer turns.
func (g *Gateway) live() error {
	for i, l := range g.engine.Loops() {
		if err := hangs(i, l.Stats().LastTurn); err != nil {
			return err
		}
	}
	return nil
}

func hangs(loop int, lastTurn time.Duration) error {
	if lastTurn <= loopHangs {
		return nil
	}
	return fmt.Errorf("loop %d has not turned for %v", loop, lastTurn.Round(time.Second))
}

// ready lists what must hold for the gateway to get connections.
func (g *Gateway) ready() []admin.Check {
	drain := admin.Check{Name: "drain"}
	if g.drain.load() != metrics.DrainServing {
		drain.Err = errors.New("draining")
	}
	capacity := admin.Check{Name: "capacity"}
	if open, max := g.door.inside.Load(), g.door.max.Load(); open >= max {
		capacity.Err = fmt.Errorf("%d of %d connections are open", open, max)
	}
	checks := []admin.Check{{Name: "loops", Err: g.live()}, drain, capacity}
	if g.audit != nil {
		checks = append(checks, g.auditCheck())
	}
	if a := g.authority; a != nil {
		checks = append(checks, admin.Check{Name: "authentication", Err: a.setup.Ready()})
	}
	return checks
}

// snapshot is the state that a scrape shows beside the counters.
func (g *Gateway) snapshot() metrics.Snapshot {
	accept, pool, hub := g.engine.Stats(), g.workers.Stats(), g.hub.Stats()
	snap := metrics.Snapshot{
		Accept: metrics.Accept{
			Accepted: accept.Accepted, Turned: accept.Turned,
			Failed: accept.Failed, Starved: accept.Starved,
		},
		Workers: metrics.Workers{
			Running: pool.Running, Ready: pool.Ready, Queued: pool.Queued,
			Executed: pool.Executed, Panics: pool.Panics,
		},
		Broadcasts:  metrics.Broadcasts{Channels: hub.Channels, Waiting: hub.Waiting},
		Drain:       g.drain.load(),
		MemoryState: metrics.MemoryState(g.memory.state.Load()), MemoryLimit: g.memory.limit,
		Reload: *g.loaded.Load(),
		Audit:  g.auditStats(),
		Admin:  g.adminStats(),
	}
	for _, l := range g.engine.Loops() {
		s := l.Stats()
		snap.Loops = append(snap.Loops, metrics.Loop{
			Conns: s.Conns, Queued: s.Queued, Turns: s.Turns, Events: s.Events,
			Reads: s.Reads, Writes: s.Writes, BytesIn: s.BytesIn, BytesOut: s.BytesOut,
			LastTurn: s.LastTurn, Unsent: s.Unsent,
		})
	}
	if g.codec != nil {
		snap.CompressionMemory = g.codec.ContextBytes()
	}
	if g.encryption != nil {
		snap.TLS = g.encryption.stats()
	}
	if a := g.adminTLS; a != nil {
		snap.TLS.Reloaded += a.reloaded.Load()
		snap.TLS.Failed += a.failed.Load()
	}
	if g.clients.proxied != nil {
		s := g.clients.proxied.Stats()
		snap.Proxied = metrics.Proxied{
			Announced: s.Announced, Untrusted: s.Untrusted, Invalid: s.Invalid,
		}
	}
	if a := g.authority; a != nil {
		cache := a.setup.CacheStats()
		snap.Auth = metrics.Auth{
			Users: a.roster.len(), Verifying: int(a.pending.Load()),
			CacheHits: cache.Hits, CacheMisses: cache.Misses,
			Revocations: a.setup.Revocations().Len(), Queues: a.queues(),
		}
	}
	if g.logDropped != nil {
		snap.LogDropped = g.logDropped()
	}
	return snap
}
