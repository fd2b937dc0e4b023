package poller

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// transit asks for TCP_INFO. It allocates nothing. A failure, which a socket of TCP does not have,
// reads as nothing in transit.
func transit(fd int) Transit {
	var info unix.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP,
		unix.TCP_INFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return Transit{}
	}
	return Transit{
		Acked: info.Bytes_acked, Unsent: int(info.Notsent_bytes), InFlight: info.Unacked > 0,
	}
}
