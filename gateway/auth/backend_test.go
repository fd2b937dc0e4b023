package auth

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errDown = errors.New("down")

func failing(context.Context) error { return errDown }
func working(context.Context) error { return nil }

// hanging is a service that does not answer.
func hanging(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestBackendBoundsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBackend(DefaultBackend())
		defer b.Close()
		began := time.Now()
		err := b.Call(t.Context(), hanging)
		wantReason(t, err, ReasonBackend)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestBackendBoundsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultBackend()
		b := NewBackend(cfg)
		defer b.Close()
		release := make(chan struct{})
		var calls sync.WaitGroup
		for range cfg.CallsMax {
			calls.Go(func() {
				err := b.Call(t.Context(), func(context.Context) error { <-release; return nil })
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		wantReason(t, b.Call(t.Context(), working), ReasonBusy)
		close(release)
		calls.Wait()
		if err := b.Call(t.Context(), working); err != nil {
			t.Error(err)
		}
	})
}

func TestA13_BreakerOpensAndTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultBackend()
		b := NewBackend(cfg)
		defer b.Close()
		fail := func() {
			t.Helper()
			wantReason(t, b.Call(t.Context(), failing), ReasonBackend)
		}
		for range cfg.FailuresMax - 1 {
			fail()
		}
		if b.Open() {
			t.Fatal("open too early")
		}
		fail()
		var e *Error
		err := b.Call(t.Context(), working)
		if !errors.As(err, &e) || e.Reason != ReasonBreaker || e.RetryAfter < time.Second {
			t.Fatalf("open breaker: %v", err)
		}
		// One call tries; the others are refused meanwhile.
		<-time.After(2 * cfg.Cooldown)
		err = b.Call(t.Context(), func(context.Context) error {
			wantReason(t, b.Call(t.Context(), working), ReasonBreaker)
			return errDown
		})
		wantReason(t, err, ReasonBackend)
		wantReason(t, b.Call(t.Context(), working), ReasonBreaker)
		// One that works closes it, and the count begins again.
		<-time.After(2 * cfg.Cooldown)
		if err := b.Call(t.Context(), working); err != nil || b.Open() {
			t.Fatalf("after a call that worked: %v, open %v", err, b.Open())
		}
		fail()
		if b.Open() {
			t.Error("opened by one failure")
		}
	})
}

func TestBreakerCountsOnlyFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultBackend()
		b := NewBackend(cfg)
		defer b.Close()
		for range 2 * cfg.FailuresMax {
			err := b.Call(t.Context(), func(context.Context) error {
				return Refuse(ReasonInactive)
			})
			wantReason(t, err, ReasonInactive)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 * cfg.FailuresMax {
			wantReason(t, b.Call(gone, hanging), ReasonBackend)
		}
		if b.Open() {
			t.Error("opened by bad tokens or by peers that went away")
		}
	})
}

func TestBreakerTriesAgainAfterOneThatWentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultBackend()
		b := NewBackend(cfg)
		defer b.Close()
		for range cfg.FailuresMax {
			wantReason(t, b.Call(t.Context(), failing), ReasonBackend)
		}
		<-time.After(2 * cfg.Cooldown)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		wantReason(t, b.Call(gone, hanging), ReasonBackend)
		if err := b.Call(t.Context(), working); err != nil {
			t.Error(err)
		}
	})
}

func TestBackendSurvivesPanics(t *testing.T) {
	cfg := DefaultBackend()
	cfg.CallsMax = 1
	b := NewBackend(cfg)
	defer b.Close()
	for range 2 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is lost")
				}
			}()
			b.Call(t.Context(), func(context.Context) error { panic("x") })
		}()
	}
	if err := b.Call(t.Context(), working); err != nil {
		t.Error(err)
	}
}

func TestBackendClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBackend(DefaultBackend())
		failed := make(chan error, 1)
		go func() { failed <- b.Call(context.Background(), hanging) }()
		synctest.Wait()
		began := time.Now()
		b.Close()
		wantReason(t, <-failed, ReasonBackend)
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %v for a call that hangs", took)
		}
		wantReason(t, b.Call(context.Background(), working), ReasonBackend)
		b.Close() // twice does no harm
	})
}

func TestBackendCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBackend(DefaultBackend())
		release, closed := make(chan struct{}), make(chan struct{})
		go b.Call(context.Background(), func(context.Context) error { <-release; return nil })
		synctest.Wait()
		go func() {
			b.Close()
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed while a call is under way")
		default:
		}
		close(release)
		<-closed
	})
}

func TestBackendCheck(t *testing.T) {
	good := DefaultBackend()
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for _, bad := range []BackendConfig{{}, {Timeout: 1, CallsMax: 1, FailuresMax: 1},
		{Timeout: -1, CallsMax: 1, FailuresMax: 1, Cooldown: 1}} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
