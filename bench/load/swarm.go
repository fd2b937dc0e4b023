package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sluice/gateway/deflate"
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

// DialersDefault is how many connects and handshakes are under way at once.
const DialersDefault = 64

// Config configures a swarm.
type Config struct {
	// Request is what the handshakes are made of.
	Request
	Script Script
	// Loops is the number of event loops; 0 means 1.
	Loops int
	// Dialers is the number of connects and handshakes under way at once; 0 means DialersDefault.
	Dialers int
	// Rate is how many connects a second are begun; 0 means as many as Dialers allow.
	Rate float64
	// FirstIndex is the number of the first client, for a swarm that is one of several.
	FirstIndex int
	// ReceiveBuffer returns the size in bytes of the kernel's receive buffer for a client, by its
	// number; 0 leaves it to the kernel, as nil does for all. It may be called from any goroutine.
	ReceiveBuffer func(i int) int
	// TLS is for targets of wss. nil means that the server must prove to be the host of the URL.
	TLS *tls.Config
	// Resume has clients that come back resume their TLS session, if the server gave them a ticket.
	Resume bool
	// Deflate is the permessage-deflate that is offered; nil for none. A script sends and gets
	// messages as they are.
	Deflate *DeflateOffer
	// Extensions is what the handshakes offer if Deflate is nil: a script gets messages as they
	// come then, compressed if need be.
	Extensions string
}

// Phases is how long the phases of connecting took, in microseconds: the TCP connect, the handshake
// of TLS, the upgrade, and from then to the first message.
type Phases struct{ Connect, TLS, Upgrade, First *hdrhistogram.Histogram }

// Swarm is a crowd of clients. Its methods may be called from any goroutine.
type Swarm struct {
	cfg    Config
	engine poller.Engine
	lanes  []lane
	relays Relays
	codec  *deflate.Codec // nil without Deflate

	dials sync.WaitGroup
	slots chan struct{} // one for every handshake under way
	open  atomic.Int64

	sessions sessions
	resumed  atomic.Uint64

	// The rest is guarded by mu.
	mu         sync.Mutex
	next       int                     // number of the next client, if none is vacant
	vacant     []int                   // numbers of clients that have ended or failed
	failures   error                   // the first of the failures of the last Connect
	failed     int                     // all of them
	classes    map[string]uint64       // failed connects and handshakes since the beginning
	handshakes *hdrhistogram.Histogram // in microseconds
	phases     Phases
}

// lane is what the clients of one loop share.
type lane struct {
	clients  map[*Client]struct{}
	scratch  []byte // a frame to be sent
	inflated []byte // a message that has come
}

// failuresKept bounds the errors that are remembered word by word.
const failuresKept = 5

// NewSwarm starts the loops of a swarm without clients. Close must follow.
func NewSwarm(cfg Config) (*Swarm, error) {
	if cfg.Loops == 0 {
		cfg.Loops = 1
	}
	if cfg.Dialers == 0 {
		cfg.Dialers = DialersDefault
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var codec *deflate.Codec
	if cfg.Deflate != nil {
		var err error
		if codec, err = newCodec(cfg.Deflate); err != nil {
			return nil, err
		}
		cfg.Extensions = cfg.Deflate.String()
	}
	engine, err := poller.New("auto", poller.Config{Loops: cfg.Loops})
	if err != nil {
		return nil, err
	}
	s := &Swarm{
		cfg: cfg, engine: engine, codec: codec, lanes: make([]lane, cfg.Loops),
		slots: make(chan struct{}, cfg.Dialers),
		next:  cfg.FirstIndex, classes: map[string]uint64{}, handshakes: NewHistogram(),
		phases: Phases{NewHistogram(), NewHistogram(), NewHistogram(), NewHistogram()},
	}
	for i := range s.lanes {
		s.lanes[i].clients = map[*Client]struct{}{}
	}
	return s, nil
}

// NewHistogram returns an empty histogram of microseconds, up to ten minutes with three digits.
func NewHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 600_000_000, 3) }

// Connect adds n clients, as fast as Config.Rate and Config.Dialers allow, and returns when every
// one of them is open or has failed. They get the numbers of clients that have ended, then new
// ones. The error joins the first failures.
func (s *Swarm) Connect(ctx context.Context, n int) error {
	s.mu.Lock()
	s.failures, s.failed = nil, 0
	s.mu.Unlock()
	began := time.Now()
	for i := range n {
		if s.cfg.Rate > 0 {
			due := began.Add(time.Duration(float64(i) / s.cfg.Rate * float64(time.Second)))
			if err := sleep(ctx, time.Until(due)); err != nil {
				return err
			}
		}
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.dials.Go(func() { s.dial(ctx, s.number()) })
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

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// number takes the number of a new client.
func (s *Swarm) number() (i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(s.vacant) - 1; last >= 0 {
		i, s.vacant = s.vacant[last], s.vacant[:last]
		return i
	}
	s.next++
	return s.next - 1
}

func (s *Swarm) vacate(i int) {
	s.mu.Lock()
	s.vacant = append(s.vacant, i)
	s.mu.Unlock()
}

func (s *Swarm) free(slots int) {
	for range slots {
		<-s.slots
	}
}

// dial brings one client up to its handshake. It gives the slot back only if that fails.
func (s *Swarm) dial(ctx context.Context, i int) {
	c := &Client{swarm: s, Index: i, began: time.Now(), key: newKey()}
	receiveBuffer := 0
	if s.cfg.ReceiveBuffer != nil {
		receiveBuffer = s.cfg.ReceiveBuffer(i)
	}
	fd, err := dial(s.cfg.Target, i, receiveBuffer)
	if err == nil {
		s.phase(s.phases.Connect, time.Since(c.began))
		fd, err = s.secure(ctx, c, fd)
	}
	if err == nil {
		c.fd = fd
		err = s.engine.Adopt(fd, func(conn poller.Conn) poller.Handler {
			c.conn = conn
			s.lanes[c.Lane()].clients[c] = struct{}{}
			c.begin()
			return c
		})
		if err != nil && c.relay != nil {
			c.relay.Close()
		}
	}
	if err != nil {
		s.fail(i, err)
	}
}

// secure makes the TLS handshake, if it takes one, and returns the descriptor of plain bytes.
func (s *Swarm) secure(ctx context.Context, c *Client, fd int) (int, error) {
	if !s.cfg.Target.secure {
		return fd, nil
	}
	began := time.Now()
	cfg := s.cfg.TLS
	if s.cfg.Resume {
		cfg = cfg.Clone() // nil, if it is nil
		if cfg == nil {
			cfg = new(tls.Config)
		}
		cfg.ClientSessionCache = s.sessions.of(c.Index)
	}
	conn, err := StartTLS(ctx, fd, s.cfg.Target.name, cfg)
	if err != nil {
		return -1, err
	}
	if conn.ConnectionState().DidResume {
		s.resumed.Add(1)
	}
	s.phase(s.phases.TLS, time.Since(began))
	c.relay, fd, err = s.relays.Start(conn)
	return fd, err
}

// phase notes how long a phase of connecting took.
func (s *Swarm) phase(h *hdrhistogram.Histogram, took time.Duration) {
	s.mu.Lock()
	h.RecordValue(max(took.Microseconds(), 1))
	s.mu.Unlock()
}

func (s *Swarm) fail(i int, err error) {
	s.mu.Lock()
	s.vacant = append(s.vacant, i)
	s.classes[Class(err)]++
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
	s.cfg.Script.Open(c)
	<-s.slots
}

// closed is called on the client's loop.
func (s *Swarm) closed(c *Client, err error) {
	delete(s.lanes[c.Lane()].clients, c)
	if !c.open {
		if c.err != nil {
			err = c.err
		}
		s.fail(c.Index, err)
		return
	}
	s.open.Add(-1)
	s.vacate(c.Index)
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

// Phases returns how long the phases of connecting took.
func (s *Swarm) Phases() Phases {
	s.mu.Lock()
	defer s.mu.Unlock()
	copied := func(h *hdrhistogram.Histogram) *hdrhistogram.Histogram {
		return hdrhistogram.Import(h.Export())
	}
	return Phases{
		copied(s.phases.Connect), copied(s.phases.TLS), copied(s.phases.Upgrade),
		copied(s.phases.First),
	}
}

// Resumed returns how many TLS handshakes resumed a session since the beginning.
func (s *Swarm) Resumed() uint64 { return s.resumed.Load() }

// Failures returns how many connects and handshakes have failed since the beginning, by class.
func (s *Swarm) Failures() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.classes)
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

// Close cuts every connection and ends the loops. It waits for connects that are under way, and up
// to ten seconds for what relays of wss still have to deliver. Connect must have returned; further
// calls of Close do nothing.
func (s *Swarm) Close() error {
	s.dials.Wait()
	err := s.engine.Close()
	s.relays.Wait()
	return err
}
