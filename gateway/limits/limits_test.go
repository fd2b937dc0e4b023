package limits

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
	"unsafe"
)

func TestBucketKeepsRateAndBurst(t *testing.T) {
	rows := []struct {
		name  string
		rate  float64
		burst int
	}{{"chat", 50, 100}, {"control", 10, 20}, {"one", 1, 1}, {"fast", 1e6, 10}}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			b := NewBucket(r.rate, r.burst)
			now, allowed := time.Duration(0), 0
			for b.Allow(now) {
				allowed++
			}
			if allowed != r.burst {
				t.Errorf("burst of %d, want %d", allowed, r.burst)
			}
			// Hammered for ten seconds it lets through the rate, within a token.
			allowed = 0
			step := time.Duration(float64(time.Second) / r.rate / 4)
			for ; now < 10*time.Second && allowed < 1e6; now += step {
				if b.Allow(now) {
					allowed++
				}
			}
			if want := r.rate * now.Seconds(); float64(allowed) < want-2 || float64(allowed) > want+2 {
				t.Errorf("%d in %v, want %.0f", allowed, now, want)
			}
			for b.Allow(now) {
			}
			if b.Full(now) || !b.Full(now+time.Hour) {
				t.Error("Full does not tell a used bucket from a rested one")
			}
		})
	}
}

func TestBucketZeroIsUnlimited(t *testing.T) {
	var b Bucket
	for range 1000 {
		if !b.Allow(0) {
			t.Fatal("refused")
		}
	}
	if size := unsafe.Sizeof(b); size != 16 {
		t.Errorf("a bucket takes %d bytes, want 16", size)
	}
}

func TestBucketAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const rate, burst = 8.0, 5 // an interval without a rounding error
	b := NewBucket(rate, burst)
	tokens, last, now := float64(burst), time.Duration(0), time.Duration(0)
	for i := range 10000 {
		now += time.Duration(rnd.IntN(16)) * time.Second / 64
		tokens = min(burst, tokens+rate*(now-last).Seconds())
		last = now
		want := tokens >= 1
		if want {
			tokens--
		}
		if got := b.Allow(now); got != want {
			t.Fatalf("step %d: %v, want %v (%v tokens)", i, got, want, tokens)
		}
	}
}

func TestPeers(t *testing.T) {
	limits := PeerLimits{ConnectionsMax: 2, Rate: 1, Burst: 3}
	rows := []struct {
		name  string
		addrs []string
		want  []Verdict
	}{
		{"connections", []string{"9.9.9.9", "9.9.9.9", "9.9.9.9", "9.9.9.8"},
			[]Verdict{Admitted, Admitted, TooMany, Admitted}},
		{"mapped", []string{"9.9.9.9", "::ffff:9.9.9.9", "9.9.9.9"},
			[]Verdict{Admitted, Admitted, TooMany}},
		{"v6 by 64", []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"},
			[]Verdict{Admitted, Admitted, TooMany, Admitted}},
		{"loopback", []string{"::1", "::1", "::1"},
			[]Verdict{Admitted, Admitted, TooMany}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			p := NewPeers(limits)
			for i, a := range r.addrs {
				if got := p.Admit(netip.MustParseAddr(a), 0); got != r.want[i] {
					t.Errorf("%s (%d): %v, want %v", a, i, got, r.want[i])
				}
			}
		})
	}
}

// Who enters without being judged counts like everybody else.
func TestPeersEnter(t *testing.T) {
	p := NewPeers(PeerLimits{ConnectionsMax: 2, Rate: 1, Burst: 2})
	a := netip.MustParseAddr("127.0.0.1")
	for range 5 {
		p.Enter(a, 0)
	}
	if got := p.Admit(a, 0); got != TooMany {
		t.Errorf("judged after five have entered: %v", got)
	}
	for range 5 {
		p.Release(a)
	}
	if got := p.Admit(a, 0); got != Admitted {
		t.Errorf("judged after all have left: %v", got)
	}
}

func TestPeersRateAndRelease(t *testing.T) {
	p := NewPeers(PeerLimits{ConnectionsMax: 10, Rate: 1, Burst: 3})
	a := netip.MustParseAddr("9.9.9.9")
	for range 3 {
		if p.Admit(a, 0) != Admitted {
			t.Fatal("refused within the burst")
		}
		p.Release(a)
	}
	if p.Admit(a, 0) != TooFast {
		t.Error("admitted past the burst, though every connection had left")
	}
	if p.Admit(a, time.Second) != Admitted {
		t.Error("refused after a second")
	}
	p.SetLimits(PeerLimits{ConnectionsMax: 1})
	if p.Admit(a, time.Second) != TooMany {
		t.Error("the connection is not counted after new limits")
	}
	p.Release(a)
	p.Release(a) // one too many does no harm
	if p.Admit(a, time.Second) != Admitted {
		t.Error("refused after a release")
	}
}

func TestPeersMemoryIsBounded(t *testing.T) {
	p := NewPeers(PeerLimits{Rate: 1, Burst: 1})
	var ip [4]byte
	for i := range uint32(1_000_000) {
		binary.BigEndian.PutUint32(ip[:], 1<<24+i)
		a := netip.AddrFrom4(ip)
		if p.Admit(a, 0) != Admitted {
			t.Fatalf("address %d refused", i)
		}
		p.Release(a)
	}
	if n := p.Len(); n > idlePeersMax+2 {
		t.Errorf("%d addresses remembered", n)
	}
	for range idlePeersMax {
		p.Admit(netip.MustParseAddr("1.2.3.4"), time.Hour)
	}
	if n := p.Len(); n > 2 {
		t.Errorf("%d addresses remembered after an hour", n)
	}
}

func TestBucketTakesMany(t *testing.T) {
	const rate, burst = 1000, 100
	b := NewBucket(rate, burst)
	if !b.Take(1000, 0) {
		t.Fatal("the first is refused: a message larger than the burst could never be sent")
	}
	if b.Take(1, 0) || !b.Empty(0) {
		t.Error("an overdrawn bucket gives more")
	}
	// 1000 taken, 100 there: after 0.9 s it is even, a token later there is one.
	if b.Take(1, 900*time.Millisecond) || !b.Take(1, 902*time.Millisecond) {
		t.Error("what was overdrawn is not paid back at the rate")
	}
	var unlimited Bucket
	if !unlimited.Take(1<<30, 0) || unlimited.Empty(0) {
		t.Error("the zero bucket is not unlimited")
	}
}

func TestBlame(t *testing.T) {
	peers := NewPeers(PeerLimits{BadRate: 1, BadBurst: 3})
	guesser := netip.MustParseAddr("2001:db8::1")
	neighbour := netip.MustParseAddr("2001:db8::2") // in the same /64
	stranger := netip.MustParseAddr("198.51.100.1")
	for range 3 {
		if peers.Admit(guesser, 0) != Admitted {
			t.Fatal("refused before the burst is used")
		}
		peers.Blame(guesser, 0)
	}
	if peers.Admit(guesser, 0) != TooBad || peers.Admit(neighbour, 0) != TooBad {
		t.Error("who has used its burst is admitted")
	}
	if peers.Admit(stranger, 0) != Admitted {
		t.Error("others are refused, too")
	}
	if peers.Admit(guesser, 1100*time.Millisecond) != Admitted {
		t.Error("it is never forgiven")
	}
	peers.SetLimits(PeerLimits{})
	if peers.Admit(guesser, 0) != Admitted {
		t.Error("a limit that was taken away still holds")
	}
}
