package wire

import (
	"encoding/binary"
	"sync"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// MessageLimits bounds what a Decoder takes. It may be shared by any number of decoders and must
// not change meanwhile.
type MessageLimits struct {
	MessageBytesMax int // payload of a message, as sent; must be positive
	FragmentsMax    int // frames of a message; 0 means unlimited
}

// Role says which side of a connection a decoder stands on.
type Role uint8

// The roles. A server requires masked frames, a client unmasked ones, RFC 6455 section 5.1.
const (
	Server Role = iota
	Client
)

// Kind is what an Event is about.
type Kind uint8

// The kinds of events.
const (
	KindNone Kind = iota // nothing yet: more input is needed
	KindMessage
	KindPing
	KindPong
	KindClose
)

// Event is what Decoder.Next has found.
type Event struct {
	Kind       Kind
	Op         Opcode // of a message: OpText or OpBinary
	Compressed bool   // a message with RSV1: its payload is deflated and not checked for UTF-8
	// Code is the close code of a KindClose, CloseNoStatus if the peer gave none.
	Code uint16
	// Payload is the message, the application data of a ping or pong, or the reason of a close. It
	// is valid until the input given to Next is overwritten; whoever keeps it copies it.
	Payload []byte
}

// CloseError is a breach of the protocol: the connection must be closed with Code.
type CloseError struct {
	Code uint16
	text string
}

// Text is a short fixed explanation, fit for the reason of a Close frame.
func (e *CloseError) Text() string { return e.text }

func (e *CloseError) Error() string { return "websocket: " + e.text }

// What a peer can do wrong.
var (
	errReservedBits  = &CloseError{CloseProtocolError, "reserved bits set"}
	errOpcode        = &CloseError{CloseProtocolError, "reserved opcode"}
	errMask          = &CloseError{CloseProtocolError, "wrong masking"}
	errControl       = &CloseError{CloseProtocolError, "fragmented or oversized control frame"}
	errLength        = &CloseError{CloseProtocolError, "payload length not minimal"}
	errLengthSign    = &CloseError{CloseProtocolError, "payload length out of range"}
	errContinuation  = &CloseError{CloseProtocolError, "continuation of nothing"}
	errInterrupted   = &CloseError{CloseProtocolError, "new message inside a fragmented one"}
	errCloseCode     = &CloseError{CloseProtocolError, "invalid close code"}
	errCloseReason   = &CloseError{CloseInvalidData, "close reason is not UTF-8"}
	errText          = &CloseError{CloseInvalidData, "text is not UTF-8"}
	errTooBig        = &CloseError{CloseTooBig, "message too big"}
	errTooFragmented = &CloseError{ClosePolicy, "too many fragments"}
)

// Decoder turns the bytes of one connection into events. It is resumable: it takes whatever bytes
// there are and keeps only what is incomplete. Between messages it holds no memory but itself. It
// is not safe for concurrent use.
type Decoder struct {
	limits *MessageLimits
	part   *partial // nil unless a frame or message is incomplete
	role   Role
	rsv1   bool // compressed messages are allowed
}

// partial is what a decoder knows of an unfinished frame or message.
type partial struct {
	head  [ClientHeaderMax]byte
	headN uint8

	framed bool   // h is the frame being read
	h      header // of that frame
	got    int    // payload bytes of it so far

	open       bool // a message has begun
	op         Opcode
	compressed bool
	fragments  int
	text       UTF8
	buf        []byte // the message so far, unmasked

	control  [ControlPayloadMax]byte // payload of a control frame that comes in pieces
	controlN uint8
}

var partials = sync.Pool{New: func() any { return new(partial) }}

type header struct {
	op        Opcode
	fin, rsv1 bool
	rsv23     bool
	masked    bool
	minimal   bool
	mask      [4]byte
	length    uint64
}

// Init makes d ready for a connection. allowCompressed says that permessage-deflate was negotiated.
func (d *Decoder) Init(limits *MessageLimits, role Role, allowCompressed bool) {
	*d = Decoder{limits: limits, role: role, rsv1: allowCompressed}
}

// Pending reports whether a frame or message is incomplete.
func (d *Decoder) Pending() bool { return d.part != nil }

// Release drops everything that is incomplete. The decoder must not be fed any more.
func (d *Decoder) Release() { d.drop() }

func (d *Decoder) drop() {
	if d.part != nil {
		*d.part = partial{}
		partials.Put(d.part)
		d.part = nil
	}
}

// Next reads the next event from p and returns how many bytes of p it has used up; the caller goes
// on with the rest. With KindNone all of p is used up. p is unmasked in place. After an error,
// which is always a *CloseError, the decoder must not be fed any more.
func (d *Decoder) Next(p []byte) (ev Event, n int, err error) {
	if len(p) == 0 {
		return Event{}, 0, nil
	}
	if d.part == nil {
		if ev, n := d.common(p); n > 0 {
			return ev, n, nil
		}
		h, hn := parseHeader(p)
		if hn > 0 {
			if err := d.check(&h); err != nil {
				return Event{}, hn, err
			}
			if h.fin && uint64(len(p)-hn) >= h.length {
				end := hn + int(h.length)
				ev, err := d.whole(&h, p[hn:end:end])
				return ev, end, err
			}
		}
		d.part = partials.Get().(*partial)
	}
	for n < len(p) || d.part.framed && uint64(d.part.got) == d.part.h.length {
		if !d.part.framed {
			used, err := d.readHeader(p[n:])
			n += used
			if err != nil {
				return Event{}, n, err
			}
			continue
		}
		used, ev, err := d.readPayload(p[n:])
		n += used
		if err != nil || ev.Kind != KindNone {
			return ev, n, err
		}
		if d.part == nil {
			return Event{}, n, nil
		}
	}
	return Event{}, n, nil
}

// common makes the event of the frame that nearly all are: a whole binary or text message from a
// client, uncompressed, with no fault in it. n is 0 if p begins with anything else, which Next then
// judges. It takes a third off the decoding of a small message.
func (d *Decoder) common(p []byte) (ev Event, n int) {
	const longest = 8 // header
	if len(p) < longest || d.role != Server || p[1]&0x80 == 0 {
		return ev, 0
	}
	op := OpText
	if p[0] == 0x80|byte(OpBinary) {
		op = OpBinary
	} else if p[0] != 0x80|byte(OpText) {
		return ev, 0
	}
	size, start := int(p[1]&0x7F), 6
	if size == 126 {
		size, start = int(p[2])<<8|int(p[3]), longest
		if size < 126 {
			return ev, 0
		}
	} else if size == 127 {
		return ev, 0
	}
	end := start + size
	if end > len(p) || size > d.limits.MessageBytesMax {
		return ev, 0
	}
	payload := p[start:end:end]
	mask := [4]byte(p[start-4 : start])
	ws.Cipher(payload, mask, 0)
	if op == OpText && !utf8.Valid(payload) {
		ws.Cipher(payload, mask, 0) // as Next expects it
		return ev, 0
	}
	return Event{Kind: KindMessage, Op: op, Payload: payload}, end
}

// parseHeader reads a frame header; n is 0 if it is incomplete.
func parseHeader(p []byte) (h header, n int) {
	if len(p) < 2 {
		return h, 0
	}
	h.op = Opcode(p[0] & 0x0F)
	h.fin, h.rsv1, h.rsv23 = p[0]&0x80 != 0, p[0]&0x40 != 0, p[0]&0x30 != 0
	h.masked, h.minimal = p[1]&0x80 != 0, true
	h.length = uint64(p[1] & 0x7F)
	n = 2
	switch h.length {
	case 126:
		if len(p) < 4 {
			return h, 0
		}
		h.length = uint64(binary.BigEndian.Uint16(p[2:]))
		h.minimal = h.length > 125
		n = 4
	case 127:
		if len(p) < 10 {
			return h, 0
		}
		h.length = binary.BigEndian.Uint64(p[2:])
		h.minimal = h.length > 0xFFFF
		n = 10
	}
	if h.masked {
		if len(p) < n+4 {
			return h, 0
		}
		h.mask = [4]byte(p[n:])
		n += 4
	}
	return h, n
}

// headerSize is how long the header that begins with p is, at least; p may be shorter.
func headerSize(p []byte) int {
	if len(p) < 2 {
		return 2
	}
	n := 2
	switch p[1] & 0x7F {
	case 126:
		n = 4
	case 127:
		n = 10
	}
	if p[1]&0x80 != 0 {
		n += 4
	}
	return n
}

// check judges a frame by its header alone.
func (d *Decoder) check(h *header) error {
	open := d.part != nil && d.part.open
	first := h.op == OpText || h.op == OpBinary
	switch {
	case h.rsv23, h.rsv1 && !(d.rsv1 && first):
		return errReservedBits
	case !first && h.op != OpContinuation && (h.op < OpClose || h.op > OpPong):
		return errOpcode
	case h.masked != (d.role == Server):
		return errMask
	case h.op.isControl() && (!h.fin || h.length > ControlPayloadMax || !h.minimal):
		return errControl
	case h.length > 1<<63-1:
		return errLengthSign
	case !h.minimal:
		return errLength
	case h.op == OpContinuation && !open:
		return errContinuation
	case first && open:
		return errInterrupted
	case h.op.isControl():
		return nil
	}
	have, fragments := 0, 1
	if open {
		have, fragments = len(d.part.buf), d.part.fragments+1
	}
	switch {
	case h.length > uint64(d.limits.MessageBytesMax-have):
		return errTooBig
	case d.limits.FragmentsMax > 0 && fragments > d.limits.FragmentsMax:
		return errTooFragmented
	}
	return nil
}

// whole makes the event of a frame that is all there and no part of a fragmented message.
func (d *Decoder) whole(h *header, payload []byte) (Event, error) {
	if h.masked {
		ws.Cipher(payload, h.mask, 0)
	}
	if h.op.isControl() {
		return controlEvent(h.op, payload)
	}
	if h.op == OpText && !h.rsv1 {
		var text UTF8
		if !text.Feed(payload) || !text.Complete() {
			return Event{}, errText
		}
	}
	return Event{Kind: KindMessage, Op: h.op, Compressed: h.rsv1, Payload: payload}, nil
}

// readHeader takes header bytes until the header is complete.
func (d *Decoder) readHeader(p []byte) (used int, err error) {
	part := d.part
	for used < len(p) && int(part.headN) < headerSize(part.head[:part.headN]) {
		part.head[part.headN] = p[used]
		part.headN++
		used++
	}
	h, hn := parseHeader(part.head[:part.headN])
	if hn == 0 {
		return used, nil
	}
	part.headN = 0
	if err := d.check(&h); err != nil {
		return used, err
	}
	part.framed, part.h, part.got, part.controlN = true, h, 0, 0
	if !h.op.isControl() {
		part.fragments++
		if !part.open {
			part.open, part.op, part.compressed = true, h.op, h.rsv1
		}
	}
	return used, nil
}

// readPayload takes payload bytes of the current frame.
func (d *Decoder) readPayload(p []byte) (used int, ev Event, err error) {
	part := d.part
	used = int(min(part.h.length-uint64(part.got), uint64(len(p))))
	p = p[:used]
	if part.h.masked {
		ws.Cipher(p, part.h.mask, part.got)
	}
	part.got += used
	done := uint64(part.got) == part.h.length
	if part.h.op.isControl() {
		part.controlN += uint8(copy(part.control[part.controlN:], p))
		if !done {
			return used, Event{}, nil
		}
		part.framed = false
		op, payload := part.h.op, append([]byte(nil), part.control[:part.controlN]...)
		if !part.open {
			d.drop()
		}
		ev, err = controlEvent(op, payload)
		return used, ev, err
	}
	part.buf = append(part.buf, p...)
	if part.op == OpText && !part.compressed && !part.text.Feed(p) {
		return used, Event{}, errText
	}
	if !done {
		return used, Event{}, nil
	}
	part.framed = false
	if !part.h.fin {
		return used, Event{}, nil
	}
	if part.op == OpText && !part.compressed && !part.text.Complete() {
		return used, Event{}, errText
	}
	ev = Event{Kind: KindMessage, Op: part.op, Compressed: part.compressed, Payload: part.buf}
	d.drop()
	return used, ev, nil
}

// controlEvent makes the event of a complete control frame, RFC 6455 section 5.5.
func controlEvent(op Opcode, payload []byte) (Event, error) {
	switch op {
	case OpPing:
		return Event{Kind: KindPing, Payload: payload}, nil
	case OpPong:
		return Event{Kind: KindPong, Payload: payload}, nil
	}
	if len(payload) == 0 {
		return Event{Kind: KindClose, Code: CloseNoStatus}, nil
	}
	if len(payload) == 1 {
		return Event{}, errCloseCode
	}
	code := binary.BigEndian.Uint16(payload)
	if !validCloseCode(code) {
		return Event{}, errCloseCode
	}
	var text UTF8
	if !text.Feed(payload[2:]) || !text.Complete() {
		return Event{}, errCloseReason
	}
	return Event{Kind: KindClose, Code: code, Payload: payload[2:]}, nil
}
