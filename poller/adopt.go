//go:build unix

package poller

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// adopt deals a connected socket to the loops in turn. It fails, having closed the socket, if that
// is none or the engine is closed.
func (s *listeners) adopt(fd int, open func(Conn) Handler) error {
	sa, err := unix.Getpeername(fd)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("poller: adopt: %w", err)
	}
	i := int(s.adopted.Add(1)-1) % len(s.loops)
	if !s.loops[i].give([]incoming{{fd, toRemoteAddr(sa), opener(open), 0}}) {
		unix.Close(fd)
		return ErrEngineClosed
	}
	return nil
}

// opener is the acceptor of a connection that nobody has to admit.
type opener func(Conn) Handler

func (opener) Admit(netip.AddrPort) Admission { return Admission{} }
func (o opener) Open(c Conn, _ uint8) Handler { return o(c) }
