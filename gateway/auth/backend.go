package auth

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// BackendConfig bounds what a remote service can do to us.
type BackendConfig struct {
	// Timeout bounds a call.
	Timeout time.Duration
	// CallsMax bounds the calls under way. Past it a call fails at once: whoever waited here would
	// only make the storm longer.
	CallsMax int
	// FailuresMax is the number of failures in a row after which the service is left alone for
	// Cooldown, jittered by a fifth. Then one call tries it.
	FailuresMax int
	Cooldown    time.Duration
}

// DefaultBackend returns the defaults.
func DefaultBackend() BackendConfig {
	return BackendConfig{
		Timeout:     2 * time.Second,
		CallsMax:    64,
		FailuresMax: 5,
		Cooldown:    5 * time.Second,
	}
}

// Check returns an error if a bound is missing.
func (c *BackendConfig) Check() error {
	if c.Timeout <= 0 || c.CallsMax <= 0 || c.FailuresMax <= 0 || c.Cooldown <= 0 {
		return errors.New("auth: every bound of a backend must be positive")
	}
	return nil
}

// Backend guards the calls to a remote service: it bounds their time and their number, and stops
// calling when it fails again and again (a circuit breaker). It is safe for concurrent use.
type Backend struct {
	cfg   BackendConfig
	life  context.Context // ends with Close
	end   context.CancelFunc
	calls sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	active   int
	failures int       // in a row
	reopen   time.Time // when a call may try, once failures has reached its bound
	trying   bool      // such a call is under way
}

// NewBackend returns the guard of a service. cfg must pass its Check. Close must be called.
func NewBackend(cfg BackendConfig) *Backend {
	b := &Backend{cfg: cfg}
	b.life, b.end = context.WithCancel(context.Background())
	return b
}

// Call calls fn on this goroutine, if the service may be called now. fn must respect its context,
// which ends at the timeout, with ctx, and with Close. An error of fn that is no *Error becomes one
// of ErrUnavailable; these are the failures that the breaker counts.
func (b *Backend) Call(ctx context.Context, fn func(context.Context) error) (err error) {
	if err := b.enter(time.Now()); err != nil {
		return err
	}
	inner, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	stop := context.AfterFunc(b.life, cancel)
	failed := true // also if fn panics
	defer func() {
		stop()
		cancel()
		// A peer that went away says nothing of the service.
		gone := ctx.Err() != nil || b.life.Err() != nil
		b.leave(time.Now(), failed, gone)
	}()
	if err = fn(inner); err != nil {
		err = Unavailable(err)
	}
	failed = errors.Is(err, ErrUnavailable)
	return err
}

// enter counts a call, or says why there can be none.
func (b *Backend) enter(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return Refuse(ReasonBackend)
	case b.failures >= b.cfg.FailuresMax && (b.trying || now.Before(b.reopen)):
		return &Error{Reason: ReasonBreaker, RetryAfter: max(b.reopen.Sub(now), time.Second)}
	case b.active >= b.cfg.CallsMax:
		return Refuse(ReasonBusy)
	}
	b.trying = b.failures >= b.cfg.FailuresMax
	b.active++
	b.calls.Add(1)
	return nil
}

func (b *Backend) leave(now time.Time, failed, gone bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.active--
	b.calls.Done()
	switch {
	case !failed:
		b.failures, b.trying = 0, false
	case gone:
		b.trying = false
	default:
		b.trying = false
		b.failures = min(b.failures+1, b.cfg.FailuresMax)
		b.reopen = now.Add(jitter(b.cfg.Cooldown))
	}
}

// Open reports whether the service is left alone now, for metrics.
func (b *Backend) Open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= b.cfg.FailuresMax
}

// Close cancels the calls under way and waits for them. Later calls fail.
func (b *Backend) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.end()
	b.calls.Wait()
}

// jitter changes a duration by up to a fifth, so that many do not do the same at once.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()*2-1)*float64(d)/5)
}
