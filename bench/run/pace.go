package run

import (
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// pace is the shortest time between two wake-ups of a metronome. What is due in one is sent
// together; latency counts from the moment that each was planned for all the same.
const pace = 250 * time.Microsecond

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

// metronome calls beat, at which something may be due, until ctx ends.
func metronome(ctx context.Context, beat func()) {
	for ctx.Err() == nil {
		beat()
		rest(pace)
	}
}
