package poller

import "time"

// chunkBytes is the size of the pooled buffers that hold copied writes: room for the corked answers
// of a busy turn.
const chunkBytes = 4 << 10

// segment is one queued write: p is either a chunk of the pool, which more copied writes may
// extend, or a caller's shared slice.
type segment struct {
	p        []byte
	messages int32
	tick     uint32 // when it was queued
	shared   bool
}

// queue is the outbound queue of one connection, in sending order. A connection has one only while
// something is queued; idle connections own none.
type queue struct {
	segs     []segment
	head     int // index of the oldest segment
	sent     int // bytes of the oldest segment that have left
	bytes    int // not yet sent
	messages int
	progress uint32 // tick at which the queue became non-empty or the peer last took a byte
	unsent   int    // bytes in the kernel, see Queue.Unsent
	acked    uint64 // Transit.Acked when it was last asked for; 0 before
}

// queuePool keeps empty queues and chunks for the connections of one loop. It needs no lock: the
// loop owns it. What exceeds the bounds goes to the garbage collector.
type queuePool struct {
	queues []*queue
	chunks [][]byte
}

const (
	pooledQueuesMax   = 4096
	pooledChunksMax   = 256
	pooledSegmentsMax = 16 // capacity above which a queue's segment array is let go
)

func (p *queuePool) get(tick uint32) *queue {
	n := len(p.queues)
	if n == 0 {
		return &queue{segs: make([]segment, 0, 2), progress: tick}
	}
	q := p.queues[n-1]
	p.queues = p.queues[:n-1]
	q.progress = tick
	return q
}

// put takes q back, with whatever is still in it.
func (p *queuePool) put(q *queue) {
	for i := range q.segs {
		p.release(&q.segs[i])
	}
	segs := q.segs[:0]
	if cap(segs) > pooledSegmentsMax {
		segs = make([]segment, 0, 2)
	}
	*q = queue{segs: segs}
	if len(p.queues) < pooledQueuesMax {
		p.queues = append(p.queues, q)
	}
}

func (p *queuePool) chunk(size int) []byte {
	if n := len(p.chunks); size <= chunkBytes && n > 0 {
		c := p.chunks[n-1]
		p.chunks = p.chunks[:n-1]
		return c
	}
	return make([]byte, 0, max(size, chunkBytes))
}

func (p *queuePool) release(s *segment) {
	if !s.shared && cap(s.p) == chunkBytes && len(p.chunks) < pooledChunksMax {
		p.chunks = append(p.chunks, s.p[:0])
	}
	*s = segment{}
}

// copy queues a copy of b, extending the newest chunk where it fits.
func (q *queue) copy(pool *queuePool, b []byte, tick uint32) {
	q.bytes += len(b)
	q.messages++
	if n := len(q.segs); n > q.head {
		if s := &q.segs[n-1]; !s.shared && len(s.p)+len(b) <= cap(s.p) {
			s.p = append(s.p, b...)
			s.messages++
			return
		}
	}
	c := append(pool.chunk(len(b)), b...)
	q.push(segment{p: c, messages: 1, tick: tick})
}

// share queues b itself, which never changes.
func (q *queue) share(b []byte, messages int, tick uint32) {
	q.bytes += len(b)
	q.messages += messages
	q.push(segment{p: b, messages: int32(messages), tick: tick, shared: true})
}

func (q *queue) push(s segment) {
	if len(q.segs) == cap(q.segs) && q.head > len(q.segs)/2 {
		n := copy(q.segs, q.segs[q.head:])
		clear(q.segs[n:])
		q.segs, q.head = q.segs[:n], 0
	}
	q.segs = append(q.segs, s)
}

// pending returns the unsent part of the i-th oldest segment, nil past the last one.
func (q *queue) pending(i int) []byte {
	if q.head+i >= len(q.segs) {
		return nil
	}
	p := q.segs[q.head+i].p
	if i == 0 {
		p = p[q.sent:]
	}
	return p
}

// advance notes that n bytes have left.
func (q *queue) advance(pool *queuePool, n int, tick uint32) {
	if n > 0 {
		q.progress = tick
	}
	q.bytes -= n
	q.sent += n
	for q.head < len(q.segs) && q.sent >= len(q.segs[q.head].p) {
		s := &q.segs[q.head]
		q.sent -= len(s.p)
		q.messages -= int(s.messages)
		pool.release(s)
		q.head++
	}
}

// dropOldest drops whole shared segments, oldest first, until wantBytes are gone.
func (q *queue) dropOldest(wantBytes int) (messages, bytes int) {
	keep := q.head
	for i := q.head; i < len(q.segs); i++ {
		s := q.segs[i]
		if s.shared && bytes < wantBytes && !(i == q.head && q.sent > 0) {
			messages += int(s.messages)
			bytes += len(s.p)
			continue
		}
		q.segs[keep] = s
		keep++
	}
	clear(q.segs[keep:])
	q.segs = q.segs[:keep]
	q.bytes -= bytes
	q.messages -= messages
	return messages, bytes
}

// observe notes what the kernel told. It returns by how much unsent changed.
func (q *queue) observe(t Transit, tick uint32) (more int64) {
	if t.Acked != q.acked {
		if q.acked != 0 {
			q.progress = tick
		}
		q.acked = t.Acked
	}
	return q.holdUnsent(t.Unsent)
}

// holdUnsent sets unsent. It returns by how much it changed.
func (q *queue) holdUnsent(n int) (more int64) {
	more = int64(n - q.unsent)
	q.unsent = n
	return more
}

// describe reports q as of tick; a nil queue is an empty one.
func (q *queue) describe(tick uint32) Queue {
	if q == nil || q.bytes == 0 {
		return Queue{}
	}
	since := func(t uint32) time.Duration { return time.Duration(tick-t) * TimerTick }
	return Queue{
		Bytes:    q.bytes,
		Messages: q.messages,
		Unsent:   q.unsent,
		Stalled:  since(q.progress),
		Age:      since(q.segs[q.head].tick),
	}
}
