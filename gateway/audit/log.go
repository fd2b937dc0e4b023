package audit

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// linesMax is how many events may wait before the log is full.
	linesMax = 16 << 10
	// batchMax bounds the events of one write.
	batchMax = 512
	// retryEvery is how long a sink that has failed is left alone.
	retryEvery = time.Second
)

// ErrFull is what Err returns while the log has no room for further logins.
var ErrFull = errors.New("audit: too many events wait for the sink")

// Config configures a Log.
type Config struct {
	// Path is a file, which is made with mode 0600 if there is none and appended to, or "stderr".
	Path string
	// Stderr is where "stderr" goes. It must be set if Path says so.
	Stderr io.Writer
	// LinesMax is how many events may wait before Full reports true; 0 means 16384.
	LinesMax int
	// OnState is told, on the goroutine of the log, when the sink begins to fail and, with nil,
	// when it works again. It may be nil.
	OnState func(err error)
}

// Stats counts since the log was opened.
type Stats struct {
	Written uint64 // events that the sink has taken
	Waiting int    // events that it has not
	Failed  uint64 // writes and openings that failed
}

// Log writes events to a sink that may be slow, stuck or broken, on a goroutine of its own. Its
// methods may be called from any goroutine; only Close waits for the sink.
type Log struct {
	cfg  Config
	open func() (io.Writer, error)

	wake    chan struct{} // a token while there is something to do
	closing chan struct{} // closed by Close: write what waits
	giveUp  chan struct{} // closed when Close has waited long enough
	done    chan struct{} // closed when the goroutine has ended

	waiting atomic.Int64
	written atomic.Uint64
	failed  atomic.Uint64

	mu      sync.Mutex
	queue   []Event
	reopen  bool
	closed  bool
	failure error // of the last attempt; nil if it went well

	// What follows belongs to the goroutine.
	sink      io.Writer
	openErr   error     // of the last opening; nil if it went well
	openAgain time.Time // when to try again
	events    []Event   // taken from queue, with no line yet
	spare     []Event   // what events was cut from, to be the next queue
	batch     []byte    // lines that the sink has not taken, from sent on
	lines     int       // how many those are
	sent      int
}

// Open opens the sink and starts to write. Close must follow.
func Open(cfg Config) (*Log, error) {
	if cfg.LinesMax == 0 {
		cfg.LinesMax = linesMax
	}
	l := &Log{
		cfg: cfg, wake: make(chan struct{}, 1), closing: make(chan struct{}),
		giveUp: make(chan struct{}), done: make(chan struct{}),
	}
	l.open = func() (io.Writer, error) { return openFile(cfg.Path) }
	if cfg.Path == Stderr {
		l.open = func() (io.Writer, error) { return cfg.Stderr, nil }
	}
	var err error
	if l.sink, err = l.open(); err != nil {
		return nil, err
	}
	go l.run()
	return l, nil
}

// Append queues an event. It never waits and never fails. A caller that can do without the event
// asks Full first. After Close events are lost.
func (l *Log) Append(e Event) {
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.queue = append(l.queue, e)
		l.waiting.Add(1)
	}
	l.mu.Unlock()
	if !closed {
		l.signal()
	}
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Full reports whether so many events wait that nobody should be let in. What is under way may
// still be appended.
func (l *Log) Full() bool { return l.waiting.Load() >= int64(l.cfg.LinesMax) }

// Err says what is wrong with the log: ErrFull, or why the sink takes nothing. nil means nothing.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil && l.Full() {
		return ErrFull
	}
	return l.failure
}

// Stats returns a snapshot.
func (l *Log) Stats() Stats {
	return Stats{
		Written: l.written.Load(), Waiting: int(l.waiting.Load()), Failed: l.failed.Load(),
	}
}

// Reopen makes the goroutine open the file anew, so that a file that was renamed is left to itself.
// If that fails, the old one stays in use, and Err says so until an opening succeeds.
func (l *Log) Reopen() {
	l.mu.Lock()
	l.reopen = true
	l.mu.Unlock()
	l.signal()
}

// Close writes what waits, trying again for at most timeout, and closes the file. It returns an
// error if events are lost. If the sink is stuck, the goroutine is left behind and ends when the
// sink lets go of it. Further calls wait, too.
func (l *Log) Close(timeout time.Duration) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
	l.mu.Unlock()
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C:
		l.abandon()
	}
	if n := l.waiting.Load(); n > 0 {
		return fmt.Errorf("audit: %d events were not written", n)
	}
	return nil
}

// abandon ends the attempts to write what waits.
func (l *Log) abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.giveUp:
	default:
		close(l.giveUp)
	}
}
