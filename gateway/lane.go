package gateway

import (
	"time"

	"sluice/gateway/hub"
	"sluice/gateway/limits"
	"sluice/gateway/metrics"
	"sluice/poller"
)

// lane is what all sessions of one loop share. It belongs to the loop.
type lane struct {
	g    *Gateway
	loop poller.Loop
	m    *metrics.Shard

	scratch []byte // for putting frames together; Conn.Write copies it
	answers []byte // pongs and small echoes of the read being handled, to be written together
	free    []*handshake

	// detached are the sessions in stateDetached.
	detached map[*session]struct{}

	explains limits.Bucket // of peers that are let in only to be told why they are not

	// Messages and pongs of the read that is being handled. They are counted together: an atomic
	// add for each would be a tenth of what a pipelined message costs.
	texts, binaries, echoes, pongs uint64
}

const (
	// scratchBytes is room for any frame that is put together in one piece.
	scratchBytes = 4 << 10
	// explainRate (per second) and explainBurst bound what AuthExplain costs: it is dearer than a
	// plain refusal.
	explainRate  = 20
	explainBurst = 20
	// freeHandshakes bounds the parsers a lane keeps for the next handshakes.
	freeHandshakes = 256
)

func newLane(g *Gateway, l poller.Loop, m *metrics.Shard) *lane {
	return &lane{
		g: g, loop: l, m: m, detached: map[*session]struct{}{},
		explains: limits.NewBucket(explainRate, explainBurst),
		scratch:  make([]byte, 0, scratchBytes),
	}
}

// count adds the messages of a read to the metrics.
func (l *lane) count() {
	if l.texts > 0 {
		l.m.ReceivedText.Add(l.texts)
	}
	if l.binaries > 0 {
		l.m.ReceivedBinary.Add(l.binaries)
	}
	if l.echoes > 0 {
		l.m.MessagesSent.Add(l.echoes)
	}
	if l.pongs > 0 {
		l.m.ControlSent.Add(l.pongs)
	}
	l.texts, l.binaries, l.echoes, l.pongs = 0, 0, 0, 0
}

// cfg is the configuration as of now.
func (l *lane) cfg() *Config { return &l.g.current.Load().Config }

// tick is the loop's time in timer ticks. It is never 0.
func (l *lane) tick() uint32 { return uint32(l.loop.Now()/poller.TimerTick) + 1 }

// closed accounts for a session that has ended.
func (l *lane) closed(s *session) {
	l.m.Closed(uint8(s.ended)).Inc()
	l.g.door.leave(s)
	if s.hs != nil {
		l.putHandshake(s.hs)
		s.hs = nil
	}
	l.g.logClosed(s)
}

func (l *lane) getHandshake() *handshake {
	if n := len(l.free); n > 0 {
		h := l.free[n-1]
		l.free = l.free[:n-1]
		return h
	}
	return new(handshake)
}

func (l *lane) putHandshake(h *handshake) {
	h.reset()
	if len(l.free) < freeHandshakes {
		l.free = append(l.free, h)
	}
}

// fanout runs the hub's shard of a lane on its loop. It is a poller.Runner.
type fanout struct {
	lane *lane
}

// Run delivers what has been published, unless receivers still wait for their flush of an earlier
// round: then publishing must wait, not the receivers be found slow.
func (f *fanout) Run() {
	l := f.lane
	if l.loop.Backlog() > 0 {
		l.loop.Post(f)
		return
	}
	l.m.Deliveries.Add(uint64(l.g.hub.RunShard(l.loop.Index())))
}

// delivered notes how long a publication has waited for this loop.
func (f *fanout) delivered(pub *hub.Publication) {
	f.lane.m.BroadcastSeconds.Observe(time.Since(f.lane.g.start) - pub.At)
}
