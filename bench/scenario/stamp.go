// Package scenario holds what the clients of a swarm do: echo, fan-out, idle. Each counts what it
// sees and keeps latencies in histograms of microseconds, one per event loop, merged at the end.
package scenario

import (
	"bytes"
	"encoding/hex"
	"time"
)

// A stamp says in a message's text when it was to be sent and as which one. It survives what a
// chat server puts before it.
const (
	stampMark  = '@'
	stampBytes = 1 + 16 + 8 // mark, nanoseconds, sequence number; both hexadecimal
)

// start is the zero of all stamps: they are monotonic within a process.
var start = time.Now()

// now is the time since start.
func now() time.Duration { return time.Since(start) }

// appendStamped appends a text of size bytes, at least stampBytes, that begins with a stamp.
func appendStamped(dst []byte, at time.Duration, seq uint32, size int) []byte {
	from := len(dst)
	dst = append(dst, stampMark)
	dst = appendHex(dst, uint64(at), 16)
	dst = appendHex(dst, uint64(seq), 8)
	for len(dst)-from < size {
		dst = append(dst, filler[:min(len(filler), size-(len(dst)-from))]...)
	}
	return dst
}

// filler is text that compresses about as well as chat does.
const filler = " the quick brown fox jumps over the lazy dog, again and again; " +
	`{"type":"update","room":"general","price":104.25,"ok":true}`

func appendHex(dst []byte, v uint64, digits int) []byte {
	const table = "0123456789abcdef"
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, table[v>>shift&15])
	}
	return dst
}

// readStamp finds the stamp of a text.
func readStamp(text []byte) (at time.Duration, seq uint32, ok bool) {
	i := bytes.IndexByte(text, stampMark)
	if i < 0 || len(text)-i < stampBytes {
		return 0, 0, false
	}
	var raw [12]byte
	if _, err := hex.Decode(raw[:], text[i+1:i+stampBytes]); err != nil {
		return 0, 0, false
	}
	for _, b := range raw[:8] {
		at = at<<8 | time.Duration(b)
	}
	for _, b := range raw[8:] {
		seq = seq<<8 | uint32(b)
	}
	return at, seq, true
}
