//go:build unix

package load

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// relayBytes is the buffer of one direction of a relay. It is small because there are two for
	// every connection.
	relayBytes = 4 << 10
	// relaySocketBytes is what may wait in the kernel in one direction between a relay and its
	// loop.
	relaySocketBytes = 32 << 10
	// lingerMax bounds the time from our half-close to the server's end of the connection.
	lingerMax = 10 * time.Second
	// deliverMax bounds the time that a server takes for what was sent before a close.
	deliverMax = 2 * time.Second
)

// Relays carry connections of crypto/tls to event loops. crypto/tls wants to block in reads and the
// loops want descriptors of plain bytes, so every connection gets a Unix socket pair: the loop has
// one end, and two goroutines copy between the other end and the tls.Conn.
//
// That costs the generator two goroutines, 8 KiB of buffers, two more descriptors and two more
// copies through the kernel for each connection, so a TLS load needs more of it than a plain one,
// and latencies include the hop. It is worth it because crypto/tls is what can be trusted to verify
// a server, and because the loops stay the same for both. Whether the generator was the bottleneck
// is for the report to say, from the generator's own CPU time.
//
// What waits in a relay is bounded: relayBytes and relaySocketBytes in each direction; whoever does
// not read holds up the other side. The zero Relays is ready. Its methods may be called from any
// goroutine.
type Relays struct{ running sync.WaitGroup }

// Relay is one connection that is carried. Its methods do not block and may be called from any
// goroutine.
type Relay struct {
	remote *tls.Conn
	local  *net.UnixConn
	ending sync.Once

	closed     atomic.Bool // Close was called
	halfClosed atomic.Bool // up has ended, down has lingerMax left
	ended      atomic.Pointer[error]
}

// Start carries a connection whose handshake is done and returns the end for Engine.Adopt, a
// connected, non-blocking Unix socket of the caller. conn belongs to the relay from the call on; it
// is closed when Start fails. When the descriptor is closed, Close must follow.
//
// The relay passes on what is sent and the end of it, each way. It ends when both ways have ended;
// when the descriptor is closed and what it has sent is delivered; or ten seconds after our
// half-close.
func (g *Relays) Start(conn *tls.Conn) (r *Relay, fd int, err error) {
	local, fd, err := socketPair()
	if err != nil {
		conn.NetConn().Close()
		return nil, -1, explain("socketpair", err)
	}
	r = &Relay{remote: conn, local: local}
	g.running.Go(r.up)
	g.running.Go(r.down)
	return r, fd, nil
}

// Wait returns when all relays have ended: within ten seconds if all are closed. No Start may run
// beside it.
func (g *Relays) Wait() { g.running.Wait() }

// Close says that the descriptor is being closed. What it has sent is delivered still, if the
// server takes it within two seconds, and then a goodbye of TLS.
func (r *Relay) Close() {
	r.closed.Store(true)
	_ = r.remote.SetWriteDeadline(time.Now().Add(deliverMax))
	if r.halfClosed.Load() {
		_ = r.remote.SetReadDeadline(time.Now()) // down ends both
	}
}

// Cut ends both sides at once, the server's by RST. The descriptor must still be closed.
func (r *Relay) Cut() {
	r.ending.Do(func() {
		// The server's side first: the end of ours makes up say goodbye.
		if tcp, ok := r.remote.NetConn().(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		r.remote.NetConn().Close()
		r.local.Close()
	})
}

// Ended is why the server's side has ended, where the descriptor says io.EOF whatever it was:
// io.EOF between two records of TLS, else an error of the kernel or an *Error. It is known before
// the descriptor says so; it is nil while that side is open, or if ours has ended first.
func (r *Relay) Ended() error {
	if err := r.ended.Load(); err != nil {
		return *err
	}
	return nil
}

// socketPair makes a pair of connected sockets, one of them for the runtime.
func socketPair() (local *net.UnixConn, fd int, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, -1, err
	}
	for _, end := range fds {
		err = errors.Join(err, unix.SetNonblock(end, true),
			unix.SetsockoptInt(end, unix.SOL_SOCKET, unix.SO_SNDBUF, relaySocketBytes))
	}
	conn, fileErr := takeSocket(fds[0], "relay")
	if err = errors.Join(err, fileErr); err != nil {
		unix.Close(fds[1])
		if conn != nil {
			conn.Close()
		}
		return nil, -1, err
	}
	return conn.(*net.UnixConn), fds[1], nil
}

// up carries what we send.
func (r *Relay) up() {
	_, writeErr := relay(r.remote, r.local)
	if writeErr != nil || r.closed.Load() || r.ended.Load() != nil {
		r.end()
		return
	}
	// A half-close: the server may still say something.
	if r.remote.CloseWrite() != nil || r.remote.SetReadDeadline(time.Now().Add(lingerMax)) != nil {
		r.end()
		return
	}
	r.halfClosed.Store(true)
	if r.closed.Load() || r.ended.Load() != nil { // since we looked
		r.end()
	}
}

// down carries what the server sends.
func (r *Relay) down() {
	readErr, writeErr := relay(r.local, r.remote)
	if writeErr != nil || errors.Is(readErr, net.ErrClosed) ||
		errors.Is(readErr, os.ErrDeadlineExceeded) {
		r.end()
		return
	}
	readErr = explainEnd(readErr)
	r.ended.Store(&readErr)
	// The loop sees the end, and closes.
	if r.local.CloseWrite() != nil || r.halfClosed.Load() {
		r.end()
	}
}

// explainEnd names how a server has ended a connection of TLS.
func explainEnd(err error) error {
	var errno syscall.Errno
	switch {
	case err == io.EOF, errors.As(err, &errno):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Class: "closed: inside a TLS record", Err: err}
	}
	return &Error{Class: "closed: TLS failed", Err: err}
}

// relay copies until one side fails, the reader perhaps by io.EOF.
func relay(w io.Writer, r io.Reader) (readErr, writeErr error) {
	buf := make([]byte, relayBytes)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return nil, err
			}
		}
		if err != nil {
			return err, nil
		}
	}
}

// end closes both sides, the server's with a goodbye of TLS.
func (r *Relay) end() {
	r.ending.Do(func() {
		r.local.Close()
		r.remote.Close()
	})
}
