package tlsio

import (
	"bytes"
	"time"

	"sluice/poller"
)

// backlog is the plaintext that waits for a peer to take what was sealed before it, in sending
// order. A connection has one only while something waits.
type backlog struct {
	writes   []write
	head     int // index of the oldest
	bytes    int
	messages int
}

// write is one that waits, whole: writes are sealed one by one.
type write struct {
	p        []byte
	messages int
	at       time.Duration // on the loop's clock
	shared   bool
}

// copy queues a copy of p.
func (b *backlog) copy(p []byte, now time.Duration) {
	b.push(write{p: bytes.Clone(p), messages: 1, at: now})
}

// share queues p itself, which never changes.
func (b *backlog) share(p []byte, messages int, now time.Duration) {
	b.push(write{p: p, messages: messages, at: now, shared: true})
}

func (b *backlog) push(w write) {
	if len(b.writes) == cap(b.writes) && b.head > len(b.writes)/2 {
		n := copy(b.writes, b.writes[b.head:])
		clear(b.writes[n:])
		b.writes, b.head = b.writes[:n], 0
	}
	b.writes = append(b.writes, w)
	b.bytes += len(w.p)
	b.messages += w.messages
}

func (b *backlog) empty() bool { return b == nil || b.head == len(b.writes) }

// pop takes the oldest write out of a backlog that is not empty.
func (b *backlog) pop() []byte {
	w := &b.writes[b.head]
	p := w.p
	b.bytes -= len(p)
	b.messages -= w.messages
	*w = write{}
	b.head++
	return p
}

// dropOldest drops shared writes, oldest first, until wantBytes are gone.
func (b *backlog) dropOldest(wantBytes int) (messages, bytes int) {
	keep := b.head
	for _, w := range b.writes[b.head:] {
		if w.shared && bytes < wantBytes {
			messages += w.messages
			bytes += len(w.p)
			continue
		}
		b.writes[keep] = w
		keep++
	}
	clear(b.writes[keep:])
	b.writes = b.writes[:keep]
	b.bytes -= bytes
	b.messages -= messages
	return messages, bytes
}

// describe adds what waits here to what the connection below has queued.
func (b *backlog) describe(q poller.Queue, now time.Duration) poller.Queue {
	if b.empty() {
		return q
	}
	q.Bytes += b.bytes
	q.Messages += b.messages
	q.Age = max(q.Age, now-b.writes[b.head].at)
	return q
}
