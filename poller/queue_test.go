package poller

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestQueueKeepsOrderAndCounts writes, sends and drops at random and compares with a flat model.
func TestQueueKeepsOrderAndCounts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var pool queuePool
	q := pool.get(0)
	var model []segment // p is the unsent part
	partial := false    // a byte of model[0] has left
	for i := range 20000 {
		switch rnd.IntN(4) {
		case 0:
			b := fmt.Appendf(nil, "<copy %d>", i)
			q.copy(&pool, b, 0)
			model = append(model, segment{p: b})
		case 1:
			b := fmt.Appendf(nil, "<shared %d>", i)
			q.share(b, 1, 0)
			model = append(model, segment{p: b, shared: true})
		case 2:
			n := rnd.IntN(q.bytes + 1)
			if n > 60 {
				n = 60
			}
			q.advance(&pool, n, 0)
			for n > 0 {
				k := min(n, len(model[0].p))
				model[0].p, n = model[0].p[k:], n-k
				partial = len(model[0].p) > 0
				if !partial {
					model = model[1:]
				}
			}
		case 3:
			if rnd.IntN(20) != 0 {
				continue
			}
			want := rnd.IntN(100)
			messages, dropped := q.dropOldest(want)
			var kept []segment
			gone, n := 0, 0
			for j, s := range model {
				if s.shared && gone < want && !(j == 0 && partial) {
					gone += len(s.p)
					n++
					continue
				}
				kept = append(kept, s)
			}
			if gone != dropped || n != messages {
				t.Fatalf("dropped %d bytes in %d messages, want %d in %d", dropped, messages, gone, n)
			}
			model = kept
		}
		var want, got []byte
		for _, s := range model {
			want = append(want, s.p...)
		}
		for j := 0; q.pending(j) != nil; j++ {
			got = append(got, q.pending(j)...)
		}
		if !bytes.Equal(got, want) || q.bytes != len(want) {
			t.Fatalf("step %d: queue holds %q (%d), want %q", i, got, q.bytes, want)
		}
	}
}

func TestQueueDescribe(t *testing.T) {
	var pool queuePool
	var none *queue
	if none.describe(5) != (Queue{}) {
		t.Error("no queue is not described as empty")
	}
	q := pool.get(10)
	q.share([]byte("abc"), 2, 10)
	q.copy(&pool, []byte("de"), 20)
	q.advance(&pool, 1, 15)
	want := Queue{Bytes: 4, Messages: 3, Stalled: 15 * TimerTick, Age: 20 * TimerTick}
	if got := q.describe(30); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestQueueReusesItsMemory(t *testing.T) {
	var pool queuePool
	frame := make([]byte, 100)
	allocs := testing.AllocsPerRun(100, func() {
		q := pool.get(0)
		q.share(frame, 1, 0)
		q.copy(&pool, frame, 0)
		q.copy(&pool, frame, 0)
		q.advance(&pool, 300, 0)
		pool.put(q)
	})
	if allocs != 0 {
		t.Errorf("%v allocations to queue and send a frame, want 0", allocs)
	}
}
