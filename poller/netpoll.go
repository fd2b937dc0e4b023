//go:build unix

package poller

import (
	"net"
	"sync"
	"time"
)

// netpollEngine runs on the pollers of cloudwego/netpoll, wherever that runs. The division of
// labour:
//
//	accepting            this package's listeners
//	waiting              netpoll's pollers, which tell the loop what has become ready
//	everything else      this engine's loops: reading, writing, calling back, closing
//
// netpoll's own Connection is not used: it reads all that a peer sends into memory without a bound,
// has no way to stop that, and wants a goroutine for each connection that is being written to.
// Detaching it to stop reading would lose what the poller is about to put into its buffer.
//
// netpoll's pollers belong to the process: they start with the first engine and never stop.
type netpollEngine struct {
	cfg   Config
	start time.Time
	loops []*netpollLoop
	views []Loop
	doors listeners
	done  sync.WaitGroup // the loops
}

// NewNetpoll starts the netpoll engine: its loops run until Close.
//
// It keeps the contract as the epoll engine does, and like that one it holds nothing of what peers
// send: it stops reading, and TCP stops the sender. What is different:
//   - a connection that is not read, and that nothing has to be written to, is not watched. That
//     its peer has reset it is noticed TimerTick later.
//   - waiting for a connection costs two system calls, one to begin and one to end it.
//
// It fails if this version of netpoll is not the one that it was written for.
func NewNetpoll(cfg Config) (Engine, error) {
	if err := configureNetpoll(); err != nil {
		return nil, err
	}
	e := &netpollEngine{cfg: withDefaults(cfg), start: time.Now()}
	e.doors.cfg = &e.cfg
	for i := range e.cfg.Loops {
		poll, err := findPoll()
		if err != nil {
			return nil, err
		}
		l := newNetpollLoop(e, i, poll)
		e.loops = append(e.loops, l)
		e.views = append(e.views, l)
		e.doors.loops = append(e.doors.loops, l)
	}
	for _, l := range e.loops {
		e.done.Go(l.run)
	}
	return e, nil
}

func (e *netpollEngine) Name() string       { return "netpoll" }
func (e *netpollEngine) Loops() []Loop      { return e.views }
func (e *netpollEngine) Stats() AcceptStats { return e.doors.counts.snapshot() }

func (e *netpollEngine) Listen(addr string, a Acceptor) (net.Addr, error) {
	return e.doors.listen(addr, a)
}

func (e *netpollEngine) Adopt(fd int, open func(Conn) Handler) error {
	return e.doors.adopt(fd, open)
}

func (e *netpollEngine) StopAccepting() { e.doors.stop() }

func (e *netpollEngine) Close() error {
	e.doors.close()
	for _, l := range e.loops {
		l.stop()
	}
	e.done.Wait()
	return nil
}
