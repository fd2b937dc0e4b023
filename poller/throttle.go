//go:build unix

package poller

import (
	"sync/atomic"
	"time"
)

// throttleRest is how long a listener rests whose acceptor has no room: short beside what is in
// progress then, so that nothing stands idle.
const throttleRest = 5 * time.Millisecond

// throttle holds accepting back for an acceptor that is a Throttle. It stands between the loops and
// the acceptor to see how many accepted sockets its loops have not opened yet.
type throttle struct {
	Acceptor
	rooms    Throttle
	unopened atomic.Int64
}

// newThrottle returns nil for an acceptor that takes all that come.
func newThrottle(a Acceptor) *throttle {
	if rooms, ok := a.(Throttle); ok {
		return &throttle{Acceptor: a, rooms: rooms}
	}
	return nil
}

// Open implements Acceptor.
func (t *throttle) Open(c Conn, tag uint8) Handler {
	t.unopened.Add(-1)
	return t.Acceptor.Open(c, tag)
}

// full reports whether nothing is to be accepted for now.
func (t *throttle) full() bool {
	return t != nil && int64(t.rooms.Room()) <= t.unopened.Load()
}
