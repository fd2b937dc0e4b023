package gateway

import (
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/metrics"
	"sluice/gateway/wire"
)

func TestR04_memory_guard(t *testing.T) {
	s := newStage(t, quick())
	used := uint64(0)
	s.memory.limit, s.memory.used = 1000, func() uint64 { return used }
	state := func(now uint64, want metrics.MemoryState) {
		t.Helper()
		used = now
		s.checkMemory()
		s.fake.RunPosted()
		if got := metrics.MemoryState(s.memory.state.Load()); got != want {
			t.Errorf("%d of 1000 is %v, want %v", now, got, want)
		}
	}
	state(799, metrics.MemoryFine)
	author := s.join("/chat/author")
	readers := make([]*actor, 8)
	for i := range readers {
		readers[i] = s.join(fmt.Sprintf("/chat/reader%d", i))
	}

	state(800, metrics.MemorySoft)
	late := s.connect()
	late.Deliver([]byte(upgradeRequest("/echo")))
	if out := string(late.TakeOutput()); !strings.HasPrefix(out, "HTTP/1.1 503 ") {
		t.Errorf("a new connection gets %q", out)
	}
	author.say("still here")
	if texts := readers[0].hear().texts; len(texts) != 1 {
		t.Errorf("who is there hears %q", texts)
	}

	for _, r := range readers[:2] {
		r.AcceptBytes(0)
	}
	author.say(strings.Repeat("x", 10_000))
	state(920, metrics.MemoryHard)
	if n := s.lanes[0].m.SlowConsumer(policyIndex(SlowDisconnect), uint8(slowMemory)).Load(); n != 1 {
		t.Errorf("%d of two that owe the same were evicted, want 1", n)
	}
	state(100, metrics.MemoryFine)
	s.join("/echo")
	author.say("over")
	if texts := readers[7].hear().texts; len(texts) == 0 || texts[len(texts)-1] != "author: over" {
		t.Errorf("the others hear %q", texts)
	}
}

// TestR04_memory_guard_sees_the_limit holds the guard to the real limit and the real figures.
func TestR04_memory_guard_sees_the_limit(t *testing.T) {
	old := debug.SetMemoryLimit(1 << 40)
	defer debug.SetMemoryLimit(old)
	g := serve(t, quick())
	if g.memory.limit != 1<<40 || g.memory.stop == nil {
		t.Errorf("the limit is %d", g.memory.limit)
	}
	debug.FreeOSMemory() // of what other tests have left
	before := memoryInUse()
	ballast := make([]byte, 64<<20)
	for i := range ballast {
		ballast[i] = 1
	}
	debug.FreeOSMemory()
	if after := memoryInUse(); after < before+60<<20 || after > before+80<<20 {
		t.Errorf("64 MiB more are %d bytes more", int64(after)-int64(before))
	}
	if ballast[len(ballast)-1] != 1 {
		t.Error("the ballast is gone")
	}
	debug.SetMemoryLimit(math.MaxInt64)
	if newMemoryGuard().limit != 0 {
		t.Error("no limit counts as one")
	}
}

func TestByteRate(t *testing.T) {
	for _, path := range []string{"/chat/", "/echo?"} {
		cfg := quick()
		cfg.MessageRate, cfg.ByteRate, cfg.ByteBurst = 0, 1000, 2000
		s := newStage(t, cfg)
		a := s.join(path + "a")
		a.say(strings.Repeat("x", 1500))
		a.say(strings.Repeat("x", 1500)) // overdraws
		if a.hear().code != 0 {
			t.Fatal("closed within the burst")
		}
		a.say("x")
		if code := a.hear().code; code != wire.ClosePolicy {
			t.Errorf("%s: closed with %d", path, code)
		}
		patient := s.join(path + "b")
		for range 10 {
			patient.say(strings.Repeat("x", 1000))
			s.fake.Advance(time.Second)
		}
		if code := patient.hear().code; code != 0 {
			t.Errorf("%s: a client that keeps the rate is closed with %d", path, code)
		}
	}
}

func TestA14_guessing_is_turned_away(t *testing.T) {
	onEachGuarded(t, func(cfg *Config) {
		cfg.LimitLoopback, cfg.BadHandshakeRate, cfg.BadHandshakeBurst = true, 0.25, 3
	}, func(t *testing.T, g *Gateway) {
		for range 3 {
			if resp := refusedWith(t, g, "/echo", bearer("guess")); resp.StatusCode != 401 {
				t.Errorf("a guess gets %d", resp.StatusCode)
			}
		}
		if resp := refusedWith(t, g, "/echo", bearer("guess")); resp.StatusCode != 429 {
			t.Errorf("one guess too many gets %d", resp.StatusCode)
		}
		verified := func() (n uint64) {
			for i := range verdictLabels() {
				for lane := range g.Loops() {
					n += g.metrics.Shard(lane).Verdict(uint8(i)).Load()
				}
			}
			return n
		}
		if n := verified(); n != 3 {
			t.Errorf("%d tokens were verified, want 3", n)
		}
		// Who comes from elsewhere is not held to what that one did.
		elsewhere := dialFrom(t, g, "127.0.0.2")
		io.WriteString(elsewhere, upgradeRequest("/echo", bearer(sign(t, jwt.MapClaims{"sub": "ann"}))))
		if answer := readSome(t, elsewhere); !strings.HasPrefix(string(answer), "HTTP/1.1 101 ") {
			t.Errorf("another address gets %q", answer)
		}
	})
}
