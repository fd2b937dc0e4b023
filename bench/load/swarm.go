package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sluice/gateway/wire"
	"sluice/poller"
)

// Script is what the clients of a swarm do. Its methods are called on the client's loop and must
// not block.
type Script interface {
	// Open is called when the handshake is done.
	Open(c *Client)
	// Message is called for every message; the payload is valid until it returns.
	Message(c *Client, ev wire.Event)
	// Closed is called when an open client's connection has ended, with the reason: io.EOF, a
	// *wire.CloseError with the server's code, or an error of the kernel.
	Closed(c *Client, err error)
}

// Config configures a swarm.
type Config struct {
	Target *Target
	Script Script
	// Loops is the number of event loops; 0 means 1.
	Loops int
	// Dialers is the number of connects and handshakes under way at once; 0 means 64.
	Dialers int
	// Extensions is what the handshakes offer, if anything.
	Extensions string
}

// Swarm is a crowd of clients. Its methods may be called from any goroutine.
type Swarm struct {
	cfg    Config
	engine poller.Engine
	lanes  []lane

	dials sync.WaitGroup
	slots chan struct{} // one for every handshake under way
	next  atomic.Int64  // number of the next connection
	open  atomic.Int64

	mu         sync.Mutex
	failures   error                   // the first failed connects and handshakes; guarded by mu
	failed     int                     // guarded by mu
	handshakes *hdrhistogram.Histogram // in microseconds; guarded by mu
}

// lane is what the clients of one loop share.
type lane struct {
	clients map[*Client]struct{}
	scratch []byte
}

// failuresKept bounds the errors that are remembered word by word.
const failuresKept = 5

// NewSwarm starts the loops of a swarm without clients. Close must follow.
func NewSwarm(cfg Config) (*Swarm, error) {
	if cfg.Loops == 0 {
		cfg.Loops = 1
	}
	if cfg.Dialers == 0 {
		cfg.Dialers = 64
	}
	engine, err := poller.New("auto", poller.Config{Loops: cfg.Loops})
	if err != nil {
		return nil, err
	}
	s := &Swarm{
		cfg: cfg, engine: engine, lanes: make([]lane, cfg.Loops),
		slots:      make(chan struct{}, cfg.Dialers),
		handshakes: NewHistogram(),
	}
	for i := range s.lanes {
		s.lanes[i].clients = map[*Client]struct{}{}
	}
	return s, nil
}

// NewHistogram returns an empty histogram of microseconds, up to ten minutes with three digits.
func NewHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 600_000_000, 3) }

// Connect adds n clients, as fast as Config.Dialers allows, and returns when every one of them is
// open or has failed. The error joins the first failures.
func (s *Swarm) Connect(ctx context.Context, n int) error {
	s.mu.Lock()
	s.failures, s.failed = nil, 0
	s.mu.Unlock()
	for range n {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.dials.Go(func() { s.dial(int(s.next.Add(1) - 1)) })
	}
	// All slots together mean that nothing is under way.
	for i := range cap(s.slots) {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			s.free(i)
			return ctx.Err()
		}
	}
	s.free(cap(s.slots))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed > 0 {
		return fmt.Errorf("%d of %d connections failed: %w", s.failed, n, s.failures)
	}
	return nil
}

func (s *Swarm) free(slots int) {
	for range slots {
		<-s.slots
	}
}

// dial brings one client up to its handshake. It gives the slot back only if that fails.
func (s *Swarm) dial(i int) {
	c := &Client{swarm: s, Index: i, began: time.Now(), key: newKey()}
	fd, err := dial(s.cfg.Target, i)
	if err == nil {
		err = s.engine.Adopt(fd, func(conn poller.Conn) poller.Handler {
			c.conn = conn
			s.lanes[c.Lane()].clients[c] = struct{}{}
			c.begin()
			return c
		})
	}
	if err != nil {
		s.fail(err)
	}
}

func (s *Swarm) fail(err error) {
	s.mu.Lock()
	s.failed++
	if s.failed <= failuresKept {
		s.failures = errors.Join(s.failures, err)
	}
	s.mu.Unlock()
	<-s.slots
}

// opened is called on the client's loop.
func (s *Swarm) opened(c *Client, took time.Duration) {
	s.open.Add(1)
	s.mu.Lock()
	s.handshakes.RecordValue(took.Microseconds())
	s.mu.Unlock()
	<-s.slots
	s.cfg.Script.Open(c)
}

// closed is called on the client's loop.
func (s *Swarm) closed(c *Client, err error) {
	delete(s.lanes[c.Lane()].clients, c)
	if !c.open {
		if c.err != nil {
			err = c.err
		}
		s.fail(err)
		return
	}
	s.open.Add(-1)
	s.cfg.Script.Closed(c, err)
}

// Open is the number of clients whose handshake is done and whose connection has not ended.
func (s *Swarm) Open() int { return int(s.open.Load()) }

// Handshakes returns how long the handshakes took, from connect to 101, in microseconds.
func (s *Swarm) Handshakes() *hdrhistogram.Histogram {
	s.mu.Lock()
	defer s.mu.Unlock()
	return hdrhistogram.Import(s.handshakes.Export())
}

// Each runs f for every open client, on the client's loop, and returns when that is done.
func (s *Swarm) Each(f func(c *Client)) {
	var done sync.WaitGroup
	for i, l := range s.engine.Loops() {
		done.Add(1)
		if !s.post(l, func() {
			defer done.Done()
			for c := range s.lanes[i].clients {
				if c.open {
					f(c)
				}
			}
		}) {
			done.Done()
		}
	}
	done.Wait()
}

// Post runs f on the loop of a client, soon. It does not wait.
func (s *Swarm) Post(c *Client, f func()) { s.post(c.conn.Loop(), f) }

func (s *Swarm) post(l poller.Loop, f func()) bool { return l.Post(runner(f)) }

type runner func()

// Run implements poller.Runner.
func (r runner) Run() { r() }

// Close cuts every connection and ends the loops. It waits for connects that are under way. Connect
// must have returned; further calls of Close do nothing.
func (s *Swarm) Close() error {
	s.dials.Wait()
	return s.engine.Close()
}
