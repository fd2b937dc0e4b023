// Package logsink writes logs without making anybody wait for them: a full disk or a reader that
// has stopped reading costs log lines, never time.
package logsink

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Writer passes lines on to a sink that may be slow, stuck or broken. Lines wait in a bounded
// buffer; what does not fit, or what the sink refuses, is dropped and counted. Its methods may be
// called from any goroutine.
type Writer struct {
	sink     io.Writer
	bytesMax int
	onLost   func(lines uint64)

	lost    atomic.Uint64
	lines   chan struct{} // a token while something waits
	closing chan struct{}
	done    chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex
	buf    []byte
	count  uint64 // lines in buf
	closed bool
}

// New starts a writer that holds at most bytesMax bytes. onLost is told, from the goroutine of the
// writer, how many lines were lost since the last time, once the sink takes lines again; it may
// write to the writer. It may be nil. Close must follow.
func New(sink io.Writer, bytesMax int, onLost func(lines uint64)) *Writer {
	w := &Writer{
		sink: sink, bytesMax: bytesMax, onLost: onLost,
		lines: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
	go w.run()
	return w
}

// Write queues a copy of p, which is one line. It never waits for the sink and never fails: a
// line that finds no room is dropped.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	fits := !w.closed && len(w.buf)+len(p) <= w.bytesMax
	if fits {
		w.buf = append(w.buf, p...)
		w.count++
	}
	w.mu.Unlock()
	if !fits {
		w.lost.Add(1)
		return len(p), nil
	}
	select {
	case w.lines <- struct{}{}:
	default:
	}
	return len(p), nil
}

// Lost is the number of lines that were dropped, ever.
func (w *Writer) Lost() uint64 { return w.lost.Load() }

// Close passes on what waits, for at most the given time. If the sink is stuck, it reports false
// and leaves the goroutine behind, which ends when the sink lets go of it. Lines that come later
// are lost. Further calls wait, too.
func (w *Writer) Close(timeout time.Duration) bool {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.closing)
	}
	w.mu.Unlock()
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-w.done:
		return true
	case <-t.C:
		return false
	}
}

// run passes lines on until Close.
func (w *Writer) run() {
	defer close(w.done)
	var spare []byte
	var told uint64
	for {
		select {
		case <-w.lines:
		case <-w.closing:
			w.flush(spare)
			return
		}
		var ok bool
		if spare, ok = w.flush(spare); !ok {
			continue
		}
		if lost := w.lost.Load(); lost > told && w.onLost != nil {
			w.onLost(lost - told)
			told = lost
		}
	}
}

// flush hands everything that waits to the sink in one write. It takes an empty buffer to collect
// the next lines in, and returns the one that was written. It reports whether the sink took all.
func (w *Writer) flush(spare []byte) ([]byte, bool) {
	w.mu.Lock()
	buf, count := w.buf, w.count
	w.buf, w.count = spare[:0], 0
	w.mu.Unlock()
	if len(buf) == 0 {
		return buf, true
	}
	if _, err := w.sink.Write(buf); err != nil {
		w.lost.Add(count) // some may have got through; the count is the upper bound
		return buf, false
	}
	return buf, true
}
