package gateway

import (
	"net/netip"
	"runtime/debug"
	"time"

	"sluice/gateway/deflate"
	"sluice/gateway/hub"
	"sluice/gateway/metrics"
	"sluice/gateway/signed"
	"sluice/gateway/wire"
	"sluice/poller"
)

// sessionState is where a session stands in its life. It only moves down the list.
type sessionState uint8

const (
	// stateHandshake: the request is being read; s.hs is set.
	stateHandshake sessionState = iota
	// stateVerifying: a credential of the request is being verified; s.hs and s.proof are set.
	// identify moves here.
	stateVerifying
	// stateOpen: messages flow, once the peer has proven who it is. accept moves here.
	stateOpen
	// stateClosing: the end is decided and nothing more is read; the Close frame follows the
	// answers to what was received before. endWith moves here.
	stateClosing
	// stateLingering: our last word (a Close frame or a refusal) is queued and FIN follows it; what
	// still arrives is thrown away, so that the peer gets to read it. linger moves here.
	stateLingering
	// stateDetached: the descriptor is closed, but what was received before is not handled yet. The
	// session still counts as a connection. OnClose moves here.
	stateDetached
	// stateClosed: nothing is left. dissolve moves here.
	stateClosed
)

const (
	// lingerMax bounds the wait for the peer's FIN once it has our last word, lingerBytesMax what
	// is read from it meanwhile.
	lingerMax      = time.Second
	lingerBytesMax = 64 << 10
	// framesPerTurn bounds the frames of one connection that are handled before the others get
	// their turn.
	framesPerTurn = 64
)

// hold is a set of reasons for not reading from a connection.
type hold uint8

const (
	holdYield   hold = 1 << iota // had its frames for this turn
	holdInbox                    // the workers are behind with its messages
	holdHub                      // the channel's subscribers are behind with its publications
	holdBlocked                  // it does not read its answers
	holdProof                    // the token in its first message is being verified
)

// pulse is where a heartbeat stands, and in stateLingering where our last word does.
type pulse uint8

const (
	pulseResting pulse = iota // no ping is under way; of a last word it is not known yet
	pulseAsked                // a ping was sent and nothing has arrived since; it is on its way
	pulseHeard                // something has: the peer lives; the peer has acknowledged it
)

// session is one client. Everything in it belongs to the connection's loop, but for what a task
// uses. Of that, lane, conn, active, id, echo, comp, sub, signed, proof and user are set before the
// first task that uses them is put into the inbox, and stay as they are until dissolve, which waits
// for the last task. strikes, the contents of comp and the receiving half of signed belong to the
// task that a worker runs; without tasks, to the loop.
//
// It holds 160 bytes, a size class of the allocator: a field more costs 16 bytes. An idle session
// owns no buffer: hs lives as long as the handshake, active as long as messages
// flow.
type session struct {
	lane *lane
	conn poller.Conn

	hs     *handshake
	active *active
	sub    *hub.Subscription // nil on /echo, and until the peer is proven
	proof  *proof            // nil without authentication
	signed *signed.Session   // nil but in rooms whose messages are signed
	client *netip.Addr       // behind a proxy; nil if the connection is its own
	user   string
	dec    wire.Decoder
	comp   *deflate.Conn // nil without compression

	state   sessionState
	ended   endReason
	held    hold
	pulse   pulse
	blocked bool // the kernel takes no more; between OnBlocked and OnDrained
	echo    bool
	strikes uint8 // messages that were not signed well
	turned  bool  // was let in only to be told that it is not
	// forwarded says that the connection is a proxy's and the client is not known yet, so that it
	// does not count for any address.
	forwarded bool
	deaf      bool   // input is ignored: the peer has sent Close, or has lost its right to be heard
	id        connID // set once, before anything else

	// taken is, while open, what the peer had acknowledged (Transit.Acked, modulo 2^32) when it was
	// last pinged or judged; while lingering, the bytes thrown away.
	taken uint32

	// Times in ticks of the loop's clock; 0 means unset.
	messaged  uint32 // a message arrived, or the session began
	beat      uint32 // next ping, deadline of the sign of life, or next look while lingering
	assembled uint32 // the unfinished message must be complete
	quit      uint32 // handshake, linger or drain deadline
	wakes     uint32 // the timer's setting
}

// OnData implements poller.Handler.
func (s *session) OnData(p []byte) {
	defer s.contain()
	switch s.state {
	case stateHandshake:
		s.shake(p)
	case stateVerifying:
		s.refuse(wire.EarlyData)
	case stateOpen:
		if s.pulse == pulseAsked {
			s.pulse = pulseHeard
		}
		s.receive(p)
	case stateLingering:
		s.discard(len(p))
	}
}

// OnBlocked implements poller.Handler.
func (s *session) OnBlocked() {
	s.blocked = true
	s.schedule()
}

// OnDrained implements poller.Handler.
func (s *session) OnDrained() {
	defer s.contain()
	s.blocked = false
	s.release(holdBlocked)
	s.settle()
	s.schedule()
}

// contain ends the session, and it alone, when one of its callbacks panics.
func (s *session) contain() {
	if v := recover(); v != nil {
		s.lane.g.logPanic(s, v, debug.Stack())
		s.lane.m.Panics.Inc()
		s.end(endPanic)
		s.lane.answers = s.lane.answers[:0] // no other session must get them
		s.settle()
	}
}

// receive handles the frames in p, which belongs to the loop.
func (s *session) receive(p []byte) {
	s.lane.answers = s.lane.answers[:0]
	for frames := 0; len(p) > 0 && !s.deaf; frames++ {
		if s.held != 0 || frames == framesPerTurn {
			s.stash(p)
			break
		}
		ev, n, err := s.dec.Next(p)
		p = p[n:]
		if err != nil {
			s.violation(err)
			break
		}
		switch ev.Kind {
		case wire.KindPing:
			s.lane.m.ReceivedPings.Inc()
			if s.allowControl() {
				s.pong(ev.Payload)
			}
		case wire.KindPong:
			s.lane.m.ReceivedPongs.Inc()
			s.allowControl()
		case wire.KindClose:
			s.peerClose(ev)
		case wire.KindMessage:
			s.message(ev)
		}
	}
	s.writeAnswers()
	s.lane.count()
	s.watchAssembly()
}

// stash keeps input that cannot be handled now and stops reading. The rest of the read buffer is
// the most that a connection ever has in its stash.
func (s *session) stash(p []byte) {
	a := s.activate()
	a.stash = append(a.stash, p...)
	if s.held == 0 {
		s.hold(holdYield)
		a.signal(holdYield)
	}
}

// hold stops reading for a reason, and handling what was read.
func (s *session) hold(why hold) {
	if s.held == 0 && s.state == stateOpen {
		s.conn.Pause()
	}
	s.held |= why
}

// release takes a reason back; without any, what was stashed is handled, and reading goes on unless
// the end is decided.
func (s *session) release(why hold) {
	if s.held&why == 0 || s.state < stateOpen || s.state == stateClosed {
		return
	}
	s.held &^= why
	if s.held != 0 {
		return
	}
	if a := s.active; a != nil && len(a.stash) > 0 {
		p := a.stash
		a.stash = nil
		s.receive(p)
	}
	if s.held == 0 && s.state == stateOpen {
		s.conn.Resume()
		if why&^holdYield != 0 {
			s.renewDeadlines()
		}
	}
}

// reply queues bytes of the gateway's own for the peer. A peer that does not take them is not read
// from any more, so that it does not ask for more of them: stalled decides whether it is slow. That
// the queue is long is no sign of that, as a single message may be longer than its bound.
func (s *session) reply(p []byte) {
	s.writeAnswers()
	s.conn.Write(p)
	s.boundControl()
}

// pong answers a ping, RFC 6455 section 5.5.3: each one by itself, since clients measure round
// trips with payloads of their own, and before the answers to what follows it. It does not wait for
// the answers to messages before it that are at the workers.
func (s *session) pong(payload []byte) {
	s.lane.pongs++
	s.lane.answers = wire.AppendFrame(s.lane.answers, wire.OpPong, false, payload)
	s.boundControl()
}

// boundControl bounds what reply and pong queue.
func (s *session) boundControl() {
	if !s.blocked || s.state != stateOpen {
		return
	}
	cfg := s.lane.cfg()
	if bytes, _ := s.owed(cfg); bytes+len(s.lane.answers) > cfg.QueueBytesMax {
		s.hold(holdBlocked)
	}
}

// allowControl counts a ping or pong of the peer against its rate.
func (s *session) allowControl() bool {
	cfg := s.lane.cfg()
	if cfg.ControlRate == 0 || s.activate().control.Allow(s.lane.loop.Now()) {
		return true
	}
	s.lane.m.RateLimited(metrics.ScopeControl).Inc()
	s.end(endControlRate)
	return false
}

// peerClose answers the peer's Close once every message before it has been answered.
func (s *session) peerClose(ev wire.Event) {
	s.lane.m.ReceivedCloses.Inc()
	s.answerClose(ev.Code)
}

// answerClose echoes the peer's close code, 1000 if it gave none.
func (s *session) answerClose(code uint16) {
	if code == wire.CloseNoStatus {
		code = wire.CloseNormal
	}
	s.endWith(endPeerClosed, code, "")
}

// violation ends the session for a breach of the protocol.
func (s *session) violation(err error) {
	reason, text := endProtocol, ""
	if ce, ok := err.(*wire.CloseError); ok {
		text = ce.Text()
		switch ce.Code {
		case wire.CloseInvalidData:
			reason = endInvalidData
		case wire.CloseTooBig:
			reason = endTooBig
		case wire.ClosePolicy:
			reason = endFragments
		}
	}
	s.endWith(reason, endings[reason].code, text)
}

// end closes the session for a reason of ours, with the Close frame of the table.
func (s *session) end(why endReason) {
	s.endWith(why, endings[why].code, endings[why].text)
}

// endWith is the one transition out of stateOpen. Only its first call counts, but a later one can
// still have the remaining input ignored.
func (s *session) endWith(why endReason, code uint16, text string) {
	if s.state < stateOpen {
		s.ended = why
		s.conn.Close(nil)
		return
	}
	if !why.keepsInput() || s.unproven() {
		s.ignoreInput()
	}
	if s.state != stateOpen {
		return
	}
	if text != "" {
		text += " (" + s.name() + ")" // so that a client can say which line of the log is about it
	}
	s.writeAnswers()
	s.ended = why
	s.auditEnd(why)
	if why.urgent() || !s.unsettled() {
		s.farewell(code, text)
		return
	}
	s.active.code, s.active.text = code, text
	s.conn.Pause()
	s.state, s.beat, s.quit = stateClosing, 0, s.lane.tick()+ticks(s.lane.cfg().CloseTimeout)
	s.schedule()
}

// linger waits for the peer to take our last word and close, see checkLinger. Closing at once, over
// bytes that we have not read, would reset the connection and destroy that word on its way.
func (s *session) linger(why endReason) {
	s.state, s.ended = stateLingering, why
	s.pulse, s.taken = pulseResting, 0
	s.conn.CloseWrite()
	s.conn.Resume()
	now := s.lane.tick()
	s.beat, s.quit = now+ticks(lingerMax), now+ticks(s.lane.cfg().CloseTimeout)
	s.schedule()
}

// discard throws away what arrives while lingering. Past the bound the peer is not read from any
// more: it may still be reading.
func (s *session) discard(n int) {
	s.taken += uint32(n)
	if s.taken > lingerBytesMax {
		s.conn.Pause()
	}
}
