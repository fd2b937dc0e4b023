package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func newReader(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

var testMask = [4]byte{1, 2, 3, 4}

// raw builds a frame from its parts, legal or not: first byte, payload, and the number of bytes that
// encode the length (0, 2 or 8).
func raw(first byte, lengthBytes int, payload string) []byte {
	n := len(payload)
	b := []byte{first}
	switch lengthBytes {
	case 0:
		b = append(b, 0x80|byte(n))
	case 2:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	case 8:
		b = append(b, 0x80|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	b = append(b, testMask[:]...)
	for i := range n {
		b = append(b, payload[i]^testMask[i%4])
	}
	return b
}

// client builds a legal frame; op may carry FIN (0x80) and RSV bits.
func client(first byte, payload string) []byte {
	switch n := len(payload); {
	case n <= 125:
		return raw(first, 0, payload)
	case n <= 0xFFFF:
		return raw(first, 2, payload)
	}
	return raw(first, 8, payload)
}

// declared is a header of a binary message that promises n bytes.
func declared(n uint64) []byte {
	b := []byte{0x82, 0xFF}
	for i := range 8 {
		b = append(b, byte(n>>(56-8*i)))
	}
	return append(b, testMask[:]...)
}

const (
	fin   = 0x80
	text  = fin | byte(OpText)
	bin   = fin | byte(OpBinary)
	cont  = byte(OpContinuation)
	ping  = fin | byte(OpPing)
	pong  = fin | byte(OpPong)
	close = fin | byte(OpClose)
)

// decode feeds pieces to a decoder and writes down what comes out.
func decode(limits MessageLimits, compressed bool, pieces ...[]byte) []string {
	var d Decoder
	d.Init(&limits, Server, compressed)
	defer d.Release()
	var log []string
	for _, p := range pieces {
		p = bytes.Clone(p)
		for len(p) > 0 {
			ev, n, err := d.Next(p)
			p = p[n:]
			if err != nil {
				return append(log, fmt.Sprint("error ", err.(*CloseError).Code))
			}
			switch ev.Kind {
			case KindMessage:
				log = append(log, fmt.Sprintf("message %d %v %q", ev.Op, ev.Compressed, ev.Payload))
			case KindPing, KindPong:
				log = append(log, fmt.Sprintf("control %d %q", ev.Kind, ev.Payload))
			case KindClose:
				log = append(log, fmt.Sprintf("close %d %q", ev.Code, ev.Payload))
			}
		}
	}
	if d.Pending() {
		log = append(log, "pending")
	}
	return log
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

var frameLimits = MessageLimits{MessageBytesMax: 64 << 10, FragmentsMax: 256}

func TestFrames(t *testing.T) {
	hello := `message 1 false "hello"`
	rows := []struct {
		name       string
		in         []byte
		compressed bool
		want       []string
	}{
		{"text", client(text, "hello"), false, []string{hello}},
		{"empty", client(text, ""), false, []string{`message 1 false ""`}},
		{"binary", client(bin, "\xff\x00"), false, []string{`message 2 false "\xff\x00"`}},
		{"fragments", join(client(byte(OpText), "he"), client(cont, "ll"), client(fin|cont, "o")), false, []string{hello}},
		{"empty_fragments", join(client(byte(OpText), ""), client(cont, ""), client(fin|cont, "")), false, []string{`message 1 false ""`}},
		{"ping_inside", join(client(byte(OpText), "hel"), client(ping, "p"), client(fin|cont, "lo")), false,
			[]string{`control 2 "p"`, hello}},
		{"F01_unmasked", AppendFrame(nil, OpText, false, []byte("hello")), false, []string{"error 1002"}},
		{"F02_rsv1", client(text|0x40, "x"), false, []string{"error 1002"}},
		{"F02_rsv1_continuation", join(client(byte(OpText)|0x40, "x"), client(fin|cont|0x40, "y")), true, []string{"error 1002"}},
		{"F02_D07_rsv1_ping", client(ping|0x40, "x"), true, []string{"error 1002"}},
		{"F02_rsv2", client(text|0x20, "x"), true, []string{"error 1002"}},
		{"F02_rsv3", client(text|0x10, "x"), true, []string{"error 1002"}},
		{"F02_rsv1_negotiated", client(text|0x40, "x"), true, []string{`message 1 true "x"`}},
		{"F03_opcode_3", client(fin|3, "x"), false, []string{"error 1002"}},
		{"F03_opcode_7", client(fin|7, "x"), false, []string{"error 1002"}},
		{"F03_opcode_11", client(fin|11, "x"), false, []string{"error 1002"}},
		{"F03_opcode_15", client(fin|15, "x"), false, []string{"error 1002"}},
		{"F04_ping_126", raw(ping, 2, strings.Repeat("x", 126)), false, []string{"error 1002"}},
		{"F04_ping_64_bit", raw(ping, 8, strings.Repeat("x", 126)), false, []string{"error 1002"}},
		{"F04_close_16_bit_short", raw(close, 2, "\x03\xe8"), false, []string{"error 1002"}},
		{"F04_ping_125", client(ping, strings.Repeat("x", 125)), false, []string{fmt.Sprintf("control 2 %q", strings.Repeat("x", 125))}},
		{"F05_fragmented_ping", client(byte(OpPing), "x"), false, []string{"error 1002"}},
		{"F06_continuation_first", client(fin|cont, "x"), false, []string{"error 1002"}},
		{"F06_text_inside", join(client(byte(OpText), "a"), client(text, "b")), false, []string{"error 1002"}},
		{"F06_binary_inside", join(client(byte(OpText), "a"), client(bin, "b")), false, []string{"error 1002"}},
		{"F07_5_bytes_16_bit", raw(text, 2, "hello"), false, []string{"error 1002"}},
		{"F07_200_bytes_64_bit", raw(text, 8, strings.Repeat("x", 200)), false, []string{"error 1002"}},
		{"F08_msb", declared(1 << 63), false, []string{"error 1002"}},
		{"F08_2_63_less_1", declared(1<<63 - 1), false, []string{"error 1009"}},
		{"F08_2_40", declared(1 << 40), false, []string{"error 1009"}},
		{"F08_limit_plus_1", declared(64<<10 + 1), false, []string{"error 1009"}},
		{"F09_sum_over_limit", join(client(byte(OpBinary), strings.Repeat("x", 60<<10)), declaredContinuation(60<<10)), false, []string{"error 1009"}},
		{"F10_endless_fragments", join(client(byte(OpText), ""), bytes.Repeat(client(cont, ""), 256)), false, []string{"error 1008"}},
		{"F10_at_limit", join(client(byte(OpText), ""), bytes.Repeat(client(cont, ""), 254), client(fin|cont, "x")), false, []string{`message 1 false "x"`}},
		{"F11_promise", declared(64 << 10), false, []string{"pending"}},
		{"F12_overlong", client(text, "\xc0\x80"), false, []string{"error 1007"}},
		{"F12_surrogate", client(text, "\xed\xa0\x80"), false, []string{"error 1007"}},
		{"F12_above_max", client(text, "\xf4\x90\x80\x80"), false, []string{"error 1007"}},
		{"F12_truncated", client(text, "a\xe2\x82"), false, []string{"error 1007"}},
		{"F12_split_in_character", join(client(byte(OpText), "\xe2"), client(ping, ""), client(fin|cont, "\x82\xac")), false,
			[]string{`control 2 ""`, `message 1 false "€"`}},
		{"F12_fail_fast", client(byte(OpText), "\xed\xa0"), false, []string{"error 1007"}},
		{"F12_compressed_not_checked", client(text|0x40, "\xff"), true, []string{`message 1 true "\xff"`}},
		{"F13_empty", client(close, ""), false, []string{`close 1005 ""`}},
		{"F13_one_byte", client(close, "\x03"), false, []string{"error 1002"}},
		{"F13_reason", client(close, "\x03\xe8bye"), false, []string{`close 1000 "bye"`}},
		{"F13_reason_not_utf8", client(close, "\x03\xe8\xff"), false, []string{"error 1007"}},
		{"F13_reason_123", client(close, "\x03\xe8"+strings.Repeat("x", 123)), false, []string{fmt.Sprintf("close 1000 %q", strings.Repeat("x", 123))}},
		{"F13_reason_124", raw(close, 2, "\x03\xe8"+strings.Repeat("x", 124)), false, []string{"error 1002"}},
		{"F16_unsolicited_pong", client(pong, "x"), false, []string{`control 3 "x"`}},
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535} {
		rows = append(rows, struct {
			name       string
			in         []byte
			compressed bool
			want       []string
		}{fmt.Sprint("F13_code_", code), client(close, string([]byte{byte(code >> 8), byte(code)})), false, []string{"error 1002"}})
	}
	for _, code := range []uint16{1000, 1003, 1007, 1012, 1014, 3000, 4999} {
		rows = append(rows, struct {
			name       string
			in         []byte
			compressed bool
			want       []string
		}{fmt.Sprint("F13_code_", code), client(close, string([]byte{byte(code >> 8), byte(code)})), false, []string{fmt.Sprintf(`close %d ""`, code)}})
	}
	for _, r := range rows {
		next := client(text, "next")
		coalesced := r.want
		if last := r.want[len(r.want)-1]; !strings.HasPrefix(last, "error") && last != "pending" {
			coalesced = append(append([]string{}, r.want...), `message 1 false "next"`)
		}
		modes := []struct {
			name   string
			pieces [][]byte
			want   []string
		}{
			{"whole", [][]byte{r.in}, r.want},
			{"byte by byte", split(string(r.in)), r.want},
			{"coalesced", [][]byte{join(r.in, next)}, coalesced},
		}
		for _, m := range modes {
			t.Run(r.name+"/"+m.name, func(t *testing.T) {
				got := decode(frameLimits, r.compressed, m.pieces...)
				if r.name == "F11_promise" && m.name == "coalesced" {
					m.want = []string{"pending"}
				}
				if !reflect.DeepEqual(got, m.want) {
					t.Errorf("got %.200q, want %.200q", got, m.want)
				}
			})
		}
	}
}

func declaredContinuation(n uint16) []byte {
	return append([]byte{fin | cont, 0x80 | 126, byte(n >> 8), byte(n)}, testMask[:]...)
}

func TestF11PromisesAllocateNothing(t *testing.T) {
	limits := MessageLimits{MessageBytesMax: 1 << 30}
	var d Decoder
	d.Init(&limits, Server, false)
	d.Next(declared(1 << 30))
	d.Next([]byte("abc"))
	if c := cap(d.part.buf); c > 64 {
		t.Errorf("%d bytes held for 3 received", c)
	}
}

func TestBoundaryLengths(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 65537} {
		payload := bytes.Repeat([]byte("x"), n)
		limits := MessageLimits{MessageBytesMax: 1 << 20}
		frame := AppendMaskedFrame(nil, OpBinary, false, testMask, payload)
		want := []string{fmt.Sprintf("message 2 false %q", payload)}
		for _, pieces := range [][][]byte{{frame}, {frame[:len(frame)/2], frame[len(frame)/2:]}} {
			if got := decode(limits, false, pieces...); !reflect.DeepEqual(got, want) {
				t.Errorf("%d bytes did not come through", n)
			}
		}
		var d Decoder
		d.Init(&limits, Client, false)
		ev, used, err := d.Next(AppendFrame(nil, OpBinary, false, payload))
		if err != nil || !bytes.Equal(ev.Payload, payload) || used < n {
			t.Errorf("%d bytes from a server: %v", n, err)
		}
	}
}

func TestF18EverySplitOfThreeFrames(t *testing.T) {
	in := join(client(byte(OpText), "héllo"), client(ping, "p"), client(fin|cont, strings.Repeat("wörld", 50)), client(close, "\x03\xe8"))
	want := decode(frameLimits, false, in)
	for i := range in {
		if got := decode(frameLimits, false, in[:i], in[i:]); !reflect.DeepEqual(got, want) {
			t.Fatalf("split at %d: %q, want %q", i, got, want)
		}
	}
}

func TestAppendCloseCutsBetweenCharacters(t *testing.T) {
	frame := AppendClose(nil, 1000, strings.Repeat("x", 122)+"é")
	var d Decoder
	d.Init(&frameLimits, Client, false)
	ev, _, err := d.Next(frame)
	if err != nil || ev.Kind != KindClose || len(ev.Payload) != 122 {
		t.Errorf("got %+v, %v", ev, err)
	}
}

func TestDecodeAndEncodeAllocateNothing(t *testing.T) {
	frame := client(text, strings.Repeat("x", 1000))
	in, out := make([]byte, len(frame)), make([]byte, 0, 2000)
	var d Decoder
	d.Init(&frameLimits, Server, false)
	allocs := testing.AllocsPerRun(100, func() {
		copy(in, frame)
		ev, _, err := d.Next(in)
		if err != nil {
			t.Fatal(err)
		}
		out = AppendFrame(out[:0], OpText, false, ev.Payload)
	})
	if allocs != 0 {
		t.Errorf("%v allocations to decode and encode a frame, want 0", allocs)
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add(join(client(byte(OpText), "hel"), client(ping, "p"), client(fin|cont, "lo")), uint64(1), true)
	f.Add(client(close, "\x03\xe8bye"), uint64(2), false)
	limits := MessageLimits{MessageBytesMax: 300, FragmentsMax: 5}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, compressed bool) {
		want := decode(limits, compressed, in)
		rnd := rand.New(rand.NewPCG(seed, 0))
		var pieces [][]byte
		for rest := in; len(rest) > 0; {
			n := 1 + rnd.IntN(len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if got := decode(limits, compressed, pieces...); !reflect.DeepEqual(got, want) {
			t.Fatalf("in %d pieces: %q, whole: %q", len(pieces), got, want)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("hello"), uint32(7), true)
	f.Fuzz(func(t *testing.T, payload []byte, mask uint32, rsv1 bool) {
		limits := MessageLimits{MessageBytesMax: len(payload) + 1}
		m := [4]byte{byte(mask), byte(mask >> 8), byte(mask >> 16), byte(mask >> 24)}
		var d Decoder
		d.Init(&limits, Server, true)
		frame := AppendMaskedFrame(nil, OpBinary, rsv1, m, payload)
		ev, n, err := d.Next(frame)
		if err != nil || n != len(frame) || ev.Compressed != rsv1 || !bytes.Equal(ev.Payload, payload) {
			t.Fatalf("%+v, %d of %d, %v", ev, n, len(frame), err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{128, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			frame := client(bin, strings.Repeat("x", size))
			in := make([]byte, len(frame))
			var d Decoder
			d.Init(&frameLimits, Server, false)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				copy(in, frame)
				if _, _, err := d.Next(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
