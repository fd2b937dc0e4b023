package pollertest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/poller"
)

// floodTests send more than a loop takes. The engine must hold none of it: it stops reading, so
// that TCP stops the sender, and everything arrives once it reads again.
var floodTests = []contractTest{
	{"flood/in_one_go_to_a_slow_loop", floodSlowLoop},
	{"flood/stops_the_sender_while_paused", floodPaused},
	{"flood/many_paused_at_once", floodMany},
	{"flood/pauses_that_flap", floodFlap},
	{"flood/both_ways", floodBothWays},
	{"flood/FIN_behind_it_waits_for_Resume", floodFIN},
	{"flood/FIN_while_paused_and_blocked", floodFINBlocked},
	{"flood/reset_ends_a_paused_connection", floodReset},
	{"flood/Close_while_paused", floodClose},
	{"flood/Engine_Close_while_paused", floodEngineClose},
}

const (
	// heldMax is what an engine may hold of all that was sent to it, with room for the test's own
	// garbage.
	heldMax = 2 << 20
	// stuck is how long a sender must not get on to count as stopped.
	stuck = 100 * time.Millisecond
)

// stream is the handler's side of a flood: it compares what comes with what should.
type stream struct {
	want []byte
	n    atomic.Int64 // bytes that have come
}

func (s *stream) take(b *bed, q []byte) (all bool) {
	n := int(s.n.Load())
	if n+len(q) > len(s.want) || !bytes.Equal(q, s.want[n:n+len(q)]) {
		b.Errorf("bytes changed on the way, after %d", n)
	}
	s.n.Add(int64(len(q)))
	return n+len(q) == len(s.want)
}

// heap is how many bytes of the heap are in use.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// checkHeld fails b if the engine holds what was sent to it.
func (b *bed) checkHeld(before int) {
	b.Helper()
	if grown := heap() - before; grown > heldMax {
		b.Errorf("the process has grown by %d bytes", grown)
	}
}

// press sends p until nothing moves for a while. It returns what is left, and makes sure that there
// is something.
func (c *client) press(p []byte) (left []byte) {
	c.bed.Helper()
	defer c.SetWriteDeadline(time.Now().Add(patience))
	for {
		c.SetWriteDeadline(time.Now().Add(stuck))
		n, err := c.Write(p)
		p = p[n:]
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			c.bed.Errorf("the sender was not stopped: %v", err)
			return p
		}
		if n == 0 {
			return p
		}
	}
}

// pressing connects a client whose own kernel takes little.
func (b *bed) pressing() (*client, *probe) {
	b.Helper()
	c, p := b.connect()
	c.SetWriteBuffer(64 << 10)
	return c, p
}

func floodSlowLoop(b *bed) {
	all := random(20 << 20)
	var s *stream
	done := make(chan struct{}, 1)
	before, looked := 0, int64(0)
	cfg := poller.Config{Loops: 1, ReadBufferBytes: 16 << 10}
	b.start(cfg, script{data: func(_ *probe, q []byte) {
		if s.take(b, q) {
			done <- struct{}{}
		}
		if s.n.Load()-looked >= 4<<20 {
			looked = s.n.Load()
			b.checkHeld(before)
		}
		for busy := time.Now(); time.Since(busy) < 50*time.Microsecond; {
		}
	}})
	c, p := b.connect()
	before = heap()
	for _, mib := range []int{4, 8, 16, 20} {
		p.do(func() { s, looked = &stream{want: all[:mib<<20]}, 0 })
		if _, err := c.Write(s.want); err != nil {
			b.Fatal(err)
		}
		await(b, "whole flood", done)
	}
}

func floodPaused(b *bed) {
	want := random(16 << 20)
	s := &stream{want: want}
	done := make(chan struct{})
	b.start(poller.Config{Loops: 1}, script{data: func(_ *probe, q []byte) {
		if s.take(b, q) {
			close(done)
		}
	}})
	c, p := b.pressing()
	before := heap()
	p.do(p.Pause)
	left := c.press(want)
	b.checkHeld(before)
	p.do(func() {
		if n := s.n.Load(); n != 0 {
			b.Errorf("%d bytes came while paused", n)
		}
		p.Resume()
	})
	if _, err := c.Write(left); err != nil {
		b.Fatal(err)
	}
	await(b, "whole flood", done)
}

func floodMany(b *bed) {
	const clients = 40
	want := random(2 << 20)
	done := make(chan struct{}, clients)
	b.start(poller.Config{}, script{
		open: func(p *probe) { p.data = &stream{want: want}; p.Pause() },
		data: func(p *probe, q []byte) {
			if p.data.(*stream).take(b, q) {
				done <- struct{}{}
			}
		},
	})
	before := heap()
	var wg sync.WaitGroup
	left := make([][]byte, clients)
	all, probes := make([]*client, clients), make([]*probe, clients)
	for i := range clients {
		all[i], probes[i] = b.pressing()
		wg.Go(func() { left[i] = all[i].press(want) })
	}
	wg.Wait()
	b.checkHeld(before)
	for i, p := range probes {
		p.do(p.Resume)
		wg.Go(func() { all[i].Write(left[i]) })
	}
	for range clients {
		await(b, "whole flood", done)
	}
	wg.Wait()
}

// floodFlap pauses and resumes from inside of OnData, from posted runners, and several times in one
// turn.
func floodFlap(b *bed) {
	want := random(8 << 20)
	s := &stream{want: want}
	done := make(chan struct{})
	seed := rand.Uint64()
	b.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	cfg := poller.Config{Loops: 1, ReadBufferBytes: 16 << 10}
	b.start(cfg, script{data: func(p *probe, q []byte) {
		all := s.take(b, q)
		for range rnd.IntN(4) {
			p.Pause()
			if rnd.IntN(2) == 0 {
				p.Resume()
			}
		}
		if p.paused {
			p.Loop().Post(runFunc(p.Resume))
		}
		if all {
			close(done)
		}
	}})
	c, p := b.connect()
	go c.Write(want)
	for flap := true; flap; {
		select {
		case <-done:
			flap = false
		default:
			p.do(func() { p.Pause() })
			p.do(func() { p.Resume(); p.Pause(); p.Resume() })
		}
	}
}

// floodBothWays echoes to a client that reads only when it cannot send any more. The handler bounds
// its queue by not reading.
func floodBothWays(b *bed) {
	const queueMax = 256 << 10
	want := random(16 << 20)
	b.start(tight, script{
		data: func(p *probe, q []byte) {
			p.Write(q)
			if p.blocked && p.Queue().Bytes > queueMax {
				p.Pause()
			}
		},
		blocked: func(p *probe) {
			if p.Queue().Bytes > queueMax {
				p.Pause()
			}
		},
		drained: func(p *probe) { p.Resume() },
	})
	before := heap()
	for range 2 {
		c, _ := b.pressing()
		left := c.press(want)
		b.checkHeld(before)
		go c.Write(left)
		if !bytes.Equal(c.read(len(want)), want) {
			b.Error("bytes changed on the way")
		}
		c.Close()
	}
}

func floodFIN(b *bed) {
	b.start(poller.Config{}, script{
		open: func(p *probe) { p.Pause() },
		data: func(p *probe, q []byte) { p.data.(*stream).take(b, q) },
	})
	for _, size := range []int{1, 1000, 60_000, 4 << 20} {
		for range 5 {
			c, p := b.connect()
			s := &stream{want: random(size)}
			p.do(func() { p.data = s })
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write(s.want)
				sent <- errors.Join(err, c.CloseWrite())
			}()
			if size < 64<<10 { // the kernel takes all: FIN comes before Resume
				if err := await(b, "end of the sender", sent); err != nil {
					b.Fatal(err)
				}
				sent <- nil
			}
			p.do(p.Resume)
			err := p.reason()
			if n := s.n.Load(); err != io.EOF || n != int64(size) {
				b.Errorf("%d bytes of %d came, closed for %v", n, size, err)
			}
			if err := await(b, "end of the sender", sent); err != nil {
				b.Error(err)
			}
		}
	}
}

// floodFINBlocked half-closes towards a connection that will not read before all it has queued is
// gone.
func floodFINBlocked(b *bed) {
	want := random(8 << 20)
	b.start(tight, script{
		data: func(p *probe, q []byte) {
			if p.got = append(p.got, q...); len(p.got) == 1 {
				p.Pause()
				p.Write(want)
			}
		},
		drained: func(p *probe) { p.Resume() },
	})
	for range 5 {
		c, p := b.connect()
		c.send("?")
		first := c.read(1)
		c.send("last words")
		c.CloseWrite()
		if !bytes.Equal(append(first, c.read(len(want)-1)...), want) {
			b.Error("bytes changed on the way")
		}
		if err := p.reason(); err != io.EOF || string(p.got) != "?last words" {
			b.Errorf("got %q, closed for %v", p.got, err)
		}
	}
}

func floodReset(b *bed) {
	blocked := make(chan struct{}, 1)
	block := func(p *probe) {
		p.do(func() { p.Write(make([]byte, 4<<20)) })
		await(b, "OnBlocked", blocked)
	}
	rows := []struct {
		name string
		act  func(c *client, p *probe)
		got  string // waits for Resume
		fin  bool
	}{
		{"idle", func(*client, *probe) {}, "", false},
		{"with data", func(c *client, _ *probe) { c.send("data") }, "data", false},
		{"after FIN", func(c *client, _ *probe) { c.send("data"); c.CloseWrite() }, "data", true},
		{"blocked", func(_ *client, p *probe) { block(p) }, "", false},
		{"blocked, with data", func(c *client, p *probe) { c.send("data"); block(p) }, "", false},
		{"blocked, after FIN", func(c *client, p *probe) { block(p); c.CloseWrite() }, "", true},
	}
	b.start(tight, script{
		blocked: func(*probe) { blocked <- struct{}{} },
		data:    func(p *probe, q []byte) { p.got = append(p.got, q...) },
	})
	for _, r := range rows {
		for range 5 {
			c, p := b.connect()
			p.do(p.Pause)
			r.act(c, p)
			p.do(func() {})
			c.reset()
			if r.got != "" {
				b.tick(p, 3)
				if len(p.ended) != 0 {
					b.Errorf("%s: closed before Resume", r.name)
				}
				p.do(p.Resume)
			}
			err := p.reason()
			if err == io.EOF && r.fin {
				err = syscall.ECONNRESET // a reader may see either end
			}
			if !isHangUp(err) || string(p.got) != r.got {
				b.Errorf("%s: got %q, closed for %v", r.name, p.got, err)
			}
		}
	}
}

func floodClose(b *bed) {
	b.start(poller.Config{Loops: 1}, script{open: func(p *probe) { p.Pause() }})
	for range 3 {
		c, p := b.pressing()
		left := c.press(make([]byte, 8<<20))
		p.do(func() { p.Close(errMine) })
		if err := p.reason(); err != errMine {
			b.Errorf("closed for %v", err)
		}
		if _, err := c.Write(left); !isHangUp(err) {
			b.Errorf("the sender ended with %v", err)
		}
	}
}

func floodEngineClose(b *bed) {
	b.start(poller.Config{}, script{open: func(p *probe) { p.Pause() }})
	const clients = 4
	sent := make(chan error, clients)
	var probes []*probe
	for range clients {
		c, p := b.pressing()
		probes = append(probes, p)
		left := c.press(make([]byte, 8<<20))
		go func() {
			_, err := c.Write(left)
			sent <- err
		}()
	}
	b.engine.Close()
	for _, p := range probes {
		if err := p.reason(); err != poller.ErrEngineClosed {
			b.Errorf("closed for %v", err)
		}
		if err := await(b, "end of the sender", sent); !isHangUp(err) {
			b.Errorf("the sender ended with %v", err)
		}
	}
}

func isHangUp(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
