package workers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ledger notes what became of jobs.
type ledger struct {
	mu   sync.Mutex
	ends []string
}

func (l *ledger) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends = append(l.ends, fmt.Sprintf(format, args...))
}

func (l *ledger) take() (ends []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ends, l.ends = l.ends, nil
	return ends
}

// chore is a job that waits for hold, if there is one.
type chore struct {
	ledger *ledger
	name   string
	hold   <-chan struct{}
	ticket Ticket[string]
	panics bool
}

func (c *chore) Run() {
	c.ledger.note("%s runs", c.name)
	if c.panics {
		panic(c.name)
	}
	if c.hold != nil {
		<-c.hold
	}
}

func (c *chore) Dropped(why Drop) {
	c.ledger.note("%s %s", c.name, [...]string{"kept", "full", "share", "late", "closed"}[why])
}

func (c *chore) OnPanic(v any, stack []byte) { c.ledger.note("%v panicked", v) }

// office is a Fair in a bubble of time, whose jobs are in a ledger.
type office struct {
	*Fair[string]
	ledger
	t *testing.T
}

func inOffice(t *testing.T, cfg FairConfig, test func(o *office)) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{Fair: NewFair[string](cfg), t: t}
		test(o)
		if err := o.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func (o *office) put(key, name string, hold <-chan struct{}) (*chore, Drop) {
	c := &chore{ledger: &o.ledger, name: name, hold: hold}
	return c, o.Put(&c.ticket, c, key)
}

// want waits until all is quiet and checks what has become of jobs since the last time.
func (o *office) want(ends ...string) {
	o.t.Helper()
	synctest.Wait()
	if got := o.take(); strings.Join(got, ", ") != strings.Join(ends, ", ") {
		o.t.Errorf("%v; want %v", got, ends)
	}
}

func fairConfig(workers, queue int) FairConfig {
	return FairConfig{Workers: workers, Background: 1, QueueMax: queue, WaitMax: time.Second}
}

func TestFairTakesTurnsByKey(t *testing.T) {
	inOffice(t, fairConfig(1, 100), func(o *office) {
		hold := make(chan struct{})
		o.put("a", "a0", hold)
		o.want("a0 runs")
		for _, name := range []string{"a1", "a2", "a3", "b1", "a4", "b2", "c1"} {
			o.put(name[:1], name, nil)
		}
		close(hold)
		o.want("a1 runs", "b1 runs", "c1 runs", "a2 runs", "b2 runs", "a3 runs", "a4 runs")
	})
}

func TestFairQueueIsShared(t *testing.T) {
	inOffice(t, fairConfig(1, 6), func(o *office) {
		hold := make(chan struct{})
		o.put("a", "a0", hold)
		o.want("a0 runs")
		for i := range 6 { // alone, a key may have all of it
			o.put("a", fmt.Sprint("a", i+1), nil)
		}
		o.want()
		if _, why := o.put("a", "a7", nil); why != DropShare {
			t.Errorf("the one with most gets %d", why)
		}
		o.put("b", "b1", nil)
		o.put("b", "b2", nil)
		o.want("a6 share", "a5 share")
		o.put("c", "c1", nil)
		o.want("a4 share")
		// a has 3, b 2, c 1.
		o.put("c", "c2", nil)
		o.want("a3 share")
		if _, why := o.put("b", "b3", nil); why != DropShare {
			t.Errorf("one with as many as any gets %d", why)
		}
		o.put("d", "d1", nil)
		synctest.Wait()
		if ends := o.take(); len(ends) != 1 || !strings.HasSuffix(ends[0], "2 share") {
			t.Errorf("%v; want the newest of one that has two", ends)
		}
		if s := o.Stats(); s.Waiting != 6 || s.Dropped != 7 || s.Running != 1 {
			t.Errorf("%+v", s)
		}
		close(hold)
	})
}

func TestFairQueueOfStrangersIsFull(t *testing.T) {
	inOffice(t, fairConfig(1, 2), func(o *office) {
		hold := make(chan struct{})
		o.put("a", "a0", hold)
		o.want("a0 runs")
		o.put("a", "a1", nil)
		o.put("b", "b1", nil)
		if _, why := o.put("c", "c1", nil); why != DropFull {
			t.Errorf("the third gets %d", why)
		}
		close(hold)
		o.want("a1 runs", "b1 runs")
	})
}

func TestFairWaitIsBounded(t *testing.T) {
	inOffice(t, fairConfig(1, 100), func(o *office) {
		hold := make(chan struct{})
		o.put("a", "a0", hold)
		o.want("a0 runs")
		o.put("a", "a1", nil)
		time.Sleep(600 * time.Millisecond)
		o.put("b", "b1", nil)
		time.Sleep(399 * time.Millisecond)
		o.want()
		time.Sleep(time.Millisecond)
		o.want("a1 late")
		time.Sleep(600 * time.Millisecond)
		o.want("b1 late")
		o.put("c", "c1", nil)
		close(hold)
		o.want("c1 runs")
		time.Sleep(time.Hour) // its wait has ended well
		o.want()
	})
}

func TestFairRemove(t *testing.T) {
	inOffice(t, fairConfig(1, 100), func(o *office) {
		hold := make(chan struct{})
		first, _ := o.put("a", "a0", hold)
		o.want("a0 runs")
		second, _ := o.put("a", "a1", nil)
		o.put("a", "a2", nil)
		if o.Remove(&first.ticket) || !o.Remove(&second.ticket) || o.Remove(&second.ticket) {
			t.Error("only a job that waits can be taken back, once")
		}
		close(hold)
		o.want("a2 runs")
	})
}

func TestFairBackground(t *testing.T) {
	inOffice(t, FairConfig{Workers: 2, Background: 1, QueueMax: 3, WaitMax: time.Second},
		func(o *office) {
			hold := make(chan struct{})
			behind := func(name string) Drop {
				c := &chore{ledger: &o.ledger, name: name, hold: hold}
				return o.PutBackground(&c.ticket, c)
			}
			behind("x0")
			behind("x1")
			o.want("x0 runs")
			_, _ = o.put("a", "a0", nil) // the other worker is for those in front
			o.want("a0 runs")
			behind("x2")
			behind("x3")
			if behind("x4") != DropShare {
				t.Error("the queue has no bound for the background")
			}
			o.put("a", "a1", hold)
			o.want("x3 share", "a1 runs")
			close(hold)
			o.want("x1 runs", "x2 runs")
		})
}

func TestFairPanicCostsOneJob(t *testing.T) {
	inOffice(t, fairConfig(1, 100), func(o *office) {
		c := &chore{ledger: &o.ledger, name: "a0", panics: true}
		o.Put(&c.ticket, c, "a")
		o.want("a0 runs", "a0 panicked")
		o.put("a", "a1", nil)
		o.want("a1 runs")
	})
}

func TestFairClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{Fair: NewFair[string](fairConfig(1, 100)), t: t}
		hold := make(chan struct{})
		o.put("a", "a0", hold)
		o.want("a0 runs")
		o.put("a", "a1", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if o.Close(ctx) == nil {
			t.Error("closed over a job that runs")
		}
		o.want("a1 closed")
		if _, why := o.put("a", "a2", nil); why != DropClosed {
			t.Errorf("a closed one says %d", why)
		}
		close(hold)
		if err := o.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestFairLosesNothing does everything at random: each job ends once, and the lists agree.
func TestFairLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		l := new(ledger)
		f := NewFair[string](FairConfig{Workers: 3, Background: 1, QueueMax: 40, WaitMax: time.Second})
		want, kept := 0, []*chore{}
		for i := range 5000 {
			hold := make(chan struct{})
			time.AfterFunc(time.Duration(random.IntN(500))*time.Millisecond, func() { close(hold) })
			c := &chore{ledger: l, name: fmt.Sprint(i), hold: hold}
			why := Kept
			if random.IntN(4) == 0 {
				why = f.PutBackground(&c.ticket, c)
			} else {
				why = f.Put(&c.ticket, c, fmt.Sprint(min(random.IntN(12), random.IntN(12))))
			}
			if why == Kept {
				want++
				kept = append(kept, c)
			}
			if random.IntN(10) == 0 && len(kept) > 0 && f.Remove(&kept[random.IntN(len(kept))].ticket) {
				want--
			}
			if random.IntN(3) == 0 {
				time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
			}
			checkFair(t, f)
		}
		if err := f.Close(t.Context()); err != nil {
			t.Error(err)
		}
		ends := l.take()
		if slices.Sort(ends); len(slices.Compact(ends)) != want {
			t.Errorf("%d ends of %d jobs", len(ends), want)
		}
		if len(f.flows) != 0 || f.waiting != 0 || f.longest != 0 || f.background != 0 || f.runners != 0 {
			t.Errorf("something is left: %+v", f.Stats())
		}
	})
}

// checkFair checks that what a Fair counts is what is in its lists.
func checkFair(t *testing.T, f *Fair[string]) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	longest, waiting, flows := 0, 0, 0
	for size := range f.sizes {
		for n := f.sizes[size].root.next; n != nil && n != &f.sizes[size].root; n = n.next {
			if n.value.count != size {
				t.Fatalf("a flow of %d is among those of %d", n.value.count, size)
			}
			longest = max(longest, size)
			waiting += size
			flows++
		}
	}
	if longest != f.longest || waiting != f.waiting || f.waiting > f.cfg.QueueMax {
		t.Fatalf("%d wait, %d of one; it counts %d and %d", waiting, longest, f.waiting, f.longest)
	}
	if f.behind.count > 0 {
		flows--
	}
	if flows != len(f.flows) {
		t.Fatalf("%d flows; it knows %d", flows, len(f.flows))
	}
}
