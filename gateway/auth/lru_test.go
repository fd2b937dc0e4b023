package auth

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestLRUAgainstModel(t *testing.T) {
	type entry struct {
		key, value int
		until      time.Time
	}
	const entriesMax = 8
	rnd := rand.New(rand.NewPCG(1, 2))
	l := newLRU[int, int](entriesMax)
	var model []entry // used last comes last
	now := time.Now()
	for step := range 20000 {
		key := rnd.IntN(16)
		now = now.Add(time.Duration(rnd.IntN(3)) * time.Second)
		at := slices.IndexFunc(model, func(e entry) bool { return e.key == key })
		switch rnd.IntN(3) {
		case 0:
			if at >= 0 {
				model = slices.Delete(model, at, at+1)
			} else if len(model) == entriesMax {
				model = slices.Delete(model, 0, 1)
			}
			e := entry{key, step, now.Add(time.Duration(rnd.IntN(20)) * time.Second)}
			model = append(model, e)
			l.put(key, step, e.until)
		case 1:
			if at >= 0 {
				model = slices.Delete(model, at, at+1)
			}
			l.remove(key)
		case 2:
			want, wantOK := 0, false
			if at >= 0 {
				e := model[at]
				model = slices.Delete(model, at, at+1)
				if now.Before(e.until) {
					model = append(model, e)
					want, wantOK = e.value, true
				}
			}
			if got, ok := l.get(key, now); got != want || ok != wantOK {
				t.Fatalf("step %d: get %d: %d %v, want %d %v", step, key, got, ok, want, wantOK)
			}
		}
		if len(l.entries) != len(model) {
			t.Fatalf("step %d: %d entries, want %d", step, len(l.entries), len(model))
		}
		i := len(model)
		for e := l.root.next; e != &l.root; e = e.next {
			i--
			if i < 0 || e.key != model[i].key {
				t.Fatalf("step %d: the order is wrong at %d", step, e.key)
			}
		}
	}
}
