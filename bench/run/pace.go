package run

import (
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// pace is the shortest time between two wake-ups of a metronome. What is due in one is sent
// together; latency counts from the moment that each was planned for all the same.
const pace = time.Millisecond

// schedule is a sequence of planned moments.
type schedule struct {
	at      time.Duration // the next one
	exact   float64       // at, without the rounding that would add up
	every   float64       // nanoseconds, on average
	poisson bool
}

// newSchedule begins at a moment, with rate moments a second: evenly spaced, or at random.
func newSchedule(at time.Duration, rate float64, poisson bool) schedule {
	return schedule{
		at: at, exact: float64(at), every: float64(time.Second) / rate, poisson: poisson,
	}
}

func (s *schedule) next() {
	gap := s.every
	if s.poisson {
		gap *= -math.Log(1 - rand.Float64())
	}
	s.exact += gap
	s.at = time.Duration(s.exact)
}

// metronome calls beat whenever something may be due by a rate, until ctx ends.
func metronome(ctx context.Context, rate float64, beat func()) {
	every := max(pace, time.Duration(float64(time.Second)/rate/4))
	tick := time.NewTicker(min(every, 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			beat()
		case <-ctx.Done():
			return
		}
	}
}
