package workers

import (
	"context"
	"runtime/debug"
	"sync"
	"time"
)

// FairConfig bounds a Fair. All values must be positive.
type FairConfig struct {
	Workers    int           // jobs that run at once
	Background int           // of those, how many may be background jobs
	QueueMax   int           // jobs that wait
	WaitMax    time.Duration // how long a job may wait
}

// Drop says why a job was dropped instead of run.
type Drop uint8

// The reasons for dropping a job.
const (
	Kept       Drop = iota // it was not dropped
	DropFull               // the queue is full, and no key has more jobs in it than another
	DropShare              // the queue is full, and the job's key has the most jobs in it
	DropLate               // it has waited for WaitMax
	DropClosed             // the Fair is closed
)

// Job is work for a Fair. Exactly one of its methods ends it, unless Remove took it back.
type Job interface {
	// Run does the work, on a worker. It may block.
	Run()
	// Dropped is called instead of Run. It must not block; any goroutine may call it, one in Put
	// among them.
	Dropped(Drop)
	// OnPanic is called after a panic of Run.
	OnPanic(v any, stack []byte)
}

// Fair runs jobs on a bounded number of goroutines. Those that wait take turns by key, so that a
// key with many jobs delays its own jobs and not those of others. When the queue is full, the key
// with the most jobs in it gives up its newest one. Background jobs count as one key together.
//
// It is safe for concurrent use.
type Fair[K comparable] struct {
	cfg FairConfig
	run sync.WaitGroup // runners

	mu         sync.Mutex // guards what follows
	closed     bool
	runners    int
	background int // jobs of the background that run
	waiting    int
	flows      map[K]*flow[K] // the keys that have a job waiting
	behind     *flow[K]       // of the background jobs
	turns      list[*flow[K]] // flows with jobs, the one whose turn is next first
	sizes      []list[*flow[K]]
	longest    int // jobs of the longest flow
	arrived    list[*Ticket[K]]
	timer      *time.Timer // ends the wait of the first one in arrived
	armed      bool
	dropped    uint64
}

// Ticket is the place of a job in the queue of one Fair. It belongs to the job; its zero value is
// ready.
type Ticket[K comparable] struct {
	job                Job
	flow               *flow[K] // nil unless it waits
	until              time.Time
	inFlow, inArrivals node[*Ticket[K]]
}

// flow is the jobs of a key that wait.
type flow[K comparable] struct {
	key             K
	jobs            list[*Ticket[K]]
	count           int
	inTurns, inSize node[*flow[K]]
}

// NewFair returns a Fair. Its goroutines are started when there is work. Close must be called.
func NewFair[K comparable](cfg FairConfig) *Fair[K] {
	f := &Fair[K]{
		cfg: cfg, flows: map[K]*flow[K]{}, behind: &flow[K]{}, sizes: make([]list[*flow[K]], 1),
	}
	f.timer = time.AfterFunc(cfg.WaitMax, f.expire)
	f.timer.Stop()
	return f
}

// Put queues a job under a key. It does not block. If the result is not Kept, the job was refused
// and none of its methods will be called.
func (f *Fair[K]) Put(t *Ticket[K], job Job, key K) Drop { return f.put(t, job, &key) }

// PutBackground queues a background job, like Put.
func (f *Fair[K]) PutBackground(t *Ticket[K], job Job) Drop { return f.put(t, job, nil) }

// put queues a job; key is nil for a background job.
func (f *Fair[K]) put(t *Ticket[K], job Job, key *K) Drop {
	f.mu.Lock()
	to := f.flowLocked(key)
	var evicted *Ticket[K]
	switch {
	case f.closed:
		f.mu.Unlock()
		return DropClosed
	case f.waiting < f.cfg.QueueMax:
	case to.count+1 < f.longest:
		evicted = f.sizes[f.longest].first().jobs.last()
		f.takeLocked(evicted)
		f.dropped++
	default:
		f.dropped++
		most := to.count > 0 && to.count == f.longest
		f.mu.Unlock()
		if most {
			return DropShare
		}
		return DropFull
	}
	t.job, t.until = job, time.Now().Add(f.cfg.WaitMax)
	f.addLocked(t, to)
	start := f.runners < f.cfg.Workers
	if start {
		f.runners++
		f.run.Add(1)
	}
	if !f.armed {
		f.armed = true
		f.timer.Reset(f.cfg.WaitMax)
	}
	f.mu.Unlock()
	if start {
		go f.runner()
	}
	if evicted != nil {
		evicted.job.Dropped(DropShare)
	}
	return Kept
}

// Remove takes a job back that still waits. It reports whether it did; otherwise a method of the
// job has been or will be called.
func (f *Fair[K]) Remove(t *Ticket[K]) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.flow == nil {
		return false
	}
	f.takeLocked(t)
	return true
}

// flowLocked returns the flow of a key, a new one if none of its jobs waits.
func (f *Fair[K]) flowLocked(key *K) *flow[K] {
	if key == nil {
		return f.behind
	}
	if to := f.flows[*key]; to != nil {
		return to
	}
	return &flow[K]{key: *key}
}

// addLocked appends a job to a flow.
func (f *Fair[K]) addLocked(t *Ticket[K], to *flow[K]) {
	t.flow = to
	to.jobs.push(&t.inFlow, t)
	f.arrived.push(&t.inArrivals, t)
	f.waiting++
	if to.count == 0 {
		f.turns.push(&to.inTurns, to)
		if to != f.behind {
			f.flows[to.key] = to
		}
	}
	f.resizeLocked(to, to.count+1)
}

// takeLocked removes a job from the queue.
func (f *Fair[K]) takeLocked(t *Ticket[K]) {
	from := t.flow
	t.flow = nil
	from.jobs.remove(&t.inFlow)
	f.arrived.remove(&t.inArrivals)
	f.waiting--
	f.resizeLocked(from, from.count-1)
	if from.count == 0 {
		f.turns.remove(&from.inTurns)
		if from != f.behind {
			delete(f.flows, from.key)
		}
	}
}

// resizeLocked notes that a flow has one job more or less.
func (f *Fair[K]) resizeLocked(of *flow[K], count int) {
	if of.count > 0 {
		f.sizes[of.count].remove(&of.inSize)
	}
	if of.count == f.longest && count < of.count && f.sizes[of.count].empty() {
		f.longest = count // the longest of the others is no longer than this one
	}
	of.count = count
	if count == 0 {
		return
	}
	if count == len(f.sizes) {
		f.growLocked()
	}
	f.sizes[count].push(&of.inSize, of)
	f.longest = max(f.longest, count)
}

// growLocked makes room for flows of twice the size. Lists cannot be moved, so they are made anew.
func (f *Fair[K]) growLocked() {
	old := f.sizes
	f.sizes = make([]list[*flow[K]], 2*len(old))
	for i := range old {
		for !old[i].empty() {
			of := old[i].first()
			old[i].remove(&of.inSize)
			f.sizes[i].push(&of.inSize, of)
		}
	}
}

// runner runs jobs until none is left that may run.
func (f *Fair[K]) runner() {
	defer f.run.Done()
	for {
		job, background := f.next()
		if job == nil {
			return
		}
		f.do(job)
		if background {
			f.mu.Lock()
			f.background--
			f.mu.Unlock()
		}
	}
}

// next takes the job whose turn it is. Without one the runner ends.
func (f *Fair[K]) next() (job Job, background bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := f.turnLocked()
	if from == nil {
		f.runners--
		return nil, false
	}
	t := from.jobs.first()
	f.takeLocked(t)
	if from.count > 0 { // the others come first now
		f.turns.remove(&from.inTurns)
		f.turns.push(&from.inTurns, from)
	}
	if from == f.behind {
		f.background++
	}
	return t.job, from == f.behind
}

// turnLocked returns the flow whose turn it is: the first one, but for a background that has all
// its workers.
func (f *Fair[K]) turnLocked() *flow[K] {
	if f.turns.empty() {
		return nil
	}
	from := f.turns.first()
	if from != f.behind || f.background < f.cfg.Background {
		return from
	}
	if second := from.inTurns.next; second != &f.turns.root {
		return second.value
	}
	return nil
}

// do runs a job and contains its panic.
func (f *Fair[K]) do(job Job) {
	defer func() {
		if v := recover(); v != nil {
			job.OnPanic(v, debug.Stack())
		}
	}()
	job.Run()
}

// expire drops the jobs that have waited for too long.
func (f *Fair[K]) expire() {
	f.drop(DropLate, func(t *Ticket[K], now time.Time) bool { return !now.Before(t.until) })
}

// drop drops jobs in the order in which they came, as long as over says so.
func (f *Fair[K]) drop(why Drop, over func(*Ticket[K], time.Time) bool) {
	now := time.Now()
	var jobs []Job
	f.mu.Lock()
	for !f.arrived.empty() && over(f.arrived.first(), now) {
		t := f.arrived.first()
		f.takeLocked(t)
		f.dropped++
		jobs = append(jobs, t.job)
	}
	if f.armed = !f.arrived.empty(); f.armed {
		f.timer.Reset(f.arrived.first().until.Sub(now))
	}
	f.mu.Unlock()
	for _, job := range jobs {
		job.Dropped(why)
	}
}

// Close drops the jobs that wait, and waits for those that run until ctx ends; its error is that of
// ctx then. What is put later is refused.
func (f *Fair[K]) Close(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.drop(DropClosed, func(*Ticket[K], time.Time) bool { return true })
	f.timer.Stop()
	done := make(chan struct{})
	go func() {
		f.run.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// FairStats describes a Fair.
type FairStats struct {
	Running int    // workers at work
	Waiting int    // jobs
	Dropped uint64 // jobs refused or dropped since the start, but for those taken back
}

// Stats returns a snapshot.
func (f *Fair[K]) Stats() FairStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return FairStats{Running: f.runners, Waiting: f.waiting, Dropped: f.dropped}
}
