package gateway

import (
	"sync"
	"time"

	"sluice/gateway/hub"
	"sluice/gateway/metrics"
	"sluice/gateway/wire"
)

const (
	// chatSeparator stands between the author and the text.
	chatSeparator = ": "
	// smallFrame is the size up to which header and payload are written as one; above it the
	// payload is written from where it lies.
	smallFrame = 2 << 10
	// taskBytesKept is the largest buffer that a pooled task keeps.
	taskBytesKept = 16 << 10
)

// message handles a message on the loop if that costs next to nothing, and through the workers if
// it must be inflated or its answer deflated, or if messages before it are there already.
func (s *session) message(ev wire.Event) {
	if ev.Op == wire.OpText {
		s.lane.texts++
	} else {
		s.lane.binaries++
	}
	s.messaged = s.lane.tick()
	if s.unproven() {
		s.firstMessage(ev)
		return
	}
	if !s.allowMessage(ev) {
		return
	}
	if ev.Compressed || s.deflates(len(ev.Payload)) || s.active != nil && s.active.busy() {
		s.enqueue(newTask(s, ev))
		return
	}
	if s.echo {
		s.echoNow(ev)
		return
	}
	if text, ok := s.chatText(ev.Payload, s.reply, s.end); ok {
		s.publish(s.compose(text))
	}
}

// allowMessage checks the kind and the rates of a message.
func (s *session) allowMessage(ev wire.Event) bool {
	if ev.Op != wire.OpText && !s.echo {
		s.end(endUnsupported)
		return false
	}
	if s.lane.cfg().ByteRate > 0 && !s.activate().bytes.Take(len(ev.Payload), s.lane.loop.Now()) {
		s.lane.m.RateLimited(metrics.ScopeBytes).Inc()
		s.end(endByteRate)
		return false
	}
	if s.lane.cfg().MessageRate > 0 && !s.activate().messages.Allow(s.lane.loop.Now()) {
		s.lane.m.RateLimited(metrics.ScopeMessage).Inc()
		s.end(endMessageRate)
		return false
	}
	return true
}

// deflates reports whether a message of n bytes would be compressed for somebody.
func (s *session) deflates(n int) bool {
	if s.echo {
		return s.comp != nil && n >= s.lane.cfg().CompressionBytesMin
	}
	n += len(s.user) + len(chatSeparator)
	return n >= s.lane.cfg().CompressionBytesMin && s.wantsEncoded()
}

func (s *session) wantsEncoded() bool {
	ch := s.sub.Channel()
	for enc := uint8(1); enc < hub.Encodings; enc++ {
		if ch.Wants(enc) {
			return true
		}
	}
	return false
}

// echoNow returns a message from the loop's buffer.
func (s *session) echoNow(ev wire.Event) {
	s.lane.echoes++
	b := wire.AppendHeader(s.lane.answers, ev.Op, true, false, len(ev.Payload))
	if len(ev.Payload) <= smallFrame {
		s.lane.answers = append(b, ev.Payload...)
	} else {
		s.lane.answers = b
		s.writeAnswers()
		s.conn.Write(ev.Payload)
	}
	s.boundReplies()
}

// writeAnswers queues the answers to a read. Whatever else is written must not overtake them.
func (s *session) writeAnswers() {
	if len(s.lane.answers) > 0 {
		s.conn.Write(s.lane.answers)
		s.lane.answers = s.lane.answers[:0]
	}
}

// boundReplies stops reading from a peer that does not read its own answers.
func (s *session) boundReplies() {
	if s.blocked {
		s.hold(holdBlocked)
	}
}

// compose makes the publication of a chat text, uncompressed.
func (s *session) compose(text []byte) *hub.Publication {
	n := len(s.user) + len(chatSeparator) + len(text)
	b := make([]byte, 0, wire.ServerHeaderMax+n)
	b = wire.AppendHeader(b, wire.OpText, true, false, n)
	b = append(b, s.user...)
	b = append(b, chatSeparator...)
	b = append(b, text...)
	return &hub.Publication{Frame: b, At: time.Since(s.lane.g.start), Author: s.sub}
}

// publish hands a publication to the hub, from the loop.
func (s *session) publish(pub *hub.Publication) {
	s.lane.m.Broadcasts.Inc()
	if a := s.activate(); s.lane.g.hub.Publish(s.sub.Channel(), pub, a) {
		s.hold(holdHub)
		a.congest(1)
	}
}

// task is a message on its way through the workers. What it uses of its session stays as it is
// until it has been run.
type task struct {
	session    *session
	active     *active // of the session
	payload    []byte
	op         wire.Opcode
	compressed bool
}

var taskPool = sync.Pool{New: func() any { return new(task) }}

// newTask copies a message out of the loop's buffer.
func newTask(s *session, ev wire.Event) *task {
	t := taskPool.Get().(*task)
	t.session, t.active, t.op, t.compressed = s, s.activate(), ev.Op, ev.Compressed
	t.payload = append(t.payload[:0], ev.Payload...)
	return t
}

func (t *task) recycle() {
	p := t.payload[:0]
	if cap(p) > taskBytesKept {
		p = nil
	}
	*t = task{payload: p}
	taskPool.Put(t)
}

// enqueue gives a task to the workers and stops reading when they have enough of this session.
func (s *session) enqueue(t *task) {
	if s.lane.g.workers.Put(&t.active.inbox, t, len(t.payload)) {
		s.hold(holdInbox)
	}
}

// Run implements workers.Task. The session's tasks run one at a time, in order.
func (t *task) Run() {
	defer t.recycle()
	if !t.compressed {
		t.work(t.payload)
		return
	}
	buf := bufferPool.Get().(*buffer)
	defer buf.recycle()
	out, end := t.session.inflate(buf.b[:0], t)
	if end != endNone {
		t.end(end)
		return
	}
	buf.b = out
	t.work(out)
}

// end has the session ended for what is wrong with the message. As on the loop, the messages behind
// it are not looked at.
func (t *task) end(why endReason) {
	if !why.keepsInput() {
		t.session.lane.g.workers.Discard(&t.active.inbox)
	}
	t.active.end(why)
}

// work does on a worker what message does on the loop.
func (t *task) work(payload []byte) {
	s := t.session
	if s.unproven() {
		s.present(payload, t.end)
		return
	}
	if s.echo {
		t.active.answer(s.appendReply(nil, t.op, payload))
		return
	}
	payload, ok := s.chatText(payload, t.active.answer, t.end)
	if !ok {
		return
	}
	pub := s.compose(payload)
	s.encode(pub, pub.Frame[len(pub.Frame)-len(s.user)-len(chatSeparator)-len(payload):])
	s.lane.m.Broadcasts.Inc()
	if s.lane.g.hub.Publish(s.sub.Channel(), pub, t.active) {
		t.active.congest(1)
	}
}
