package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/gateway/wire"
)

// A peer that has not answered its ping lives as long as it takes what is in front of it, and no
// longer.
func TestM02_bytes_that_the_peer_takes_prove_life(t *testing.T) {
	big := strings.Repeat("x", busyBytes)
	for _, tt := range []struct {
		name  string
		each  func(c *crowded, p *actor) // every second
		lives bool
	}{
		{"a_queue_that_moves", func(c *crowded, p *actor) {
			c.talk(0, 1, "x")
			p.AcceptBytes(5)
		}, true},
		{"the_kernel_still_holds_more", func(c *crowded, p *actor) {
			c.talk(0, 1, "x")
			p.AckBytes(5)
		}, true},
		{"much_at_once", func(c *crowded, p *actor) { c.talk(0, 1, big) }, true},
		{"R07_nothing_is_acknowledged", func(c *crowded, p *actor) {
			p.AckBytes(0)
			c.talk(0, 1, "x")
		}, false},
		{"R07_little_and_nothing_waits", func(c *crowded, p *actor) { c.talk(0, 1, "x") }, false},
		{"R07_idle", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrowded(t, SlowDropNewest, func(cfg *Config) {
				cfg.PingInterval, cfg.PongTimeout = 25*time.Second, 10*time.Second
			})
			p := c.slow
			if tt.name != "a_queue_that_moves" {
				p.AcceptBytes(-1)
			}
			for second := range 90 {
				c.fake.Advance(time.Second)
				for _, other := range []*actor{c.alice, c.fit} {
					other.frame(wire.OpPong, "")
				}
				if tt.each != nil {
					tt.each(c, p)
				}
				if p.closed() {
					if tt.lives || second > 36 || !p.Aborted() {
						t.Errorf("closed after %d s, reset is %v", second, p.Aborted())
					}
					if n := c.Gateway.metrics.Shard(0).Closed(uint8(endPongTimeout)).Load(); n != 1 {
						t.Errorf("%d closed for their silence", n)
					}
					return
				}
			}
			if !tt.lives {
				t.Error("it is never found dead")
			}
		})
	}
}

// What has not been acknowledged at the close timeout is reset, whatever the connection ended for;
// what has been gets the time to close.
func TestLastWords(t *testing.T) {
	const timeout = 5 * time.Second
	ends := map[string]func(c *crowded){
		"eviction": func(c *crowded) { c.talk(0, 20, "") },
		"drain":    func(c *crowded) { c.drainOver(0) },
		"close":    func(c *crowded) { c.slow.frame(wire.OpClose, "\x03\xe8") },
		"violation": func(c *crowded) {
			c.slow.Deliver([]byte("\x81\x01x")) // not masked
			c.fake.RunPosted()
		},
	}
	for name, end := range ends {
		for _, tt := range []struct {
			name  string
			after time.Duration // when the peer takes what is left
			reset bool
		}{
			{"taken_in_time", 3 * time.Second, false},
			{"never_taken", time.Hour, true},
		} {
			t.Run(fmt.Sprint(name, "/", tt.name), func(t *testing.T) {
				c := newCrowded(t, SlowDisconnect, func(cfg *Config) {
					cfg.CloseTimeout, cfg.DrainDuration = timeout, 0
				})
				p := c.slow
				if name != "eviction" {
					p.AcceptBytes(-1)
				}
				p.AckBytes(0)
				end(c)
				c.fake.Advance(min(tt.after, timeout) - 300*time.Millisecond)
				if p.closed() {
					t.Fatal("closed before the peer had its time")
				}
				if tt.reset {
					c.fake.Advance(time.Second)
					if !p.closed() || !p.Aborted() {
						t.Errorf("closed is %v, reset is %v", p.closed(), p.Aborted())
					}
					return
				}
				p.AcceptBytes(-1)
				p.AckBytes(-1)
				c.fake.Advance(500 * time.Millisecond)
				if h := p.hear(); h.code == 0 || !p.FIN() || p.closed() {
					t.Errorf("heard %+v, FIN is %v, closed is %v", h, p.FIN(), p.closed())
				}
				c.fake.Advance(lingerMax + 2*lingerCheck)
				if !p.closed() || p.Aborted() {
					t.Errorf("closed is %v, reset is %v", p.closed(), p.Aborted())
				}
			})
		}
	}
}

// A peer whose room is faster than it reads is slow by what the kernel holds for it too.
func TestM01_unsent_bytes_count_as_queued(t *testing.T) {
	const size = 1000
	for _, tt := range []struct {
		name   string
		unsent int
		want   int // messages that fit into 10,000 bytes
	}{
		{"none", 0, 9},
		{"some", 2000, 7},
		{"more_than_half_the_bound", 1 << 20, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrowded(t, SlowDisconnect, func(cfg *Config) {
				cfg.QueueBytesMax, cfg.QueueMessagesMax = 10_000, 1000
			})
			c.slow.HoldUnsent(tt.unsent)
			c.talk(0, 1, strings.Repeat("x", size))
			n := 1
			for ; c.count(SlowDisconnect, slowBytes) == 0 && n < 20; n++ {
				c.talk(0, 1, strings.Repeat("x", size))
			}
			if n-1 != tt.want {
				t.Errorf("%d messages were queued, want %d", n-1, tt.want)
			}
		})
	}
}

// The control group pays for what the kernel holds.
func TestR04_memory_guard_counts_what_the_kernel_holds(t *testing.T) {
	s := newStage(t, quick())
	author, slow, other := s.join("/chat/author"), s.join("/chat/slow"), s.join("/chat/other")
	s.memory.limit, s.memory.used = 1_000_000, func() uint64 { return 500_000 }
	slow.AcceptBytes(0)
	slow.HoldUnsent(450_000)
	author.say("x")
	other.AcceptBytes(0)
	s.fake.Advance(100 * time.Millisecond)
	s.checkMemory()
	s.fake.RunPosted()
	if !slow.closed() || !slow.Aborted() {
		t.Errorf("closed is %v, reset is %v", slow.closed(), slow.Aborted())
	}
	if other.closed() {
		t.Error("a peer that owes nothing was evicted")
	}
	s.fake.Advance(100 * time.Millisecond)
	s.checkMemory()
	if s.memory.tight() {
		t.Error("what was held for a closed connection still counts")
	}
}
