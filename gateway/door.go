package gateway

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sluice/gateway/limits"
	"sluice/gateway/metrics"
	"sluice/gateway/wire"
	"sluice/poller"
)

// turnedMax bounds the connections that are kept only to be told why they are not served. Past it
// they get a parting word and are closed at once.
const turnedMax = 256

// tellRate, per second, and tellBurst bound how many of them are told by TLS: a handshake is what
// costs a gateway most, and a client that is turned away can ask for another at once.
const (
	tellRate  = 50
	tellBurst = 100
)

// explainPeerRate, per second, and explainPeerBurst bound the reasons that AuthExplain gives to one
// address, so that the others get theirs out of what a loop gives.
const (
	explainPeerRate  = 1
	explainPeerBurst = 10
)

func newDoor(g *Gateway) *door {
	return &door{
		g: g, peers: limits.NewPeers(limits.PeerLimits{}),
		explained: limits.NewPeers(limits.PeerLimits{
			Rate: explainPeerRate, Burst: explainPeerBurst,
		}),
	}
}

// door decides who may connect. It implements poller.Acceptor; Admit is called on the accepting
// goroutine, leave on the loops.
type door struct {
	g     *Gateway
	peers *limits.Peers
	// explained holds the addresses that AuthExplain has given reasons to.
	explained *limits.Peers

	mu    sync.Mutex    // guards what follows
	rate  limits.Bucket // of all peers together
	tells limits.Bucket // unlimited without TLS

	max    atomic.Int64 // bound of inside
	inside atomic.Int64 // connections that count
	turned atomic.Int64 // connections that are being turned away
}

// Reasons for which Admit turns a connection away, as tags for Open.
const (
	tagAdmitted uint8 = iota
	tagCapacity
	tagRate
	tagPeerRate
	tagPeerConnections
	tagPeerBad
	tagDraining
)

// Admit implements poller.Acceptor.
func (d *door) Admit(remote netip.AddrPort) poller.Admission {
	tag := d.judge(remote.Addr())
	if tag == tagAdmitted {
		d.inside.Add(1)
		return poller.Admission{}
	}
	d.count(tag)
	if d.turned.Load() >= turnedMax || !d.mayTell() {
		return poller.Admission{Drop: true, Parting: d.g.parting}
	}
	d.turned.Add(1)
	return poller.Admission{Tag: tag}
}

func (d *door) judge(ip netip.Addr) (tag uint8) {
	now := time.Since(d.g.start)
	switch {
	case d.g.drain.closing():
		return tagDraining
	case d.inside.Load() >= d.max.Load(), d.g.memory.tight():
		return tagCapacity
	}
	known := !d.g.clients.forwards(ip) // else judgeClient follows
	switch {
	case known && d.exempt(ip):
		d.peers.Enter(ip, now)
	case known:
		tag = d.judgePeer(ip, now)
	}
	// The rate of all comes last: who is turned away for an own limit must not use it up.
	if tag == tagAdmitted && !d.allowRate(now) {
		if known {
			d.peers.Release(ip)
		}
		return tagRate
	}
	return tag
}

// exempt reports whether the limits of an address do not hold for a connection, of which ip is the
// peer. They hold for every connection that a proxy speaks for, also if it names a loopback address
// or nobody: its client may have chosen what the proxy says.
func (d *door) exempt(ip netip.Addr) bool {
	return ip.Unmap().IsLoopback() && d.g.clients.proxied == nil &&
		!d.g.current.Load().LimitLoopback
}

// mayTell reports whether a peer that is turned away may be told why.
func (d *door) mayTell() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tells.Allow(time.Since(d.g.start))
}

func (d *door) judgePeer(ip netip.Addr, now time.Duration) (tag uint8) {
	switch d.peers.Admit(ip, now) {
	case limits.TooFast:
		return tagPeerRate
	case limits.TooBad:
		return tagPeerBad
	case limits.TooMany:
		return tagPeerConnections
	}
	return tagAdmitted
}

// judgeClient judges the client of a connection that Admit has let in for its proxy.
func (d *door) judgeClient(ip netip.Addr) (tag uint8) {
	tag = d.judgePeer(ip, time.Since(d.g.start))
	d.count(tag)
	return tag
}

func (d *door) allowRate(now time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rate.Allow(now)
}

// configure puts the limits of a configuration into force.
func (d *door) configure(cfg *Config, connectionsMax int) {
	d.max.Store(int64(connectionsMax))
	d.peers.SetLimits(limits.PeerLimits{
		ConnectionsMax: cfg.ConnectionsPerIPMax,
		Rate:           cfg.AcceptRatePerIP,
		Burst:          cfg.AcceptBurstPerIP,
		BadRate:        cfg.BadHandshakeRate,
		BadBurst:       cfg.BadHandshakeBurst,
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rate = limits.NewBucket(cfg.AcceptRate, cfg.AcceptBurst)
}

// count counts a peer that is turned away by a limit.
func (d *door) count(tag uint8) {
	m := d.g.lanes[0].m
	switch tag {
	case tagRate:
		m.RateLimited(metrics.ScopeAccept).Inc()
	case tagPeerRate:
		m.RateLimited(metrics.ScopeAcceptIP).Inc()
	case tagPeerBad:
		m.RateLimited(metrics.ScopeBadHandshakes).Inc()
	case tagPeerConnections:
		m.RateLimited(metrics.ScopeConnectionsIP).Inc()
	}
}

// leave takes back what Admit and judgeClient counted.
func (d *door) leave(s *session) {
	if s.turned {
		d.turned.Add(-1)
		return
	}
	d.inside.Add(-1)
	if !s.forwarded {
		d.peers.Release(s.clientAddr())
	}
}

// blame notes a bad handshake, unless it is not known yet whose.
func (d *door) blame(s *session) {
	if !s.forwarded {
		d.peers.Blame(s.clientAddr(), time.Since(d.g.start))
	}
}

// mayExplain reports whether the address of a session has not used up its reasons.
func (d *door) mayExplain(s *session) bool {
	addr := s.clientAddr()
	if d.explained.Admit(addr, time.Since(d.g.start)) != limits.Admitted {
		return false
	}
	d.explained.Release(addr) // only its rate is of interest
	return true
}

// Open implements poller.Acceptor.
func (d *door) Open(c poller.Conn, tag uint8) poller.Handler {
	l := d.g.lanes[c.Loop().Index()]
	s := &session{lane: l, conn: c, id: d.g.ids.next()}
	s.forwarded = d.g.clients.forwards(c.RemoteAddr().Addr())
	s.beginHandshake(refusals[tag])
	return s
}

// refusals says what a peer that was turned away is told, by tag.
var refusals = [...]*wire.Refusal{
	tagAdmitted:        nil,
	tagCapacity:        {Status: 503, Reason: wire.ReasonCapacity},
	tagRate:            {Status: 503, Reason: wire.ReasonRateLimited},
	tagPeerRate:        {Status: 429, Reason: wire.ReasonRateLimited},
	tagPeerConnections: {Status: 429, Reason: wire.ReasonRateLimited},
	tagPeerBad:         {Status: 429, Reason: wire.ReasonRateLimited},
	tagDraining:        {Status: 503, Reason: wire.ReasonDraining},
}
