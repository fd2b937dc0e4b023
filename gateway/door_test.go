package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/gateway/metrics"
	"sluice/gateway/wire"
)

// answer asks for a WebSocket and returns the status and Retry-After of what it is told; 0 without.
func (a *actor) answer(request string) (status, retryAfter int) {
	a.stage.t.Helper()
	a.Deliver([]byte(request))
	out := a.TakeOutput()
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), nil)
	if err != nil {
		a.stage.t.Fatalf("%v in %q", err, out)
	}
	r.Body.Close()
	retryAfter, _ = strconv.Atoi(r.Header.Get("Retry-After"))
	return r.StatusCode, retryAfter
}

func TestH20_who_is_not_let_in_is_told_why(t *testing.T) {
	limited := func(scope metrics.Scope) func(s *stage) uint64 {
		return func(s *stage) uint64 { return s.metrics.Shard(0).RateLimited(scope).Load() }
	}
	rejected := func(why wire.Reason) func(s *stage) uint64 {
		return func(s *stage) uint64 { return s.metrics.Shard(0).Rejected(uint8(why)).Load() }
	}
	const never = 1e-6 // tokens per second
	for _, tt := range []struct {
		name   string
		change func(*Config)
		act    func(s *stage) // when two are inside
		status int
		count  func(s *stage) uint64
		frees  bool // somebody who leaves makes room
	}{
		{"capacity", func(c *Config) { c.ConnectionsMax = 2 }, nil, 503,
			rejected(wire.ReasonCapacity), true},
		{"connections_of_an_address", func(c *Config) { c.ConnectionsPerIPMax = 2 }, nil, 429,
			limited(metrics.ScopeConnectionsIP), true},
		{"rate_of_an_address", func(c *Config) { c.AcceptRatePerIP, c.AcceptBurstPerIP = never, 2 },
			nil, 429, limited(metrics.ScopeAcceptIP), false},
		{"rate_of_all", func(c *Config) { c.AcceptRate, c.AcceptBurst = never, 2 }, nil, 503,
			limited(metrics.ScopeAccept), false},
		{"draining", nil, func(s *stage) { s.drain.close() }, 503,
			rejected(wire.ReasonDraining), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := quick()
			cfg.LimitLoopback = true
			if tt.change != nil {
				tt.change(&cfg)
			}
			s := newStage(t, cfg)
			first, second := s.join("/echo"), s.join("/echo")
			if tt.act != nil {
				tt.act(s)
			}
			third := s.connect()
			status, after := third.answer(upgradeRequest("/echo"))
			if status != tt.status || after < 5 || after > 30 {
				t.Errorf("told %d, to come back in %d s, want %d", status, after, tt.status)
			}
			if third.Close(); !third.closed() || s.door.turned.Load() != 0 {
				t.Error("who was turned away still counts")
			}
			if n := tt.count(s); n != 1 {
				t.Errorf("counted %d times", n)
			}
			if n := s.door.inside.Load(); n != 2 {
				t.Errorf("%d inside, want 2", n)
			}
			first.Close()
			if tt.frees {
				s.join("/echo")
			} else if status, _ := s.connect().answer(upgradeRequest("/echo")); status != tt.status {
				t.Errorf("after one has left: %d", status)
			}
			second.say("still served")
			if h := second.hear(); len(h.texts) != 1 {
				t.Errorf("one inside got %+v", h)
			}
		})
	}
}

// Telling why costs a connection for a moment, so only so many are told properly.
func TestWhoIsTurnedAwayIsBounded(t *testing.T) {
	cfg := quick()
	cfg.ConnectionsMax, cfg.PingInterval = 1, 0
	s := newStage(t, cfg)
	inside := s.join("/echo")
	var kept []*actor
	for range turnedMax + 100 {
		a := s.connect()
		if !a.closed() {
			kept = append(kept, a)
		} else if out := a.TakeOutput(); !strings.HasPrefix(string(out), "HTTP/1.1 503 ") {
			t.Fatalf("the parting is %q", out)
		}
	}
	if len(kept) != turnedMax {
		t.Errorf("%d are kept to be told, want %d", len(kept), turnedMax)
	}
	s.fake.Advance(s.current.Load().HandshakeTimeout + time.Second)
	for _, a := range kept {
		if !a.closed() {
			t.Fatal("a silent one is kept past the handshake timeout")
		}
	}
	if n := s.door.turned.Load(); n != 0 {
		t.Errorf("%d still count as turned away", n)
	}
	inside.say("still served")
	if h := inside.hear(); len(h.texts) != 1 {
		t.Errorf("the one inside got %+v", h)
	}
}

func TestP09_twenty_thousand_bad_handshakes(t *testing.T) {
	s := newStage(t, quick())
	log := new(logged)
	s.log = slog.New(slog.NewJSONHandler(log, nil))
	requests := []string{
		upgradeRequest("/nowhere"), upgradeRequest("/chat/"), "BREW /pot HTTP/1.1\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	}
	reasons := []wire.Reason{
		wire.ReasonNotFound, wire.ReasonBadName, wire.ReasonMethod, wire.ReasonMalformed,
	}
	const each = 5000
	began := time.Now()
	for range each {
		for _, r := range requests {
			a := s.connect()
			a.Deliver([]byte(r))
			a.Close()
		}
	}
	for _, why := range reasons {
		if n := s.metrics.Shard(0).Rejected(uint8(why)).Load(); n != each {
			t.Errorf("%v counted %d times, want %d", why, n, each)
		}
	}
	if n := s.metrics.Shard(0).Closed(uint8(endRefused)).Load(); n != uint64(len(reasons)*each) {
		t.Errorf("%d closed as refused", n)
	}
	lines := map[string]int{}
	for _, line := range log.lines() {
		var fields struct{ Event, Reason string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		lines[fields.Event+" "+fields.Reason]++
	}
	bound := logBurst + logRate*(int(time.Since(began)/time.Second)+1)
	for kind, n := range lines {
		if n > bound {
			t.Errorf("%d lines of %q, want at most %d", n, kind, bound)
		}
	}
	if len(lines) != len(reasons) {
		t.Errorf("kinds of lines: %v", lines)
	}
}
