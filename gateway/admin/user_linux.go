package admin

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// identifyUser says whose a connection over a unix socket is, as the kernel knows.
func identifyUser(c net.Conn) (peer, name string) {
	peer = "unix"
	s, ok := c.(*net.UnixConn)
	if !ok {
		return peer, peer
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return peer, peer
	}
	name = peer
	raw.Control(func(fd uintptr) { // fails only if the connection is closed
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			peer = fmt.Sprintf("uid %d", cred.Uid)
			name = fmt.Sprintf("uid %d, pid %d", cred.Uid, cred.Pid)
		}
	})
	return peer, name
}
