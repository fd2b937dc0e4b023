package pollertest

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sluice/poller"

	"golang.org/x/sys/unix"
)

var acceptTests = []contractTest{
	{"accept/Admit_turns_away_with_a_parting", acceptDrop},
	{"accept/hands_the_tag_to_Open", acceptTag},
	{"accept/StopAccepting_keeps_connections", acceptStop},
	{"accept/two_listeners", acceptTwo},
	{"accept/Close_ends_every_connection", acceptClose},
	{"accept/R01_out_of_descriptors_three_times", acceptStarved},
	{"accept/R05_waits_while_there_is_no_room", acceptThrottled},
}

func acceptDrop(b *bed) {
	b.verdict.Store(&poller.Admission{Drop: true, Parting: []byte("full")})
	b.start(poller.Config{}, script{open: func(*probe) { b.Error("opened") }})
	for range 20 {
		if got := string(b.dial().rest()); got != "full" {
			b.Errorf("got %q", got)
		}
	}
	if st := b.engine.Stats(); st.Turned != 20 || st.Accepted != 0 {
		b.Errorf("stats %+v", st)
	}
}

func acceptTag(b *bed) {
	b.verdict.Store(&poller.Admission{Tag: 77})
	b.start(poller.Config{}, script{})
	if _, p := b.connect(); p.tag != 77 {
		b.Errorf("tag %d", p.tag)
	}
}

func acceptStop(b *bed) {
	b.start(poller.Config{}, script{data: echo})
	c, _ := b.connect()
	b.engine.StopAccepting()
	b.engine.StopAccepting()
	c.exchange("alive")
	// Closing the listener is not awaited: a connection may still get into its queue, and is reset.
	for {
		late, err := net.Dial("tcp", b.addr)
		if err != nil {
			break
		}
		late.Close()
	}
	c.exchange("still alive")
}

func acceptTwo(b *bed) {
	b.start(poller.Config{}, script{data: echo})
	b.dial().exchange("first")
	addr, err := b.engine.Listen("127.0.0.1:0", b)
	if err != nil {
		b.Fatal(err)
	}
	b.addr = addr.String()
	b.dial().exchange("second")
	if _, err := b.engine.Listen(b.addr, b); err == nil {
		b.Error("the address was bound twice")
	}
}

// rooms is an acceptor with room for some connections.
type rooms struct {
	*bed
	capacity, asked atomic.Int64
}

// Room implements poller.Throttle.
func (r *rooms) Room() int {
	r.asked.Add(1)
	return int(r.capacity.Load() - r.opens.Load())
}

func acceptThrottled(b *bed) {
	b.start(poller.Config{}, script{data: echo})
	r := &rooms{bed: b}
	addr, err := b.engine.Listen("127.0.0.1:0", r)
	if err != nil {
		b.Fatal(err)
	}
	b.addr = addr.String()
	var clients []*client
	for range 10 {
		c := b.dial()
		c.send("hello")
		clients = append(clients, c)
	}
	for _, capacity := range []int64{0, 3, 3, 10} {
		r.capacity.Store(capacity)
		since := r.asked.Load()
		for r.opens.Load() < capacity || b.engine.Stats().Accepted < uint64(capacity) ||
			r.asked.Load() < since+5 {
			runtime.Gosched()
		}
		if n := r.opens.Load(); n != capacity || b.engine.Stats().Accepted != uint64(capacity) {
			b.Fatalf("%d opened and %d accepted, with room for %d", n,
				b.engine.Stats().Accepted, capacity)
		}
	}
	for _, c := range clients {
		if got := string(c.read(len("hello"))); got != "hello" {
			b.Errorf("got %q", got)
		}
	}
	b.dial()
	b.engine.StopAccepting() // also while there is no room
}

func acceptClose(b *bed) {
	b.start(poller.Config{}, script{})
	var probes []*probe
	var clients []*client
	for range 50 {
		c, p := b.connect()
		probes, clients = append(probes, p), append(clients, c)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { b.engine.Close() })
	}
	wg.Wait()
	for i, p := range probes {
		if err := p.reason(); err != poller.ErrEngineClosed {
			b.Errorf("closed for %v", err)
		}
		clients[i].rest()
	}
	if _, err := b.engine.Listen("127.0.0.1:0", b); err != poller.ErrEngineClosed {
		b.Errorf("Listen on a closed engine: %v", err)
	}
}

// ended says when the server has closed c.
func (b *bed) ended(c *client) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		io.Copy(io.Discard, c)
		close(done)
	}()
	return done
}

// quietly silences an engine whose complaints the test provokes.
func quietly(cfg poller.Config) poller.Config {
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

// lockedBuffer counts the lines of a log.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedBuffer) lines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.buf.Bytes(), []byte("\n"))
}

// acceptStarved takes every descriptor away, three times. Each time the peers are told so, and the
// next ones are served as soon as there are descriptors again.
func acceptStarved(b *bed) {
	var log lockedBuffer
	cfg := poller.Config{Loops: 1, StarvedParting: []byte("starved")}
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	b.start(cfg, script{data: echo})
	c, _ := b.connect()
	began := time.Now()
	for episode := uint64(1); episode <= 3; episode++ {
		starved := b.starve(4)
		for _, s := range starved {
			if got := string(s.rest()); got != "starved" {
				b.Fatalf("episode %d: got %q", episode, got)
			}
		}
		c.exchange("alive")
		b.dial().exchange("served again")
		if st := b.engine.Stats(); st.Turned != 4*episode || st.Starved < 4*episode {
			b.Errorf("episode %d: stats %+v", episode, st)
		}
	}
	if most := int(time.Since(began)/time.Second) + 1; log.lines() > most {
		b.Errorf("%d lines were logged in %v", log.lines(), time.Since(began))
	}
}

// starve connects n clients while the process has no descriptor left but theirs, and waits until
// they were turned away.
func (b *bed) starve(n int) []*client {
	b.Helper()
	var sockets []int
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			b.Fatal(err)
		}
		unix.CloseOnExec(fd)
		sockets = append(sockets, fd)
	}
	to, err := net.ResolveTCPAddr("tcp", b.addr)
	if err != nil {
		b.Fatal(err)
	}
	addr := &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}
	turned := b.engine.Stats().Turned
	giveBack := b.takeDescriptors(sockets[0])
	for _, fd := range sockets {
		if err := unix.Connect(fd, addr); err != nil {
			b.Errorf("connect: %v", err)
		}
	}
	deadline := time.Now().Add(patience)
	for b.engine.Stats().Turned < turned+uint64(n) && time.Now().Before(deadline) {
		b.on(b.engine.Loops()[0], func() {})
	}
	giveBack()
	var clients []*client
	for _, fd := range sockets {
		clients = append(clients, b.adopt(fd))
	}
	return clients
}

// takeDescriptors leaves the process without descriptors until giveBack is called.
func (b *bed) takeDescriptors(like int) (giveBack func()) {
	b.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		b.Fatal(err)
	}
	low := old
	setLimit(&low.Cur, len(openDescriptors(b.T))+64)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		b.Fatal(err)
	}
	var taken []int
	for {
		fd, err := unix.FcntlInt(uintptr(like), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	return func() {
		for _, fd := range taken {
			unix.Close(fd)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			b.Error(err)
		}
	}
}

// setLimit sets a limit, whose type differs between systems.
func setLimit[T int64 | uint64](limit *T, n int) { *limit = T(n) }

// adopt makes a client of a connected socket.
func (b *bed) adopt(fd int) *client {
	b.Helper()
	f := os.NewFile(uintptr(fd), "client")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return &client{c.(*net.TCPConn), b}
}
