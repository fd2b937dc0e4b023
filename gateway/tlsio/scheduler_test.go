package tlsio

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// block takes all slots, until the function that it returns is called.
func (s *scheduler) block() (free func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.computing += s.slots
	return func() {
		s.mu.Lock()
		s.computing -= s.slots
		s.mu.Unlock()
		s.lookAgain()
	}
}

// crowd is many connections of one server, in a bubble.
type crowd struct {
	t      *testing.T
	server *Server
	hello  []byte
	all    []*rig
	begun  func() // called when a handshake is begun, if set
}

// inCrowd runs a test with a server of its own.
func inCrowd(t *testing.T, cfg Config, test func(c *crowd)) {
	t.Helper()
	h := hello(t)
	inBubble(t, func(t *testing.T) {
		conf := serverConfig()
		c := &crowd{t: t, hello: h}
		cfg.TLS = func() *tls.Config {
			if c.begun != nil {
				c.begun()
			}
			return conf
		}
		c.server = NewServer(cfg)
		defer c.end()
		test(c)
	})
}

// end closes everything and checks that the scheduler has forgotten it.
func (c *crowd) end() {
	for _, r := range c.all {
		if err := r.fake.Close(); err != nil {
			c.t.Error(err)
		}
	}
	c.server.Close()
	if st := c.server.Stats(); st.Pending != 0 || st.Waiting != 0 {
		c.t.Errorf("after the end: %+v", st)
	}
	s := c.server.schedule
	if len(s.sources) != 0 || s.turns.Len() != 0 || s.silent.Len() != 0 || s.ready.Len() != 0 ||
		s.leaving != 0 || s.computing != 0 {
		c.t.Errorf("left behind: %+v", s)
	}
}

// connect opens a connection from addr.
func (c *crowd) connect(addr string) *rig {
	c.t.Helper()
	from := netip.AddrPortFrom(netip.MustParseAddr(addr), 40000)
	r := newRigFrom(c.t, c.server, from, true)
	c.all = append(c.all, r)
	return r
}

// begin opens a connection that sends a ClientHello and nothing else.
func (c *crowd) begin(addr string) *rig {
	c.t.Helper()
	r := c.connect(addr)
	r.peer.Deliver(c.hello)
	return r
}

// answeredHello reports whether the server has sent something.
func (r *rig) answeredHello() bool {
	r.spare = append(r.spare, r.peer.TakeOutput()...)
	return len(r.spare) > 0
}

// settle lets all loops run.
func (c *crowd) settle() {
	synctest.Wait()
	for _, r := range c.all {
		r.fake.RunPosted()
	}
	synctest.Wait()
}

// pass lets time pass.
func (c *crowd) pass(d time.Duration) {
	<-time.After(d)
	c.settle()
}

// outcomes is how many handshakes have ended so.
func (c *crowd) outcomes(o Outcome) int { return int(c.server.Stats().Outcomes[o]) }

// open is how many of a list are not closed.
func open(list []*rig) (n int) {
	for _, r := range list {
		if !r.app.closed {
			n++
		}
	}
	return n
}

// TestH10_half_open_handshakes: peers that begin and say no more, more than there are places, keep
// nobody out.
func TestH10_half_open_handshakes(t *testing.T) {
	for name, attack := range map[string]struct{ addresses, each int }{
		"of_a_few_addresses": {12, 90},
		"of_one_address":     {1, 500},
		"of_one_network":     {1, 500},
		"of_many_addresses":  {500, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inCrowd(t, Config{}, func(c *crowd) {
				n := 0
				for i := range attack.addresses {
					for j := range attack.each {
						addr := netip.AddrFrom4([4]byte{198, 51, byte(i / 250), byte(i % 250)})
						if name == "of_one_network" {
							addr = netip.AddrFrom16([16]byte{0x20, 1, 14: byte(j / 256), 15: byte(j)})
						}
						c.begin(addr.String())
						n++
					}
				}
				c.settle()
				st := c.server.Stats()
				if st.Pending > windowFirst || st.Pending < windowFirst*7/8 ||
					st.Pending+st.Waiting != n {
					t.Fatalf("%+v of %d", st, n)
				}
				began := time.Now()
				for range 20 {
					honest := c.connect("203.0.113.1")
					honest.peer.Deliver(c.hello)
					for honest.settle(); !honest.answeredHello(); c.pass(time.Millisecond) {
						if time.Since(began) > time.Second {
							t.Fatal("no ServerHello within a second")
						}
					}
					honest.peer.Close()
					honest.settle()
				}
			})
		})
	}
}

// TestH10_places_for_addresses_with_few: the last eighth of the places, so that one that has come
// later need not wait for anybody to make room.
func TestH10_places_for_addresses_with_few(t *testing.T) {
	const places = 64
	inCrowd(t, Config{QueueMax: places}, func(c *crowd) {
		for range 2 * places {
			c.begin("198.51.100.1")
		}
		c.settle()
		if n := c.server.Stats().Pending; n != places*7/8 {
			t.Fatalf("%d are under way", n)
		}
		for i := range places / 8 {
			late := c.begin(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}).String())
			c.settle()
			if !late.answeredHello() {
				t.Fatalf("address %d has to wait", i)
			}
		}
		if n := c.outcomes(OutcomeEvicted); n != 0 {
			t.Errorf("%d made room", n)
		}
	})
}

// TestH10_silent_peers_make_room: a handshake that waits for its peer keeps its place for a while,
// and for good if its address has no more of them than the one that wants it.
func TestH10_silent_peers_make_room(t *testing.T) {
	inCrowd(t, Config{QueueMax: 4}, func(c *crowd) {
		greedy := []*rig{c.begin("198.51.100.1"), c.begin("198.51.100.1"), c.begin("198.51.100.1")}
		modest := c.begin("203.0.113.1")
		c.settle()
		c.pass(time.Second) // all have been waiting for long
		same := c.begin("198.51.100.1")
		c.settle()
		c.pass(100 * time.Millisecond)
		if open(greedy) != 3 || modest.app.closed || same.answeredHello() {
			t.Fatal("a handshake has made room for one of its own address")
		}
		other := c.begin("192.0.2.1")
		c.settle()
		c.pass(100 * time.Millisecond)
		if open(greedy) != 2 || modest.app.closed || !other.answeredHello() {
			t.Fatalf("%d of the greedy, modest closed %t, other answered %t", open(greedy),
				modest.app.closed, other.answeredHello())
		}
		if c.outcomes(OutcomeEvicted) != 1 {
			t.Errorf("%+v", c.server.Stats())
		}
		for _, r := range greedy {
			if r.app.closed && !errors.Is(r.app.err, ErrEvicted) {
				t.Errorf("ended by %v", r.app.err)
			}
		}
		late := c.begin("192.0.2.2") // nobody has waited for long but those who may
		c.settle()
		if !late.answeredHello() && open(greedy) != 1 {
			c.pass(100 * time.Millisecond)
		}
		if !late.answeredHello() || modest.app.closed {
			t.Error("the next address got no place")
		}
	})
}

// TestH10_silence_after_our_answer_is_the_peers_fault: it is told apart from what we have not got
// round to, and from what has cost us nothing.
func TestH10_silence_after_our_answer_is_the_peers_fault(t *testing.T) {
	blamed := func(r *rig) bool {
		e, ok := errors.AsType[*HandshakeError](r.app.err)
		return ok && e.ByPeer()
	}
	inCrowd(t, Config{HandshakesMax: 1}, func(c *crowd) {
		answered := c.begin("198.51.100.1")
		quiet := c.connect("198.51.100.2")
		quiet.peer.Deliver(c.hello[:20])
		c.settle()
		free := c.server.schedule.block()
		starved := c.begin("198.51.100.3")
		c.settle()
		c.pass(3 * time.Second)
		if !blamed(answered) && answered.app.closed {
			t.Errorf("answered: %v", answered.app.err)
		}
		free()
		c.settle()
		for r, want := range map[*rig]struct {
			err    error
			blamed bool
		}{
			answered: {ErrTimeout, true}, quiet: {ErrTimeout, false}, starved: {ErrBusy, false},
		} {
			if !errors.Is(r.app.err, want.err) || blamed(r) != want.blamed {
				t.Errorf("%v, blamed %t; want %v, %t", r.app.err, blamed(r), want.err, want.blamed)
			}
		}
		if st := c.server.Stats(); st.Begun != 1 {
			t.Errorf("%d were begun", st.Begun)
		}
	})
}

// TestR05_what_has_begun_goes_first: the answer of a client is handled before any handshake is
// begun, however many wait.
func TestR05_what_has_begun_goes_first(t *testing.T) {
	inCrowd(t, Config{HandshakesMax: 1}, func(c *crowd) {
		first := c.connect("203.0.113.1")
		first.answered = func() { first.corked = true }
		if err := tls.Client(first, clientConfig()).Handshake(); err != nil {
			t.Fatal(err)
		}
		free := c.server.schedule.block()
		c.begun = func() {
			c.begun = nil
			if c.outcomes(OutcomeEstablished) != 1 {
				t.Error("another handshake was begun first")
			}
		}
		for i := range 50 {
			c.begin(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String())
		}
		c.settle()
		first.peer.Deliver(first.held)
		free()
		c.settle()
		if st := c.server.Stats(); st.Begun != 51 || c.begun != nil {
			t.Errorf("%+v", st)
		}
	})
}

// TestR05_too_late_is_not_begun: what could not be finished in time costs no computing.
func TestR05_too_late_is_not_begun(t *testing.T) {
	inCrowd(t, Config{}, func(c *crowd) {
		c.server.schedule.pace.latency = time.Second
		free := c.server.schedule.block()
		for range 100 {
			c.begin("203.0.113.1")
		}
		c.settle()
		c.pass(2100 * time.Millisecond)
		free()
		c.settle()
		st := c.server.Stats()
		if st.Begun != 0 || st.Outcomes[OutcomeBusy] != 100 {
			t.Errorf("%+v", st)
		}
	})
}

// TestR05_waiting_handshakes_are_bounded: past the bound one of the address with the most makes
// room, and without such an address the newest is turned away.
func TestR05_waiting_handshakes_are_bounded(t *testing.T) {
	inCrowd(t, Config{QueueMax: 2}, func(c *crowd) {
		free := c.server.schedule.block()
		var greedy []*rig
		for range 8 {
			greedy = append(greedy, c.begin("198.51.100.1"))
		}
		c.settle()
		over := c.begin("198.51.100.1")
		c.settle()
		if !errors.Is(over.app.err, ErrBusy) || open(greedy) != 8 {
			t.Fatalf("%v, %d", over.app.err, open(greedy))
		}
		var modest []*rig
		for range 4 {
			modest = append(modest, c.begin("203.0.113.1"))
		}
		c.settle()
		if open(modest) != 4 || open(greedy) != 4 || !greedy[7].app.closed {
			t.Errorf("%d and %d wait, want 4 and 4", open(modest), open(greedy))
		}
		if room := c.server.schedule.room(); room > 0 {
			t.Errorf("there is room for %d", room)
		}
		free()
	})
}

// TestR05_waiting_handshakes_end_with_the_server: none is begun any more, and none is forgotten.
func TestR05_waiting_handshakes_end_with_the_server(t *testing.T) {
	inCrowd(t, Config{HandshakesMax: 1}, func(c *crowd) {
		free := c.server.schedule.block()
		waiting := c.begin("203.0.113.1")
		gone := c.begin("203.0.113.2")
		c.settle()
		gone.peer.Close()
		c.settle()
		if st := c.server.Stats(); st.Waiting != 1 || st.Outcomes[OutcomePeerGone] != 1 {
			t.Fatalf("%+v", st)
		}
		c.server.Close()
		c.settle()
		if !errors.Is(waiting.app.err, ErrServerClosed) {
			t.Errorf("%v", waiting.app.err)
		}
		free()
	})
}

func TestSourceAddr(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8:1:2:3::4": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := sourceAddr(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s counts by %s, want %s", addr, got, want)
		}
	}
}
