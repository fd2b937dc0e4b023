package limits

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestH10_networks_of_IPv6: a /56 and a /48 have limits as a whole, one for each limit of
// an address, and no more; others have theirs.
func TestH10_networks_of_IPv6(t *testing.T) {
	const each = 2 // what an address may do
	limits := map[string]struct {
		limits PeerLimits
		over   Verdict
		act    func(*Peers, netip.Addr) // uses the limit up by one
	}{
		"connections": {PeerLimits{ConnectionsMax: each}, TooMany, func(*Peers, netip.Addr) {}},
		"rate": {PeerLimits{Rate: 1, Burst: each}, TooFast, func(p *Peers, a netip.Addr) {
			p.Release(a)
		}},
		"bad": {PeerLimits{BadRate: 1, BadBurst: each}, TooBad, func(p *Peers, a netip.Addr) {
			p.Blame(a, 0)
			p.Release(a)
		}},
	}
	networks := map[string]struct {
		address func(i int) string
		want    int // connections, one for each /64
	}{
		"one /64": {func(i int) string { return fmt.Sprintf("2001:db8:1:100::%x", i+1) }, each},
		"one /56": {func(i int) string { return fmt.Sprintf("2001:db8:1:1%02x::1", i) },
			Aggregate56 * each},
		"one /48": {func(i int) string { return fmt.Sprintf("2001:db8:1:%02x00::1", i) },
			Aggregate48 * each},
		"many /48": {func(i int) string { return fmt.Sprintf("2001:db8:%x::1", i+1) }, 200},
		"IPv4":     {func(i int) string { return fmt.Sprintf("198.51.100.%d", i+1) }, 200},
	}
	for limit, l := range limits {
		for network, n := range networks {
			t.Run(limit+", "+network, func(t *testing.T) {
				p := NewPeers(l.limits)
				var v Verdict
				admitted := 0
				for ; admitted < 200; admitted++ {
					a := netip.MustParseAddr(n.address(admitted))
					if v = p.Admit(a, 0); v != Admitted {
						break
					}
					l.act(p, a)
				}
				if admitted != n.want || admitted < 200 && v != l.over {
					t.Errorf("%d admitted, then verdict %d; want %d, %d", admitted, v, n.want, l.over)
				}
				if p.Admit(netip.MustParseAddr("2001:db8:ffff::1"), 0) != Admitted {
					t.Error("another network is refused")
				}
			})
		}
	}
}

// What one level refuses costs the others nothing, and what is released is released on each.
func TestNetworksAreChargedTogether(t *testing.T) {
	p := NewPeers(PeerLimits{ConnectionsMax: 2, Rate: 1, Burst: 2})
	same := netip.MustParseAddr("2001:db8::1")
	for range 2 {
		if p.Admit(same, 0) != Admitted {
			t.Fatal("refused within the limits")
		}
	}
	for range 100 {
		if p.Admit(same, 0) == Admitted {
			t.Fatal("admitted past the limits")
		}
	}
	for i := 1; i < Aggregate56; i++ {
		a := netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", i))
		for range 2 {
			if p.Admit(a, 0) != Admitted {
				t.Fatalf("a refused address has used up what network %d may do", i)
			}
		}
	}
	last := netip.MustParseAddr("2001:db8:0:ff::1")
	if p.Admit(last, 0) != TooMany {
		t.Fatal("the /56 has no limit")
	}
	p.Release(same)
	if v := p.Admit(last, time.Hour); v != Admitted {
		t.Errorf("%d after a release", v)
	}
}

// A /48 that is refused cannot fill the table with its networks.
func TestRefusedNetworkFillsNoTable(t *testing.T) {
	p := NewPeers(PeerLimits{Rate: 1, Burst: 1})
	for i := range 1 << 16 {
		a := netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", i))
		if p.Admit(a, 0) == Admitted {
			p.Release(a)
		}
	}
	if n := p.Len(); n > 3*Aggregate48 {
		t.Errorf("%d entries", n)
	}
}
