package poller

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"time"
)

// epollEngine is the default engine on Linux: one epoll instance and one goroutine per loop,
// level-triggered, one read per readable event into a buffer that belongs to the loop.
type epollEngine struct {
	cfg   Config
	start time.Time
	loops []*loop
	views []Loop

	mu        sync.Mutex
	listeners []*listener
	closed    bool

	accept acceptCounters
	done   sync.WaitGroup // loops and listeners
}

// NewEpoll starts the epoll engine: its loops run until Close.
func NewEpoll(cfg Config) (Engine, error) {
	e := &epollEngine{cfg: withDefaults(cfg), start: time.Now()}
	for i := range e.cfg.Loops {
		l, err := newLoop(e, i)
		if err != nil {
			for _, l := range e.loops {
				l.release()
			}
			return nil, fmt.Errorf("poller: loop %d: %w", i, err)
		}
		e.loops = append(e.loops, l)
		e.views = append(e.views, l)
	}
	for _, l := range e.loops {
		e.done.Go(l.run)
	}
	return e, nil
}

func withDefaults(cfg Config) Config {
	cfg.Loops = cmp.Or(cfg.Loops, runtime.GOMAXPROCS(0))
	cfg.ReadBufferBytes = cmp.Or(cfg.ReadBufferBytes, 64<<10)
	cfg.PausedBytesMax = cmp.Or(cfg.PausedBytesMax, 256<<10)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return cfg
}

func (e *epollEngine) Name() string       { return "epoll" }
func (e *epollEngine) Loops() []Loop      { return e.views }
func (e *epollEngine) Stats() AcceptStats { return e.accept.snapshot() }

func (e *epollEngine) Listen(addr string, a Acceptor) (net.Addr, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrEngineClosed
	}
	ln, err := newListener(e, addr, a)
	if err != nil {
		return nil, err
	}
	e.listeners = append(e.listeners, ln)
	e.done.Go(ln.run)
	return ln.addr, nil
}

func (e *epollEngine) StopAccepting() {
	e.mu.Lock()
	lns := e.listeners
	e.listeners = nil
	e.mu.Unlock()
	for _, ln := range lns {
		ln.stop()
	}
}

func (e *epollEngine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.StopAccepting()
	for _, l := range e.loops {
		l.stop()
	}
	e.done.Wait()
	return nil
}
