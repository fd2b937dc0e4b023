package tlsio

import (
	"testing"
	"time"
)

// world is a network with clients that answer at a rate, in order.
type world struct {
	perSecond float64
	rtt       time.Duration
}

// storm plays a storm of n clients against a pace, in steps of a millisecond, and returns how many
// handshakes took longer than the timeout, and how long all took.
func (w world) storm(p *pace, n int) (late int, took time.Duration) {
	begin := time.Unix(0, 0)
	now := begin
	var begun []time.Time // of those under way
	credit := 0.0
	for waiting := n; waiting > 0 || len(begun) > 0; {
		now = now.Add(time.Millisecond)
		for credit += w.perSecond / 1000; credit >= 1; credit-- {
			if len(begun) == 0 || now.Sub(begun[0]) < w.rtt {
				credit = 0
				break
			}
			if d := now.Sub(begun[0]); d > p.timeout {
				late++
			} else {
				p.end(now, d, waiting > 0 && len(begun) > p.window/2)
			}
			begun = begun[1:]
		}
		for ; waiting > 0 && len(begun) < p.window; waiting-- {
			p.begin(now, len(begun), waiting > 1)
			begun = append(begun, now)
		}
	}
	return late, now.Sub(begin)
}

// TestR05_pace_of_a_storm: whatever the clients can take, and however far they are, next to nothing
// is begun in vain, and they are kept busy.
func TestR05_pace_of_a_storm(t *testing.T) {
	const clients = 10_000
	for name, w := range map[string]world{
		"fast":          {3000, time.Millisecond},
		"loaded":        {500, time.Millisecond},
		"overloaded":    {100, 10 * time.Millisecond},
		"far":           {3000, 150 * time.Millisecond},
		"far and slow":  {300, 300 * time.Millisecond},
		"very fast":     {50_000, time.Millisecond},
		"very far away": {3000, 450 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPace(3*time.Second, 1024, 4)
			for wave := range 2 {
				late, took := w.storm(&p, clients)
				ideal := time.Duration(clients / min(w.perSecond, 1024/w.rtt.Seconds()) * float64(time.Second))
				if late > clients/100 {
					t.Errorf("wave %d: %d were too late", wave, late)
				}
				if took > ideal*13/10+5*time.Second {
					t.Errorf("wave %d: took %v, want %v", wave, took, ideal)
				}
				want := int(min(w.perSecond, 1024/w.rtt.Seconds()) / 2)
				if got := p.waitingMax(4096); got > want+want/2+windowMin {
					t.Errorf("wave %d: %d may wait, want %d", wave, got, want)
				}
			}
		})
	}
}

func TestPaceKeepsWithinItsBounds(t *testing.T) {
	p := newPace(3*time.Second, 8, 1)
	if p.window != 8 || p.waitingMax(10) != 10 {
		t.Errorf("%+v", p)
	}
	now := time.Unix(0, 0)
	for range 100 {
		now = now.Add(10 * time.Second)
		p.end(now, 3*time.Second, true)
	}
	if p.window != 8 || p.patience() != p.timeout/4 || !p.late(time.Second) {
		t.Errorf("after slow ones: %+v", p)
	}
	for range 1000 {
		p.end(now, time.Millisecond, true)
	}
	if p.window != 8 || p.patience() != p.timeout/8 || p.late(100*time.Millisecond) {
		t.Errorf("after quick ones: %+v", p)
	}
}
