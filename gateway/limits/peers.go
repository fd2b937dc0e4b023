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
	TooFast          // over the rate of its address
	TooMany          // over the connections of its address
	TooBad           // over the bad handshakes of its address
)

// PeerLimits bounds what one address may do; 0 means unlimited.
type PeerLimits struct {
	ConnectionsMax int
	Rate           float64 // new connections per second
	Burst          int
	BadRate        float64 // handshakes to blame it for, per second
	BadBurst       int
}

// Peers counts the connections and the rate of connecting of every address; an IPv6 peer counts by
// its /64. Its memory is bounded: addresses with connections are as many as there are connections,
// others at most idlePeersMax. It is safe for concurrent use.
type Peers struct {
	mu     sync.Mutex
	limits PeerLimits
	peers  map[netip.Addr]*peer
	// Peers without connections, the one that lost its last first.
	oldest, newest *peer
	idle           int
}

type peer struct {
	addr        netip.Addr
	connections int
	bucket      Bucket
	bad         Bucket
	prev, next  *peer // in the idle list, while connections is 0
}

// NewPeers returns an empty table.
func NewPeers(limits PeerLimits) *Peers {
	return &Peers{limits: limits, peers: map[netip.Addr]*peer{}}
}

// SetLimits changes the limits; a changed rate begins with full buckets.
func (t *Peers) SetLimits(limits PeerLimits) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if limits.Rate != t.limits.Rate || limits.Burst != t.limits.Burst {
		for _, p := range t.peers {
			p.bucket = NewBucket(limits.Rate, limits.Burst)
		}
	}
	if limits.BadRate != t.limits.BadRate || limits.BadBurst != t.limits.BadBurst {
		for _, p := range t.peers {
			p.bad = NewBucket(limits.BadRate, limits.BadBurst)
		}
	}
	t.limits = limits
}

// Admit judges a new connection of addr and counts it if it is admitted; Release must follow then.
func (t *Peers) Admit(addr netip.Addr, now time.Duration) Verdict {
	return t.admit(addr, now, true)
}

// Enter counts a new connection of addr without judging it; Release must follow.
func (t *Peers) Enter(addr netip.Addr, now time.Duration) { t.admit(addr, now, false) }

func (t *Peers) admit(addr netip.Addr, now time.Duration, limited bool) Verdict {
	addr = key(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
	p := t.enterLocked(addr)
	if limited {
		if t.limits.ConnectionsMax > 0 && p.connections >= t.limits.ConnectionsMax {
			return TooMany
		}
		if p.bad.Empty(now) {
			return TooBad
		}
		if !p.bucket.Allow(now) {
			return TooFast
		}
	}
	if p.connections == 0 {
		t.removeIdle(p)
	}
	p.connections++
	return Admitted
}

// enterLocked returns the entry of an address.
func (t *Peers) enterLocked(addr netip.Addr) *peer {
	p := t.peers[addr]
	if p == nil {
		p = &peer{
			addr: addr, bucket: NewBucket(t.limits.Rate, t.limits.Burst),
			bad: NewBucket(t.limits.BadRate, t.limits.BadBurst),
		}
		t.peers[addr] = p
		t.pushIdle(p)
	}
	return p
}

// Blame notes a bad handshake of addr: of those that are admitted no more than the rate may be bad.
func (t *Peers) Blame(addr netip.Addr, now time.Duration) {
	addr = key(addr)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
	t.enterLocked(addr).bad.Allow(now)
}

// Release takes back one admitted connection of addr.
func (t *Peers) Release(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[key(addr)]
	if p == nil || p.connections == 0 {
		return
	}
	p.connections--
	if p.connections == 0 {
		t.pushIdle(p)
	}
}

// Len is the number of addresses in the table.
func (t *Peers) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.peers)
}

// forget drops idle peers that a new entry would not differ from, and the oldest one when there are
// too many. Two at a time keep up with one new entry per call.
func (t *Peers) forget(now time.Duration) {
	for range 2 {
		p := t.oldest
		if p == nil || !(p.bucket.Full(now) && p.bad.Full(now)) && t.idle <= idlePeersMax {
			return
		}
		t.removeIdle(p)
		delete(t.peers, p.addr)
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

// key is what an address counts by.
func key(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() && !addr.IsLoopback() {
		if p, err := addr.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}
