package workers

import "sync"

// Inbox is the queue of one session's tasks. Init makes it ready. Its methods may be called from
// any goroutine.
type Inbox struct {
	owner Owner
	next  *Inbox // in the pool's queue; guarded by Pool.mu

	mu        sync.Mutex // guards what follows
	tasks     []item     // those before head have been taken
	head      int
	bytes     int
	scheduled bool // stands in the pool's queue or has a runner
	running   bool // a task is being run
	full      bool // Put has said so
	discarded bool
	done      func() // of Finish; nil unless it is to be called
}

type item struct {
	task Task
	size int
}

// Init makes an inbox ready. It is called once, before anything else.
func (in *Inbox) Init(o Owner) { in.owner = o }

// Busy reports whether a task waits or runs.
func (in *Inbox) Busy() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.waiting() > 0 || in.running
}

func (in *Inbox) waiting() int { return len(in.tasks) - in.head }

func (in *Inbox) put(it item, tasksMax, bytesMax int) (full, wake, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.discarded {
		return false, false, false
	}
	if in.head > 0 && len(in.tasks) == cap(in.tasks) {
		// An inbox that is never empty would grow for ever.
		n := copy(in.tasks, in.tasks[in.head:])
		clear(in.tasks[n:])
		in.tasks, in.head = in.tasks[:n], 0
	}
	in.tasks = append(in.tasks, it)
	in.bytes += it.size
	in.full = in.full || in.waiting() >= tasksMax || in.bytes >= bytesMax
	wake = !in.scheduled
	in.scheduled = true
	return in.full, wake, true
}

// take returns the next task. Without one the inbox leaves the pool's queue. half says that the
// inbox is not full any more.
func (in *Inbox) take(tasksHalf, bytesHalf int) (t Task, half, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.running = false
	half = in.full && in.waiting() <= tasksHalf && in.bytes <= bytesHalf
	if half {
		in.full = false
	}
	if in.waiting() == 0 {
		in.scheduled = false
		in.tasks, in.head = in.tasks[:0], 0
		return nil, half, false
	}
	it := in.tasks[in.head]
	in.tasks[in.head] = item{}
	in.head++
	in.bytes -= it.size
	in.running = true
	return it.task, half, true
}

func (in *Inbox) discard() (dropped int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	dropped = in.waiting()
	in.tasks, in.head, in.bytes, in.discarded = nil, 0, 0, true
	return dropped
}

// finish reports whether no task waits or runs. If one does, finished returns done once the last of
// them is over.
func (in *Inbox) finish(done func()) (over bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.discarded = true
	if !in.scheduled {
		in.done = nil
		return true
	}
	in.done = done
	return false
}

// finished returns what Finish has asked for, once, if the inbox has left the pool's queue.
func (in *Inbox) finished() (done func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.scheduled {
		return nil
	}
	done, in.done = in.done, nil
	return done
}
