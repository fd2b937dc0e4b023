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

// schedule is a sequence of planned moments. A copy goes on alike.
type schedule struct {
	at     time.Duration // the next one
	exact  float64       // at, without the rounding that would add up
	every  float64       // nanoseconds, on average
	random rand.PCG      // spaces the moments at random
	spaced bool          // evenly
}

// newSchedule begins at a moment, with rate moments a second: evenly spaced, or at random as in a
// Poisson process.
func newSchedule(at time.Duration, rate float64, poisson bool) schedule {
	return schedule{
		at: at, exact: float64(at), every: float64(time.Second) / rate, spaced: !poisson,
		random: *rand.NewPCG(rand.Uint64(), rand.Uint64()),
	}
}

func (s *schedule) next() {
	gap := s.every
	if !s.spaced {
		const bits = 53 // of a float64
		gap *= -math.Log(1 - float64(s.random.Uint64()>>(64-bits))/(1<<bits))
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
