package pollertest

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"sluice/poller"
)

// telling reports whether the system tells what is in transit.
const telling = runtime.GOOS == "linux"

var transitTests = []contractTest{
	{"transit/what_the_peer_has_is_acknowledged", transitAcked},
	{"transit/M01_the_kernel_takes_little_for_a_peer_that_does_not_read", transitBounded},
	{"transit/acknowledgements_are_progress", transitProgress},
	{"transit/Abort_resets", abortResets},
	{"transit/M01_Close_keeps_nothing_of_what_cannot_leave", closeResets},
	{"transit/M01_what_Close_leaves_has_its_time", closeOrphans},
}

// until waits for a condition on the connection's loop.
func (p *probe) until(what string, ok func() bool) {
	p.bed.Helper()
	late := time.After(patience)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for held := false; ; {
		if p.do(func() { held = ok() }); held {
			return
		}
		select {
		case <-look.C:
		case <-late:
			p.bed.Fatalf("not %s", what)
		}
	}
}

func transitAcked(b *bed) {
	b.start(poller.Config{}, script{})
	c, p := b.connect()
	const n = 100_000
	p.do(func() { p.Write(make([]byte, n)) })
	c.read(n)
	p.until("acknowledged", func() bool {
		t := p.Transit()
		return t.Arrived() && (t.Acked >= n || !telling)
	})
	p.do(p.CloseWrite)
	c.rest()
	p.until("acknowledged with its FIN", func() bool { return p.Transit().Arrived() })
	p.do(func() { p.Close(nil) })
	p.reason()
	p.do(func() {
		if t := p.Transit(); t != (poller.Transit{}) {
			b.Errorf("in transit of a closed connection: %+v", t)
		}
	})
}

// unsentMax is the bound of the tests below; a segment may come on top.
const (
	unsentMax  = 32 << 10
	segmentMax = 64 << 10
)

// stuck makes a connection whose peer reads nothing, with more queued than the kernel takes.
func (b *bed) stuck() (*client, *probe) {
	b.Helper()
	blocked := make(chan struct{}, 1)
	b.start(poller.Config{Loops: 1, UnsentBytesMax: unsentMax},
		script{blocked: func(*probe) { blocked <- struct{}{} }})
	c, p := b.connect()
	p.do(func() { p.WriteShared(make([]byte, 16<<20), 1) })
	await(b, "OnBlocked", blocked)
	return c, p
}

func transitBounded(b *bed) {
	_, p := b.stuck()
	if !telling {
		return
	}
	p.do(func() {
		if n := p.Queue().Unsent; n != unsentMax {
			b.Errorf("%d bytes are said to be unsent before the kernel was asked", n)
		}
	})
	p.until("full", func() bool { return p.Transit().Unsent > 0 })
	p.do(func() {
		n := p.Transit().Unsent
		if n == 0 || n > unsentMax+segmentMax {
			b.Errorf("the kernel holds %d bytes", n)
		}
		if q := p.Queue(); q.Unsent != n {
			b.Errorf("queue %+v, want %d bytes unsent", q, n)
		}
	})
	p.until("counted", func() bool { return p.Loop().Stats().Unsent >= 1 })
}

// transitProgress wants a queue that stands still, because its kernel's buffer is not half empty
// yet, to know that the peer takes something.
func transitProgress(b *bed) {
	c, p := b.stuck()
	if !telling {
		return
	}
	const d = 5 * poller.TimerTick
	p.until("stalled", func() bool {
		p.Transit()
		return p.Queue().Stalled >= d
	})
	acked := uint64(0)
	p.do(func() { acked = p.Transit().Acked })
	go io.Copy(io.Discard, c)
	p.until("acknowledged", func() bool { return p.Transit().Acked > acked })
	p.do(func() {
		if q := p.Queue(); q.Stalled >= d {
			b.Errorf("queue %+v after an acknowledgement", q)
		}
	})
}

func abortResets(b *bed) {
	c, p := b.stuck()
	p.do(func() {
		p.Abort(errMine)
		p.Close(io.ErrShortWrite)
		p.Write([]byte("ignored"))
	})
	if err := p.reason(); err != errMine {
		b.Errorf("closed for %v", err)
	}
	wantReset(b, c)
}

// closeResets closes over a queue that the kernel does not take: what it has taken must go too.
func closeResets(b *bed) {
	c, p := b.stuck()
	p.do(func() { p.Close(errMine) })
	if err := p.reason(); err != errMine {
		b.Errorf("closed for %v", err)
	}
	wantReset(b, c)
}

// closeOrphans closes over what the kernel has taken for a peer that does not read.
func closeOrphans(b *bed) {
	if !telling {
		return
	}
	const timeout, late = 500 * time.Millisecond, 15 * time.Second // the kernel's own is 50 s
	b.start(poller.Config{OrphanTimeout: timeout}, script{})
	_, p := b.connect()
	p.do(func() { p.Write(make([]byte, 512<<10)) })
	p.until("taken by the kernel", func() bool {
		return p.Queue().Bytes == 0 && p.Transit().Unsent > 0
	})
	p.do(func() { p.Close(nil) })
	p.reason()
	look := time.NewTicker(timeout)
	defer look.Stop()
	for limit := time.After(late); b.owing() > 0; {
		select {
		case <-look.C:
		case <-limit:
			b.Fatal("the kernel still keeps it")
		}
	}
}

// owing counts the sockets of the listener's port that have something to send, those of closed
// connections included. The kernel lists them as /proc/net/tcp, addresses in hexadecimal.
func (b *bed) owing() (n int) {
	b.Helper()
	const local, queues = 1, 4
	list, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		b.Fatal(err)
	}
	port := netip.MustParseAddrPort(b.addr).Port()
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		if len(f) > queues && strings.HasSuffix(f[local], fmt.Sprintf(":%04X", port)) &&
			!strings.HasPrefix(f[queues], "00000000:") {
			n++
		}
	}
	return n
}

func wantReset(b *bed, c *client) {
	b.Helper()
	if n, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		b.Errorf("the peer read %d bytes, then %v, want a reset", n, err)
	}
}
