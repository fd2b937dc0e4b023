package deflate

import (
	"bytes"
	stdflate "compress/flate"
	"errors"
	"io"
	"runtime"
	"testing"
)

func newReceiver(t testing.TB) *Conn {
	conn := newCodec(t, 1).server(Params{ServerWindowBits: 15, ClientWindowBits: 15})
	return &conn
}

func TestD02_limit(t *testing.T) {
	c := newCodec(t, 1)
	r := newRand()
	sizes := []int{1, 125, 1023, 1024, 1025, 4096, 32767, 32768, 32769, 65535, 65536, 100000}
	for _, n := range sizes {
		for _, message := range [][]byte{chat(r, n), make([]byte, n), noise(r, n)} {
			frame := c.compress(nil, message, nil, 15)
			for _, dst := range [][]byte{nil, []byte("dst"), make([]byte, 0, 3*n)} {
				conn := newReceiver(t)
				got, err := conn.Inflate(dst, frame, n)
				if err != nil || !bytes.Equal(got[len(dst):], message) {
					t.Errorf("D02_exactly_%d: %d bytes, %v", n, len(got)-len(dst), err)
				}
				conn = newReceiver(t)
				got, err = conn.Inflate(dst, frame, n-1)
				if !errors.Is(err, ErrTooBig) || len(got) != len(dst) {
					t.Errorf("D02_one_over_%d: %d bytes, %v", n-1, len(got)-len(dst), err)
				}
			}
		}
	}
}

func TestD02_limit_zero(t *testing.T) {
	for _, bytesMax := range []int{0, -1} {
		if _, err := newReceiver(t).Inflate(nil, []byte{0}, bytesMax); err != nil {
			t.Errorf("the empty message: %v", err)
		}
		frame := newCodec(t, 1).compress(nil, []byte("a"), nil, 15)
		if _, err := newReceiver(t).Inflate(nil, frame, bytesMax); !errors.Is(err, ErrTooBig) {
			t.Errorf("one byte: %v", err)
		}
	}
}

// countingReader counts what has been read from it.
type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// zeros is an endless message.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// The output has room for at most twice what was produced, and reading stops one byte behind the
// limit.
func TestD01_output_grows_with_what_is_produced(t *testing.T) {
	for _, bytesMax := range []int{1, 1000, 64 << 10, 1 << 20} {
		r := &countingReader{r: zeros{}}
		out, err := readAll(nil, r, bytesMax)
		if !errors.Is(err, ErrTooBig) || r.n != bytesMax+1 {
			t.Errorf("limit %d: %d bytes were read, %v", bytesMax, r.n, err)
		}
		if room := 2*r.n + growBytesMin; cap(out) > room {
			t.Errorf("limit %d: room for %d bytes, not %d", bytesMax, cap(out), room)
		}
	}
	for _, produced := range []int{1, 100, 1024, 5000, 32 << 10, 100_000} {
		out, err := readAll(nil, io.LimitReader(zeros{}, int64(produced)), 1<<30)
		if room := 2*produced + growBytesMin; err != nil || cap(out) > room {
			t.Errorf("%d bytes: room for %d, not %d, %v", produced, cap(out), room, err)
		}
	}
}

func TestD01_bomb(t *testing.T) {
	const limit = 64 << 10
	c := newCodec(t, 9)
	bomb := c.compress(nil, make([]byte, 64<<20), nil, 15)
	if len(bomb) > 80<<10 {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	conn := c.server(Params{ServerWindowBits: 15, ClientWindowBits: 15})
	explode := func() {
		if got, err := conn.Inflate(nil, bomb, limit); !errors.Is(err, ErrTooBig) || got != nil {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	explode() // fills the pool
	const bombs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range bombs {
		explode()
	}
	runtime.ReadMemStats(&after)
	// Growing twofold, all the buffers on the way to the limit add up to twice the last one. The
	// rest is for a pool that was emptied by the collector.
	perBomb := (after.TotalAlloc - before.TotalAlloc) / bombs
	if allowed := uint64(5*limit + 2*len(bomb)); perBomb > allowed {
		t.Errorf("%d bytes are allocated for a bomb, not %d", perBomb, allowed)
	}
	if conn.received.buf != nil {
		t.Error("the bomb is kept")
	}
}

// payload compresses a message as a peer does that ends its stream, or not.
func payload(t *testing.T, message string, final bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stdflate.NewWriter(&b, 6)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, message)
	if final {
		w.Close()
		return b.Bytes()
	}
	w.Flush()
	return b.Bytes()[:b.Len()-4]
}

func TestD06_payloads(t *testing.T) {
	const hello = "Hello"
	// The final block of RFC 7692 section 7.2.3.4.
	final := []byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}
	stored := []byte{0x00, 0x05, 0x00, 0xfa, 0xff, 'H', 'e', 'l', 'l', 'o'}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	rows := []struct {
		name    string
		payload []byte
		want    string
		err     error
	}{
		{"D06_section_7.2.3.1", []byte{0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}, hello, nil},
		{"D06_section_7.2.3.3_stored", join(stored, []byte{0}), hello, nil},
		{"D06_section_7.2.3.4_final", join(final, []byte{0}), hello, nil},
		{"D06_section_7.2.3.5_two_blocks",
			[]byte{0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00},
			hello, nil},
		{"D06_section_7.2.3.6_empty", []byte{0}, "", nil},
		{"D06_no_payload", nil, "", nil},
		{"D06_final_bare", final, hello, nil},
		{"D06_final_empty_stored_block_cut", join(stored, []byte{1}), hello, nil},
		{"D06_final_then_junk", join(final, []byte("junk")), "", ErrCorrupt},
		{"D06_final_then_one_byte_of_junk", join(final, []byte{1}), "", ErrCorrupt},
		{"D06_final_then_two_zeros", join(final, []byte{0, 0}), "", ErrCorrupt},
		{"D06_final_twice", join(final, final, []byte{0}), "", ErrCorrupt},
		{"D06_final_then_block", join(final, stored, []byte{0}), "", ErrCorrupt},
		{"D06_tail_not_cut", join(stored, []byte("\x00\x00\x00\xff\xff")), "", ErrCorrupt},
		{"D06_no_empty_block", stored, "", ErrCorrupt},
		{"D06_truncated_stored_block", stored[:7], "", ErrCorrupt},
		{"D06_truncated_length", stored[:2], "", ErrCorrupt},
		{"D06_swallows_the_tail", join([]byte{0x00, 0x0e, 0x00, 0xf1, 0xff}, stored[5:]),
			"", ErrCorrupt},
		{"D06_lengths_disagree", join([]byte{0x00, 0x05, 0x00, 0xfa, 0xfe}, stored[5:], []byte{0}),
			"", ErrCorrupt},
		{"D06_reserved_block_type", []byte{0x06, 0x00}, "", ErrCorrupt},
		{"D06_distance_before_the_start", []byte{0x02, 0x22, 0x00, 0x00}, "", ErrCorrupt},
		{"D06_junk", []byte("this is not deflated"), "", ErrCorrupt},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			kept := bytes.Clone(row.payload)
			got, err := newReceiver(t).Inflate(nil, row.payload, 1000)
			if string(got) != row.want || !errors.Is(err, row.err) {
				t.Errorf("got %q, %v", got, err)
			}
			if !bytes.Equal(row.payload, kept) {
				t.Error("the payload was changed")
			}
		})
	}
}

// A message with a final block leaves the connection usable.
func TestD06_messages_after_a_final_block(t *testing.T) {
	conn := newReceiver(t)
	for i, final := range []bool{false, true, true, false} {
		frame := payload(t, "a message, a message", final)
		if got, err := conn.Inflate(nil, frame, 1000); err != nil || len(got) != 20 {
			t.Errorf("message %d: %q, %v", i, got, err)
		}
	}
}

// Every byte of 50 streams is changed, in three ways: what comes out may be anything, but
// bounded.
func TestD06_mutations(t *testing.T) {
	c, r := newCodec(t, 1), newRand()
	counts := map[error]int{}
	for i := range 50 {
		before := chat(r, r.IntN(1500))
		message := anyMessage(r, 2000)
		frame := c.compress(nil, message, before, 15)
		for at := range frame {
			for _, flip := range []byte{0x01, 0x80, byte(1 + r.IntN(255))} {
				frame[at] ^= flip
				got, err := c.inflate(nil, frame, before, len(message))
				if len(got) > len(message) {
					t.Fatalf("stream %d, byte %d: %d bytes", i, at, len(got))
				}
				if err != nil && !errors.Is(err, ErrTooBig) && !errors.Is(err, ErrCorrupt) {
					t.Fatalf("stream %d, byte %d: %v", i, at, err)
				}
				counts[err]++
				frame[at] ^= flip
			}
		}
	}
	for _, err := range []error{nil, ErrTooBig, ErrCorrupt} {
		if counts[err] == 0 {
			t.Errorf("no mutation gave %v", err)
		}
	}
}

// Every truncation of a stream is corrupt: the end of a message is the end of an empty block.
func TestD06_truncations(t *testing.T) {
	c := newCodec(t, 1)
	message := chat(newRand(), 2000)
	frame := c.compress(nil, message, nil, 15)
	for n := 1; n < len(frame); n++ {
		if got, err := c.inflate(nil, frame[:n], nil, 1<<20); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes of %d: %d bytes out, %v", n, len(frame), len(got), err)
		}
	}
}

// What a peer may not refer to is not there: neither what was sent without takeover, nor what
// has left the window.
func TestInflateForgetsWhatLeavesTheWindow(t *testing.T) {
	c, r := newCodec(t, 1), newRand()
	first := chat(r, 300)
	again := c.compress(nil, first, first, 15)
	plain := c.compress(nil, first, nil, 15)
	conn := c.server(Params{ServerWindowBits: 15, ClientWindowBits: 15, ClientNoTakeover: true})
	inflates(t, &conn, plain, first)
	if _, err := conn.Inflate(nil, again, 1000); !errors.Is(err, ErrCorrupt) {
		t.Errorf("without takeover: %v", err)
	}
	conn = c.server(Params{ServerWindowBits: 15, ClientWindowBits: 8})
	inflates(t, &conn, plain, first)
	if _, err := conn.Inflate(nil, again, 1000); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a distance of 300 with a window of 256: %v", err)
	}
	conn = c.server(Params{ServerWindowBits: 15, ClientWindowBits: 9})
	inflates(t, &conn, plain, first)
	inflates(t, &conn, again, first)
}

// The standard library is the judge of what a payload means, as far as the two agree on errors.
func FuzzInflate(f *testing.F) {
	c := newCodec(f, 1)
	r := newRand()
	for range 8 {
		before := chat(r, 200)
		f.Add(c.compress(nil, anyMessage(r, 600), before, 15), before, uint16(600))
	}
	f.Add([]byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}, []byte{}, uint16(5))
	f.Fuzz(func(t *testing.T, payload, before []byte, limit uint16) {
		kept := bytes.Clone(payload)
		before = before[max(0, len(before)-1<<15):]
		got, err := c.inflate(nil, payload, before, int(limit))
		if !bytes.Equal(payload, kept) {
			t.Fatal("the payload was changed")
		}
		in := bytes.NewReader(append(append(kept, tail...), final...))
		std := stdflate.NewReaderDict(in, before)
		want, errStd := io.ReadAll(io.LimitReader(std, int64(limit)+1))
		switch {
		case len(want) > int(limit):
			if !errors.Is(err, ErrTooBig) {
				t.Fatalf("%d bytes are expected, got %v", len(want), err)
			}
		case errStd != nil:
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%v is expected, got %v", errStd, err)
			}
		case err == nil && !bytes.Equal(got, want):
			t.Fatalf("got %q, want %q", got, want)
		case err != nil && in.Len() == 0:
			t.Fatalf("a complete stream is refused: %v", err)
		}
		if err != nil && got != nil {
			t.Fatalf("%d bytes with %v", len(got), err)
		}
	})
}

// FuzzConverse sends three messages through a connection with takeover.
func FuzzConverse(f *testing.F) {
	f.Add([]byte("hello, hello"), []byte("hello"), []byte("hello, hello"), uint8(8), uint8(1))
	f.Add(chat(newRand(), 3000), chat(newRand(), 900), noise(newRand(), 300), uint8(0), uint8(6))
	f.Fuzz(func(t *testing.T, one, two, three []byte, bits, level uint8) {
		c := newCodec(t, int(1+level%9))
		p := Params{ServerWindowBits: 8 + bits%8, ClientWindowBits: 15}
		server, client := c.server(p), c.Client(p)
		for i, message := range [][]byte{one, two, three, one} {
			var frame []byte
			var ok bool
			if i == 2 {
				if frame, ok = c.Shared(nil, message, 8+bits%8); ok {
					server.ForgetSent()
				}
			} else {
				frame, ok = server.Deflate(nil, message)
			}
			if ok {
				inflates(t, &client, frame, message)
			}
		}
	})
}
