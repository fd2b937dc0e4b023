package load

import "sync"

// OnLanes runs f once on every event loop and returns when that is done. What a Script keeps per
// lane may be touched by f.
func (s *Swarm) OnLanes(f func(lane int)) {
	var done sync.WaitGroup
	for i, l := range s.engine.Loops() {
		done.Add(1)
		if !s.post(l, func() { defer done.Done(); f(i) }) {
			done.Done()
		}
	}
	done.Wait()
}

// PostLane runs f on an event loop, soon. It does not wait.
func (s *Swarm) PostLane(lane int, f func()) { s.post(s.engine.Loops()[lane], f) }

// Lanes is the number of event loops.
func (s *Swarm) Lanes() int { return len(s.engine.Loops()) }

// Cut cuts up to n open clients of those that may accept, and returns when that is done.
func (s *Swarm) Cut(n int, may func(*Client) bool) {
	share := (n + s.Lanes() - 1) / s.Lanes()
	s.OnLanes(func(lane int) {
		left := min(share, n-share*lane)
		for c := range s.lanes[lane].clients {
			if left <= 0 {
				return
			}
			if c.open && may(c) {
				c.Cut()
				left--
			}
		}
	})
}
