// Package workers runs what must not run on an event loop: on a bounded number of goroutines, in
// order per session.
//
// A session's tasks stand in its Inbox. An inbox with tasks stands in the pool's queue, once;
// runners take inboxes from there, do a few of their tasks and put them back behind the others. So
// a session has one runner at a time, none can keep the others waiting, and the queue has a place
// for every inbox: nothing is ever lost or blocked for want of room. What bounds an inbox is its
// owner, who stops putting tasks in when Put says so.
package workers

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/ants/v2"
)

// tasksPerTurn is how many tasks of an inbox a runner does before it turns to the next one.
const tasksPerTurn = 16

// Task is a piece of work. Run may block, and may put tasks; it should recover nothing.
type Task interface{ Run() }

// Owner owns an inbox. Its methods are called on a runner and must not block.
type Owner interface {
	// OnHalfEmpty says that an inbox which Put called full has half its room again.
	OnHalfEmpty()
	// OnPanic says that a task panicked. The tasks behind it have been dropped.
	OnPanic(v any, stack []byte)
}

// Config configures a pool. All values must be positive.
type Config struct {
	Workers       int // goroutines that run tasks
	InboxTasksMax int // tasks at which an inbox is full
	InboxBytesMax int // size of its tasks at which an inbox is full
}

// Pool runs the tasks of any number of inboxes. It is safe for concurrent use.
type Pool struct {
	cfg      Config
	ants     *ants.Pool
	submit   func(func()) error // ants.Submit; tests replace it
	serveAll func()             // p.runner, made once
	run      sync.WaitGroup     // runners

	mu          sync.Mutex
	first, last *Inbox // the queue of inboxes with tasks
	ready       int    // its length
	runners     int

	executed, panics atomic.Uint64
	queued           atomic.Int64
}

// New starts a pool. Its goroutines are started when there is work.
func New(cfg Config) (*Pool, error) {
	// Non-blocking: Put is called from event loops. Runners recover for themselves, since a panic
	// that reached ants would cost the tasks behind it.
	a, err := ants.NewPool(cfg.Workers, ants.WithNonblocking(true))
	if err != nil {
		return nil, fmt.Errorf("workers: %w", err)
	}
	// The default pool that ants makes when it is imported would wake an idle process twice a
	// second.
	ants.Release()
	p := &Pool{cfg: cfg, ants: a, submit: a.Submit}
	p.serveAll = p.runner
	return p, nil
}

// Close waits until all tasks have been run, for timeout at most, and ends the pool's goroutines.
// Put must not be called any more. Further calls do nothing.
func (p *Pool) Close(timeout time.Duration) error {
	done := make(chan struct{})
	go func() {
		p.run.Wait()
		close(done)
	}()
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		return fmt.Errorf("workers: %d tasks still running or queued after %v",
			p.queued.Load(), timeout)
	}
	if err := p.ants.ReleaseTimeout(timeout); err != nil && !errors.Is(err, ants.ErrPoolClosed) {
		return fmt.Errorf("workers: %w", err)
	}
	return nil
}

// Stats describes a pool.
type Stats struct {
	Running  int    // runners at work
	Ready    int    // inboxes that wait for one
	Queued   int    // tasks not finished
	Executed uint64 // tasks finished since the start
	Panics   uint64
}

// Stats returns a snapshot.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{
		Running: p.runners, Ready: p.ready, Queued: int(p.queued.Load()),
		Executed: p.executed.Load(), Panics: p.panics.Load(),
	}
}

// Put adds a task to an inbox. It never blocks and always accepts, unless the inbox has been
// discarded: then the task is dropped. full asks the owner to put no more until OnHalfEmpty.
func (p *Pool) Put(in *Inbox, t Task, size int) (full bool) {
	full, wake, ok := in.put(item{t, size}, p.cfg.InboxTasksMax, p.cfg.InboxBytesMax)
	if ok {
		p.queued.Add(1)
	}
	if wake {
		p.enqueue(in, true)
	}
	return full
}

// enqueue puts an inbox at the end of the queue and, if wanted, sees to it that a runner comes.
func (p *Pool) enqueue(in *Inbox, start bool) {
	p.mu.Lock()
	if p.last != nil {
		p.last.next = in
	} else {
		p.first = in
	}
	p.last = in
	p.ready++
	start = start && p.runners < p.cfg.Workers
	if start {
		p.runners++
		p.run.Add(1)
	}
	p.mu.Unlock()
	if start && p.submit(p.serveAll) != nil {
		// The runner before has ended for us but not yet for ants. Its successor must run all
		// the same: it may be the only one.
		go p.runner()
	}
}

// runner serves inboxes until there are none.
func (p *Pool) runner() {
	defer p.run.Done()
	for in := p.dequeue(); in != nil; in = p.dequeue() {
		if p.serve(in) {
			p.enqueue(in, false) // this runner comes back for it
		}
	}
}

func (p *Pool) dequeue() *Inbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.first
	if in == nil {
		p.runners--
		return nil
	}
	p.first, in.next = in.next, nil
	if p.first == nil {
		p.last = nil
	}
	p.ready--
	return in
}

// serve runs some tasks of an inbox. It reports whether there are more.
func (p *Pool) serve(in *Inbox) (more bool) {
	for range tasksPerTurn {
		t, half, ok := in.take(p.cfg.InboxTasksMax/2, p.cfg.InboxBytesMax/2)
		if half {
			in.owner.OnHalfEmpty()
		}
		if !ok {
			if done := in.finished(); done != nil {
				done()
			}
			return false
		}
		p.do(in, t)
		p.queued.Add(-1)
		p.executed.Add(1)
	}
	return true
}

// do runs a task and contains its panic.
func (p *Pool) do(in *Inbox, t Task) {
	defer func() {
		if v := recover(); v != nil {
			p.panics.Add(1)
			p.Discard(in)
			in.owner.OnPanic(v, debug.Stack())
		}
	}()
	t.Run()
}

// Discard drops the tasks of an inbox that have not begun, and all that are put in later.
func (p *Pool) Discard(in *Inbox) { p.queued.Add(-int64(in.discard())) }

// Finish closes an inbox to new tasks: Put drops them from now on. It reports true if no task waits
// or runs. Otherwise those that do run as ever, and done is called, once, on a runner, when the
// last of them has been run or dropped; it must not block. A second call replaces done.
func (p *Pool) Finish(in *Inbox, done func()) (over bool) { return in.finish(done) }
