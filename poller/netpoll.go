//go:build unix

package poller

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/cloudwego/netpoll"
)

// netpollBufferBytes is the size of the input buffer that netpoll keeps for every connection, 8 KiB
// by default.
const netpollBufferBytes = 512

// configureNetpoll sets what netpoll has process-wide, once, since its pollers read it without a
// lock, and starts the pollers. A process that uses netpoll for something else too shares all that.
var configureNetpoll = sync.OnceValue(func() error {
	netpoll.LinkBufferCap = netpollBufferBytes
	err := netpoll.Configure(netpoll.Config{
		BufferSize: netpollBufferBytes,
		// It has a line for every connection that is reset, so peers could fill a disk.
		LoggerOutput: io.Discard,
	})
	if err == nil {
		netpoll.Initialize()
	}
	return err
})

// netpollEngine runs on the public API of cloudwego/netpoll, wherever that runs. The division of
// labour:
//
//	accepting       this package's listeners
//	reading         netpoll's poller; its OnRequest copies the bytes to the connection's loop
//	calling back    this engine's loops
//	writing         the loop, straight to the kernel, without blocking
//	blocked writes  one goroutine per blocked connection, in netpoll's Write
//	hanging up      netpoll's poller, which tells the loop
//	closing         the loop
//
// netpoll's pollers belong to the process: they start with the first engine and never stop.
type netpollEngine struct {
	cfg   Config
	start time.Time
	loops []*netpollLoop
	views []Loop
	doors listeners
	done  sync.WaitGroup // the loops

	chunks sync.Pool // of *[chunkBytes]byte, for what netpoll has read
}

// NewNetpoll starts the netpoll engine: its loops run until Close.
//
// It differs from epoll where netpoll's API leaves no choice:
//   - netpoll never stops reading. What a paused connection sends is held up to
//     Config.PausedBytesMax, what one sends faster than its loop takes it up to 16 times as much;
//     beyond that the connection is closed with ErrInboundOverflow.
//   - netpoll does not say why a connection ended: OnClose gets io.EOF if the peer closed, and
//     syscall.ECONNRESET for every failure that no write has met.
//   - a connection holds a goroutine while it is blocked.
func NewNetpoll(cfg Config) (Engine, error) {
	if err := configureNetpoll(); err != nil {
		return nil, err
	}
	e := &netpollEngine{cfg: withDefaults(cfg), start: time.Now()}
	e.chunks.New = func() any { return new([chunkBytes]byte) }
	e.doors.cfg = &e.cfg
	for i := range e.cfg.Loops {
		l := newNetpollLoop(e, i)
		e.loops = append(e.loops, l)
		e.views = append(e.views, l)
		e.doors.loops = append(e.doors.loops, l)
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
