package tlsio

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// waitingFactor is how many handshakes may wait for each that may be under way.
const waitingFactor = 4

// stage is where a handshake stands.
type stage uint8

const (
	stageOutside   stage = iota // no whole ClientHello yet, or turned away
	stageWaiting                // to be started; nothing has been computed
	stageComputing              // has one of the slots
	stageSilent                 // waits for its peer to answer
	stageReady                  // waits for a slot to go on, or to fail
	stageLeaving                // chosen to make room, not failed yet
	stageEnded
)

// scheduler decides which handshakes compute. Its three rules:
//
// What has begun goes on before anything is begun: to finish a handshake costs less than to begin
// one, and one that times out half-way has cost the most.
//
// No more are begun than can be finished in time; pace knows how many that are. The others wait, at
// no cost, in turn by address, and those whose time is too short by then are turned away. room says
// when further connections should wait in the kernel instead.
//
// Peers that do not answer keep nobody out. The last eighth of the places is for addresses with
// few, and a handshake that has waited long for its peer makes room for an address that has fewer
// under way.
//
// Its methods may be called from any goroutine, with no lock of a handshake held.
type scheduler struct {
	slots      int            // handshakes that compute at once
	waitingMax int            // handshakes that wait to be started
	running    sync.WaitGroup // the goroutines

	mu        sync.Mutex // guards what follows, and the place of each handshake
	closed    bool
	pace      pace
	sources   map[netip.Addr]*source
	turns     list.List // of *source, those with waiting handshakes, in turn
	waiting   int
	started   map[*handshake]struct{}
	computing int
	ready     list.List // of *handshake
	silent    list.List // of *handshake, the one that has waited longest first
	leaving   int       // how many of those started are making room
	owed      *source   // gets the next place; nil for whose turn it is
	begun     uint64
	again     *time.Timer // looks again for one to make room; nil if nobody waits for that
}

// place is what a scheduler knows of a handshake.
type place struct {
	stage   stage
	source  *source
	element *list.Element // in the list of its stage
	begun   time.Time
	since   time.Time     // when it came to stageSilent
	poked   bool          // has news that it has not looked at
	idle    bool          // was told to fail while it waited for its peer
	evicted bool          // makes room
	grant   chan struct{} // gets a value when it may go on; nil before it was started
}

func newScheduler(slots, startedMax int, timeout time.Duration) *scheduler {
	return &scheduler{
		slots: slots, waitingMax: waitingFactor * startedMax,
		pace:    newPace(timeout, startedMax, slots),
		sources: make(map[netip.Addr]*source), started: make(map[*handshake]struct{}),
	}
}

// enqueue has h started when it is its turn, or says why not.
func (s *scheduler) enqueue(h *handshake) error {
	s.mu.Lock()
	switch {
	case h.place.stage == stageEnded: // it has failed meanwhile
		s.mu.Unlock()
		return nil
	case s.closed:
		s.mu.Unlock()
		return ErrServerClosed
	}
	addr := sourceAddr(h.peer)
	src := s.sources[addr]
	if src == nil {
		src = &source{addr: addr}
	}
	var turned decisions
	if s.waiting >= s.waitingMax {
		other := s.displace(src)
		if other == nil {
			s.mu.Unlock()
			return ErrBusy
		}
		turned.busy = append(turned.busy, other)
	}
	s.sources[addr] = src
	p := &h.place
	p.source, p.stage = src, stageWaiting
	p.element = src.waiting.PushBack(h)
	if src.turn == nil {
		src.turn = s.turns.PushBack(src)
	}
	s.waiting++
	s.dispatch(&turned)
	s.mu.Unlock()
	turned.carryOut()
	return nil
}

// park gives the slot of h back until poke or abandon, when there is no news of its peer already.
// It is called on h's goroutine.
func (s *scheduler) park(h *handshake) {
	s.mu.Lock()
	p := &h.place
	if p.poked {
		p.poked = false
		s.mu.Unlock()
		return
	}
	s.computing--
	p.stage, p.element, p.since = stageSilent, s.silent.PushBack(h), time.Now()
	var turned decisions
	s.dispatch(&turned)
	s.mu.Unlock()
	turned.carryOut()
	<-p.grant
}

// poke says that the peer of h has sent something.
func (s *scheduler) poke(h *handshake) {
	s.mu.Lock()
	var turned decisions
	switch p := &h.place; p.stage {
	case stageComputing:
		p.poked = true
	case stageSilent:
		s.silent.Remove(p.element)
		p.stage, p.element = stageReady, s.ready.PushBack(h)
		s.dispatch(&turned)
	}
	s.mu.Unlock()
	turned.carryOut()
}

// abandon says that h is to fail. Without a goroutine that could, h will not get one: started is
// false then, and waited says whether h was waiting for one.
func (s *scheduler) abandon(h *handshake) (started, waited bool) {
	s.mu.Lock()
	var turned decisions
	p := &h.place
	switch p.stage {
	case stageOutside:
		p.stage = stageEnded
	case stageWaiting:
		waited = true
		s.remove(h)
		p.stage = stageEnded
	case stageComputing:
		p.poked = true
	case stageSilent:
		p.idle = true
		s.silent.Remove(p.element)
		s.readyFirst(h)
	case stageLeaving:
		s.readyFirst(h)
	}
	started = p.grant != nil
	s.dispatch(&turned)
	s.mu.Unlock()
	turned.carryOut()
	return started, waited
}

// readyFirst lets h go on before any other: to fail takes no time, and frees a place.
func (s *scheduler) readyFirst(h *handshake) {
	h.place.stage, h.place.element = stageReady, s.ready.PushFront(h)
}

// finish ends what dispatch has started, on h's goroutine, which must end as well.
func (s *scheduler) finish(h *handshake, established bool) {
	defer s.running.Done()
	s.mu.Lock()
	p := &h.place
	s.computing--
	if now := time.Now(); established {
		s.pace.end(now, now.Sub(p.begun), s.waiting > 0 && len(s.started) > s.pace.window/2)
	}
	delete(s.started, h)
	if p.evicted {
		s.leaving--
	}
	p.stage = stageEnded
	p.source.started--
	s.forget(p.source)
	var turned decisions
	s.dispatch(&turned)
	s.mu.Unlock()
	turned.carryOut()
}

// close makes all handshakes fail, and returns when they have.
func (s *scheduler) close() {
	s.mu.Lock()
	s.closed = true
	if s.again != nil {
		s.again.Stop()
		s.again = nil
	}
	var all []*handshake
	for h := range s.started {
		all = append(all, h)
	}
	for e := s.turns.Front(); e != nil; e = e.Next() {
		for w := e.Value.(*source).waiting.Front(); w != nil; w = w.Next() {
			all = append(all, w.Value.(*handshake))
		}
	}
	s.mu.Unlock()
	for _, h := range all {
		h.fail(ErrServerClosed)
	}
	s.running.Wait()
}

func (s *scheduler) stats() (begun uint64, started, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun, len(s.started), s.waiting
}

// room is how many more connections are welcome.
func (s *scheduler) room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pace.waitingMax(s.waitingMax*3/4) - s.waiting
}

// dispatch gives free slots away. Held is mu; the caller carries out what was decided without it.
func (s *scheduler) dispatch(turned *decisions) {
	now := time.Now()
	for s.computing < s.slots {
		if e := s.ready.Front(); e != nil {
			h := s.ready.Remove(e).(*handshake)
			s.computing++
			h.place.stage, h.place.element = stageComputing, nil
			h.place.grant <- struct{}{}
			continue
		}
		h := s.next(turned, now)
		if h == nil {
			return
		}
		s.start(h, now)
	}
}

// start gives a handshake a slot and its goroutine.
func (s *scheduler) start(h *handshake, now time.Time) {
	p := &h.place
	p.stage, p.begun, p.grant = stageComputing, now, make(chan struct{}, 1)
	p.source.started++
	s.pace.begin(now, len(s.started), s.waiting > 0)
	s.started[h] = struct{}{}
	s.computing++
	s.begun++
	s.running.Add(1)
	go h.run()
}

// decisions are the handshakes that a scheduler has decided to end. That takes their locks.
type decisions struct {
	busy    []*handshake // were not started
	evicted *handshake   // makes room
}

func (d *decisions) carryOut() {
	for _, h := range d.busy {
		h.fail(ErrBusy)
	}
	if d.evicted != nil {
		d.evicted.fail(ErrEvicted)
	}
}
