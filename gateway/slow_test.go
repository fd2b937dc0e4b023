package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/gateway/metrics"
)

// crowded is a room with a publisher, a reader who takes nothing and one who takes all.
type crowded struct {
	*stage
	alice, slow, fit *actor
}

func newCrowded(t *testing.T, policy SlowPolicy, change func(*Config)) *crowded {
	t.Helper()
	cfg := quick()
	cfg.SlowConsumer = policy
	cfg.MessageRate = 0
	cfg.QueueMessagesMax = 10
	cfg.PingInterval = 0 // it would end a reader that stands still, too
	if change != nil {
		change(&cfg)
	}
	s := newStage(t, cfg)
	c := &crowded{s, s.join("/chat/alice"), s.join("/chat/slow"), s.join("/chat/fit")}
	c.slow.AcceptBytes(0)
	return c
}

// talk lets alice say numbered messages.
func (c *crowded) talk(from, to int, fill string) (texts []string) {
	for i := from; i < to; i++ {
		c.alice.say(fmt.Sprint(i, fill))
		texts = append(texts, fmt.Sprint("alice: ", i, fill))
	}
	return texts
}

// count is the metric of a policy and reason.
func (c *crowded) count(policy SlowPolicy, why slowReason) int {
	return int(c.metrics.Shard(0).SlowConsumer(policyIndex(policy), uint8(why)).Load())
}

// wantOnly checks that no other slow consumer was counted.
func (c *crowded) wantOnly(policy SlowPolicy, why slowReason, n int) {
	c.t.Helper()
	for _, p := range slowPolicies {
		for r := range slowReasons {
			want := 0
			if p == policy && r == why {
				want = n
			}
			if got := c.count(p, r); got != want {
				c.t.Errorf("%s for %s counted %d times, want %d", p, slowReasonNames[r], got, want)
			}
		}
	}
}

func TestSlowConsumerPolicies(t *testing.T) {
	const messages = 100
	big := strings.Repeat("x", 1000)
	bytesBound := func(cfg *Config) { cfg.QueueBytesMax, cfg.QueueMessagesMax = 5000, 1000 }
	for _, tt := range []struct {
		name   string
		policy SlowPolicy
		why    slowReason
		fill   string
		change func(*Config)
	}{
		{"disconnect_messages", SlowDisconnect, slowMessages, "", nil},
		{"disconnect_bytes", SlowDisconnect, slowBytes, big, bytesBound},
		{"drop_oldest_messages", SlowDropOldest, slowMessages, "", nil},
		{"drop_oldest_bytes", SlowDropOldest, slowBytes, big, bytesBound},
		{"drop_newest_messages", SlowDropNewest, slowMessages, "", nil},
		{"drop_newest_bytes", SlowDropNewest, slowBytes, big, bytesBound},
		{"latest_messages", SlowLatest, slowMessages, "", nil},
		{"latest_bytes", SlowLatest, slowBytes, big, bytesBound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrowded(t, tt.policy, tt.change)
			said := c.talk(0, messages, tt.fill)
			if h := c.fit.hear(); !slices.Equal(h.texts, said) {
				t.Errorf("the healthy reader got %d of %d messages", len(h.texts), len(said))
			}
			if h := c.alice.hear(); len(h.texts) > 0 {
				t.Errorf("the author got %q", h.texts)
			}
			c.slow.AcceptBytes(-1)
			got := c.slow.hear()
			if tt.policy == SlowDisconnect {
				if got.code != 1008 || len(got.texts) > 0 || !c.slow.FIN() {
					t.Errorf("an evicted reader got %d texts and close %d", len(got.texts), got.code)
				}
				c.wantOnly(tt.policy, tt.why, 1)
				return
			}
			if got.code != 0 || c.slow.closed() {
				t.Fatalf("%s closed the connection", tt.policy)
			}
			c.wantOnly(tt.policy, tt.why, messages-len(got.texts))
			checkKept(t, tt.policy, said, got.texts)
			after := c.talk(messages, messages+3, tt.fill)
			if h := c.slow.hear(); !slices.Equal(h.texts, after) {
				t.Errorf("after it reads again: %q, want %q", h.texts, after)
			}
		})
	}
}

// checkKept checks which messages a policy has kept.
func checkKept(t *testing.T, policy SlowPolicy, said, got []string) {
	t.Helper()
	n := len(got)
	if n == 0 || n > 10 {
		t.Fatalf("%d messages were kept", n)
	}
	var want []string
	switch policy {
	case SlowDropNewest:
		want = said[:n]
	case SlowDropOldest, SlowLatest:
		want = said[len(said)-n:]
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s kept %.60q, want %.60q", policy, got, want)
	}
}

// A queue that stands still is worse than a full one: its owner is gone or hangs.
func TestSlowConsumerThatStandsStill(t *testing.T) {
	for _, tt := range []struct {
		name    string
		why     slowReason
		change  func(*Config)
		after   time.Duration
		trickle bool // it takes a byte now and then
	}{
		{"stalled", slowStalled, func(c *Config) { c.WriteTimeout = 5 * time.Second }, 5 * time.Second, false},
		{"age", slowAge, func(c *Config) { c.QueueAgeMax = 15 * time.Second }, 15 * time.Second, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrowded(t, SlowDisconnect, tt.change)
			c.talk(0, 1, strings.Repeat("x", 500))
			for at := time.Duration(0); at < tt.after-time.Second; at += time.Second {
				if tt.trickle {
					c.slow.AcceptBytes(1)
				}
				c.fake.Advance(time.Second)
			}
			if c.count(SlowDisconnect, tt.why) != 0 {
				t.Fatal("evicted too early")
			}
			c.fake.Advance(time.Second + 2*blockedCheck)
			c.wantOnly(SlowDisconnect, tt.why, 1)
			c.fake.Advance(c.lanes[0].cfg().CloseTimeout - time.Second - 2*blockedCheck - lingerCheck)
			if c.slow.closed() {
				t.Error("closed before its close timeout")
			}
			c.fake.Advance(time.Second + 4*blockedCheck)
			if !c.slow.closed() || !c.slow.Aborted() {
				t.Errorf("an evicted reader that takes nothing: closed is %v, reset is %v",
					c.slow.closed(), c.slow.Aborted())
			}
		})
	}
	for _, policy := range slowPolicies[1:] {
		t.Run(string(policy)+"_keeps_it", func(t *testing.T) {
			c := newCrowded(t, policy, nil)
			c.talk(0, 50, "")
			c.fake.Advance(time.Minute)
			if c.slow.closed() || c.count(SlowDisconnect, slowAge)+c.count(SlowDisconnect, slowStalled) > 0 {
				t.Error("disconnected")
			}
		})
	}
}

// What the gateway has not written yet is not the reader's fault.
func TestReaderIsNotSlowBeforeItWasOffered(t *testing.T) {
	c := newCrowded(t, SlowDisconnect, nil)
	c.slow.AcceptBytes(-1)
	c.fake.SetFlushesPerTurn(1)
	said := c.talk(0, 200, "")
	if h := c.slow.hear(); !slices.Equal(h.texts, said) {
		t.Errorf("a willing reader got %d of %d, close %d", len(h.texts), len(said), h.code)
	}
}

func TestEchoOfAPeerThatDoesNotReadIsPaused(t *testing.T) {
	s := newStage(t, quick())
	p := s.join("/echo")
	p.AcceptBytes(0)
	text := strings.Repeat("x", 1000)
	for range 100 {
		p.say(text)
	}
	if !p.Paused() {
		t.Error("it is still read from")
	}
	if q := p.Queue(); q.Bytes > 3000 {
		t.Errorf("%d bytes are queued for it", q.Bytes)
	}
	p.AcceptBytes(-1)
	s.fake.RunPosted()
	if h := p.hear(); len(h.texts) != 100 || p.Paused() {
		t.Errorf("%d of 100 answers after it reads again", len(h.texts))
	}
	if n := s.metrics.Shard(0).RateLimited(metrics.ScopeMessage).Load(); n != 0 {
		t.Errorf("/echo has no message rate, but %d were limited", n)
	}
}
