package floor

import (
	"encoding/binary"

	"sluice/gateway/wire"
)

// maskBytes is how much shorter a frame gets without its mask.
const maskBytes = 4

// rewrite turns the whole masked frames at the beginning of p into unmasked ones, in place. out is
// the part of p that holds them, rest the one that holds an incomplete frame. Control frames leave
// no trace in out; closed says that one of them, the last that was looked at, was a Close.
func rewrite(p []byte) (out, rest []byte, closed bool) {
	// The payload of the first frame can stay where it is: its header moves up to it.
	to, from := maskBytes, 0
	for !closed {
		head, size, ok := header(p[from:])
		if !ok || len(p)-from < head+size {
			break
		}
		f := p[from : from+head+size]
		from += len(f)
		if op := wire.Opcode(f[0] & 0xF); op >= wire.OpClose {
			closed = op == wire.OpClose
			continue
		}
		mask := binary.LittleEndian.Uint32(f[head-maskBytes:])
		f[1] &= 0x7F
		to += copy(p[to:], f[:head-maskBytes])
		unmask(p[to:to+size], f[head:], mask)
		to += size
	}
	if to == maskBytes {
		return nil, p[from:], closed
	}
	return p[maskBytes:to], p[from:], closed
}

// header reads the sizes of a masked frame's header and payload.
func header(p []byte) (head, size int, ok bool) {
	if len(p) < 6 {
		return 0, 0, false
	}
	switch n := int(p[1] & 0x7F); {
	case n < 126:
		return 6, n, true
	case n == 126 && len(p) >= 8:
		return 8, int(binary.BigEndian.Uint16(p[2:])), true
	case n == 127 && len(p) >= 14:
		return 14, int(binary.BigEndian.Uint64(p[2:])), true
	}
	return 0, 0, false
}

// unmask writes src without its mask to dst, which is as long and may begin before src in the same
// memory. It takes 32 bytes at a time: half as long as with 8.
func unmask(dst, src []byte, mask uint32) {
	m := uint64(mask)<<32 | uint64(mask)
	for len(src) >= 32 && len(dst) >= 32 {
		a := binary.LittleEndian.Uint64(src[0:8])
		b := binary.LittleEndian.Uint64(src[8:16])
		c := binary.LittleEndian.Uint64(src[16:24])
		d := binary.LittleEndian.Uint64(src[24:32])
		binary.LittleEndian.PutUint64(dst[0:8], a^m)
		binary.LittleEndian.PutUint64(dst[8:16], b^m)
		binary.LittleEndian.PutUint64(dst[16:24], c^m)
		binary.LittleEndian.PutUint64(dst[24:32], d^m)
		dst, src = dst[32:], src[32:]
	}
	for i, b := range src {
		dst[i] = b ^ byte(m>>(8*(i&3)))
	}
}
