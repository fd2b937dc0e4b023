package gateway

import (
	"errors"
	"sync"
	"unicode/utf8"

	"sluice/gateway/deflate"
	"sluice/gateway/hub"
	"sluice/gateway/wire"
)

// buffer is a pooled byte slice for the workers.
type buffer struct{ b []byte }

// bufferBytesKept is the largest buffer that goes back to the pool.
const bufferBytesKept = 128 << 10

var bufferPool = sync.Pool{New: func() any { return new(buffer) }}

func (b *buffer) recycle() {
	if cap(b.b) <= bufferBytesKept {
		bufferPool.Put(b)
	}
}

// windowEncoding is the hub's encoding of frames for a window, windowBits the other way round.
func windowEncoding(bits uint8) uint8 { return bits - deflate.WindowBitsMin + 1 }

func windowBits(encoding uint8) uint8 { return encoding - 1 + deflate.WindowBitsMin }

// negotiate agrees on compression and returns the header that says so.
func (s *session) negotiate(r *wire.Request) (extensions string, err error) {
	codec := s.lane.g.codec
	if codec == nil || r.Extensions == "" {
		return "", nil
	}
	if deflate.BrokenUserAgent(r.UserAgent) || s.lane.g.memory.tight() {
		s.lane.m.CompressionDeclined.Inc()
		return "", nil
	}
	takeover := s.lane.cfg().CompressionTakeover
	conn, extensions, ok, err := codec.Negotiate(r.Extensions, deflate.Policy{
		// Broadcasts are compressed once for all; only echoes are compressed for one.
		ServerTakeover: takeover && s.echo,
		ClientTakeover: takeover,
	})
	if err != nil || !ok {
		s.lane.m.CompressionDeclined.Inc()
		return "", err
	}
	s.comp = &conn
	return extensions, nil
}

// encoding is how broadcasts are put on the wire for this session.
func (s *session) encoding() uint8 {
	if s.comp == nil {
		return hub.Plain
	}
	return windowEncoding(s.comp.Params().ServerWindowBits)
}

// inflate appends the content of a compressed message to dst. It runs on a worker.
func (s *session) inflate(dst []byte, t *task) ([]byte, endReason) {
	m := s.lane.m
	out, err := s.comp.Inflate(dst, t.payload, s.lane.cfg().MessageBytesMax)
	m.InflatedFrom.Add(uint64(len(t.payload)))
	m.InflatedTo.Add(uint64(len(out)))
	switch {
	case errors.Is(err, deflate.ErrTooBig):
		return nil, endTooBig
	case err != nil, t.op == wire.OpText && !utf8.Valid(out):
		return nil, endInvalidData
	}
	return out, endNone
}

// appendReply appends a message of its own for the peer, compressed if that pays. It runs on a
// worker.
func (s *session) appendReply(dst []byte, op wire.Opcode, payload []byte) []byte {
	if s.comp != nil {
		buf := bufferPool.Get().(*buffer)
		defer buf.recycle()
		var ok bool
		if buf.b, ok = s.comp.Deflate(buf.b[:0], payload); ok {
			s.countDeflated(len(payload), len(buf.b))
			return wire.AppendFrame(dst, op, true, buf.b)
		}
	}
	return wire.AppendFrame(dst, op, false, payload)
}

func (s *session) countDeflated(from, to int) {
	s.lane.m.DeflatedFrom.Add(uint64(from))
	s.lane.m.DeflatedTo.Add(uint64(to))
}

// encode adds the compressed forms of a publication that its channel has takers for. What is
// compressed with a window that holds the whole message is the same for every larger window.
func (s *session) encode(pub *hub.Publication, message []byte) {
	codec, ch := s.lane.g.codec, s.sub.Channel()
	buf := bufferPool.Get().(*buffer)
	defer buf.recycle()
	var last []byte
	for enc := uint8(1); enc < hub.Encodings; enc++ {
		if !ch.Wants(enc) {
			continue
		}
		if last == nil || len(message) > 1<<windowBits(enc) {
			var ok bool
			if buf.b, ok = codec.Shared(buf.b[:0], message, windowBits(enc)); !ok {
				return
			}
			s.countDeflated(len(message), len(buf.b))
			last = make([]byte, 0, wire.ServerHeaderMax+len(buf.b))
			last = wire.AppendFrame(last, wire.OpText, true, buf.b)
		}
		if pub.Encoded == nil {
			pub.Encoded = new([hub.Encodings - 1][]byte)
		}
		pub.Encoded[enc-1] = last
	}
}
