package load

import (
	"bytes"
	"hash/crc32"
	"time"
)

// stamped is what a message has said of itself while Template.Parse reads it.
type stamped struct {
	index, seq, at value
	sum            uint32
	sumAt          int // where {sum} begins in the payload
}

// value is a number that may stand in a message more than once.
type value struct {
	n     uint64
	known bool
}

// take reports whether n agrees with what is known.
func (v *value) take(n uint64) bool {
	if v.known {
		return v.n == n
	}
	*v = value{n, true}
	return true
}

// candidatesMax bounds how many places of a payload are checksummed.
const candidatesMax = 4

// Parse finds a message of AppendTo in a payload and returns what went into it. A server may have
// put text before it, like "alice: ", or after it, like the end of a JSON string; but text before a
// template that begins with a number must not end in a digit. ok is false if there is none, or a
// byte of it was changed, and always if the template was not parsed with verify.
//
// It does not allocate and keeps nothing of payload.
func (t *Template) Parse(payload []byte) (i int, seq uint64, at time.Duration, ok bool) {
	if t.anchor < 0 {
		return 0, 0, 0, false
	}
	literal := t.pieces[t.anchor].text
	candidates := 0
	for from := 0; candidates < candidatesMax; from++ {
		hit := bytes.Index(payload[from:], literal)
		if hit < 0 {
			break
		}
		from += hit
		var s stamped
		begin, ok := t.readAt(&s, payload, from)
		if !ok {
			continue
		}
		candidates++
		if s.sum == crc32.Checksum(payload[begin:s.sumAt], castagnoli) {
			return int(s.index.n), s.seq.n, time.Duration(s.at.n), true
		}
	}
	return 0, 0, 0, false
}

// readAt reads the message whose anchor is at payload[at]. It returns where the message begins.
func (t *Template) readAt(s *stamped, payload []byte, at int) (begin int, ok bool) {
	begin, end := at, at+len(t.pieces[t.anchor].text)
	for k := t.anchor - 1; k >= 0; k-- {
		n, ok := t.pieces[k].sizeBefore(payload[:begin])
		if begin -= n; !ok || !s.read(&t.pieces[k], payload[begin:begin+n], begin) {
			return 0, false
		}
	}
	for k := t.anchor + 1; k < len(t.pieces); k++ {
		n, ok := t.pieces[k].sizeAfter(payload[end:])
		if !ok || !s.read(&t.pieces[k], payload[end:end+n], end) {
			return 0, false
		}
		end += n
	}
	return begin, true
}

// fixedSize is the size of a piece that is not a number.
func (p *piece) fixedSize() int {
	if p.kind == pieceSum {
		return sumBytes
	}
	return len(p.text) + p.n
}

// sizeBefore is how many bytes of the end of b belong to p.
func (p *piece) sizeBefore(b []byte) (n int, ok bool) {
	if !p.number() {
		n = p.fixedSize()
		return n, n <= len(b)
	}
	for n < len(b) && isDigit(b[len(b)-1-n]) {
		n++
	}
	return n, n > 0
}

// sizeAfter is how many bytes of the beginning of b belong to p.
func (p *piece) sizeAfter(b []byte) (n int, ok bool) {
	if !p.number() {
		n = p.fixedSize()
		return n, n <= len(b)
	}
	for n < len(b) && isDigit(b[n]) {
		n++
	}
	return n, n > 0
}

// read takes the bytes of a piece, which begin at at of the payload, or reports that they are none.
// Those of a random are left to the checksum.
func (s *stamped) read(p *piece, b []byte, at int) (ok bool) {
	var n uint64
	switch p.kind {
	case pieceText:
		return bytes.Equal(b, p.text)
	case pieceSum:
		s.sum, ok = readSum(b)
		s.sumAt = at
		return ok
	case pieceRandom:
		return true
	}
	if n, ok = readNumber(b); !ok {
		return false
	}
	switch p.kind {
	case pieceIndex:
		return s.index.take(n)
	case pieceSeq:
		return s.seq.take(n)
	}
	return s.at.take(n)
}

// readNumber reads a decimal number as strconv.AppendUint writes it.
func readNumber(b []byte) (n uint64, ok bool) {
	const cutoff = (1<<64 - 1) / 10
	if len(b) > 1 && b[0] == '0' {
		return 0, false
	}
	for _, c := range b {
		digit := uint64(c - '0')
		if n > cutoff || n*10 > 1<<64-1-digit {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, true
}
