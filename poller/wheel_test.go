package poller

import (
	"math/rand/v2"
	"testing"
	"time"
)

type node struct {
	timer timerLinks[*node]
	fired int
}

func (n *node) links() *timerLinks[*node] { return &n.timer }

// TestWheelAgainstModel arms and disarms at random, in steps that also skip whole turns of the wheel,
// and compares with a list of deadlines.
func TestWheelAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var w wheel[*node]
	nodes := make([]node, 300)
	deadline := map[*node]time.Duration{}
	now := time.Duration(0)
	for range 20000 {
		n := &nodes[rnd.IntN(len(nodes))]
		switch rnd.IntN(10) {
		case 0, 1, 2, 3:
			d := time.Duration(rnd.Int64N(int64(2 * wheelSlots * TimerTick)))
			w.arm(n, now, d)
			deadline[n] = now + d
		case 4:
			w.disarm(n)
			delete(deadline, n)
		case 5:
			now += time.Duration(rnd.Int64N(int64(3 * wheelSlots * TimerTick)))
		default:
			now += time.Duration(rnd.Int64N(int64(TimerTick)))
		}
		w.expire(now, func(n *node) {
			d, set := deadline[n]
			if !set || d > now {
				t.Fatalf("fired at %v, deadline %v, set %v", now, d, set)
			}
			delete(deadline, n)
		})
		for n, d := range deadline {
			if d+2*TimerTick <= now {
				t.Fatalf("deadline %v of %p not fired at %v", d, n, now)
			}
		}
		if w.set != len(deadline) {
			t.Fatalf("wheel holds %d timers, want %d", w.set, len(deadline))
		}
		if wait := w.wait(now, time.Second); wait < 0 || wait > time.Second {
			t.Fatalf("wait %v", wait)
		}
	}
}

func TestWheelCallbackMayDisarmTheNext(t *testing.T) {
	var w wheel[*node]
	var a, b node
	w.arm(&a, 0, TimerTick)
	w.arm(&b, 0, TimerTick)
	w.expire(TimerTick, func(n *node) {
		n.fired++
		w.disarm(&a)
		w.disarm(&b)
	})
	if a.fired+b.fired != 1 {
		t.Errorf("fired %d and %d times, want one of them once", a.fired, b.fired)
	}
}

func TestWheelGoesOnAfterAPanic(t *testing.T) {
	var w wheel[*node]
	var a, b node
	w.arm(&a, 0, TimerTick)
	w.arm(&b, 0, TimerTick)
	func() {
		defer func() { recover() }()
		w.expire(TimerTick, func(n *node) { panic("boom") })
	}()
	w.expire(TimerTick, func(n *node) { n.fired++ })
	if a.fired+b.fired != 1 {
		t.Error("the timer behind a panic was lost")
	}
}
