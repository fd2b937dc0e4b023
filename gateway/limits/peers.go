package limits

import (
	"net/netip"
	"sync"
	"time"
)

// idlePeersMax bounds the addresses that are remembered only for their rate. When there are more,
// the one that has been gone for longest is forgotten: it had the most time to earn its tokens
// back, and a flood from many addresses is the overall rate's to stop, not this table's.
const idlePeersMax = 64 << 10

// Verdict is what Peers.Admit says of a connection.
type Verdict uint8

// The verdicts. Only Admitted counts the connection.
const (
	Admitted Verdict = iota
	TooFast          // over the rate of its address or network
	TooMany          // over the connections of its address or network
	TooBad           // over the bad handshakes of its address or network
)

// PeerLimits bounds what one address may do; 0 means unlimited. An IPv6 peer is bounded by its /64,
// and once more by its /56 and its /48: see Aggregate56 and Aggregate48.
type PeerLimits struct {
	ConnectionsMax int
	Rate           float64 // new connections per second
	Burst          int
	BadRate        float64 // handshakes to blame it for, per second
	BadBurst       int
}

// Providers delegate a /56 to a household and a /48 to a site, 256 and 65,536 networks of /64 each.
// All peers of a /56 together may do Aggregate56 times as much as one address, those of a /48
// Aggregate48 times: the holder of one must not count as thousands, and the neighbours in a site
// must not keep each other out.
const (
	Aggregate56 = 4
	Aggregate48 = 16
)

// levels are the networks that an IPv6 address counts in, the widest first.
var levels = [...]struct{ bits, times int }{{48, Aggregate48}, {56, Aggregate56}, {64, 1}}

// Peers counts the connections and the rate of connecting of every address; an IPv6 peer counts by
// its /64, its /56 and its /48. Its memory is bounded: the networks with connections are at most
// three for each connection, others at most idlePeersMax. It is safe for concurrent use.
type Peers struct {
	mu     sync.Mutex
	limits PeerLimits
	peers  map[netip.Prefix]*peer
	// Peers without connections, the one that lost its last first.
	oldest, newest *peer
	idle           int
}

type peer struct {
	network     netip.Prefix
	times       int // by how much its limits are larger than those of an address
	connections int
	bucket      Bucket
	bad         Bucket
	prev, next  *peer // in the idle list, while connections is 0
}

// scope is what an address counts in.
type scope struct {
	networks [len(levels)]netip.Prefix
	n        int
}

// scopeOf returns the networks of an address, the widest first.
func scopeOf(addr netip.Addr) (s scope) {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() && !addr.IsLoopback() {
		for i, l := range levels {
			s.networks[i] = netip.PrefixFrom(addr, l.bits).Masked()
		}
		s.n = len(levels)
		return s
	}
	s.networks[0], s.n = netip.PrefixFrom(addr, addr.BitLen()), 1
	return s
}

// times is by how much the limits of network i are larger than those of an address.
func (s *scope) times(i int) int {
	if s.n == 1 {
		return 1
	}
	return levels[i].times
}

// NewPeers returns an empty table.
func NewPeers(limits PeerLimits) *Peers {
	return &Peers{limits: limits, peers: map[netip.Prefix]*peer{}}
}

// SetLimits changes the limits; a changed rate begins with full buckets.
func (t *Peers) SetLimits(limits PeerLimits) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if limits.Rate != t.limits.Rate || limits.Burst != t.limits.Burst {
		for _, p := range t.peers {
			p.bucket = limits.bucket(p.times)
		}
	}
	if limits.BadRate != t.limits.BadRate || limits.BadBurst != t.limits.BadBurst {
		for _, p := range t.peers {
			p.bad = limits.bad(p.times)
		}
	}
	t.limits = limits
}

func (l *PeerLimits) bucket(times int) Bucket {
	return NewBucket(l.Rate*float64(times), l.Burst*times)
}

func (l *PeerLimits) bad(times int) Bucket {
	return NewBucket(l.BadRate*float64(times), l.BadBurst*times)
}

// Admit judges a new connection of addr and counts it if it is admitted; Release must follow then.
func (t *Peers) Admit(addr netip.Addr, now time.Duration) Verdict {
	return t.admit(addr, now, true)
}

// Enter counts a new connection of addr without judging it; Release must follow.
func (t *Peers) Enter(addr netip.Addr, now time.Duration) { t.admit(addr, now, false) }

func (t *Peers) admit(addr netip.Addr, now time.Duration, limited bool) Verdict {
	s := scopeOf(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
	if limited {
		// All are asked before any is charged: a refusal by one must cost the others nothing, and
		// a network that is refused must not fill the table with its parts.
		for i := range s.n {
			if v := t.judge(t.peers[s.networks[i]], now); v != Admitted {
				return v
			}
		}
	}
	for i := range s.n {
		p := t.enterLocked(s.networks[i], s.times(i))
		if limited {
			p.bucket.Allow(now)
		}
		if p.connections == 0 {
			t.removeIdle(p)
		}
		p.connections++
	}
	return Admitted
}

// judge says whether p, nil for one that is not known yet, may have another connection.
func (t *Peers) judge(p *peer, now time.Duration) Verdict {
	switch {
	case p == nil:
	case t.limits.ConnectionsMax > 0 && p.connections >= t.limits.ConnectionsMax*p.times:
		return TooMany
	case p.bad.Empty(now):
		return TooBad
	case p.bucket.Empty(now):
		return TooFast
	}
	return Admitted
}

// enterLocked returns the entry of a network.
func (t *Peers) enterLocked(network netip.Prefix, times int) *peer {
	p := t.peers[network]
	if p == nil {
		p = &peer{
			network: network, times: times, bucket: t.limits.bucket(times),
			bad: t.limits.bad(times),
		}
		t.peers[network] = p
		t.pushIdle(p)
	}
	return p
}

// Blame notes a bad handshake of addr: of those that are admitted no more than the rate may be bad.
func (t *Peers) Blame(addr netip.Addr, now time.Duration) {
	s := scopeOf(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
	for i := range s.n {
		t.enterLocked(s.networks[i], s.times(i)).bad.Allow(now)
	}
}

// Release takes back one admitted connection of addr.
func (t *Peers) Release(addr netip.Addr) {
	s := scopeOf(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range s.n {
		p := t.peers[s.networks[i]]
		if p == nil || p.connections == 0 {
			continue
		}
		if p.connections--; p.connections == 0 {
			t.pushIdle(p)
		}
	}
}

// Len is the number of addresses and networks in the table.
func (t *Peers) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.peers)
}

// forget drops idle peers that a new entry would not differ from, and the oldest one when there are
// too many. Four at a time keep up with the three new entries of a call.
func (t *Peers) forget(now time.Duration) {
	for range len(levels) + 1 {
		p := t.oldest
		if p == nil || !(p.bucket.Full(now) && p.bad.Full(now)) && t.idle <= idlePeersMax {
			return
		}
		t.removeIdle(p)
		delete(t.peers, p.network)
	}
}

func (t *Peers) pushIdle(p *peer) {
	p.prev, p.next = t.newest, nil
	if t.newest != nil {
		t.newest.next = p
	} else {
		t.oldest = p
	}
	t.newest = p
	t.idle++
}

func (t *Peers) removeIdle(p *peer) {
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		t.oldest = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		t.newest = p.prev
	}
	p.prev, p.next = nil, nil
	t.idle--
}
