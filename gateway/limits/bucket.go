// Package limits bounds rates and counts. It reads no clock: callers give the time as a duration
// since any fixed moment, monotonic.
package limits

import (
	"math"
	"time"
)

// Bucket is a token bucket: a sustained rate, and a burst that may be used at once. It is the
// generic cell rate algorithm, so it needs no refilling and 16 bytes. It is not safe for concurrent
// use. The zero value is unlimited.
type Bucket struct {
	free     time.Duration // when the bucket is full again
	interval uint32        // nanoseconds a token; 0 means unlimited
	burst    uint32
}

// NewBucket returns a full bucket. A rate (per second) of 0 means unlimited; rates below 0.25 are
// taken for 0.25. burst is at least 1.
func NewBucket(rate float64, burst int) Bucket {
	if rate <= 0 {
		return Bucket{}
	}
	interval := min(max(float64(time.Second)/rate, 1), math.MaxUint32)
	return Bucket{interval: uint32(interval), burst: uint32(max(burst, 1))}
}

// Allow takes a token. It reports false, and takes none, if there is none.
func (b *Bucket) Allow(now time.Duration) bool {
	if b.interval == 0 {
		return true
	}
	free := max(b.free, now)
	if free-now > time.Duration(b.burst-1)*time.Duration(b.interval) {
		return false
	}
	b.free = free + time.Duration(b.interval)
	return true
}

// Take takes n tokens, which may be more than there are: what is missing is paid back by waiting.
// It reports false, and takes none, if there is none at all.
func (b *Bucket) Take(n int, now time.Duration) bool {
	if b.interval == 0 {
		return true
	}
	if b.Empty(now) {
		return false
	}
	b.free = max(b.free, now) + time.Duration(n)*time.Duration(b.interval)
	return true
}

// Empty reports whether there is no token.
func (b *Bucket) Empty(now time.Duration) bool {
	return b.interval != 0 &&
		max(b.free, now)-now > time.Duration(b.burst-1)*time.Duration(b.interval)
}

// Full reports whether no token is missing: then a new bucket is as good as this one.
func (b *Bucket) Full(now time.Duration) bool { return b.free <= now }
