package deflate

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
)

// Errors of inflating. The connection that they concern is lost: its window is unknown after
// them.
var (
	// ErrTooBig is returned when a message inflates to more than its limit (close with 1009).
	ErrTooBig = errors.New("deflate: inflated message is too big")
	// ErrCorrupt is returned when a payload is no complete deflate stream (close with 1007).
	ErrCorrupt = errors.New("deflate: corrupt data")
)

const (
	// tail is what a sender cuts off: RFC 7692 section 7.2.1.
	tail = "\x00\x00\xff\xff"
	// final is a final empty block. It ends the stream for the decompressor, so that a payload
	// which ends within a block is told from a complete one.
	final = "\x01\x00\x00\xff\xff"
)

const (
	// growBytesMin is by how much the output of inflating grows at least.
	growBytesMin = 1 << 10
	// inputBytesKept bounds the input buffer that a pooled decompressor keeps.
	inputBytesKept = 64 << 10
)

// decompressor is a pooled decompressor with its input. The input is copied to have its ends in
// one piece with it: klauspost's loop over a bytes.Reader is a fifth faster than over any other
// reader, and needs no bufio.Reader per message.
type decompressor struct {
	flate io.ReadCloser // implements flate.Resetter
	in    bytes.Reader
	buf   []byte
}

func (c *Codec) getDecompressor() *decompressor {
	if d, ok := c.readers.Get().(*decompressor); ok {
		return d
	}
	d := new(decompressor)
	d.flate = flate.NewReader(&d.in)
	return d
}

func (c *Codec) putDecompressor(d *decompressor) {
	d.in.Reset(nil)
	if cap(d.buf) > inputBytesKept {
		d.buf = nil
	}
	c.readers.Put(d)
}

// inflate appends to dst what payload inflates to, given what was inflated before it.
func (c *Codec) inflate(dst, payload, before []byte, bytesMax int) ([]byte, error) {
	d := c.getDecompressor()
	defer c.putDecompressor(d)
	d.buf = append(append(append(d.buf[:0], payload...), tail...), final...)
	d.in.Reset(d.buf)
	if err := d.flate.(flate.Resetter).Reset(&d.in, before); err != nil {
		return dst, ErrCorrupt
	}
	out, err := readAll(dst, d.flate, bytesMax)
	if err != nil {
		return dst, err
	}
	if !d.endedWell(payload) {
		return dst, ErrCorrupt
	}
	return out, nil
}

// endedWell judges where the stream has ended. The usual end is our final block. If it was a
// final block of the sender (RFC 7692 section 7.2.3.4), nothing may follow it but the header of
// the empty block that tail belongs to. Some senders leave that out, or their final block is the
// empty one.
func (d *decompressor) endedWell(payload []byte) bool {
	switch d.in.Len() {
	case 0, len(final), len(tail) + len(final):
		return true
	case 1 + len(tail) + len(final):
		return payload[len(payload)-1] == 0
	}
	return false
}

// readAll appends at most bytesMax bytes of r to dst. It reads one byte more at most, and dst
// never has room for more than twice the bytes there are and a constant.
func readAll(dst []byte, r io.Reader, bytesMax int) ([]byte, error) {
	for base := len(dst); ; {
		rest := bytesMax - (len(dst) - base) // one byte more is too big
		if len(dst) == cap(dst) {
			more := min(max(len(dst)-base, growBytesMin)-1, rest) + 1
			dst = append(make([]byte, 0, len(dst)+more), dst...)
		}
		n, err := r.Read(dst[len(dst) : len(dst)+min(cap(dst)-len(dst)-1, rest)+1])
		dst = dst[:len(dst)+n]
		switch {
		case n > rest:
			return dst, ErrTooBig
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, ErrCorrupt
		}
	}
}
