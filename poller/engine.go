package poller

import (
	"cmp"
	"log/slog"
	"net/netip"
	"runtime"
	"time"
)

// What the loops of both engines have in common.
const (
	// flushesPerTurn bounds the connections flushed at the end of a turn: a broadcast to a crowd
	// must not hold up everybody else's heartbeats (at some 10 us a flush, 512 are 5 ms).
	flushesPerTurn = 512
	// turnMax bounds a loop's sleep, so that an idle loop shows that it lives.
	turnMax = time.Second
	// gapMax is how far the loop's clock may move between two turns; a longer gap means that the
	// process stood still.
	gapMax = 1500 * time.Millisecond
	// iovecsMax bounds the segments that leave in one system call.
	iovecsMax = 256
	// directBytes is the size from which a write is not copied into the queue but sent at once,
	// with what is queued before it, in one system call.
	directBytes = chunkBytes
)

func withDefaults(cfg Config) Config {
	cfg.Loops = cmp.Or(cfg.Loops, runtime.GOMAXPROCS(0))
	cfg.ReadBufferBytes = cmp.Or(cfg.ReadBufferBytes, 64<<10)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return cfg
}

// remoteAddr is a netip.AddrPort in 18 bytes instead of 32.
type remoteAddr struct {
	ip   [16]byte
	port uint16
}

func (a remoteAddr) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a.ip).Unmap(), a.port)
}

// incoming is an accepted socket on its way to its loop.
type incoming struct {
	fd       int
	remote   remoteAddr
	acceptor Acceptor
	tag      uint8
}

// nopHandler stands in for the handler of a connection whose Open has not returned.
type nopHandler struct{}

func (nopHandler) OnData([]byte) {}
func (nopHandler) OnBlocked()    {}
func (nopHandler) OnDrained()    {}
func (nopHandler) OnTimer()      {}
func (nopHandler) OnClose(error) {}

// connFlags is the state of a connection.
type connFlags uint8

const (
	flagDirty   connFlags = 1 << iota // stands in loop.dirty
	flagBlocked                       // the kernel took no more; the loop waits until it does
	flagPaused                        // OnData is not wanted
	flagFin                           // FIN follows the queue; no more writes
	flagClosing                       // stands in loop.closing, or is closed
	flagBroken                        // a write has failed; what has arrived before is being read
	flagReset                         // Abort was called
)
