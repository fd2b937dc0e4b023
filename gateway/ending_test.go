package gateway

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/gateway/wire"
)

func TestF13_close_codes(t *testing.T) {
	s := newStage(t, quick())
	for _, code := range []uint16{
		0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535,
		1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999,
	} {
		want := code
		if code < 1000 || code >= 1004 && code <= 1006 || code >= 1015 && code < 3000 || code >= 5000 {
			want = 1002
		}
		p := s.join("/echo")
		p.frame(wire.OpClose, string([]byte{byte(code >> 8), byte(code)})+"why")
		if h := p.hear(); h.code != want || !p.FIN() {
			t.Errorf("a close with %d was answered with %d, want %d", code, h.code, want)
		}
	}
}

func TestF14_peers_that_never_hang_up_are_hung_up_on(t *testing.T) {
	s := newStage(t, quick())
	p := s.join("/echo")
	p.frame(wire.OpClose, "\x03\xe8")
	if h := p.hear(); h.code != 1000 || !p.FIN() || p.closed() {
		t.Fatalf("the answer to a close: %+v", h)
	}
	p.say("data after close")
	s.fake.Advance(lingerMax / 2)
	p.say("data after close")
	s.fake.Advance(lingerMax/2 + 200*time.Millisecond)
	if out := p.TakeOutput(); !p.closed() || len(out) > 0 {
		t.Errorf("closed is %v after lingering; said %q", p.closed(), out)
	}
	if n := s.metrics.Shard(0).Closed(uint8(endPeerClosed)).Load(); n != 1 {
		t.Errorf("counted %d times as closed by the peer", n)
	}
}

// Without a rate the pongs are still bounded: they count into the outbound queue, and a peer that does
// not take them is not read from any more, and evicted if that goes on.
func TestF15_pings_of_a_peer_that_reads_no_pongs(t *testing.T) {
	for _, r := range []struct {
		target string
		policy SlowPolicy
	}{
		{"/echo", SlowDisconnect}, {"/echo", SlowDropNewest},
		{"/chat/bob", SlowDisconnect}, {"/chat/bob", SlowDropOldest}, {"/chat/bob", SlowLatest},
	} {
		t.Run(r.target+"_"+string(r.policy), func(t *testing.T) {
			cfg := quick()
			cfg.ControlRate, cfg.SlowConsumer, cfg.QueueBytesMax = 0, r.policy, 100_000
			s := newStage(t, cfg)
			p := s.join(r.target)
			p.AcceptBytes(0)
			payload := string(make([]byte, wire.ControlPayloadMax))
			for range 4000 {
				p.frame(wire.OpPing, payload)
				if q := p.Queue(); q.Bytes > cfg.QueueBytesMax+1000 {
					t.Fatalf("%d bytes are queued", q.Bytes)
				}
			}
			if !p.Paused() || p.closed() {
				t.Errorf("paused is %v, closed is %v", p.Paused(), p.closed())
			}
			s.fake.Advance(cfg.WriteTimeout + time.Second)
			s.fake.Advance(cfg.CloseTimeout + time.Second)
			if !p.closed() || s.count(endSlowConsumer) != 1 {
				t.Errorf("closed is %v, evicted %d", p.closed(), s.count(endSlowConsumer))
			}
		})
	}
}

func (s *stage) count(why endReason) uint64 {
	return s.metrics.Shard(0).Closed(uint8(why)).Load()
}

// drainOver lets the sessions of a stage end over a while.
func (s *stage) drainOver(d time.Duration) {
	s.drain.close()
	s.lanes[0].loop.Post(&drainer{s.lanes[0], d})
	s.fake.RunPosted()
}

func TestP01_closes_of_a_drain_are_spread(t *testing.T) {
	cfg := quick()
	cfg.PingInterval = 0
	s := newStage(t, cfg)
	const peers, seconds = 2000, 10
	all := make([]*actor, peers)
	for i := range all {
		all[i] = s.join("/echo")
	}
	half := s.connect()
	half.Deliver([]byte(upgradeRequest("/echo"))[:20])
	s.drainOver(seconds * time.Second)
	if out := half.TakeOutput(); len(out) < 12 || string(out[:12]) != "HTTP/1.1 503" {
		t.Errorf("a handshake under way was told %q", out)
	}
	for second := range seconds {
		s.fake.Advance(time.Second)
		closed := 0
		for _, p := range all {
			if h := p.hear(); h.code == 1012 {
				closed++
			} else if h.code != 0 {
				t.Fatalf("closed with %d", h.code)
			}
		}
		if mean := peers / seconds; closed < mean/2 || closed > mean*3/2 {
			t.Errorf("%d closed in second %d, want about %d", closed, second, mean)
		}
	}
	s.fake.Advance(lingerMax + time.Second)
	if n := s.count(endDrain); n != peers {
		t.Errorf("%d of %d were drained", n, peers)
	}
}

func TestP01_what_is_queued_goes_before_the_close(t *testing.T) {
	cfg := quick()
	cfg.PingInterval = 0
	s := newStage(t, cfg)
	alice, slow := s.join("/chat/alice"), s.join("/chat/slow")
	slow.AcceptBytes(0)
	var want []string
	for i := range 20 {
		alice.say(fmt.Sprint(i))
		want = append(want, fmt.Sprint("alice: ", i))
	}
	s.drainOver(0)
	s.fake.Advance(500 * time.Millisecond)
	slow.AcceptBytes(-1)
	if h := slow.hear(); !slices.Equal(h.texts, want) || h.code != 1012 {
		t.Errorf("got %q and close %d", h.texts, h.code)
	}
}
