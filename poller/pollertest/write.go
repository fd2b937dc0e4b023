package pollertest

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"

	"sluice/poller"
)

// tight makes the kernel take little, so that connections block early.
var tight = poller.Config{Loops: 1, SendBufferBytes: 64 << 10}

var writeTests = []contractTest{
	{"write/large_blocks_and_drains", writeLarge},
	{"write/order_of_copied_and_shared", writeOrder},
	{"write/copy_is_taken_at_once", writeCopies},
	{"write/Flush_sends_now", writeFlush},
	{"write/from_a_posted_runner", writePosted},
	{"write/before_Close_leaves", writeThenClose},
	{"write/CloseWrite_sends_FIN_after_the_queue", writeFIN},
	{"write/after_Close_does_nothing", writeAfterClose},
}

func writeLarge(b *bed) {
	events := make(chan string, 2)
	b.start(tight, script{
		blocked: func(*probe) { events <- "blocked" },
		drained: func(*probe) { events <- "drained" },
	})
	c, p := b.connect()
	want := random(8 << 20)
	for i := range 4 {
		if i%2 == 0 {
			p.do(func() { p.Write(want) })
		} else {
			p.do(func() { p.WriteShared(want, 1) })
		}
		if ev := await(b, "OnBlocked", events); ev != "blocked" {
			b.Fatal(ev)
		}
		p.do(func() {
			if q := p.Queue(); q.Bytes == 0 || q.Bytes >= len(want) || q.Messages != 1 {
				b.Errorf("queue of a blocked connection: %+v", q)
			}
		})
		if !bytes.Equal(c.read(len(want)), want) {
			b.Fatal("bytes changed on the way")
		}
		if ev := await(b, "OnDrained", events); ev != "drained" {
			b.Fatal(ev)
		}
	}
}

// writeOrder writes pieces of all sizes in many turns, from inside and outside of callbacks, to a
// client that reads all the while.
func writeOrder(b *bed) {
	want := random(6 << 20)
	rest := want
	seed := rand.Uint64()
	b.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	some := func(p *probe) {
		for range rnd.IntN(20) {
			n := min(len(rest), 1<<rnd.IntN(18))
			switch q := rest[:n]; rnd.IntN(3) {
			case 0:
				p.WriteShared(q, 1)
			case 1:
				p.Write(q)
				p.Flush()
			default:
				p.Write(q)
			}
			rest = rest[n:]
		}
	}
	b.start(tight, script{drained: some, data: func(p *probe, _ []byte) { some(p) }})
	c, p := b.connect()
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(c)
		got <- all
	}()
	for done := false; !done; {
		p.do(func() {
			if some(p); len(rest) == 0 {
				done = true
				p.CloseWrite()
			}
		})
	}
	if !bytes.Equal(await(b, "end of the stream", got), want) {
		b.Error("bytes changed on the way")
	}
}

func writeCopies(b *bed) {
	b.start(poller.Config{}, script{data: func(p *probe, q []byte) {
		p.Write(q)
		copy(q, "xxxx")
	}})
	b.dial().exchange("copy")
}

func writeFlush(b *bed) {
	came := make(chan struct{})
	b.start(poller.Config{}, script{data: func(p *probe, q []byte) {
		p.Write(q)
		p.Flush()
		await(b, "flushed bytes at the client", came) // no handler may wait, but here it proves it
	}})
	c := b.dial()
	c.exchange("now")
	close(came)
}

func writePosted(b *bed) {
	b.start(poller.Config{}, script{})
	c, p := b.connect()
	p.do(func() {
		p.WriteShared([]byte("one "), 1)
		p.Write([]byte("two"))
	})
	if got := string(c.read(7)); got != "one two" {
		b.Errorf("got %q", got)
	}
}

func writeThenClose(b *bed) {
	b.start(poller.Config{}, script{data: func(p *probe, q []byte) {
		p.WriteShared([]byte("good"), 1)
		p.Write([]byte("bye"))
		p.Close(nil)
		p.Write([]byte("ignored"))
	}})
	for range 50 {
		c := b.dial()
		c.send("x")
		if got := string(c.rest()); got != "goodbye" {
			b.Fatalf("got %q", got)
		}
	}
}

func writeFIN(b *bed) {
	want := random(4 << 20)
	heard := make(chan string, 1)
	b.start(tight, script{data: func(p *probe, q []byte) { heard <- string(q) }})
	c, p := b.connect()
	p.do(func() {
		p.Write(want)
		p.CloseWrite()
		p.CloseWrite()
		p.Write([]byte("ignored"))
		p.WriteShared([]byte("ignored"), 1)
	})
	if !bytes.Equal(c.rest(), want) {
		b.Error("bytes changed on the way")
	}
	c.send("still here")
	if got := await(b, "data after CloseWrite", heard); got != "still here" {
		b.Errorf("got %q", got)
	}
	c.Close()
	if err := p.reason(); err != io.EOF {
		b.Errorf("closed for %v", err)
	}
}

func writeAfterClose(b *bed) {
	useAll := func(p *probe) {
		p.Write([]byte("ignored"))
		p.WriteShared([]byte("ignored"), 1)
		p.Flush()
		p.DropOldest(1)
		p.SetTimer(poller.TimerTick)
		p.Conn.Pause()
		p.Conn.Resume()
		p.CloseWrite()
		p.Close(nil)
		if q := p.Queue(); q != (poller.Queue{}) {
			b.Errorf("queue of a closed connection: %+v", q)
		}
	}
	b.start(poller.Config{Loops: 1}, script{closed: func(p *probe, _ error) { useAll(p) }})
	c, p := b.connect()
	p.do(func() {
		p.Close(nil)
		useAll(p)
	})
	p.reason()
	p.do(func() { useAll(p) })
	if got := c.rest(); len(got) != 0 {
		b.Errorf("got %q", got)
	}
	// The descriptor may have a new owner now: nothing of the above may reach it.
	c, q := b.connect()
	p.do(func() { useAll(p) })
	q.do(func() { q.Write([]byte("mine")); q.CloseWrite() })
	if got := string(c.rest()); got != "mine" {
		b.Errorf("got %q", got)
	}
}

var slowReaderTests = []contractTest{
	{"slow_reader/is_bounded_by_its_caller", slowBounded},
	{"slow_reader/queue_may_be_dropped_whole", slowDropAll},
	{"slow_reader/only_shared_writes_are_dropped", slowKeepsCopies},
	{"slow_reader/queue_knows_its_age", slowAge},
	{"slow_reader/may_be_closed", slowClose},
}

// slowBounded fans numbered messages out to a client that reads nothing, drops the oldest ones
// above a bound, and then wants the others whole and in order.
func slowBounded(b *bed) {
	const total, size, bound = 2000, 10_000, 500_000
	b.start(tight, script{})
	c, p := b.connect()
	dropped := 0
	for i := range total {
		m := bytes.Repeat(binary.BigEndian.AppendUint32(nil, uint32(i)), size/4)
		p.do(func() {
			p.WriteShared(m, 1)
			if q := p.Queue(); q.Bytes > bound {
				messages, n := p.DropOldest(q.Bytes - bound)
				if n != messages*size || n < q.Bytes-bound {
					b.Errorf("dropped %d messages, %d bytes", messages, n)
				}
				dropped += messages
				if after := p.Queue(); after.Bytes != q.Bytes-n {
					b.Errorf("queue %+v after dropping %d of %+v", after, n, q)
				}
			}
		})
	}
	if dropped == 0 {
		b.Fatal("the client was not slow")
	}
	p.do(p.CloseWrite)
	got := c.rest()
	if want := (total - dropped) * size; len(got) != want {
		b.Fatalf("got %d bytes, want %d", len(got), want)
	}
	last := -1
	for ; len(got) > 0; got = got[size:] {
		n := int(binary.BigEndian.Uint32(got))
		if n <= last || !bytes.Equal(got[:size], bytes.Repeat(got[:4], size/4)) {
			b.Fatalf("message %d after %d, or torn", n, last)
		}
		last = n
	}
	if last != total-1 {
		b.Errorf("last message %d", last)
	}
}

// slowDropAll drops what was never tried, and all it may of a blocked connection's queue.
func slowDropAll(b *bed) {
	blocked, drained := make(chan struct{}, 1), make(chan struct{}, 1)
	b.start(tight, script{
		data: func(p *probe, q []byte) {
			p.WriteShared([]byte("dropped"), 3)
			if m, n := p.DropOldest(1); m != 3 || n != 7 || p.Queue() != (poller.Queue{}) {
				b.Errorf("dropped %d messages, %d bytes", m, n)
			}
			p.DropOldest(1)
			p.Write(q)
		},
		blocked: func(*probe) { blocked <- struct{}{} },
		drained: func(*probe) { drained <- struct{}{} },
	})
	c, p := b.connect()
	c.exchange("x")
	piece := random(1 << 10)
	for range 20 {
		written, left := 0, 0
		for len(blocked) == 0 {
			p.do(func() {
				p.WriteShared(piece, 1)
				written += len(piece)
			})
		}
		<-blocked
		p.do(func() {
			for range 64 {
				p.WriteShared(piece, 1)
				written += len(piece)
			}
			_, n := p.DropOldest(1 << 30)
			written -= n
			left = p.Queue().Bytes
		})
		if left >= 2*len(piece) {
			b.Fatalf("%d bytes left", left)
		}
		c.read(written)
		await(b, "OnDrained", drained)
	}
	p.do(func() {
		p.WriteShared([]byte("dropped"), 1)
		p.CloseWrite()
		p.DropOldest(1)
	})
	if got := c.rest(); len(got) != 0 {
		b.Errorf("got %d bytes", len(got))
	}
}

func slowKeepsCopies(b *bed) {
	b.start(tight, script{data: func(p *probe, _ []byte) {
		p.Write([]byte("a"))
		p.WriteShared([]byte("bb"), 1)
		p.Write([]byte("c"))
		p.WriteShared([]byte("dd"), 1)
		if m, n := p.DropOldest(1); m != 1 || n != 2 {
			b.Errorf("dropped %d messages, %d bytes", m, n)
		}
		if q := p.Queue(); q.Bytes != 4 || q.Messages != 3 {
			b.Errorf("queue %+v", q)
		}
	}})
	c := b.dial()
	c.send("x")
	if got := string(c.read(4)); got != "acdd" {
		b.Errorf("got %q", got)
	}
}

func slowAge(b *bed) {
	const d = 5 * poller.TimerTick
	queues := make(chan poller.Queue, 1)
	b.start(tight, script{
		blocked: func(p *probe) { p.SetTimer(d) },
		timer: func(p *probe) {
			// On a busy machine the kernels of both sides may take bytes for a while yet. Both
			// times are kept in ticks: one may be lost at either end.
			if q := p.Queue(); q.Stalled < d-2*poller.TimerTick {
				p.SetTimer(d)
			} else {
				queues <- q
			}
		},
	})
	_, p := b.connect()
	p.do(func() { p.WriteShared(make([]byte, 16<<20), 1) })
	if q := await(b, "OnTimer of a queue that stands", queues); q.Age < q.Stalled {
		b.Errorf("queue %+v", q)
	}
}

func slowClose(b *bed) {
	blocked := make(chan struct{}, 1)
	b.start(tight, script{blocked: func(*probe) { blocked <- struct{}{} }})
	_, p := b.connect()
	p.do(func() { p.Write(make([]byte, 16<<20)) })
	await(b, "OnBlocked", blocked)
	p.do(func() { p.Close(io.ErrShortWrite) })
	if err := p.reason(); err != io.ErrShortWrite {
		b.Errorf("closed for %v", err)
	}
}
