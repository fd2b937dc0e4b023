package logsink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate is a sink that takes nothing until it is opened, and then what broken allows.
type gate struct {
	open chan struct{}

	mu     sync.Mutex
	broken bool
	taken  bytes.Buffer
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken {
		return 0, errors.New("no space left on device")
	}
	return g.taken.Write(p)
}

func (g *gate) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taken.String()
}

func (g *gate) setBroken(broken bool) {
	g.mu.Lock()
	g.broken = broken
	g.mu.Unlock()
}

func TestLinesArriveInOrder(t *testing.T) {
	var sink bytes.Buffer
	w := New(&sink, 1<<20, nil)
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	if !w.Close(time.Minute) || sink.String() != want.String() || w.Lost() != 0 {
		t.Errorf("%d bytes arrived of %d, %d lines lost", sink.Len(), want.Len(), w.Lost())
	}
}

// TestP08_stuck_sink: whoever logs goes on, memory stays bounded, the count is exact, and what was
// lost is told when the sink takes lines again.
func TestP08_stuck_sink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newGate()
		var told uint64
		w := New(sink, 64, func(lines uint64) { told += lines })
		line := []byte("sixteen bytes...")
		w.Write(line)
		synctest.Wait() // the goroutine holds the first line, the buffer is empty
		for range 10 {
			w.Write(line)
		}
		if w.Lost() != 6 || len(w.buf) != 64 {
			t.Errorf("%d lines lost, %d bytes held; want 6 and 64", w.Lost(), len(w.buf))
		}
		if w.Close(time.Second) {
			t.Error("Close reports that a stuck sink took everything")
		}
		w.Write(line)
		if w.Lost() != 7 {
			t.Errorf("%d lines lost after Close, want 7", w.Lost())
		}
		close(sink.open)
		synctest.Wait()
		if n := len(sink.text()); n != 5*16 {
			t.Errorf("%d bytes arrived, want %d", n, 5*16)
		}
		if told != 7 {
			t.Errorf("%d lost lines were told, want 7", told)
		}
	})
}

func TestP08_close_waits_for_its_timeout_only(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newGate()
		w := New(sink, 64, nil)
		w.Write([]byte("x\n"))
		start := time.Now()
		if w.Close(time.Second) || time.Since(start) != time.Second {
			t.Errorf("Close took %v, want 1s", time.Since(start))
		}
		close(sink.open)
	})
}

func TestP08_broken_sink_that_recovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newGate()
		close(sink.open)
		sink.setBroken(true)
		var w *Writer
		w = New(sink, 64, func(lines uint64) { fmt.Fprintf(w, "lost %d\n", lines) })
		for range 3 {
			w.Write([]byte("gone\n"))
			synctest.Wait()
		}
		if w.Lost() != 3 {
			t.Errorf("%d lines lost, want 3", w.Lost())
		}
		sink.setBroken(false)
		w.Write([]byte("back\n"))
		synctest.Wait()
		if got := sink.text(); got != "back\nlost 3\n" {
			t.Errorf("%q arrived", got)
		}
		w.Close(time.Second)
	})
}

func TestP08_full_disk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	w := New(full, 1<<20, nil)
	for range 100 {
		w.Write([]byte("x\n"))
	}
	if !w.Close(time.Minute) || w.Lost() != 100 {
		t.Errorf("%d lines lost, want 100", w.Lost())
	}
}

func TestP08_pipe_that_nobody_reads(t *testing.T) {
	r, p, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	fill(t, p)
	w := New(p, 1<<10, nil)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for w.Lost() == 0 { // until the buffer is full, too
		w.Write(line)
	}
	if w.Close(0) {
		t.Error("Close reports that the pipe took everything")
	}
	r.Close() // lets go of the goroutine
	<-w.done
}

// fill writes to a pipe until it takes no more.
func fill(t *testing.T, p *os.File) {
	raw, err := p.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Write(func(fd uintptr) (done bool) {
		for {
			if _, err := unix.Write(int(fd), []byte{'x'}); err != nil {
				return true
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func TestManyWriters(t *testing.T) {
	var sink bytes.Buffer
	w := New(&sink, 1<<10, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				w.Write([]byte("0123456789\n"))
			}
		})
	}
	all.Wait()
	w.Close(time.Minute)
	lines := uint64(strings.Count(sink.String(), "0123456789\n"))
	if lines+w.Lost() != 8000 || sink.Len() != int(lines)*11 {
		t.Errorf("%d lines arrived and %d were lost, of 8000", lines, w.Lost())
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	w := New(io.Discard, 1<<20, nil)
	defer w.Close(time.Minute)
	line := []byte("x\n")
	for range 1000 {
		w.Write(line)
	}
	// The buffers may still grow once; a line must not cost an allocation.
	if n := testing.AllocsPerRun(1000, func() { w.Write(line) }); n != 0 {
		t.Errorf("Write allocates %v times", n)
	}
}
