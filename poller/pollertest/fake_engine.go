package pollertest

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"sluice/poller"
)

// Name implements poller.Engine.
func (f *Fake) Name() string { return "fake" }

// Listen implements poller.Engine. The host of addr must be an IP address, or empty for any.
func (f *Fake) Listen(addr string, a poller.Acceptor) (net.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.doors == nil {
		return nil, poller.ErrEngineClosed
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if port == "0" {
		f.ports++
		port = strconv.Itoa(int(f.ports))
	}
	at, err := netip.ParseAddrPort(net.JoinHostPort(cmp.Or(host, "0.0.0.0"), port))
	if err != nil {
		return nil, err
	}
	bound := net.TCPAddrFromAddrPort(at)
	if f.doors[bound.String()] != nil {
		return nil, errors.New("pollertest: address in use")
	}
	f.doors[bound.String()] = a
	return bound, nil
}

// door returns who accepts at an address, nil if nobody does.
func (f *Fake) door(addr net.Addr) poller.Acceptor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doors[addr.String()]
}

// count counts what Admit has answered.
func (f *Fake) count(v poller.Admission) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v.Drop {
		f.accepted.Turned++
	} else {
		f.accepted.Accepted++
	}
}

// Adopt implements poller.Engine. It fails: there are no descriptors in a Fake.
func (f *Fake) Adopt(int, func(poller.Conn) poller.Handler) error {
	return errors.New("pollertest: a fake engine has no descriptors")
}

// StopAccepting implements poller.Engine.
func (f *Fake) StopAccepting() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.doors)
}

// Loops implements poller.Engine.
func (f *Fake) Loops() []poller.Loop { return []poller.Loop{fakeLoop{f}} }

// Stats implements poller.Engine.
func (f *Fake) Stats() poller.AcceptStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.accepted
}

// Close implements poller.Engine. What was posted before runs first.
func (f *Fake) Close() error {
	defer f.begin()()
	f.mu.Lock()
	f.doors = nil
	f.mu.Unlock()
	for f.step(); !f.end(); f.step() {
	}
	return nil
}

// end closes every connection, and reports whether nothing is left.
func (f *Fake) end() bool {
	for _, c := range slices.Clone(f.conns) {
		c.Close(poller.ErrEngineClosed)
	}
	f.reap()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = len(f.posted) == 0
	return f.ended
}

// fakeLoop is the only loop of a Fake.
type fakeLoop struct{ f *Fake }

// Index implements poller.Loop.
func (l fakeLoop) Index() int { return 0 }

// Post implements poller.Loop.
func (l fakeLoop) Post(r poller.Runner) bool {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	if l.f.ended {
		return false
	}
	l.f.posted = append(l.f.posted, r)
	return true
}

// Now implements poller.Loop.
func (l fakeLoop) Now() time.Duration {
	l.f.onLoop()
	return l.f.now
}

// Backlog implements poller.Loop.
func (l fakeLoop) Backlog() int {
	l.f.onLoop()
	return l.f.backlog
}

// Each implements poller.Loop.
func (l fakeLoop) Each(visit func(poller.Handler)) {
	l.f.onLoop()
	for _, c := range slices.Clone(l.f.conns) {
		if c.reason == nil {
			visit(c.handler)
		}
	}
}

// Stats implements poller.Loop. Its LastTurn is always 0.
func (l fakeLoop) Stats() poller.LoopStats {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	return l.f.stats
}

// onLoop panics unless a turn is being made.
func (f *Fake) onLoop() {
	if !f.inTurn {
		panic("pollertest: used outside of the loop")
	}
}
