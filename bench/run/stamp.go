package run

import (
	"bytes"
	"encoding/hex"
	"hash/crc32"
	"time"
)

// A stamp says in a message's text who sent it as which one, when that was planned and when it was
// done, with a checksum. It survives what a chat server puts before it.
type stamp struct {
	publisher     uint32
	seq           uint32
	planned, sent time.Duration
}

const (
	stampMark  = '@'
	stampBytes = 1 + 2*(4+4+8+8) + 8 // mark, fields and checksum in hexadecimal
)

// filler is text that compresses about as well as chat does.
const filler = " the quick brown fox jumps over the lazy dog, again and again; " +
	`{"type":"update","room":"general","price":104.25,"ok":true}`

// append appends a text of size bytes, at least stampBytes, that begins with the stamp.
func (s stamp) append(dst []byte, size int) []byte {
	from := len(dst)
	dst = append(dst, stampMark)
	dst = appendHex(dst, uint64(s.publisher), 8)
	dst = appendHex(dst, uint64(s.seq), 8)
	dst = appendHex(dst, uint64(s.planned), 16)
	dst = appendHex(dst, uint64(s.sent), 16)
	dst = appendHex(dst, uint64(crc32.ChecksumIEEE(dst[from:])), 8)
	for n := size - stampBytes; n > 0; n -= len(filler) {
		dst = append(dst, filler[:min(len(filler), n)]...)
	}
	return dst
}

func appendHex(dst []byte, v uint64, digits int) []byte {
	const table = "0123456789abcdef"
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, table[v>>shift&15])
	}
	return dst
}

// readStamp finds the stamp of a text of size bytes from the mark on. It reports false if the text
// has none, or was changed or cut.
func readStamp(text []byte, size int) (s stamp, ok bool) {
	i := bytes.IndexByte(text, stampMark)
	if i < 0 || len(text)-i != max(size, stampBytes) {
		return s, false
	}
	text = text[i:]
	var raw [28]byte
	if _, err := hex.Decode(raw[:], text[1:stampBytes]); err != nil {
		return s, false
	}
	read := func(b []byte) (v uint64) {
		for _, c := range b {
			v = v<<8 | uint64(c)
		}
		return v
	}
	if uint32(read(raw[24:])) != crc32.ChecksumIEEE(text[:stampBytes-8]) {
		return s, false
	}
	return stamp{
		publisher: uint32(read(raw[:4])), seq: uint32(read(raw[4:8])),
		planned: time.Duration(read(raw[8:16])), sent: time.Duration(read(raw[16:24])),
	}, true
}

// intact reports whether the rest of a stamped text is as it was sent.
func intact(text []byte) bool {
	i := bytes.IndexByte(text, stampMark)
	rest := text[i+stampBytes:]
	for len(rest) > 0 {
		n := min(len(rest), len(filler))
		if string(rest[:n]) != filler[:n] {
			return false
		}
		rest = rest[n:]
	}
	return true
}
