package scenario

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/bench/benchtest"
	"sluice/bench/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds a failure, nothing else.
const patience = 30 * time.Second

func connect(t *testing.T, s *benchtest.Server, path string, n int, script load.Script) *load.Swarm {
	t.Helper()
	target, err := load.ParseTarget(s.URL(path), 0)
	if err != nil {
		t.Fatal(err)
	}
	swarm, err := load.NewSwarm(load.Config{Request: load.Request{Target: target}, Script: script})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { swarm.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := swarm.Connect(ctx, n); err != nil {
		t.Fatal(err)
	}
	return swarm
}

// await waits for a condition.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(patience)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("this did not come: %s", what)
		}
	}
}

func TestStamp(t *testing.T) {
	for _, size := range []int{0, stampBytes, 100, 1000} {
		text := appendStamped([]byte("bob: "), 123456789*time.Nanosecond, 77, size)
		at, seq, ok := readStamp(text)
		if !ok || at != 123456789 || seq != 77 {
			t.Errorf("size %d: %v %d %v", size, at, seq, ok)
		}
		if got := len(text) - len("bob: "); got != max(size, stampBytes) {
			t.Errorf("size %d became %d", size, got)
		}
	}
	for _, text := range []string{"", "@", "hello", "@0000000000000000000000g1", "@00000000000000000000001"} {
		if _, _, ok := readStamp([]byte(text)); ok {
			t.Errorf("%q has a stamp", text)
		}
	}
}

func TestEchoKeepsAPace(t *testing.T) {
	e := NewEcho(1, 200, 0)
	s := connect(t, benchtest.New(t, benchtest.Faults{}), "/echo", 5, e)
	e.Start(s)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Pace(ctx, s, 5000)
	}()
	await(t, "1,000 answers", func() bool { return e.Counts().Received >= 1000 })
	stop()
	<-ended
	if c := e.Counts(); c.Broken != 0 || c.Closed != 0 {
		t.Errorf("%+v of an honest server", c)
	}
}

func TestEchoKeepsMMessagesInFlight(t *testing.T) {
	e := NewEcho(1, 200, 4)
	s := connect(t, benchtest.New(t, benchtest.Faults{}), "/echo", 5, e)
	e.Start(s)
	await(t, "1,000 answers", func() bool { return e.Counts().Received >= 1000 })
	if c := e.Counts(); c.Broken != 0 || c.Closed != 0 {
		t.Errorf("%+v of an honest server", c)
	}
}

func TestEchoNoticesWrongAnswers(t *testing.T) {
	e := NewEcho(1, 200, 1)
	e.Start(connect(t, benchtest.New(t, benchtest.Faults{Garble: true}), "/echo", 1, e))
	await(t, "100 answers", func() bool { return e.Counts().Received >= 100 })
	if c := e.Counts(); c.Broken < 100 {
		t.Errorf("%+v of a server that cuts every message", c)
	}
}

func TestFanoutTellsWhatAServerDoesWrong(t *testing.T) {
	const receivers, messages = 5, 1000
	for _, tt := range []struct {
		name   string
		faults benchtest.Faults
		want   Counts
	}{
		{"honest", benchtest.Faults{}, Counts{Received: receivers * messages}},
		{"drops_one_percent", benchtest.Faults{DropEvery: 100},
			// The last one that is dropped leaves no gap that anybody could see.
			Counts{Received: receivers * 990, Lost: receivers * 9}},
		{"repeats", benchtest.Faults{RepeatEvery: 250},
			Counts{Received: receivers * 1004, Repeated: receivers * 4}},
		{"reorders", benchtest.Faults{SwapEvery: 300},
			Counts{Received: receivers * messages, Lost: receivers * 3, Repeated: receivers * 3}},
		{"garbles", benchtest.Faults{Garble: true},
			Counts{Received: receivers * messages, Broken: receivers * messages}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := NewFanout(1, 128)
			s := connect(t, benchtest.New(t, tt.faults), "/chat", receivers+1, f)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			sent, err := f.Publish(ctx, s, 10*messages, time.Second/10)
			if err != nil || sent != messages {
				t.Fatalf("sent %d: %v", sent, err)
			}
			await(t, "every message", func() bool { return f.Counts().Received >= tt.want.Received })
			s.Close()
			if got := f.Counts(); got.Sub(Counts{Closed: got.Closed}) != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			checked := tt.want.Received - tt.want.Broken
			if n := f.Latency().TotalCount(); n != int64(checked) {
				t.Errorf("%d latencies of %d messages", n, checked)
			}
		})
	}
}

func TestFloodKeepsItsWindow(t *testing.T) {
	const receivers, window = 5, 8
	for _, tt := range []struct {
		name   string
		faults benchtest.Faults
		lossy  bool
	}{
		{"honest", benchtest.Faults{}, false},
		{"drops_one_percent", benchtest.Faults{DropEvery: 100}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := NewFanout(1, 128)
			s := connect(t, benchtest.New(t, tt.faults), "/chat", receivers+1, f)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			sent, err := f.Flood(ctx, s, window, time.Second/5)
			if err != nil || sent < 200 {
				t.Fatalf("sent %d: %v", sent, err)
			}
			if onTheirWay := sent - uint64(f.seen.Load()); onTheirWay > window {
				t.Errorf("%d messages on their way", onTheirWay)
			}
			dropped := uint64(0)
			if tt.lossy {
				dropped = sent / 100
			}
			await(t, "every message", func() bool {
				return f.Counts().Received >= receivers*(sent-dropped)
			})
			s.Close()
			got := f.Counts()
			if got.Received != receivers*(sent-dropped) || got.Repeated+got.Broken > 0 {
				t.Errorf("sent %d: %+v", sent, got)
			}
			if got.Lost > receivers*dropped || got.Lost+receivers < receivers*dropped {
				t.Errorf("%d of %d counted as lost", got.Lost, receivers*dropped)
			}
		})
	}
}

// A server that delivers nothing gets one window, and another one when the first is given up.
func TestFloodOfAServerThatDeliversNothing(t *testing.T) {
	f := NewFanout(1, 128)
	s := connect(t, benchtest.New(t, benchtest.Faults{DropEvery: 1}), "/chat", 2, f)
	sent, err := f.Flood(t.Context(), s, 8, stall+stall/2)
	if err != nil || sent != 16 {
		t.Errorf("sent %d: %v", sent, err)
	}
}

func TestFloodEndsWithItsContext(t *testing.T) {
	f := NewFanout(1, 128)
	s := connect(t, benchtest.New(t, benchtest.Faults{}), "/chat", 2, f)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Flood(ctx, s, 8, patience); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if _, err := NewFanout(1, 128).Publish(ctx, s, 10, patience); err != context.Canceled {
		t.Errorf("got %v without a publisher", err)
	}
}
