// Package poller multiplexes TCP connections over a few event loops.
//
// It knows file descriptors, readiness, bytes in and out, a bounded outbound queue per connection,
// timers and accepting. It does not know what the bytes mean.
//
// Two engines keep the same contract: epoll (Linux, the default there) and netpoll (on the pollers
// of cloudwego/netpoll, every Unix). Package pollertest holds a deterministic fake and the contract
// tests that every engine passes.
//
// # Who calls what, and when
//
// Every connection belongs to one loop for its whole life. All calls of its Handler come from that
// loop's goroutine, one at a time:
//
//	Acceptor.Admit   accepting goroutine   before the socket belongs to a loop
//	Acceptor.Open    loop                  exactly once, first
//	OnData           loop                  any number of times, never while paused
//	OnBlocked        loop                  the kernel stopped taking bytes
//	OnDrained        loop                  everything queued has left; alternates with OnBlocked
//	OnTimer          loop                  the deadline set by SetTimer has passed
//	OnClose          loop                  exactly once, last
//
// No callback is nested in another one: Close inside a callback takes effect after it has returned.
// Callbacks must not block; whoever holds one up holds up every connection of the loop.
package poller

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Errors that OnClose receives beside io.EOF, the errors of the kernel (as syscall.Errno) and
// whatever was given to Conn.Close.
var (
	// ErrEngineClosed is given when Engine.Close ended the connection.
	ErrEngineClosed = errors.New("poller: engine closed")
	// ErrPanic is wrapped by the error given when a callback of the connection panicked.
	ErrPanic = errors.New("poller: handler panicked")
)

// Config configures an engine. The zero value is usable.
type Config struct {
	// Loops is the number of event loops; 0 means one per GOMAXPROCS.
	Loops int
	// ReadBufferBytes is the size of each loop's read buffer, so the most that one OnData gets;
	// 0 means 64 KiB.
	ReadBufferBytes int
	// SendBufferBytes sets SO_SNDBUF of accepted sockets; 0 leaves the kernel's autotuning.
	SendBufferBytes int
	// UnsentBytesMax sets TCP_NOTSENT_LOWAT of accepted sockets where the system has it: the kernel
	// takes no more bytes once it has this many that it has not sent yet. Up to a segment (64 KiB)
	// may come on top. What is under way to the peer does not count, so it costs no throughput. 0
	// leaves the system's default, which on Linux is no bound.
	UnsentBytesMax int
	// UserTimeout sets TCP_USER_TIMEOUT of accepted sockets where the system has it; 0 leaves it.
	UserTimeout time.Duration
	// OrphanTimeout is how long the kernel keeps what it has taken for a connection that was closed
	// since, while the peer takes nothing of it; 0 means UserTimeout.
	OrphanTimeout time.Duration
	// StarvedParting is written to a peer that had to be turned away because the process was out
	// of descriptors; empty means that it is just disconnected.
	StarvedParting []byte
	// Logger receives accept failures (at most one line per second) and panics; nil means
	// slog.Default().
	Logger *slog.Logger
}

// Engine owns the loops, the listeners and every descriptor below them. Its methods may be called
// from any goroutine.
type Engine interface {
	// Name is "epoll" or "netpoll".
	Name() string
	// Listen binds addr ("127.0.0.1:8080", port 0 for any) and starts to accept, dealing new
	// connections to the loops in turn. It returns the bound address.
	Listen(addr string, a Acceptor) (net.Addr, error)
	// Adopt takes over a connected TCP socket, as one that a client has dialled, and deals it to
	// the loops in turn; open gives it its handler, like Acceptor.Open. From the call on the
	// descriptor belongs to the engine, which makes it non-blocking; when Adopt fails, it is
	// closed. It does not count as accepted.
	Adopt(fd int, open func(Conn) Handler) error
	// StopAccepting closes all listeners. Established connections live on.
	StopAccepting()
	// Loops returns the event loops; the slice must not be changed.
	Loops() []Loop
	// Stats returns a snapshot of the accept counters.
	Stats() AcceptStats
	// Close stops accepting, closes every connection with ErrEngineClosed and returns when all
	// loops have ended and every descriptor is closed. Further calls return at once.
	Close() error
}

// AcceptStats counts since the engine started.
type AcceptStats struct {
	Accepted uint64 // sockets given to a loop
	Turned   uint64 // sockets that Admit turned away
	Failed   uint64 // accept(2) failures other than "try again"
	Starved  uint64 // times the process was out of descriptors (EMFILE, ENFILE)
}

// Acceptor decides about new connections.
type Acceptor interface {
	// Admit is asked for every accepted socket, on the accepting goroutine, one at a time per
	// listener. It must not block.
	Admit(remote netip.AddrPort) Admission
	// Open gives an admitted connection its handler, on the connection's loop. tag is the one of
	// its Admission. The Conn is valid until OnClose has returned; after that its methods do
	// nothing.
	Open(c Conn, tag uint8) Handler
}

// Throttle is implemented by acceptors that at times want no more connections than they have.
type Throttle interface {
	// Room is how many more connections are welcome now. Without room no socket is accepted: those
	// that come wait in the kernel's listen queue, and when that is full the kernel drops their
	// SYN, which the peer repeats. It is asked before each accept, on the accepting goroutine, and
	// again a few milliseconds after it was none. It must not block.
	Room() int
}

// Admission is Acceptor.Admit's answer.
type Admission struct {
	// Drop turns the socket away: Parting, if any, is written as far as the kernel takes it at
	// once, then the socket is closed. Neither Open nor any callback follows.
	Drop    bool
	Parting []byte
	// Tag is handed to Open.
	Tag uint8
}

// Handler receives the events of one connection; the package comment has the order.
type Handler interface {
	// OnData receives the bytes that have arrived, at least one. p belongs to the loop: it may be
	// overwritten in place by the handler, and is invalid once OnData has returned.
	OnData(p []byte)
	// OnBlocked says that the kernel took no more bytes and some are queued.
	OnBlocked()
	// OnDrained says that the queue which OnBlocked spoke of is empty again.
	OnDrained()
	// OnTimer says that the deadline of the last SetTimer has passed. The timer is then unset.
	OnTimer()
	// OnClose is the end: the descriptor is closed, nothing queued will be sent. err says why,
	// io.EOF if the peer closed (a half-close counts as a close). A write that fails does not end
	// the connection before OnData has got what had arrived by then.
	OnClose(err error)
}

// Conn is one connection, as its handler uses it. Its methods must be called on its loop only.
type Conn interface {
	Loop() Loop
	RemoteAddr() netip.AddrPort

	// Write queues a copy of p. Everything queued during one turn of the loop leaves in one
	// system call at its end. Write never blocks; it is the caller who bounds the queue, with
	// Queue and the Drop methods.
	Write(p []byte)
	// WriteShared queues p itself, which must never change again, counting as n messages. Only
	// what WriteShared queued can be dropped.
	WriteShared(p []byte, n int)
	// Flush sends what is queued now instead of at the end of the turn.
	Flush()
	// Queue describes what is queued.
	Queue() Queue
	// DropOldest drops queued shared writes, oldest first, until at least wantBytes are gone or
	// none is left. A write of which a byte was sent is never dropped.
	DropOldest(wantBytes int) (messages, bytes int)

	// Pause stops OnData; Resume allows it again. Both are idempotent. What the peer of a paused
	// connection sends stays in the kernel, and when that is full TCP stops the peer: the engine
	// holds nothing. The end waits behind what was sent before it, for Resume. Only if there is
	// nothing of that, or the connection is blocked, a reset ends a paused connection, within three
	// TimerTicks.
	Pause()
	Resume()

	// SetTimer sets the connection's only timer to fire d from now, replacing an earlier setting;
	// d <= 0 unsets it. It fires up to TimerTick late, never early.
	SetTimer(d time.Duration)

	// Transit asks the kernel, in one system call, about the bytes that it has taken. If the peer
	// has acknowledged some since it was last asked, Queue counts that as progress. A closed
	// connection has nothing in transit.
	Transit() Transit

	// CloseWrite sends FIN after what is queued. OnData goes on. Later writes are ignored.
	CloseWrite()
	// Close closes the connection after the current callback; err is what OnClose gets (nil
	// becomes net.ErrClosed). What is queued is sent only as far as the kernel takes it at once. If
	// something is left the connection is reset: the peer must not take what it got for all. Else
	// the kernel goes on sending what it has. Only the first call of Close and Abort counts.
	Close(err error)
	// Abort closes the connection like Close, but resets it: nothing more is sent, and the kernel
	// keeps nothing of it.
	Abort(err error)
}

// Transit describes the bytes of a connection that the kernel has taken.
type Transit struct {
	// Acked counts the bytes that the peer has acknowledged since the connection began; 0 on
	// systems other than Linux, which do not tell.
	Acked uint64
	// Unsent is how many bytes wait in the kernel to be sent, FIN counted as one: the peer's window
	// or the network holds them up. It is 0 on systems other than Linux.
	Unsent int
	// InFlight says that something was sent, FIN included, that the peer has not acknowledged.
	InFlight bool
}

// Arrived reports whether the peer has acknowledged all that the kernel has taken.
func (t Transit) Arrived() bool { return t.Unsent == 0 && !t.InFlight }

// Queue describes the outbound queue of a connection.
type Queue struct {
	Bytes    int
	Messages int
	// Unsent is how many bytes the kernel has taken and not sent, beside those in Bytes: as of the
	// last Transit, before the first one Config.UnsentBytesMax. It is 0 unless the connection is
	// blocked.
	Unsent int
	// Stalled is how long the queue has been non-empty without the kernel taking a byte, or telling
	// Transit of an acknowledgement; 0 if nothing is queued.
	Stalled time.Duration
	// Age is how long the oldest queued write has waited; 0 if nothing is queued. It is kept with
	// TimerTick's resolution.
	Age time.Duration
}

// TimerTick is the resolution of SetTimer.
const TimerTick = 100 * time.Millisecond

// Loop is one event loop. Its methods may be called from any goroutine, but for those that say
// otherwise.
type Loop interface {
	// Index is the loop's place in Engine.Loops.
	Index() int
	// Post queues r to be run on the loop, in the order of the calls, and wakes the loop. It
	// never blocks. The queue has no bound of its own: a Runner must post itself at most once
	// until it has run, so the number of Runners bounds it. It reports false, and drops r, after
	// the loop has ended.
	Post(r Runner) bool
	// Now is the loop's clock. It is monotonic and stands still while the process is suspended:
	// a gap in the loop's turns advances it by at most 1.5 s, so that a resumed process reads
	// what has arrived before it calls peers dead. On the loop only.
	Now() time.Duration
	// Backlog is the number of connections whose writes of earlier turns have not been tried yet:
	// a turn flushes a bounded number. Whoever fans out waits until it is 0, so that a receiver
	// is not called slow for what the loop itself has not got round to. On the loop only.
	Backlog() int
	// Each calls f for every open connection of the loop, in no order. On the loop only; f must
	// not open connections, but may close them.
	Each(f func(Handler))
	// Stats returns a snapshot of the loop's counters.
	Stats() LoopStats
}

// Runner is what Loop.Post runs. Run must not block.
type Runner interface{ Run() }

// LoopStats describes a loop. The counters count since the engine started.
type LoopStats struct {
	Conns    int           // open connections
	Turns    uint64        // times round the loop
	Events   uint64        // readiness events handled
	Reads    uint64        // read system calls
	Writes   uint64        // write system calls
	BytesIn  uint64        // bytes read
	BytesOut uint64        // bytes written
	Queued   int64         // bytes in the outbound queues of all connections
	Unsent   int64         // bytes that the kernel holds unsent for blocked ones, see Queue.Unsent
	LastTurn time.Duration // time since the loop last began a turn; an idle loop turns every second
}
