package pollertest

import (
	"bytes"
	"io"
	"math/rand/v2"

	"sluice/poller"
)

var readTests = []contractTest{
	{"read/one_byte_at_a_time", readDribble},
	{"read/coalesced_and_bounded_by_the_buffer", readCoalesced},
	{"read/buffer_may_be_overwritten", readOverwrite},
	{"read/all_before_EOF", readBeforeEOF},
	{"read/echo_of_all_sizes", readSizes},
	{"read/bulk_echo", readBulkEcho},
	{"read/all_before_a_failed_write", readBeforeFailedWrite},
}

// random returns n bytes that do not repeat.
func random(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

func readDribble(b *bed) {
	b.start(poller.Config{Loops: 1}, script{data: echo})
	c := b.dial()
	for _, x := range random(500) {
		c.exchange(string(x))
	}
}

func readCoalesced(b *bed) {
	const most = 4096
	want := random(10 * most)
	all := make(chan []byte, 1)
	b.start(poller.Config{Loops: 1, ReadBufferBytes: most}, script{data: func(p *probe, q []byte) {
		if len(q) > most {
			b.Errorf("OnData got %d bytes", len(q))
		}
		if p.got = append(p.got, q...); len(p.got) == len(want) {
			all <- p.got
		}
	}})
	c := b.dial()
	c.send(string(want))
	if !bytes.Equal(await(b, "data", all), want) {
		b.Error("bytes changed on the way")
	}
}

func readOverwrite(b *bed) {
	b.start(poller.Config{Loops: 1, ReadBufferBytes: 100}, script{data: func(p *probe, q []byte) {
		p.Write(q)
		clear(q[:cap(q)])
	}})
	c := b.dial()
	want := random(100_000)
	go c.Write(want)
	if !bytes.Equal(c.read(len(want)), want) {
		b.Error("bytes changed on the way")
	}
}

func readBeforeEOF(b *bed) {
	want := random(200_000)
	b.start(poller.Config{}, script{data: func(p *probe, q []byte) { p.got = append(p.got, q...) }})
	for range 50 {
		c, p := b.connect()
		c.send(string(want))
		c.CloseWrite()
		if err := p.reason(); err != io.EOF {
			b.Fatalf("closed for %v", err)
		}
		if !bytes.Equal(p.got, want) {
			b.Fatalf("got %d bytes of %d", len(p.got), len(want))
		}
	}
}

// readSizes is about the sizes of the buffers in between.
func readSizes(b *bed) {
	b.start(poller.Config{}, script{data: echo})
	c := b.dial()
	all := random(1 << 20)
	for size := 1; size <= len(all); size *= 2 {
		for _, n := range []int{size - 1, size, size + 1} {
			n = min(n, len(all))
			go c.Write(all[:n])
			if !bytes.Equal(c.read(n), all[:n]) {
				b.Fatalf("%d bytes changed on the way", n)
			}
		}
	}
}

// readBulkEcho sends for as long as it takes the kernel, while reading the echo.
func readBulkEcho(b *bed) {
	b.start(poller.Config{}, script{data: echo})
	c := b.dial()
	want := random(1 << 20)
	for range 8 {
		go c.Write(want)
		if !bytes.Equal(c.read(len(want)), want) {
			b.Fatal("bytes changed on the way")
		}
	}
}

var pauseTests = []contractTest{
	{"pause/holds_data_back", pauseHolds},
	{"pause/inside_OnData_keeps_the_rest", pauseInside},
	{"pause/EOF_waits_behind_the_data", pauseEOF},
}

func pauseHolds(b *bed) {
	seen := make(chan string, 10)
	b.start(poller.Config{Loops: 1}, script{data: func(p *probe, q []byte) { seen <- string(q) }})
	c, p := b.connect()
	other, _ := b.connect()
	for range 20 {
		p.do(func() { p.Pause(); p.Pause() })
		c.send("held")
		other.send("free") // the loop is past it when this has arrived
		if got := await(b, "data", seen); got != "free" {
			b.Fatalf("got %q", got)
		}
		p.do(func() { p.Resume(); p.Resume() })
		if got := await(b, "data after Resume", seen); got != "held" {
			b.Fatalf("got %q", got)
		}
	}
}

func pauseInside(b *bed) {
	pieces := make(chan []byte, 1)
	b.start(poller.Config{Loops: 1, ReadBufferBytes: 16}, script{data: func(p *probe, q []byte) {
		p.Pause()
		pieces <- bytes.Clone(q)
	}})
	c, p := b.connect()
	want := random(5_000)
	c.send(string(want))
	var got []byte
	for len(got) < len(want) {
		got = append(got, await(b, "data", pieces)...)
		p.do(p.Resume)
	}
	if !bytes.Equal(got, want) {
		b.Error("bytes changed on the way")
	}
}

func pauseEOF(b *bed) {
	b.start(poller.Config{Loops: 1}, script{
		open: func(p *probe) { p.Pause() },
		data: func(p *probe, q []byte) { p.got = append(p.got, q...) },
	})
	for range 50 {
		c, p := b.connect()
		c.send("last words")
		c.CloseWrite()
		p.do(p.Resume)
		if err := p.reason(); err != io.EOF || string(p.got) != "last words" {
			b.Fatalf("got %q, closed for %v", p.got, err)
		}
	}
}

// readBeforeFailedWrite answers a peer that has sent all and closed: a reset meets the answers, but
// what the peer has sent before its FIN has arrived, and the handler must get it, also if it
// pauses in the middle.
func readBeforeFailedWrite(b *bed) {
	want := random(60_000)
	cfg := poller.Config{Loops: 1, ReadBufferBytes: 1 << 10}
	b.start(cfg, script{data: func(p *probe, q []byte) {
		switch p.got = append(p.got, q...); len(p.got) >> 10 % 3 {
		case 0:
			p.Write(q[:1])
		case 1:
			p.Write(q[:1])
			p.Flush()
		default:
			p.Pause()
			p.Loop().Post(runFunc(p.Resume))
		}
	}})
	for range 20 {
		c, p := b.connect()
		p.do(p.Pause)
		c.send(string(want))
		c.Close()
		p.do(p.Resume)
		if err := p.reason(); err != io.EOF && !isHangUp(err) {
			b.Errorf("closed for %v", err)
		}
		if !bytes.Equal(p.got, want) {
			b.Errorf("got %d bytes of %d", len(p.got), len(want))
		}
	}
}
