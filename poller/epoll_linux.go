package poller

import (
	"fmt"
	"net"
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

	doors listeners
	done  sync.WaitGroup // the loops
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
	e.doors.cfg = &e.cfg
	for _, l := range e.loops {
		e.doors.loops = append(e.doors.loops, l)
		e.done.Go(l.run)
	}
	return e, nil
}

func (e *epollEngine) Name() string       { return "epoll" }
func (e *epollEngine) Loops() []Loop      { return e.views }
func (e *epollEngine) Stats() AcceptStats { return e.doors.counts.snapshot() }

func (e *epollEngine) Listen(addr string, a Acceptor) (net.Addr, error) {
	return e.doors.listen(addr, a)
}

func (e *epollEngine) Adopt(fd int, open func(Conn) Handler) error {
	return e.doors.adopt(fd, open)
}

func (e *epollEngine) StopAccepting() { e.doors.stop() }

func (e *epollEngine) Close() error {
	e.doors.close()
	for _, l := range e.loops {
		l.stop()
	}
	e.done.Wait()
	return nil
}
