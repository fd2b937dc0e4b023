package gateway

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"sluice/gateway/wire"
)

// heap is what lives on the heap.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A publication is kept once, however many readers have it in their queues.
func TestM01_queues_share_what_is_published(t *testing.T) {
	const readers, messages, size = 1000, 50, 4 << 10
	cfg := quick()
	cfg.MessageRate, cfg.PingInterval = 0, 0
	s := newStage(t, cfg)
	alice := s.join("/chat/alice")
	for i := range readers {
		s.join(fmt.Sprint("/chat/deaf", i)).AcceptBytes(0)
	}
	before := heap()
	text := strings.Repeat("x", size)
	for range messages {
		alice.say(text)
	}
	if q := s.fake.Loops()[0].Stats().Queued; q < readers*messages*size {
		t.Fatalf("only %d bytes are queued", q)
	}
	// Copies would be 200 MB; what is left are the entries of the queues.
	if grown := int64(heap() - before); grown > 16<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// deaf opens a chat of a client that reads no message, and whose kernel keeps buffer bytes for it.
// With few it could not catch up later: every segment would wait for a probe of its window.
func deaf(t *testing.T, g *Gateway, target string, buffer int) net.Conn {
	t.Helper()
	c := dialRaw(t, g)
	if err := c.(*net.TCPConn).SetReadBuffer(buffer); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, upgradeRequest(target))
	head := make([]byte, 0, 256)
	for b := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n\r\n"); head = append(head, b[0]) {
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

const (
	numberedBytes = 4000
	numberedCount = 2500
)

// aheadMax is how many messages an author is ahead of a healthy reader: less than a queue holds, so
// that it is not slow, whatever else keeps the machine busy.
const aheadMax = 32

// publishNumbered says 10 MB of numbered messages and waits until a healthy reader has them all in
// order.
func publishNumbered(t *testing.T, author, healthy *peer) {
	t.Helper()
	ahead := make(chan struct{}, aheadMax)
	told := make(chan struct{})
	go func() {
		defer close(told)
		payload := bytes.Repeat([]byte("."), numberedBytes)
		for i := range numberedCount {
			ahead <- struct{}{}
			copy(payload, fmt.Sprintf("%08d", i))
			frame := wire.AppendMaskedFrame(nil, wire.OpText, false, [4]byte{1, 2, 3, 4}, payload)
			if _, err := author.c.Write(frame); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range numberedCount {
		want := fmt.Sprintf("alice: %08d.", i)
		if ev := healthy.next(); !strings.HasPrefix(string(ev.Payload), want) {
			t.Fatalf("the healthy reader got %.30q, want %q", ev.Payload, want)
		}
		<-ahead
	}
	<-told
}

// slowCount is what all loops have counted for a policy.
func slowCount(g *Gateway, policy SlowPolicy) (n uint64) {
	for i := range g.lanes {
		for why := range slowReasons {
			n += g.metrics.Shard(i).SlowConsumer(policyIndex(policy), uint8(why)).Load()
		}
	}
	return n
}

// deliveries is how many messages all loops have offered to readers.
func deliveries(g *Gateway) (n uint64) {
	for i := range g.lanes {
		n += g.metrics.Shard(i).Deliveries.Load()
	}
	return n
}

func TestM01_readers_that_never_read_are_evicted(t *testing.T) {
	const readers = 50
	onEachEngine(t, func(c *Config) { c.MessageRate, c.PingInterval = 0, 0 }, func(t *testing.T, g *Gateway) {
		alice, healthy := join(t, g, "/chat/alice"), join(t, g, "/chat/healthy")
		for i := range readers {
			deaf(t, g, fmt.Sprint("/chat/deaf", i), 4<<10)
		}
		before := heap()
		publishNumbered(t, alice, healthy)
		settled(t, "rid of them", func() bool { return g.door.inside.Load() == 2 })
		if n := slowCount(g, SlowDisconnect); n != readers {
			t.Errorf("%d were counted as slow, want %d", n, readers)
		}
		if grown := int64(heap() - before); grown > 32<<20 {
			t.Errorf("the heap grew by %d MiB", grown>>20)
		}
	})
}

// Whoever is kept although slow gets a part of the messages, in order and whole.
func TestSlowReadersThatAreKept(t *testing.T) {
	for _, policy := range slowPolicies[1:] {
		t.Run(string(policy), func(t *testing.T) {
			change := func(c *Config) { c.MessageRate, c.PingInterval, c.SlowConsumer = 0, 0, policy }
			onEachEngine(t, change, func(t *testing.T, g *Gateway) {
				alice, healthy := join(t, g, "/chat/alice"), join(t, g, "/chat/healthy")
				slow := deaf(t, g, "/chat/slow", 256<<10)
				publishNumbered(t, alice, healthy)
				settled(t, "offered to both", func() bool { return deliveries(g) == 2*numberedCount })
				dropped := slowCount(g, policy)
				if dropped == 0 {
					t.Fatal("nothing was dropped")
				}
				got, last := readNumbered(t, slow, int(numberedCount-dropped))
				if policy != SlowDropNewest && last != numberedCount-1 {
					t.Errorf("the newest message it got is %d", last)
				}
				if uint64(got)+dropped != numberedCount {
					t.Errorf("%d received and %d dropped of %d", got, dropped, numberedCount)
				}
			})
		})
	}
}

// readNumbered reads n numbered messages. It returns how many came, and the number of the last one.
func readNumbered(t *testing.T, c net.Conn, n int) (got, last int) {
	t.Helper()
	last = -1
	const author = "alice: "
	frame := make([]byte, 4+len(author)+numberedBytes)
	for ; got < n; got++ {
		if _, err := io.ReadFull(c, frame); err != nil {
			t.Fatalf("after %d of %d messages, the last %d: %v", got, n, last, err)
		}
		var i int
		size := int(binary.BigEndian.Uint16(frame[2:]))
		if _, err := fmt.Sscanf(string(frame[4:]), author+"%08d", &i); err != nil ||
			frame[0] != 0x81 || size != len(frame)-4 || i <= last {
			t.Fatalf("%.30q after message %d", frame, last)
		}
		last = i
	}
	return got, last
}
