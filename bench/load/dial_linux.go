package load

import "golang.org/x/sys/unix"

// lateBinding lets the kernel choose the port of a bound source address only when the socket
// connects: then a port may serve several destinations.
func lateBinding(fd int) {
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
}
