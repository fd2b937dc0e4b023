package tlsio

import "time"

const (
	// windowFirst is how many handshakes may be under way before any has been measured, windowMin
	// how many always may.
	windowFirst = 256
	windowMin   = 32
	// rateFirst is the rate, per second and slot, that is assumed before one has been measured.
	rateFirst = 100
	// latencyShare and rateShare are the shares of a new measurement in the averages, as divisors.
	latencyShare = 16
	rateShare    = 4
)

// pace says how many handshakes can be begun and still be finished in time. It is a control loop,
// as of TCP: the more are under way, here and at the peers, the longer one takes. The window of
// those under way grows while they take less than a sixth of the timeout and shrinks when they take
// more than a quarter. Peers that never answer say nothing about the load and do not count.
//
// It reads no clock and has no lock.
type pace struct {
	timeout   time.Duration
	windowMax int

	window  int           // handshakes that may be under way
	latency time.Duration // from beginning a handshake to its success, an average
	shrunk  time.Time     // when the window did last
	last    time.Time     // when the last handshake was begun

	rate  float64 // handshakes begun a second while others waited, an average
	since time.Time
	begun int // since then
}

func newPace(timeout time.Duration, windowMax, slots int) pace {
	return pace{
		timeout: timeout, windowMax: windowMax, window: min(windowFirst, windowMax),
		rate: float64(rateFirst * slots),
	}
}

// begin notes that a handshake is begun beside others that are under way; limited says that more
// wait.
func (p *pace) begin(now time.Time, others int, limited bool) {
	if others == 0 && now.Sub(p.last) > p.timeout/4 {
		// What was measured before a rest says little about those who come after it.
		p.window = min(p.window, windowFirst)
	}
	p.last = now
	if !limited {
		p.since, p.begun = now, 0
		return
	}
	p.begun++
	if d := now.Sub(p.since); d >= p.timeout/16 {
		p.rate += (float64(p.begun)/d.Seconds() - p.rate) / rateShare
		p.since, p.begun = now, 0
	}
}

// end notes that a handshake has succeeded, took after it was begun; limited says that the window
// keeps others waiting.
func (p *pace) end(now time.Time, took time.Duration, limited bool) {
	p.latency += (took - p.latency) / latencyShare
	switch {
	case p.latency < p.timeout/6 && limited:
		p.window = min(p.window+1, p.windowMax)
	case p.latency > p.timeout/4 && now.Sub(p.shrunk) > p.latency:
		p.window = min(max(p.window*3/4, windowMin), p.windowMax)
		p.shrunk = now
	}
}

// waitingMax is how many are begun within a sixth of the timeout, but at most most.
func (p *pace) waitingMax(most int) int {
	return min(max(int(p.rate*p.timeout.Seconds()/6), windowMin), most)
}

// late reports whether the time that is left is too short for a handshake. Peers that take their
// time make the average long: half the timeout is always enough.
func (p *pace) late(left time.Duration) bool { return left < min(p.latency, p.timeout/2) }

// patience is how long a handshake may wait for its peer when another needs its place.
func (p *pace) patience() time.Duration {
	return min(max(4*p.latency, p.timeout/8), p.timeout/4)
}
