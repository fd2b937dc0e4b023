package gateway

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"sluice/gateway/wire"
)

// events are what a client has received, in order.
func (a *actor) events() (got []string) {
	a.stage.t.Helper()
	out := a.TakeOutput()
	for len(out) > 0 {
		ev, n, err := a.dec.Next(out)
		if err != nil {
			a.stage.t.Fatal(err)
		}
		out = out[n:]
		got = append(got, eventName(ev))
	}
	return got
}

func eventName(ev wire.Event) string {
	switch ev.Kind {
	case wire.KindPong:
		return "pong " + string(ev.Payload)
	case wire.KindMessage:
		return fmt.Sprintf("%.8s", ev.Payload)
	case wire.KindClose:
		return fmt.Sprint("close ", ev.Code)
	}
	return "nothing"
}

// mixed is a read with pings among messages of all kinds, and the answers to it.
func mixed() (in string, want []string) {
	big := strings.Repeat("b", smallFrame+1)
	in = frame(0x89, "1") + frame(0x81, "small") + frame(0x89, "2") + frame(0x89, "3") +
		longFrame(0x81, big) + frame(0x89, "") + frame(0x01, "frag") + frame(0x89, "4") +
		frame(0x00, "ment") + frame(0x89, "5") + frame(0x80, "s") + frame(0x89, "6") +
		frame(0x88, "\x03\xe8") + frame(0x89, "7")
	return in, []string{"pong 1", "small", "pong 2", "pong 3", "bbbbbbbb", "pong ", "pong 4",
		"pong 5", "fragment", "pong 6", "close 1000"}
}

// Every ping is answered with its own payload, between the answers to what stands around it.
func TestF16_pongs_in_order(t *testing.T) {
	in, want := mixed()
	onEachEngine(t, nil, func(t *testing.T, g *Gateway) {
		for _, size := range []int{len(in), 1, 7, 100} {
			p := join(t, g, "/echo")
			for rest := in; len(rest) > 0; {
				n := min(size, len(rest))
				if _, err := io.WriteString(p.c, rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			var got []string
			for len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "close") {
				got = append(got, eventName(p.next()))
			}
			if !slices.Equal(got, want) {
				t.Errorf("in pieces of %d: %q", size, got)
			}
		}
	})
}

// The answers to a read leave in one write.
func TestF16_pongs_leave_together(t *testing.T) {
	s := newStage(t, quick())
	p := s.join("/echo")
	p.Deliver([]byte(strings.Repeat(frame(0x89, "ping")+frame(0x81, "text"), 10)))
	if n := len(p.TakeFlushes()); n != 1 {
		t.Errorf("%d writes", n)
	}
}

// A pong does not wait for messages that are at the workers.
func TestF16_pong_overtakes_what_the_workers_have(t *testing.T) {
	s := newDetachStage(t, nil)
	ann := s.joinPacked("/echo")
	release := s.stickWorkers()
	ann.Deliver(slices.Concat(ann.packed("packed"), []byte(frame(0x89, "1")+frame(0x81, "plain")+
		frame(0x89, "2"))))
	if got := ann.events(); !slices.Equal(got, []string{"pong 1", "pong 2"}) {
		t.Errorf("while the worker is busy: %q", got)
	}
	release()
	var got []string
	settled(t, "answered", func() bool {
		s.fake.RunPosted()
		got = append(got, ann.events()...)
		return len(got) == 2
	})
	if got[1] != "plain" {
		t.Errorf("then: %q", got)
	}
}

// Pings count against the control rate one by one, and what was answered before it is exceeded
// leaves before the Close frame.
func TestF15_pings_past_the_rate(t *testing.T) {
	cfg := quick()
	cfg.ControlRate, cfg.ControlBurst = 1, 3
	s := newStage(t, cfg)
	p := s.join("/chat/ann")
	p.Deliver([]byte(strings.Repeat(frame(0x89, "x"), 5)))
	want := []string{"pong x", "pong x", "pong x", "close 1008"}
	if got := p.events(); !slices.Equal(got, want) {
		t.Errorf("answered %q", got)
	}
}

// A chat that is slow to read, but within its queue, is read from although it has sent pings.
func TestF15_pings_do_not_stop_a_slow_reader(t *testing.T) {
	s := newStage(t, quick())
	bob, room := s.join("/chat/bob"), s.join("/chat/room")
	bob.AcceptBytes(0)
	room.say("what bob does not read")
	bob.Deliver([]byte(frame(0x89, "x")))
	bob.say("still heard")
	if h := room.hear(); !slices.Equal(h.texts, []string{"bob: still heard"}) || bob.Paused() {
		t.Errorf("the room heard %q, paused is %v", h.texts, bob.Paused())
	}
}
