package floor

import (
	"bytes"
	"testing"

	"sluice/gateway/wire"
)

// maskKey has four different bytes: a shifted mask shows.
var maskKey = [4]byte{0x11, 0x22, 0x44, 0x88}

// payload is size bytes without a period that a mask could hide.
func payload(size int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

func TestRewrite(t *testing.T) {
	frame := func(op wire.Opcode, size int) []byte {
		return wire.AppendMaskedFrame(nil, op, false, maskKey, payload(size))
	}
	plain := func(op wire.Opcode, size int) []byte {
		return wire.AppendFrame(nil, op, false, payload(size))
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	text, binary := wire.OpText, wire.OpBinary
	for _, tt := range []struct {
		name          string
		in, out, rest []byte
		closed        bool
	}{
		{"nothing", nil, nil, nil, false},
		{"one_byte", []byte{0x81}, nil, []byte{0x81}, false},
		{"empty_message", frame(text, 0), plain(text, 0), nil, false},
		{"text", frame(text, 5), plain(text, 5), nil, false},
		{"largest_of_one_length_byte", frame(binary, 125), plain(binary, 125), nil, false},
		{"smallest_of_two", frame(binary, 126), plain(binary, 126), nil, false},
		{"largest_of_two", frame(binary, 65535), plain(binary, 65535), nil, false},
		{"smallest_of_eight", frame(binary, 65536), plain(binary, 65536), nil, false},
		{"several", join(frame(text, 3), frame(binary, 200), frame(text, 40)),
			join(plain(text, 3), plain(binary, 200), plain(text, 40)), nil, false},
		{"cut_in_the_payload", join(frame(text, 3), frame(text, 9)[:12]),
			plain(text, 3), frame(text, 9)[:12], false},
		{"cut_in_a_length", join(frame(text, 3), frame(text, 300)[:7]),
			plain(text, 3), frame(text, 300)[:7], false},
		{"ping_in_between", join(frame(text, 3), frame(wire.OpPing, 4), frame(text, 8)),
			join(plain(text, 3), plain(text, 8)), nil, false},
		{"ping_alone", frame(wire.OpPing, 4), nil, nil, false},
		{"close_after_a_message", join(frame(text, 3), frame(wire.OpClose, 2), frame(text, 8)),
			plain(text, 3), frame(text, 8), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, rest, closed := rewrite(bytes.Clone(tt.in))
			if !bytes.Equal(out, tt.out) || !bytes.Equal(rest, tt.rest) || closed != tt.closed {
				t.Errorf("got %x, %x, %v\nwant %x, %x, %v", out, rest, closed,
					tt.out, tt.rest, tt.closed)
			}
		})
	}
}

func TestRewriteAllocatesNothing(t *testing.T) {
	in := wire.AppendMaskedFrame(nil, wire.OpText, false, maskKey, payload(500))
	p := make([]byte, len(in))
	if n := testing.AllocsPerRun(100, func() {
		copy(p, in)
		rewrite(p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRewrite cuts a stream of frames at any point: both halves together must give what was sent.
func FuzzRewrite(f *testing.F) {
	f.Add([]byte("hello"), []byte{}, uint32(0x01020304), uint16(3))
	f.Add(payload(126), payload(65536), uint32(0xFFFFFFFF), uint16(200))
	f.Add(payload(31), payload(33), uint32(0x80), uint16(0))
	f.Fuzz(func(t *testing.T, a, b []byte, mask uint32, cut uint16) {
		key := [4]byte{byte(mask), byte(mask >> 8), byte(mask >> 16), byte(mask >> 24)}
		var in, want []byte
		for _, message := range [][]byte{a, b, a} {
			in = wire.AppendMaskedFrame(in, wire.OpBinary, false, key, message)
			want = wire.AppendFrame(want, wire.OpBinary, false, message)
		}
		at := int(cut) % (len(in) + 1)
		out, rest, closed := rewrite(bytes.Clone(in[:at]))
		got := bytes.Clone(out)
		out, rest, closedNow := rewrite(append(bytes.Clone(rest), in[at:]...))
		got = append(got, out...)
		if !bytes.Equal(got, want) || len(rest) > 0 || closed || closedNow {
			t.Errorf("cut at %d: got %x, rest %x, want %x", at, got, rest, want)
		}
	})
}
