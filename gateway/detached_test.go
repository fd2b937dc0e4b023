package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/gateway/deflate"
	"sluice/gateway/wire"
	"sluice/gateway/workers"
	"sluice/poller"
)

// plug keeps the only worker of a stage busy until release is called.
type plug struct {
	gate  chan struct{}
	inbox workers.Inbox
}

func (*plug) OnHalfEmpty()        {}
func (*plug) OnPanic(any, []byte) {}
func (b *plug) Run()              { <-b.gate }

// stickWorkers stops the workers of a stage that has one.
func (s *stage) stickWorkers() (release func()) {
	b := &plug{gate: make(chan struct{})}
	b.inbox.Init(b)
	s.workers.Put(&b.inbox, b, 0)
	return func() { close(b.gate) }
}

// newDetachStage is a stage with one worker and without rates.
func newDetachStage(t *testing.T, change func(*Config)) *stage {
	cfg := quick()
	bare(&cfg)
	cfg.Workers = 1
	if change != nil {
		change(&cfg)
	}
	return newStage(t, cfg)
}

// packedActor is an actor that compresses.
type packedActor struct {
	*actor
	conn    deflate.Conn
	session *session
}

func (s *stage) joinPacked(target string) *packedActor {
	s.t.Helper()
	a := s.connect()
	a.dec.Init(&clientLimits, wire.Client, true)
	a.Deliver([]byte(upgradeRequest(target, "Sec-WebSocket-Extensions: permessage-deflate")))
	if out := string(a.TakeOutput()); !strings.Contains(out, "permessage-deflate") {
		s.t.Fatalf("handshake answered %q", out)
	}
	codec, err := deflate.NewCodec(deflate.Config{Level: 1, ContextBytesMax: 1 << 20})
	if err != nil {
		s.t.Fatal(err)
	}
	bits := uint8(deflate.WindowBitsMax)
	p := &packedActor{actor: a, conn: codec.Client(deflate.Params{
		ServerWindowBits: bits, ClientWindowBits: bits,
	})}
	s.fake.Do(func() {
		s.lanes[0].loop.Each(func(h poller.Handler) { p.session, _ = sessionOf(h) })
	})
	return p
}

const detachPadding = " lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor"

// packed is the frame of a compressed text.
func (a *packedActor) packed(text string) []byte {
	payload, ok := a.conn.Deflate(nil, []byte(text+strings.Repeat(detachPadding, 4)))
	if !ok {
		a.stage.t.Fatal("not worth compressing")
	}
	return wire.AppendMaskedFrame(nil, wire.OpText, true, [4]byte{1, 2, 3, 4}, payload)
}

func (a *packedActor) burst(n int) (out []byte) {
	for i := range n {
		out = append(out, a.packed(fmt.Sprint(i))...)
	}
	return out
}

// numbers are the first words of texts, without their author.
func numbers(texts []string) (got []string) {
	for _, t := range texts {
		_, text, _ := strings.Cut(t, chatSeparator)
		n, _, _ := strings.Cut(text, " ")
		got = append(got, n)
	}
	return got
}

func upTo(n int) (want []string) {
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	return want
}

// detachEnds are the ways in which a connection ends, and how the session of it is told.
var detachEnds = []struct {
	name  string
	how   func(a *packedActor)
	why   endReason
	drops bool // what was received but not looked at
}{
	{"FIN", func(a *packedActor) { a.Close() }, endPeerGone, false},
	{"RST", func(a *packedActor) { a.Reset() }, endError, false},
	{"P01_drain", func(a *packedActor) { a.ends(endDrain) }, endDrain, false},
	{"A09_expiry", func(a *packedActor) { a.ends(endExpired) }, endExpired, false},
	{"A09_revocation", func(a *packedActor) { a.ends(endRevoked) }, endRevoked, true},
	{"M01_eviction", func(a *packedActor) {
		a.stage.fake.Do(func() { a.session.evict(slowStalled) })
	}, endSlowConsumer, false},
	{"P01_drain_then_RST", func(a *packedActor) { a.ends(endDrain); a.Reset() }, endDrain, false},
	{"A09_drain_then_revocation", func(a *packedActor) { a.ends(endDrain); a.ends(endRevoked) },
		endDrain, true},
	{"M01_eviction_then_FIN", func(a *packedActor) {
		a.stage.fake.Do(func() { a.session.evict(slowStalled) })
		a.Close()
	}, endSlowConsumer, false},
	{"P04_panic_on_the_loop", func(a *packedActor) { a.ends(endPanic) }, endPanic, true},
}

func (a *packedActor) ends(why endReason) {
	a.stage.fake.Do(func() { a.session.end(why) })
}

// over waits until the sessions that have left are accounted for, and checks that they are.
func (s *stage) over(why endReason, inside int64) {
	s.t.Helper()
	settled(s.t, "the session is dissolved", func() bool {
		s.fake.Advance(poller.TimerTick) // those that linger time out
		s.fake.RunPosted()
		return s.door.inside.Load() == inside
	})
	if n := s.count(why); n != 1 {
		s.t.Errorf("%d sessions ended by %v", n, why)
	}
	if n := len(s.lanes[0].detached); n != 0 {
		s.t.Errorf("%d sessions are detached", n)
	}
	if n := s.panics(); n != 0 {
		s.t.Errorf("%d panics", n)
	}
}

// What is at the workers when a connection ends reaches the room, however it ends.
func TestF14_tasks_outlive_their_connection(t *testing.T) {
	for _, e := range detachEnds {
		t.Run(e.name, func(t *testing.T) {
			s := newDetachStage(t, nil)
			room, ann := s.join("/chat/room"), s.joinPacked("/chat/ann")
			release := s.stickWorkers()
			ann.Deliver(ann.burst(5))
			e.how(ann)
			s.fake.RunPosted()
			if h := room.hear(); len(h.texts) > 0 || s.door.inside.Load() != 2 {
				t.Errorf("heard %q, %d are inside", h.texts, s.door.inside.Load())
			}
			release()
			s.over(e.why, 1)
			if got := numbers(room.hear().texts); !slices.Equal(got, upTo(5)) {
				t.Errorf("the room got %v", got)
			}
			if n := s.codec.ContextBytes(); n != 0 {
				t.Errorf("%d bytes of contexts were not given back", n)
			}
		})
	}
}

// So does what was read but is held back, within the bounds of the inbox, unless the peer has lost
// the right to be heard.
func TestF14_stash_outlives_its_connection(t *testing.T) {
	const sent = 3 * inboxTasksMax
	for _, e := range detachEnds {
		t.Run(e.name, func(t *testing.T) {
			s := newDetachStage(t, nil)
			room, ann := s.join("/chat/room"), s.joinPacked("/chat/ann")
			release := s.stickWorkers()
			burst := ann.burst(sent)
			half := ann.packed("half of it")
			ann.Deliver(append(burst, half[:len(half)/2]...))
			e.how(ann)
			s.fake.RunPosted()
			if n := s.workers.Stats().Queued; n > 1+inboxTasksMax {
				t.Errorf("%d tasks are queued", n)
			}
			release()
			s.over(e.why, 1)
			want := sent
			if e.drops {
				want = inboxTasksMax
			}
			if got := numbers(room.hear().texts); !slices.Equal(got, upTo(want)) {
				t.Errorf("the room got %v", got)
			}
		})
	}
}

// Plain messages past the share of a turn are not lost either.
func TestF18_plain_stash_outlives_its_connection(t *testing.T) {
	for _, e := range detachEnds {
		t.Run(e.name, func(t *testing.T) {
			s := newDetachStage(t, nil)
			room, ann := s.join("/chat/room"), s.joinPacked("/chat/ann")
			var burst []byte
			for i := range 3 * framesPerTurn {
				burst = wire.AppendMaskedFrame(burst, wire.OpText, false, [4]byte{1, 2, 3, 4},
					[]byte(fmt.Sprint(i)))
			}
			ann.Deliver(burst)
			e.how(ann)
			s.over(e.why, 1)
			want := 3 * framesPerTurn
			if e.drops {
				want = framesPerTurn
			}
			if got := numbers(room.hear().texts); !slices.Equal(got, upTo(want)) {
				t.Errorf("the room got %d messages", len(got))
			}
		})
	}
}

// The Close frame follows the answers to what came before it, also if those are at the workers.
func TestF14_answers_come_before_the_close(t *testing.T) {
	closing := wire.AppendMaskedFrame(nil, wire.OpClose, false, [4]byte{1, 2, 3, 4}, []byte("\x0f\xa0"))
	for _, r := range []struct {
		name string
		how  func(a *packedActor)
		code uint16
	}{
		{"Close", func(a *packedActor) { a.Deliver(closing) }, 4000},
		{"Close_and_FIN", func(a *packedActor) { a.Deliver(closing); a.Close() }, 4000},
		{"F03_violation", func(a *packedActor) { a.Deliver([]byte(frame(0x83, "x"))) }, 1002},
		{"P01_drain", func(a *packedActor) { a.ends(endDrain) }, 1012},
		{"A09_expiry", func(a *packedActor) { a.ends(endExpired) }, 3000},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := newDetachStage(t, nil)
			ann := s.joinPacked("/echo")
			release := s.stickWorkers()
			ann.Deliver(ann.burst(inboxTasksMax - 1)) // with more it would be paused
			r.how(ann)
			s.fake.RunPosted()
			if ann.FIN() {
				t.Error("closed before what it has said is answered")
			}
			release()
			settled(t, "closed", func() bool { s.fake.RunPosted(); return ann.FIN() })
			h := ann.hear()
			if len(h.texts) != inboxTasksMax-1 || h.code != r.code {
				t.Errorf("%d answers and close %d", len(h.texts), h.code)
			}
		})
	}
}

// A peer that does not read what it is owed gets no more than CloseTimeout.
func TestM01_closing_is_bounded(t *testing.T) {
	s := newDetachStage(t, nil)
	room, ann := s.join("/chat/room"), s.joinPacked("/chat/ann")
	release := s.stickWorkers()
	ann.Deliver(ann.burst(3 * inboxTasksMax))
	ann.ends(endDrain)
	s.fake.Advance(s.current.Load().CloseTimeout - poller.TimerTick)
	if ann.FIN() {
		t.Error("closed too early")
	}
	s.fake.Advance(2 * poller.TimerTick)
	if h := ann.hear(); !ann.FIN() || h.code != 1012 {
		t.Errorf("closed with %d", h.code)
	}
	release()
	s.over(endDrain, 1)
	if got := room.hear().texts; len(got) != 3*inboxTasksMax {
		t.Errorf("the room got %d messages", len(got))
	}
}

// A fault of a message ends the session in its place: what came before counts, what came after not.
func TestD06_fault_among_tasks(t *testing.T) {
	bad := wire.AppendMaskedFrame(nil, wire.OpText, true, [4]byte{1, 2, 3, 4}, []byte("\xff\xff\xff\xff"))
	for _, end := range []string{"alone", "before_FIN", "before_RST"} {
		t.Run(end, func(t *testing.T) {
			s := newDetachStage(t, nil)
			room, ann := s.join("/chat/room"), s.joinPacked("/chat/ann")
			release := s.stickWorkers()
			ann.Deliver(slices.Concat(ann.burst(3), bad, ann.burst(3*inboxTasksMax)))
			why := endInvalidData
			switch end {
			case "before_FIN":
				ann.Close() // comes behind the end that the worker asks for
			case "before_RST":
				ann.Reset()
				why = endError
			}
			release()
			s.over(why, 1)
			if got := numbers(room.hear().texts); !slices.Equal(got, upTo(3)) {
				t.Errorf("the room got %v", got)
			}
		})
	}
}

// A session whose loop has ended before its last task is dissolved all the same.
func TestP04_detached_sessions_of_a_gateway_that_closes(t *testing.T) {
	s := newDetachStage(t, nil)
	s.join("/chat/room")
	var all []*packedActor
	for i := range 3 {
		all = append(all, s.joinPacked(fmt.Sprint("/chat/ann", i)))
	}
	release := s.stickWorkers()
	for _, a := range all {
		a.Deliver(a.burst(3 * inboxTasksMax))
	}
	all[0].Reset()
	all[1].ends(endDrain)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	settled(t, "the loop has ended", func() bool { return !s.fake.Loops()[0].Post(nothing{}) })
	release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if n, bytes := s.door.inside.Load(), s.codec.ContextBytes(); n != 0 || bytes != 0 {
		t.Errorf("%d are inside, with %d bytes of contexts", n, bytes)
	}
	if n := s.panics(); n != 0 {
		t.Errorf("%d panics", n)
	}
}

// nothing is a poller.Runner that does nothing.
type nothing struct{}

func (nothing) Run() {}

// What an unproven peer has sent is published under no circumstances.
func TestA09_nothing_of_an_unproven_peer(t *testing.T) {
	for _, e := range detachEnds {
		t.Run(e.name, func(t *testing.T) {
			s := newDetachStage(t, func(cfg *Config) { guarded(t, cfg) })
			ann := s.joinPacked("/chat/ann")
			ann.Deliver(slices.Concat(ann.packed(`{"token":"x"}`), ann.burst(3)))
			e.how(ann)
			if e.name == "FIN" {
				e.why = endUnauthorized // what waits for the verdict is not read on, up to the FIN
			}
			s.over(e.why, 0)
			if st := s.hub.Stats(); st.Published != 0 {
				t.Errorf("%d publications", st.Published)
			}
		})
	}
}
