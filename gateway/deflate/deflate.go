package deflate

import "github.com/klauspost/compress/flate"

// compressor is a pooled compressor with its output.
type compressor struct {
	flate *flate.Writer
	out   appender
}

// appender is an io.Writer that appends.
type appender struct{ buf []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.buf = append(a.buf, p...)
	return len(p), nil
}

// Shared compresses a message for any number of receivers: it refers to nothing before itself,
// so that every peer with a window of at least windowBits can inflate it, whatever was sent to
// it before and whether or not it was granted context takeover. But it enters the window of
// every peer with takeover: Conn.ForgetSent must be called for each of them.
//
// Shared appends the payload of the frame (RSV1 set) to dst. If the message is not worth it
// (smaller than Config.MessageBytesMin, or no smaller when compressed) it reports false and
// returns dst as it was: send the message uncompressed then. windowBits is within WindowBitsMin
// and WindowBitsMax. The payload of a message of at most 1<<windowBits bytes is the same for
// every larger window too.
func (c *Codec) Shared(dst, payload []byte, windowBits uint8) (_ []byte, ok bool) {
	return c.deflate(dst, payload, nil, windowBits)
}

// deflate appends payload compressed, given what was sent before it, if that is worth it.
func (c *Codec) deflate(dst, payload, before []byte, windowBits uint8) ([]byte, bool) {
	if len(payload) < c.cfg.MessageBytesMin {
		return dst, false
	}
	out := c.compress(dst, payload, before, windowBits)
	if len(out)-len(dst) >= len(payload) {
		// The caller keeps what dst has grown to, but none of the bytes.
		return out[:len(dst)], false
	}
	return out, true
}

// compress appends payload compressed and cut as RFC 7692 section 7.2.1 says.
func (c *Codec) compress(dst, payload, before []byte, windowBits uint8) []byte {
	bits := windowBits
	if len(before)+len(payload) <= 1<<windowBits {
		bits = WindowBitsMax // no distance can exceed the window
	}
	z := c.getCompressor(bits)
	dst = z.compress(dst, payload, before)
	c.writers[bits-WindowBitsMin].Put(z)
	return dst
}

func (z *compressor) compress(dst, payload, before []byte) []byte {
	z.out.buf = dst
	z.flate.ResetDict(&z.out, before)
	// The appender never fails, and no writer fails but for its output.
	_, _ = z.flate.Write(payload)
	_ = z.flate.Flush()
	dst = z.out.buf[:len(z.out.buf)-len(tail)]
	z.out.buf = nil
	return dst
}

func (c *Codec) getCompressor(bits uint8) *compressor {
	if z, ok := c.writers[bits-WindowBitsMin].Get().(*compressor); ok {
		return z
	}
	z := new(compressor)
	var err error
	if bits == WindowBitsMax {
		z.flate, err = flate.NewWriter(&z.out, c.cfg.Level)
	} else {
		z.flate, err = flate.NewWriterWindow(&z.out, 1<<bits)
	}
	if err != nil {
		panic(err) // the level was checked by NewCodec, the window is an index of writers
	}
	return z
}
