package deflate

import (
	"math/bits"
	"unsafe"
)

// history is the end of what went over a connection in one direction. It grows as it fills.
type history struct {
	buf      []byte // the capacity is a power of two, at most bytesMax
	bytesMax int    // a power of two
}

// historyBytesFirst is the first capacity of a history, if that is not less.
const historyBytesFirst = 512

// newHistory returns an empty history of at most n bytes, nil if n is 0.
func newHistory(n int) *history {
	if n == 0 {
		return nil
	}
	return &history{bytesMax: n}
}

// historyCost is the most memory that a history of n bytes takes.
func historyCost(n int) int64 {
	if n == 0 {
		return 0
	}
	return int64(n) + int64(unsafe.Sizeof(history{}))
}

// cost is what the history was, or would have been, reserved for; 0 for none.
func (h *history) cost() int64 {
	if h == nil {
		return 0
	}
	return historyCost(h.bytesMax)
}

// bytes returns what is remembered, valid until the next call; nil for no history.
func (h *history) bytes() []byte {
	if h == nil {
		return nil
	}
	return h.buf
}

// forget empties the history. What it allocated stays for what comes.
func (h *history) forget() {
	if h != nil {
		h.buf = h.buf[:0]
	}
}

// append remembers a copy of p, at the expense of the oldest bytes.
func (h *history) append(p []byte) {
	if h == nil {
		return
	}
	p = p[max(0, len(p)-h.bytesMax):]
	keep := h.buf[max(0, len(h.buf)+len(p)-h.bytesMax):]
	if n := len(keep) + len(p); n > cap(h.buf) {
		grown := max(historyBytesFirst, 1<<bits.Len(uint(n-1)))
		h.buf = append(make([]byte, 0, min(grown, h.bytesMax)), keep...)
	} else {
		h.buf = h.buf[:copy(h.buf, keep)]
	}
	h.buf = append(h.buf, p...)
}
