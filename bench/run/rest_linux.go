package run

import (
	"time"

	"golang.org/x/sys/unix"
)

// rest sleeps on the thread itself: the runtime's timers wait for whole milliseconds, which would
// show in every latency. It may return early.
func rest(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	unix.Nanosleep(&ts, nil)
}
