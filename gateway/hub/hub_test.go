package hub

import (
	"bytes"
	"fmt"
	"testing"
)

// inbox is a subscriber that keeps what it gets.
type inbox struct {
	got      []byte
	messages int
	runs     int
}

func (b *inbox) Deliver(r Run) {
	b.got = append(b.got, r.Frames...)
	b.messages += r.Messages
	b.runs++
}

// pump is a hub whose loops run when the test says so.
type pump struct {
	*Hub
	awake map[int]bool
}

func newPump(shards int) *pump {
	p := &pump{awake: map[int]bool{}}
	p.Hub = New(Config{
		Shards: shards, InboxBytesMax: 1000, TakeBytesMax: 500,
		Wake: func(i int) { p.awake[i] = true },
	})
	return p
}

func (p *pump) run() (deliveries int) {
	for len(p.awake) > 0 {
		for i := range p.awake {
			delete(p.awake, i)
			deliveries += p.RunShard(i)
		}
	}
	return deliveries
}

func text(s string) *Publication { return &Publication{Frame: []byte(s)} }

func TestPublishReachesEverybodyButTheAuthor(t *testing.T) {
	p := newPump(2)
	var alice, bob, cathy, stranger inbox
	a := p.Subscribe("room", 0, Plain, &alice)
	p.Subscribe("room", 0, Plain, &bob)
	p.Subscribe("room", 1, Plain, &cathy)
	p.Subscribe("other", 1, Plain, &stranger)
	p.Publish(a.Channel(), &Publication{Frame: []byte("1"), Author: a}, nil)
	p.Publish(a.Channel(), text("2"), nil)
	p.Publish(a.Channel(), &Publication{Frame: []byte("3"), Author: a}, nil)
	if n := p.run(); n != 1+3+3 {
		t.Errorf("%d deliveries, want 7", n)
	}
	for name, want := range map[*inbox]string{&alice: "2", &bob: "123", &cathy: "123", &stranger: ""} {
		if string(name.got) != want {
			t.Errorf("got %q, want %q", name.got, want)
		}
	}
	if bob.runs != 1 {
		t.Errorf("three waiting publications came in %d runs", bob.runs)
	}
}

func TestEncodingsAreChosenPerSubscriber(t *testing.T) {
	p := newPump(1)
	var plain, packed, other inbox
	s := p.Subscribe("room", 0, Plain, &plain)
	p.Subscribe("room", 0, 3, &packed)
	p.Subscribe("room", 0, 4, &other)
	if !s.Channel().Wants(3) || s.Channel().Wants(5) {
		t.Error("Wants does not tell the encodings of the subscribers")
	}
	pub := text("plain")
	pub.Encoded = &[Encodings - 1][]byte{2: []byte("packed")}
	p.Publish(s.Channel(), pub, nil)
	p.run()
	if string(plain.got) != "plain" || string(packed.got) != "packed" || string(other.got) != "plain" {
		t.Errorf("got %q, %q, %q", plain.got, packed.got, other.got)
	}
}

func TestLargeFramesAreNotJoined(t *testing.T) {
	p := New(Config{Shards: 1, Wake: func(int) {}, InboxBytesMax: 1 << 20, TakeBytesMax: 1 << 20})
	var b inbox
	s := p.Subscribe("room", 0, Plain, &b)
	big := bytes.Repeat([]byte("x"), joinBytesMax)
	for range 3 {
		p.Publish(s.Channel(), &Publication{Frame: big}, nil)
	}
	p.RunShard(0)
	if b.runs != 3 || b.messages != 3 || len(b.got) != 3*joinBytesMax {
		t.Errorf("%d runs with %d messages, %d bytes", b.runs, b.messages, len(b.got))
	}
}

type waiter struct{ resumed int }

func (w *waiter) Resume() { w.resumed++ }

func TestCongestionPausesAndResumesPublishers(t *testing.T) {
	p := newPump(2)
	var a, b inbox
	s := p.Subscribe("room", 0, Plain, &a)
	p.Subscribe("room", 1, Plain, &b)
	frame := bytes.Repeat([]byte("x"), 100)
	var w waiter
	paused := 0
	for range 25 {
		if p.Publish(s.Channel(), &Publication{Frame: frame}, &w) {
			paused++
		}
	}
	if paused != 15 {
		t.Errorf("paused %d times, want once for each of the 15 publications past the bound", paused)
	}
	if w.resumed != 0 {
		t.Error("resumed while congested")
	}
	p.run()
	if w.resumed != paused {
		t.Errorf("resumed %d times, want %d", w.resumed, paused)
	}
	if a.messages != 25 || b.messages != 25 {
		t.Errorf("delivered %d and %d, want 25 each", a.messages, b.messages)
	}
	if st := p.Stats(); st.Waiting != 0 {
		t.Errorf("%d bytes left", st.Waiting)
	}
}

func TestUnsubscribeEndsDeliveryAndTheChannel(t *testing.T) {
	p := newPump(1)
	subs := make([]*Subscription, 200)
	boxes := make([]inbox, len(subs))
	for i := range subs {
		subs[i] = p.Subscribe("room", 0, Plain, &boxes[i])
	}
	ch := subs[0].Channel()
	p.Publish(ch, text("x"), nil)
	for i := range subs {
		if i%3 != 0 {
			p.Unsubscribe(subs[i])
		}
	}
	p.run()
	for i := range boxes {
		if want := i%3 == 0; (boxes[i].messages == 1) != want {
			t.Errorf("subscriber %d got %d messages", i, boxes[i].messages)
		}
	}
	for i := range subs {
		if i%3 == 0 {
			p.Unsubscribe(subs[i])
		}
	}
	p.Publish(ch, text("x"), nil)
	if len(p.awake) != 0 {
		t.Error("a publication to nobody woke a loop")
	}
	if st := p.Stats(); st.Channels != 0 {
		t.Errorf("%d channels left", st.Channels)
	}
}

// bomb panics once.
type bomb struct{ inbox }

func (b *bomb) Deliver(r Run) {
	if b.runs++; b.runs == 1 {
		panic("boom")
	}
}

func TestPanicOfASubscriberDoesNotWedgeTheChannel(t *testing.T) {
	p := newPump(1)
	var b bomb
	var after inbox
	s := p.Subscribe("room", 0, Plain, &b)
	p.Subscribe("room", 0, Plain, &after)
	p.Publish(s.Channel(), text("1"), nil)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		p.RunShard(0)
	}()
	p.Publish(s.Channel(), text("2"), nil)
	p.RunShard(0)
	if string(after.got) != "2" {
		t.Errorf("got %q after a panic, want %q", after.got, "2")
	}
}

func TestDeliveryToManyAllocatesPerRunOnly(t *testing.T) {
	p := newPump(1)
	boxes := make([]counter, 1000)
	var s *Subscription
	for i := range boxes {
		s = p.Subscribe("room", 0, Plain, &boxes[i])
	}
	pub := text("hello")
	allocs := testing.AllocsPerRun(100, func() {
		p.Publish(s.Channel(), pub, nil)
		p.RunShard(0)
	})
	if allocs != 0 {
		t.Errorf("%v allocations to fan a frame out to %d receivers, want 0", allocs, len(boxes))
	}
}

type counter struct{ n int }

func (c *counter) Deliver(r Run) { c.n += r.Messages }

func BenchmarkFanout(b *testing.B) {
	for _, pending := range []int{1, 16} {
		b.Run(fmt.Sprintf("receivers=1000/pending=%d", pending), func(b *testing.B) {
			h := New(Config{Shards: 1, Wake: func(int) {}, InboxBytesMax: 1 << 30, TakeBytesMax: 1 << 30})
			boxes := make([]counter, 1000)
			var s *Subscription
			for i := range boxes {
				s = h.Subscribe("room", 0, Plain, &boxes[i])
			}
			pub := &Publication{Frame: make([]byte, 130)}
			b.ReportAllocs()
			for b.Loop() {
				for range pending {
					h.Publish(s.Channel(), pub, nil)
				}
				h.RunShard(0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pending*len(boxes)), "ns/delivery")
		})
	}
}
