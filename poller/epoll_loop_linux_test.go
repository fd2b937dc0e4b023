package poller

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// Nobody reads the eventfd, so it must count in the smallest steps there are: one that is full
// refuses the write, and the loop sleeps on.
func TestWakeUpsDoNotFillTheEventfd(t *testing.T) {
	wakefd, err := unix.Eventfd(0, unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(wakefd)
	l := &loop{wakefd: wakefd}
	const wakeUps = 1000
	for range wakeUps {
		l.sleeping.Store(true)
		l.wake()
	}
	var p [8]byte
	if _, err := unix.Read(wakefd, p[:]); err != nil {
		t.Fatal(err)
	}
	if got := binary.NativeEndian.Uint64(p[:]); got != wakeUps {
		t.Fatalf("eventfd holds %d after %d wake-ups", got, wakeUps)
	}
}
