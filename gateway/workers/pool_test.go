package workers

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// owner notes what a pool tells it.
type owner struct {
	half   atomic.Int32
	panics chan any
}

func (o *owner) OnHalfEmpty() { o.half.Add(1) }
func (o *owner) OnPanic(v any, stack []byte) {
	if len(stack) == 0 {
		panic("no stack")
	}
	o.panics <- v
}

type taskFunc func()

func (f taskFunc) Run() { f() }

func start(t testing.TB, workers int) *Pool {
	p, err := New(Config{Workers: workers, InboxTasksMax: 16, InboxBytesMax: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(20 * time.Second); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestTasksOfAnInboxRunInOrder(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		t.Run(fmt.Sprint("workers=", workers), func(t *testing.T) {
			p := start(t, workers)
			const inboxes, tasks = 100, 200
			var done sync.WaitGroup
			done.Add(inboxes * tasks)
			for range inboxes {
				go func() {
					in := new(Inbox)
					in.Init(&owner{})
					next := 0 // guarded by the promise that tasks run one at a time
					for i := range tasks {
						p.Put(in, taskFunc(func() {
							if next != i {
								t.Errorf("task %d ran as number %d", i, next)
							}
							next++
							done.Done()
						}), 1)
					}
				}()
			}
			done.Wait()
		})
	}
}

func TestR02NothingIsLostWhileEveryWorkerBlocks(t *testing.T) {
	p := start(t, 4)
	release := make(chan struct{})
	var ran atomic.Int32
	const inboxes = 10000
	var done sync.WaitGroup
	done.Add(inboxes)
	for range inboxes {
		in := new(Inbox)
		in.Init(&owner{})
		p.Put(in, taskFunc(func() {
			<-release
			ran.Add(1)
			done.Done()
		}), 0)
	}
	if st := p.Stats(); st.Running > 4 || st.Queued != inboxes {
		t.Errorf("while blocked: %+v", st)
	}
	close(release)
	done.Wait()
	if ran.Load() != inboxes {
		t.Errorf("%d of %d tasks ran", ran.Load(), inboxes)
	}
}

func TestR03TasksMayPutTasks(t *testing.T) {
	p := start(t, 1)
	done := make(chan struct{})
	a, b := new(Inbox), new(Inbox)
	a.Init(&owner{})
	b.Init(&owner{})
	p.Put(a, taskFunc(func() {
		p.Put(b, taskFunc(func() {
			p.Put(a, taskFunc(func() { close(done) }), 0)
		}), 0)
	}), 0)
	<-done
}

func TestFullAndHalfEmpty(t *testing.T) {
	p := start(t, 1)
	o := &owner{}
	in := new(Inbox)
	in.Init(o)
	step, done := make(chan struct{}), make(chan struct{}, 100)
	put := func(size int) bool {
		return p.Put(in, taskFunc(func() { <-step; done <- struct{}{} }), size)
	}
	for i := range 17 { // one of them is being run, or will be
		if full := put(1); full && i < 15 {
			t.Errorf("full with %d tasks", i+1)
		}
	}
	if !put(1) {
		t.Error("not full with 18 tasks")
	}
	for range 18 {
		step <- struct{}{}
		<-done
	}
	if !put(2000) {
		t.Error("not full with 2000 bytes")
	}
	step <- struct{}{}
	<-done
	if err := p.Close(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if n := o.half.Load(); n != 2 {
		t.Errorf("OnHalfEmpty called %d times, want 2", n)
	}
}

func TestP04PanicEndsItsInboxOnly(t *testing.T) {
	p := start(t, 2)
	o := &owner{panics: make(chan any, 1)}
	in, other := new(Inbox), new(Inbox)
	in.Init(o)
	other.Init(&owner{})
	gate := make(chan struct{})
	p.Put(in, taskFunc(func() { <-gate; panic("boom") }), 0)
	p.Put(in, taskFunc(func() { t.Error("a task ran behind a panic") }), 0)
	close(gate)
	if v := <-o.panics; v != "boom" {
		t.Errorf("panic %v", v)
	}
	p.Put(in, taskFunc(func() { t.Error("a task ran in a discarded inbox") }), 0)
	done := make(chan struct{})
	p.Put(other, taskFunc(func() { close(done) }), 0)
	<-done
	if st := p.Stats(); st.Panics != 1 {
		t.Errorf("%+v", st)
	}
}

func TestDiscardDropsWhatHasNotBegun(t *testing.T) {
	p := start(t, 1)
	in := new(Inbox)
	in.Init(&owner{})
	began, gate := make(chan struct{}), make(chan struct{})
	p.Put(in, taskFunc(func() { close(began); <-gate }), 0)
	p.Put(in, taskFunc(func() { t.Error("a discarded task ran") }), 0)
	<-began
	if !in.Busy() {
		t.Error("not busy while a task runs")
	}
	p.Discard(in)
	close(gate)
	if err := p.Close(20 * time.Second); err != nil {
		t.Error(err)
	}
	if st := p.Stats(); st.Queued != 0 || in.Busy() {
		t.Errorf("left over: %+v", st)
	}
}

func TestRefusalByAntsLosesNothing(t *testing.T) {
	p := start(t, 2)
	p.submit = func(func()) error { return errors.New("overload") }
	done := make(chan struct{})
	in := new(Inbox)
	in.Init(&owner{})
	p.Put(in, taskFunc(func() { close(done) }), 0)
	<-done
}

func TestSteadyPutAllocatesNoQueue(t *testing.T) {
	p := start(t, 1)
	in := new(Inbox)
	in.Init(&owner{})
	done := make(chan struct{})
	var task Task = taskFunc(func() { done <- struct{}{} })
	allocs := testing.AllocsPerRun(1000, func() {
		p.Put(in, task, 0)
		<-done
	})
	if allocs != 0 {
		t.Errorf("%v allocations per task, want 0", allocs)
	}
}

func BenchmarkPutRun(b *testing.B) {
	b.Run("pool", func(b *testing.B) {
		p := start(b, 4)
		in := new(Inbox)
		in.Init(&owner{})
		done := make(chan struct{}, 1)
		var task Task = taskFunc(func() { done <- struct{}{} })
		for b.Loop() {
			p.Put(in, task, 0)
			<-done
		}
	})
	b.Run("goroutine", func(b *testing.B) {
		done := make(chan struct{}, 1)
		for b.Loop() {
			go func() { done <- struct{}{} }()
			<-done
		}
	})
}

func TestFinish(t *testing.T) {
	for _, r := range []struct {
		name    string
		waiting int  // tasks behind the one that runs
		discard bool // after Finish
		panics  bool // the task that runs
		ran     int32
	}{
		{"last_task_runs", 0, false, false, 1},
		{"tasks_wait", 40, false, false, 41},
		{"tasks_are_dropped", 40, true, false, 1},
		{"task_panics", 40, false, true, 1},
	} {
		t.Run(r.name, func(t *testing.T) {
			p := start(t, 1)
			in := new(Inbox)
			in.Init(&owner{panics: make(chan any, 1)})
			var ran atomic.Int32
			began, gate, done := make(chan struct{}), make(chan struct{}), make(chan int32, 2)
			p.Put(in, taskFunc(func() {
				close(began)
				<-gate
				if ran.Add(1); r.panics {
					panic("boom")
				}
			}), 1)
			for range r.waiting {
				p.Put(in, taskFunc(func() { ran.Add(1) }), 1)
			}
			<-began
			if p.Finish(in, func() { t.Error("a callback that was replaced is called") }) ||
				p.Finish(in, func() { done <- ran.Load() }) {
				t.Error("over while a task runs")
			}
			if p.Put(in, taskFunc(func() { t.Error("a task ran that came after Finish") }), 1); r.discard {
				p.Discard(in)
			}
			close(gate)
			if n := <-done; n != r.ran {
				t.Errorf("done after %d tasks, want %d", n, r.ran)
			}
			if !p.Finish(in, nil) || in.Busy() {
				t.Error("not over after done was called")
			}
			if err := p.Close(20 * time.Second); err != nil {
				t.Fatal(err)
			}
			if st := p.Stats(); st.Queued != 0 || len(done) != 0 {
				t.Errorf("%d are queued, done was called %d times more", st.Queued, len(done))
			}
		})
	}
	idle := new(Inbox)
	idle.Init(&owner{})
	if p := start(t, 1); !p.Finish(idle, nil) {
		t.Error("an inbox without tasks is not over")
	}
}

// An inbox that is never empty takes no more memory for it.
func TestBusyInboxDoesNotGrow(t *testing.T) {
	var in Inbox
	for range 3 {
		in.put(item{}, 16, 1)
	}
	for range 10_000 {
		in.put(item{}, 16, 1)
		if _, _, ok := in.take(8, 0); !ok {
			t.Fatal("a task is gone")
		}
	}
	if n := cap(in.tasks); n > 64 {
		t.Errorf("room for %d tasks", n)
	}
}
