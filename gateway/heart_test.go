package gateway

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"sluice/gateway/wire"
)

// beating is quick with a heart.
func beating() Config {
	cfg := quick()
	cfg.PingInterval = DefaultConfig().PingInterval
	return cfg
}

func TestR07_half_open_peers_are_gone_after_35_seconds(t *testing.T) {
	s := newStage(t, beating())
	type life struct {
		*actor
		asked time.Duration // when it got its ping
		ended bool
	}
	var peers []*life
	for range 200 {
		peers = append(peers, &life{actor: s.join("/echo")})
	}
	// Timers and pings come on a tick.
	const slack = 300 * time.Millisecond
	for at := time.Duration(0); at <= 35*time.Second+slack; at += 100 * time.Millisecond {
		for _, p := range peers {
			if p.asked == 0 && p.hear().pings > 0 {
				p.asked = at
			}
			if closed := p.closed(); closed && !p.ended {
				p.ended = true
				if wait := at - p.asked; p.asked == 0 || wait < 9800*time.Millisecond {
					t.Errorf("closed at %v, %v after its ping", at, wait)
				}
			}
		}
		s.fake.Advance(100 * time.Millisecond)
	}
	for _, p := range peers {
		if !p.closed() {
			t.Error("still open after 35 s of silence")
		}
	}
	if n := s.metrics.Shard(0).Closed(uint8(endPongTimeout)).Load(); n != 200 {
		t.Errorf("%d closed for their silence, want 200", n)
	}
}

func TestR07_whatever_arrives_proves_life(t *testing.T) {
	answers := map[string]func(p *actor){
		"pong":           func(p *actor) { p.frame(wire.OpPong, "") },
		"message":        func(p *actor) { p.say("x") },
		"half_a_message": func(p *actor) { p.Deliver([]byte("\x01\x81abcd\x00")) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			cfg := beating()
			cfg.MessageTimeout = time.Hour
			cfg.FragmentsMax = 0
			s := newStage(t, cfg)
			p := s.join("/echo")
			first := true
			for range 5 * 60 {
				s.fake.Advance(time.Second)
				if p.hear().pings == 0 {
					continue
				}
				if name == "half_a_message" && !first {
					p.Deliver([]byte("\x00\x81abcd\x00"))
					continue
				}
				first = false
				answer(p)
			}
			if p.closed() {
				t.Error("a peer that answers was closed")
			}
		})
	}
}

// A proxy that cuts what is idle for a minute never gets to: the client only answers pings.
func TestX04_proxies_see_no_idle_connection(t *testing.T) {
	s := newStage(t, beating())
	p := s.join("/echo")
	quiet := time.Duration(0)
	for range 5 * 60 {
		s.fake.Advance(time.Second)
		if p.hear().pings == 0 {
			if quiet += time.Second; quiet >= 40*time.Second {
				t.Fatalf("nothing was said for %v", quiet)
			}
			continue
		}
		quiet = 0
		p.frame(wire.OpPong, "")
	}
	if p.closed() {
		t.Error("who answers its pings is gone")
	}
}

func TestR06_first_pings_are_spread(t *testing.T) {
	s := newStage(t, beating())
	const peers, seconds = 5000, 25
	all := make([]*actor, peers)
	for i := range all {
		all[i] = s.join("/echo")
	}
	var perSecond [seconds]float64
	for i := range perSecond {
		s.fake.Advance(time.Second)
		for _, p := range all {
			perSecond[i] += float64(p.hear().pings)
		}
	}
	mean, variance := peers/float64(seconds), 0.0
	for _, n := range perSecond {
		variance += (n - mean) * (n - mean) / seconds
	}
	// The time of the first ping is uniform, so pings per second are binomial: 7 % of the mean.
	if dev := math.Sqrt(variance); dev > 0.2*mean {
		t.Errorf("pings per second deviate by %.0f from a mean of %.0f: %v", dev, mean, perSecond)
	}
}

func TestR06_later_pings_are_jittered_early_never_late(t *testing.T) {
	s := newStage(t, beating())
	p := s.join("/echo")
	var last time.Duration
	seen := map[time.Duration]bool{}
	for at := time.Duration(0); at < 30*time.Minute; at += 100 * time.Millisecond {
		s.fake.Advance(100 * time.Millisecond)
		if p.hear().pings == 0 {
			continue
		}
		p.frame(wire.OpPong, "")
		if gap := at - last; last > 0 {
			// The interval begins when the answer is judged, up to pong-timeout later.
			if gap < 20*time.Second || gap > 35*time.Second+200*time.Millisecond {
				t.Errorf("%v between two pings", gap)
			}
			seen[gap] = true
		}
		last = at
	}
	if len(seen) < 10 {
		t.Errorf("the gaps between pings are always the same: %v", seen)
	}
}

func TestDeadlines(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		begin  func(s *stage) *actor
		feed   func(p *actor, second int) // every second
		after  time.Duration
		answer string // begins what the peer gets
		reason endReason
	}{
		{
			"H10_silent_handshake", nil,
			func(s *stage) *actor { return s.connect() }, nil,
			5 * time.Second, "", endHandshakeTimeout,
		},
		{
			"H10_slow_loris", nil,
			func(s *stage) *actor { return s.connect() },
			func(p *actor, i int) { p.Deliver([]byte(upgradeRequest("/echo"))[i : i+1]) },
			5 * time.Second, "HTTP/1.1 408 ", endRefused,
		},
		{
			"M_message_takes_too_long", func(c *Config) { c.MessageTimeout = 10 * time.Second },
			func(s *stage) *actor {
				p := s.join("/echo")
				p.Deliver([]byte("\x81\xfd\x00\x7f")[:1])
				return p
			},
			func(p *actor, i int) {
				if i < 4 {
					p.Deliver([]byte("\xfe\x01\x00abcd")[i : i+1])
				}
			},
			10 * time.Second, "\x03\xf0message took too long (", endMessageTimeout,
		},
		{
			"idle_although_it_pongs", func(c *Config) { c.IdleTimeout = 40 * time.Second },
			func(s *stage) *actor { return s.join("/echo") },
			func(p *actor, _ int) { p.Deliver([]byte("\x8a\x80abcd")) },
			40 * time.Second, "", endIdle,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := quick()
			cfg.ControlRate, cfg.PingInterval = 0, 0
			if tt.change != nil {
				tt.change(&cfg)
			}
			s := newStage(t, cfg)
			p := tt.begin(s)
			var out []byte
			for i := range int(tt.after/time.Second) - 1 {
				if tt.feed != nil {
					tt.feed(p, i)
				}
				s.fake.Advance(time.Second)
				out = append(out, p.TakeOutput()...)
			}
			if p.FIN() || p.closed() {
				t.Fatal("ended too early")
			}
			s.fake.Advance(time.Second + 300*time.Millisecond)
			out = append(out, p.TakeOutput()...)
			if !p.FIN() && !p.closed() {
				t.Fatal("not ended in time")
			}
			if !strings.Contains(string(out), tt.answer) {
				t.Errorf("told %q, want %q", out, tt.answer)
			}
			s.fake.Advance(lingerMax + 200*time.Millisecond)
			if !p.closed() {
				t.Error("it lingers for ever")
			}
			if n := s.metrics.Shard(0).Closed(uint8(tt.reason)).Load(); n != 1 {
				t.Errorf("counted %d times as %v", n, tt.reason)
			}
		})
	}
}

func TestLingeringIsBoundedInBytes(t *testing.T) {
	s := newStage(t, quick())
	p := s.connect()
	p.Deliver([]byte(upgradeRequest("/nowhere")))
	if !p.FIN() || p.closed() {
		t.Fatal("a refused peer does not get to read why")
	}
	for range 65 {
		p.Deliver(make([]byte, 1<<10))
	}
	if !p.Paused() {
		t.Error("a refused peer is read from for ever")
	}
	s.fake.Advance(lingerMax + 200*time.Millisecond)
	if !p.closed() {
		t.Error("a refused peer may stay for ever")
	}
}

func TestF16_each_ping_of_a_read_is_answered(t *testing.T) {
	s := newStage(t, quick())
	p := s.join("/echo")
	var pings, pongs []byte
	for i := range 10 {
		pongs = wire.AppendFrame(pongs, wire.OpPong, false, []byte{byte('0' + i)})
		pings = wire.AppendMaskedFrame(pings, wire.OpPing, false, [4]byte{1}, []byte{byte('0' + i)})
	}
	p.Deliver(pings)
	out := p.TakeOutput()
	if !bytes.Equal(out, pongs) {
		t.Errorf("ten pings at once were answered with %q, want %q", out, pongs)
	}
}

func TestF16_control_frame_flood_is_limited(t *testing.T) {
	s := newStage(t, quick())
	p := s.join("/echo")
	for range DefaultConfig().ControlBurst {
		p.frame(wire.OpPing, "")
	}
	if h := p.hear(); h.code != 0 || h.pongs != DefaultConfig().ControlBurst {
		t.Fatalf("within the burst: %+v", h)
	}
	p.frame(wire.OpPing, "")
	if h := p.hear(); h.code != 1008 {
		t.Errorf("past the burst: %+v", h)
	}
}

// A peer that the gateway itself does not read from cannot meet a deadline.
func TestDeadlinesWaitWhileReadingIsHeld(t *testing.T) {
	cfg := quick()
	cfg.PingInterval, cfg.IdleTimeout, cfg.MessageTimeout = 0, 10*time.Second, 10*time.Second
	s := newStage(t, cfg)
	p := s.join("/chat/alice")
	p.Deliver([]byte("\x01\x81abcd\x00")) // the beginning of a message
	s.session(p, func(v *session) { v.hold(holdHub) })
	s.fake.Advance(time.Minute)
	if p.FIN() || p.closed() {
		t.Fatal("ended for what the gateway has held up")
	}
	p.Deliver([]byte("\x80\x81abcd\x00"))
	s.session(p, func(v *session) { v.release(holdHub) })
	s.fake.Advance(9 * time.Second)
	if p.FIN() || p.closed() {
		t.Fatal("ended although the message came as soon as it was read")
	}
	s.fake.Advance(2 * time.Second)
	if h := p.hear(); h.code != 1000 {
		t.Errorf("idle again after the release, it was told %+v", h)
	}
}
