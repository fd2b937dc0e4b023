package tlsio

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/tls"
	"runtime"
	"strconv"
	"testing"

	"sluice/poller"
)

// sink is a poller.Conn that takes everything at once and keeps nothing.
type sink struct {
	poller.Conn
	bytes  int
	queued int   // what Queue shows
	err    error // what Close got
}

func (s *sink) Write(p []byte)      { s.bytes += len(p) }
func (s *sink) Flush()              {}
func (s *sink) Queue() poller.Queue { return poller.Queue{Bytes: s.queued} }
func (s *sink) Close(err error)     { s.err = err }
func (s *sink) Pause()              {}
func (s *sink) Resume()             {}

// nowhere is the engine of connections that outlive theirs.
var nowhere sink

// steady is an established connection whose client and engine cost nothing.
type steady struct {
	*rig
	conn     *conn
	sink     *sink
	toServer *sealer
}

func newSteady(tb testing.TB, onData func(*app, []byte)) *steady {
	tb.Helper()
	r := newRig(tb, Config{}, &app{}, false)
	toServer, _ := r.secrets()
	s := &steady{rig: r, conn: r.app.conn.(*conn),
		sink: &sink{Conn: r.app.conn.(*conn).raw}, toServer: toServer}
	s.conn.raw = s.sink
	s.conn.app = &echoer{conn: s.conn, onData: onData}
	tb.Cleanup(func() {
		if err := r.fake.Close(); err != nil {
			tb.Error(err)
		}
		r.server.Close()
	})
	return s
}

// echoer is an app that keeps nothing.
type echoer struct {
	app
	conn   poller.Conn
	onData func(*app, []byte)
}

func (e *echoer) OnData(p []byte) {
	if e.onData != nil {
		e.conn.Write(p)
	}
}

// records makes n records of size bytes of plaintext, to be used once.
func (s *steady) records(n, size int) [][]byte {
	p := make([]byte, size)
	out := make([][]byte, n)
	for i := range out {
		out[i] = s.toServer.seal(typeApplicationData, p)
	}
	return out
}

func TestMessagesCostNoAllocation(t *testing.T) {
	const runs = 200
	s := newSteady(t, echo)
	for _, size := range []int{1, 128, 4 << 10, 16 << 10} {
		records := s.records(runs+1, size)
		i := 0
		n := testing.AllocsPerRun(runs, func() {
			s.conn.OnData(records[i])
			i++
		})
		// The race detector makes sync.Pool forget.
		if n > 0 && !raceEnabled {
			t.Errorf("an echo of %d bytes makes %v allocations", size, n)
		}
	}
	if s.sink.bytes < runs*(16<<10) {
		t.Fatalf("only %d bytes were echoed", s.sink.bytes)
	}
}

// What 5,000 idle connections keep, after their handshakes and one large message each: no
// goroutine and little memory.
func TestIdleConnectionIsSmall(t *testing.T) {
	const bytesMax = 4 << 10
	conns := 5000
	if raceEnabled {
		conns = 100 // the figures mean nothing
	}
	cfg := serverConfig()
	server := NewServer(Config{TLS: func() *tls.Config { return cfg }})
	defer server.Close()
	kept := make([]*conn, 0, conns)
	goroutines, before := runtime.NumGoroutine(), heap()
	for range conns {
		kept = append(kept, idle(t, server))
	}
	each := int(heap()-before) / conns
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d were before", n, goroutines)
	}
	t.Logf("%d bytes an idle connection", each)
	if each > bytesMax && !raceEnabled {
		t.Errorf("an idle connection keeps %d bytes, more than %d", each, bytesMax)
	}
	runtime.KeepAlive(kept)
}

// idle returns a connection that has had a large message, without its engine and its peer.
func idle(t *testing.T, server *Server) *conn {
	t.Helper()
	r := newRigOf(t, server)
	toServer, _ := r.secrets()
	r.peer.Deliver(toServer.seal(typeApplicationData, make([]byte, 16<<10)))
	c := r.app.conn.(*conn)
	c.raw, c.app = &nowhere, &app{}
	if err := r.fake.Close(); err != nil {
		t.Fatal(err)
	}
	if len(r.app.got) != 16<<10 {
		t.Fatalf("got %d bytes", len(r.app.got))
	}
	return c
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 16 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) { benchmarkEcho(b, size) })
	}
}

func benchmarkEcho(b *testing.B, size int) {
	const batch = 256
	s := newSteady(b, echo)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for done := 0; done < b.N; done += batch {
		b.StopTimer()
		records := s.records(batch, size)
		b.StartTimer()
		for _, r := range records[:min(batch, b.N-done)] {
			s.conn.OnData(r)
		}
	}
}

// BenchmarkPlainGCM is the floor: what the cipher costs of an echo.
func BenchmarkPlainGCM(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 16 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			block, err := aes.NewCipher(make([]byte, 16))
			if err != nil {
				b.Fatal(err)
			}
			aead, err := cipher.NewGCM(block)
			if err != nil {
				b.Fatal(err)
			}
			nonce, p := make([]byte, 12), make([]byte, size)
			out, back := make([]byte, 0, size+16), make([]byte, 0, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := aead.Open(back, nonce, aead.Seal(out, nonce, p, nil), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHandshake(b *testing.B) {
	for b.Loop() {
		r := newRig(b, Config{}, new(app), false)
		r.mustShake(nil)
		r.end()
	}
}
