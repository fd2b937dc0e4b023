package gateway

import (
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/gateway/hub"
	"sluice/gateway/wire"
	"sluice/gateway/workers"
	"sluice/poller"
)

// onEachEngine runs a test against a gateway with each engine.
func onEachEngine(t *testing.T, change func(*Config), test func(t *testing.T, g *Gateway)) {
	for _, engine := range []string{"epoll", "netpoll"} {
		t.Run(engine, func(t *testing.T) {
			cfg := quick()
			cfg.Engine = engine
			if change != nil {
				change(&cfg)
			}
			test(t, serve(t, cfg))
		})
	}
}

// readAll collects what a connection says until it ends.
func readAll(t *testing.T, c net.Conn) []byte {
	t.Helper()
	out, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("not an orderly end: %v after %q", err, out)
	}
	return out
}

// hostile is a sequence of raw bytes after the handshake, and the Close frame that it must meet.
type hostile struct {
	name, in string
	code     uint16
}

// frame is a client frame with a zero mask, so that the payload stands there as it is.
func frame(first byte, payload string) string {
	return string([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}) + payload
}

func hostiles() []hostile {
	return []hostile{
		{"F01_unmasked", "\x81\x01x", 1002},
		{"F02_rsv1_without_extension", frame(0xC1, "x"), 1002},
		{"F02_rsv2", frame(0xA1, "x"), 1002},
		{"F02_rsv3", frame(0x91, "x"), 1002},
		{"F03_reserved_data_opcode", frame(0x83, "x"), 1002},
		{"F03_reserved_control_opcode", frame(0x8B, "x"), 1002},
		{"F04_long_ping", "\x89\xfe\x00\x7e\x00\x00\x00\x00", 1002},
		{"F04_ping_of_64_bits", "\x89\xff\x00\x00\x00\x00\x00\x00\x00\x7e\x00\x00\x00\x00", 1002},
		{"F05_fragmented_ping", frame(0x09, "x"), 1002},
		{"F06_continuation_of_nothing", frame(0x80, "x"), 1002},
		{"F06_new_message_inside", frame(0x01, "x") + frame(0x81, "y"), 1002},
		{"F07_not_minimal_16", "\x81\xfe\x00\x05\x00\x00\x00\x00hello", 1002},
		{"F07_not_minimal_64", "\x81\xff\x00\x00\x00\x00\x00\x00\x00\xc8\x00\x00\x00\x00", 1002},
		{"F08_sign_bit", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 1002},
		{"F08_huge", "\x82\xff\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", 1009},
		{"F08_limit_and_one", "\x82\xff\x00\x00\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00", 1009},
		{"F12_overlong", frame(0x81, "\xc0\x80"), 1007},
		{"F12_surrogate", frame(0x81, "\xed\xa0\x80"), 1007},
		{"F12_fails_before_the_end", frame(0x01, "ok\xff"), 1007},
		{"F12_truncated_at_fin", frame(0x01, "\xe2\x82") + frame(0x80, ""), 1007},
		{"F13_one_byte", frame(0x88, "\x03"), 1002},
		{"F13_code_1005", frame(0x88, "\x03\xed"), 1002},
		{"F13_code_5000", frame(0x88, "\x13\x88"), 1002},
		{"F13_reason_not_utf8", frame(0x88, "\x03\xe8\xff"), 1007},
		{"F13_empty", frame(0x88, ""), 1000},
		{"F14_data_after_close", frame(0x88, "\x03\xe8") + frame(0x81, "late"), 1000},
		{"F14_second_close", frame(0x88, "\x03\xe9") + frame(0x88, "\x03\xea"), 1001},
	}
}

// meet plays a row on an open session: whole, byte by byte, or behind a message that must be
// answered first.
func (h hostile) meet(t *testing.T, c net.Conn, mode string) {
	t.Helper()
	answered := ""
	switch mode {
	case "whole":
		io.WriteString(c, h.in)
	case "byte_by_byte":
		for i := range len(h.in) {
			// The gateway may have had enough before the end.
			if _, err := io.WriteString(c, h.in[i:i+1]); err != nil {
				break
			}
		}
	case "behind_a_message":
		answered = "\x81\x05first"
		io.WriteString(c, frame(0x81, "first")+h.in)
	}
	out := string(readAll(t, c))
	after, ok := strings.CutPrefix(out, answered)
	want := string([]byte{byte(h.code >> 8), byte(h.code)})
	if !ok || len(after) < 4 || after[0] != 0x88 || after[2:4] != want {
		t.Errorf("answered %q, want %q and close %d", out, answered, h.code)
	}
}

// meetAll plays every row in every mode on sessions of its own.
func meetAll(t *testing.T, rows []hostile, open func(t *testing.T) net.Conn) {
	for _, h := range rows {
		for _, mode := range []string{"whole", "byte_by_byte", "behind_a_message"} {
			t.Run(h.name+"/"+mode, func(t *testing.T) { h.meet(t, open(t), mode) })
		}
	}
}

func TestHostileFrames(t *testing.T) {
	onEachEngine(t, nil, func(t *testing.T, g *Gateway) {
		meetAll(t, hostiles(), func(t *testing.T) net.Conn { return join(t, g, "/echo").c })
	})
}

// The sum of fragments, their number and what is inflated are bounded like a message in one piece.
func TestHostileMessages(t *testing.T) {
	bomb := deflated(make([]byte, 400<<10))
	half := len(bomb) / 2
	rows := []hostile{
		{"F09_fragments_past_the_limit",
			frame(0x02, strings.Repeat("x", 125)) +
				strings.Repeat(frame(0x00, strings.Repeat("x", 125)), 8), 1009},
		{"F10_fragments_without_end",
			frame(0x02, "") + strings.Repeat(frame(0x00, ""), 256), 1008},
		{"F12_pong_inside_a_split_character",
			frame(0x01, "\xe2\x82") + frame(0x8A, "") + frame(0x80, "x"), 1007},
		{"F02_rsv2_beside_rsv1", frame(0xE1, "\xf2\x00"), 1002},
		{"D07_rsv1_on_a_ping", frame(0xC9, "x"), 1002},
		{"D07_rsv1_on_a_continuation", frame(0x41, "\xf2") + frame(0xC0, "\x00"), 1002},
		{"D06_reserved_block", frame(0xC1, "\xff\xff\xff\xff"), 1007},
		{"D06_cut_short", frame(0xC1, "\xf2\x48"), 1007},
		{"D06_junk_behind_the_final_block", frame(0xC1, "\x4b\x04\x00\xff\xff"), 1007},
		{"F12_invalid_once_inflated", frame(0xC1, "\x00\x01\x00\xfe\xff\xff\x00"), 1007},
		{"D01_bomb", longFrame(0xC2, bomb), 1009},
		{"D01_bomb_in_fragments",
			longFrame(0x42, bomb[:half]) + longFrame(0x80, bomb[half:]), 1009},
	}
	onEachEngine(t, func(c *Config) { c.MessageBytesMax = 1000 }, func(t *testing.T, g *Gateway) {
		meetAll(t, rows, func(t *testing.T) net.Conn {
			return joinPacked(t, g, "/echo", "permessage-deflate").c
		})
	})
}

// longFrame is a client frame with a zero mask and two bytes of length.
func longFrame(first byte, payload string) string {
	n := len(payload)
	return string([]byte{first, 0xfe, byte(n >> 8), byte(n), 0, 0, 0, 0}) + payload
}

// deflated is the payload of a compressed message.
func deflated(p []byte) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err) // the level is valid
	}
	w.Write(p)
	w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

func TestF18_every_split_gives_the_same(t *testing.T) {
	in := frame(0x01, "Käse") + frame(0x89, "p") + frame(0x80, " und Brot") + frame(0x82, "\xff\xfe")
	want := "\x8a\x01p\x81\x0eKäse und Brot\x82\x02\xff\xfe"
	onEachEngine(t, nil, func(t *testing.T, g *Gateway) {
		for cut := 1; cut < len(in); cut++ {
			p := join(t, g, "/echo")
			io.WriteString(p.c, in[:cut])
			io.WriteString(p.c, in[cut:])
			got := make([]byte, len(want))
			if _, err := io.ReadFull(p.c, got); err != nil || string(got) != want {
				t.Errorf("cut at %d: %q, %v", cut, got, err)
			}
			p.c.Close()
		}
	})
}

func TestEnginesServeAlike(t *testing.T) {
	onEachEngine(t, func(c *Config) { c.MessageRate = 0 }, func(t *testing.T, g *Gateway) {
		alice, bob := join(t, g, "/chat/alice"), join(t, g, "/chat/bob")
		for i := range 500 {
			alice.send(wire.OpText, fmt.Sprint("message ", i))
		}
		for i := range 500 {
			bob.wantMessage(fmt.Sprint("alice: message ", i))
		}
		bob.send(wire.OpText, strings.Repeat("x", 60<<10))
		alice.wantMessage("bob: " + strings.Repeat("x", 60<<10))
		drained := make(chan error, 1)
		go func() { drained <- g.Drain(context.Background()) }()
		alice.wantClose(1012)
		bob.wantClose(1012)
		alice.c.Close()
		bob.c.Close()
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// settled waits until a condition holds.
func settled(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(30 * time.Second)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("not %s", what)
		}
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// The poller's own tests abort 10,000; here it is about what the gateway keeps of each.
func TestH23_aborts_at_every_point_leave_nothing(t *testing.T) {
	request := upgradeRequest("/chat/alice?room=aborts")
	half := wire.AppendMaskedFrame(nil, wire.OpText, false, [4]byte{1, 2, 3, 4}, []byte("half"))
	stages := []string{"", request[:40], request, request + string(half[:7]), request + string(half)}
	limits := func(c *Config) {
		c.LimitLoopback, c.AcceptRatePerIP, c.ConnectionsPerIPMax = true, 0, 5000
		c.BadHandshakeRate = 0
	}
	onEachEngine(t, limits, func(t *testing.T, g *Gateway) {
		before := openDescriptors(t)
		var crowd sync.WaitGroup
		for range 20 {
			crowd.Go(func() {
				for i := range 100 {
					c, err := net.Dial("tcp", g.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					io.WriteString(c, stages[i%len(stages)])
					if i%3 > 0 {
						c.(*net.TCPConn).SetLinger(0) // RST
					}
					if i%2 > 0 && i%len(stages) > 1 { // there is an answer to the request
						c.Read(make([]byte, 10))
					}
					c.Close()
				}
			})
		}
		crowd.Wait()
		settled(t, "empty", func() bool {
			return g.connections() == 0 && g.door.inside.Load() == 0 && g.door.turned.Load() == 0 &&
				g.hub.Stats().Channels == 0 && g.workers.Stats().Queued == 0
		})
		settled(t, "out of descriptors of its own", func() bool { return openDescriptors(t) <= before })
		// The address is not charged for what has gone.
		join(t, g, "/echo")
	})
}

// blocker is a task that waits.
type blocker struct{ release <-chan struct{} }

func (b blocker) Run() { <-b.release }

type nobody struct{}

func (nobody) OnHalfEmpty()        {}
func (nobody) OnPanic(any, []byte) {}

func TestR02_busy_workers_hold_up_no_loop(t *testing.T) {
	cfg := quick()
	cfg.Workers = 4
	g := serve(t, cfg)
	p := joinPacked(t, g, "/echo", "permessage-deflate")
	release := make(chan struct{})
	inboxes := make([]workers.Inbox, 8)
	for i := range inboxes {
		inboxes[i].Init(nobody{})
		g.workers.Put(&inboxes[i], blocker{release}, 1)
	}
	settled(t, "busy", func() bool { return g.workers.Stats().Running == 4 })
	p.sendPacked(strings.Repeat("compressed and waiting ", 50))
	p.send(wire.OpPing, "alive")
	if ev := p.next(); ev.Kind != wire.KindPong {
		t.Errorf("a ping was answered with %+v", ev)
	}
	other := join(t, g, "/echo")
	other.send(wire.OpText, "no work for a worker")
	other.wantMessage("no work for a worker")
	other.send(wire.OpClose, "\x03\xe8")
	other.wantClose(1000)
	close(release)
	p.wantPacked(strings.Repeat("compressed and waiting ", 50), true)
}

// panicker is a task that panics.
type panicker struct{}

func (panicker) Run() { panic("boom") }

func TestP04_panics_end_their_session_only(t *testing.T) {
	t.Run("worker", func(t *testing.T) {
		s := newStage(t, quick())
		p, other := s.join("/chat/alice"), s.join("/chat/bob")
		s.session(p, func(v *session) { s.workers.Put(&v.activate().inbox, panicker{}, 1) })
		settled(t, "posted", func() bool {
			s.fake.RunPosted()
			return p.FIN()
		})
		if h := p.hear(); h.code != 1011 {
			t.Errorf("told %+v", h)
		}
		p.Close()
		s.fake.Step()
		s.stillServes(other)
	})
	t.Run("R09_loop", func(t *testing.T) {
		s := newStage(t, quick())
		p, other := s.join("/chat/alice"), s.join("/chat/bob")
		var sub *hub.Subscription
		s.session(p, func(v *session) { v.sub, sub = nil, v.sub })
		p.say("this has nowhere to go")
		if h := p.hear(); h.code != 1011 {
			t.Errorf("told %+v", h)
		}
		s.session(p, func(v *session) { v.sub = sub })
		p.Close()
		s.stillServes(other)
	})
}

// M10: the loop's buffers are shared by its sessions, also when one of them panics.
func TestM10_answers_of_a_session_that_panics_reach_nobody_else(t *testing.T) {
	s := newStage(t, quick())
	p, other := s.join("/chat/alice"), s.join("/echo")
	s.session(p, func(v *session) {
		v.endWith(endIdle, 1000, "")
		v.lane.answers = append(v.lane.answers, "alice's"...)
		func() {
			defer v.contain()
			panic("boom")
		}()
	})
	other.frame(wire.OpClose, "\x03\xe8")
	if out := string(other.TakeOutput()); out != "\x88\x02\x03\xe8" {
		t.Errorf("another session got %q", out)
	}
}

// session runs f with the session of an actor, on the loop.
func (s *stage) session(a *actor, f func(*session)) {
	s.t.Helper()
	found := false
	s.fake.Do(func() {
		s.lanes[0].loop.Each(func(h poller.Handler) {
			if v := h.(*session); !found && v.user == "alice" {
				found = true
				f(v)
			}
		})
	})
	if !found {
		s.t.Fatal("no session of alice")
	}
}

func (s *stage) stillServes(p *actor) {
	s.t.Helper()
	p.frame(wire.OpPing, "x")
	if h := p.hear(); h.pongs != 1 {
		s.t.Errorf("another session got %+v", h)
	}
	if n := s.metrics.Shard(0).Panics.Load(); n != 1 {
		s.t.Errorf("%d panics counted", n)
	}
}

// M10: every client says only its own letter. Whoever reads another one's bytes has been given a
// buffer that was not his.
func TestM10_no_foreign_bytes(t *testing.T) {
	const clients, rounds = 60, 60
	onEachEngine(t, nil, func(t *testing.T, g *Gateway) {
		var crowd sync.WaitGroup
		for i := range clients {
			crowd.Go(func() {
				canary := byte('a' + i%26)
				for range rounds / 6 {
					c, err := net.Dial("tcp", g.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					echoCanary(t, c, canary)
					c.Close() // in the middle of things, as often as not
				}
			})
		}
		crowd.Wait()
	})
}

func echoCanary(t *testing.T, c net.Conn, canary byte) {
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, upgradeRequest("/echo"))
	head := make([]byte, 0, 256)
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, b[0]) {
		if _, err := io.ReadFull(c, b); err != nil {
			t.Errorf("handshake: %v", err)
			return
		}
	}
	for range 6 {
		n := rand.IntN(6000) + 126
		c.Write(wire.AppendMaskedFrame(nil, wire.OpBinary, false, [4]byte{byte(n), 2, 3, 4},
			bytes.Repeat([]byte{canary}, n)))
		if rand.IntN(10) == 0 {
			return
		}
		got := make([]byte, 4+n)
		if _, err := io.ReadFull(c, got); err != nil {
			t.Errorf("echo: %v", err)
			return
		}
		if bytes.Count(got[4:], []byte{canary}) != n {
			t.Errorf("foreign bytes in an echo of %c", canary)
		}
	}
}
