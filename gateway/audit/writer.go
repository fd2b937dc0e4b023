package audit

import (
	"bytes"
	"cmp"
	"io"
	"time"
)

// run writes events until Close.
func (l *Log) run() {
	defer close(l.done)
	defer func() { l.leave(l.sink) }()
	for !l.abandoned() {
		l.follow(time.Now())
		err := l.flush()
		l.note(cmp.Or(err, l.openErr))
		if err == nil && l.waiting.Load() > 0 {
			continue
		}
		if !l.rest(err) {
			return
		}
	}
}

// rest waits until there is something to do; err is why the last write failed. It reports false if
// nothing will come any more.
func (l *Log) rest(err error) bool {
	wake, closing := l.wake, l.closing
	var retry <-chan time.Time
	if err != nil || l.openErr != nil {
		t := time.NewTimer(retryEvery)
		defer t.Stop()
		retry = t.C
	}
	if err != nil { // whatever comes, the sink is left alone for a while
		wake, closing = nil, nil
	}
	select {
	case <-wake:
	case <-retry:
	case <-closing:
		return l.waiting.Load() > 0
	case <-l.giveUp:
		return false
	}
	return true
}

func (l *Log) abandoned() bool {
	select {
	case <-l.giveUp:
		return true
	default:
		return false
	}
}

// follow opens the file anew if somebody has asked for it.
func (l *Log) follow(now time.Time) {
	l.mu.Lock()
	asked := l.reopen
	l.reopen = false
	l.mu.Unlock()
	if !asked && (l.openErr == nil || now.Before(l.openAgain)) {
		return
	}
	sink, err := l.open()
	l.openErr = err
	if err != nil {
		l.failed.Add(1)
		l.openAgain = now.Add(retryEvery)
		return
	}
	l.leave(l.sink)
	l.sink = sink
	// A line that the old file has a part of begins again in the new one.
	l.sent = bytes.LastIndexByte(l.batch[:l.sent], '\n') + 1
}

// leave closes a sink, after what it holds has reached the disk.
func (l *Log) leave(sink io.Writer) {
	if err := closeSink(sink); err != nil {
		l.failed.Add(1)
	}
}

// flush hands a batch of events to the sink.
func (l *Log) flush() error {
	if len(l.batch) == 0 {
		l.take()
	}
	if len(l.batch) == 0 {
		return nil
	}
	n, err := l.sink.Write(l.batch[l.sent:])
	l.sent += n
	if err == nil && l.sent < len(l.batch) {
		err = io.ErrShortWrite
	}
	if err != nil {
		l.failed.Add(1)
		return err
	}
	l.written.Add(uint64(l.lines))
	l.waiting.Add(-int64(l.lines))
	l.batch, l.lines, l.sent = l.batch[:0], 0, 0
	return nil
}

// take makes the lines of the next events.
func (l *Log) take() {
	if len(l.events) == 0 {
		l.mu.Lock()
		l.events, l.queue = l.queue, l.spare
		l.mu.Unlock()
		l.spare = l.events[:0]
	}
	l.lines = min(len(l.events), batchMax)
	for i := range l.lines {
		l.batch = appendLine(l.batch, &l.events[i])
	}
	clear(l.events[:l.lines]) // their texts may be all that is left of a session
	l.events = l.events[l.lines:]
}

// note keeps how the last attempt went, and tells of a change.
func (l *Log) note(err error) {
	l.mu.Lock()
	changed := (err == nil) != (l.failure == nil)
	l.failure = err
	l.mu.Unlock()
	if changed && l.cfg.OnState != nil {
		l.cfg.OnState(err)
	}
}
