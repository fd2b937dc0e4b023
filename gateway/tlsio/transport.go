package tlsio

import (
	"net"
	"time"
)

// blockedError is what crypto/tls gets to read when there is no ciphertext. It keeps its state over
// temporary errors, and only over those.
type blockedError struct{}

func (blockedError) Error() string   { return "tlsio: no more ciphertext" }
func (blockedError) Timeout() bool   { return true }
func (blockedError) Temporary() bool { return true }

var errBlocked net.Error = blockedError{}

// transport is a conn as crypto/tls sees it: the connection below.
type transport conn

// Read implements net.Conn. After the handshake it never blocks.
func (t *transport) Read(p []byte) (int, error) {
	if t.hs != nil {
		return t.hs.read(p)
	}
	if len(t.in) == 0 {
		return 0, errBlocked
	}
	n := copy(p, t.in)
	t.in = t.in[n:]
	return n, nil
}

// Write implements net.Conn.
func (t *transport) Write(p []byte) (int, error) {
	if t.hs != nil {
		return t.hs.write(p)
	}
	if t.state&blocked != 0 {
		t.control += len(p) // what the application writes waits as plaintext
	}
	t.raw.Write(p)
	return len(p), nil
}

// Close implements net.Conn. The engine closes what is below.
func (t *transport) Close() error { return nil }

// LocalAddr implements net.Conn. It is not known.
func (t *transport) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements net.Conn. It is the loop's to know; crypto/tls does not need it.
func (t *transport) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// SetDeadline implements net.Conn; there is nothing that could wait.
func (t *transport) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (t *transport) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (t *transport) SetWriteDeadline(time.Time) error { return nil }
