package load

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Template is the text of the messages of a benchmark. Placeholders in it stand for:
//
//	{i}         the number of the connection, decimal
//	{seq}       the number of the message, decimal
//	{time}      the time given to AppendTo in nanoseconds, decimal
//	{random:N}  N letters, digits, - and _, the same for the same {i} and {seq}
//	{sum}       the CRC-32C of the message up to there, eight hexadecimal digits
//
// All of them may stand in JSON strings, {i}, {seq} and {time} also as JSON numbers. Other braces
// are text. A Template does not change: it may be used from any goroutine.
type Template struct {
	pieces []piece
	anchor int // the literal that Parse looks for, an index of pieces; -1 if Parse is not prepared
}

// piece is a literal or a placeholder.
type piece struct {
	kind pieceKind
	text []byte // of a literal
	n    int    // of a random
}

type pieceKind uint8

const (
	pieceText pieceKind = iota
	pieceIndex
	pieceSeq
	pieceTime
	pieceRandom
	pieceSum
)

var pieceNames = map[string]pieceKind{
	"i": pieceIndex, "seq": pieceSeq, "time": pieceTime, "random": pieceRandom, "sum": pieceSum,
}

const (
	// randomBytesMax bounds the random text of a message, all {random:N} together.
	randomBytesMax = 16 << 20
	sumBytes       = 8
	// piecesMax bounds the literals and placeholders of a template.
	piecesMax = 100
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ParseTemplate reads the text of a template. With verify it prepares it for Template.Parse: what
// of {i}, {seq}, {time} and {sum} the text lacks is appended to it, after a space each. The error
// says which placeholder is unknown or out of place, or why Parse could not read the text.
func ParseTemplate(text string, verify bool) (*Template, error) {
	t := &Template{anchor: -1}
	random := 0
	for len(text) > 0 {
		p, n, err := nextPiece(text)
		if err != nil {
			return nil, err
		}
		if random += p.n; random > randomBytesMax {
			return nil, fmt.Errorf("template: more than %d random bytes", randomBytesMax)
		}
		if t.pieces = append(t.pieces, p); len(t.pieces) > piecesMax {
			return nil, fmt.Errorf("template: more than %d placeholders and texts between them",
				piecesMax)
		}
		text = text[n:]
	}
	if verify {
		if err := t.complete(); err != nil {
			return nil, err
		}
	}
	sum := t.index(pieceSum)
	for i, p := range t.pieces {
		if sum >= 0 && i > sum && p.kind != pieceText {
			return nil, fmt.Errorf("template: %v comes after {sum}, which would not cover it", p)
		}
	}
	if verify {
		return t, t.prepare()
	}
	return t, nil
}

// nextPiece reads the piece that text, which is not empty, begins with.
func nextPiece(text string) (p piece, n int, err error) {
	name, arg, n := placeholder(text)
	if n == 0 {
		for n = 1; n < len(text); n++ {
			if _, _, next := placeholder(text[n:]); next > 0 {
				break
			}
		}
		return piece{kind: pieceText, text: []byte(text[:n])}, n, nil
	}
	kind, known := pieceNames[name]
	switch {
	case !known:
		return p, 0, fmt.Errorf("template: %q is none of {i}, {seq}, {time}, {random:N}, {sum}",
			text[:n])
	case (kind == pieceRandom) != (arg != ""):
		return p, 0, fmt.Errorf("template: %q: a size belongs to {random:N}, and only there",
			text[:n])
	case kind == pieceRandom:
		if p.n, err = strconv.Atoi(arg); err != nil || p.n < 1 || p.n > randomBytesMax {
			return p, 0, fmt.Errorf("template: %q: the size is not within 1 and %d",
				text[:n], randomBytesMax)
		}
	}
	p.kind = kind
	return p, n, nil
}

// placeholder splits {name} or {name:digits} off; n is 0 if text does not begin with such a thing.
func placeholder(text string) (name, arg string, n int) {
	if text[0] != '{' {
		return "", "", 0
	}
	i := 1
	for i < len(text) && 'a' <= text[i] && text[i] <= 'z' {
		i++
	}
	name = text[1:i]
	if i < len(text) && text[i] == ':' {
		from := i + 1
		for i = from; i < len(text) && isDigit(text[i]); i++ {
		}
		if arg = text[from:i]; arg == "" {
			return "", "", 0
		}
	}
	if name == "" || i == len(text) || text[i] != '}' {
		return "", "", 0
	}
	return name, arg, i + 1
}

// complete appends the placeholders that Parse needs.
func (t *Template) complete() error {
	var missing []string
	var added []piece
	for _, kind := range []pieceKind{pieceIndex, pieceSeq, pieceTime, pieceSum} {
		if t.index(kind) < 0 {
			p := piece{kind: kind}
			missing = append(missing, p.String())
			added = append(added, piece{kind: pieceText, text: []byte{' '}}, p)
		}
	}
	if len(added) == 0 {
		return nil
	}
	if t.looksLikeJSON() { // what is appended would spoil it
		return fmt.Errorf("template: to verify messages that look like JSON, put %s into a string",
			strings.Join(missing, " "))
	}
	t.pieces = append(t.pieces, added...)
	return nil
}

func (t *Template) looksLikeJSON() bool {
	if len(t.pieces) == 0 || t.pieces[0].kind != pieceText {
		return false
	}
	first := t.pieces[0].text[0]
	return first == '{' || first == '['
}

// prepare checks that a message can be read back, and chooses what Parse looks for.
func (t *Template) prepare() error {
	for i, p := range t.pieces {
		if p.kind == pieceText && (t.anchor < 0 || len(p.text) > len(t.pieces[t.anchor].text)) {
			t.anchor = i
		}
		if i+1 < len(t.pieces) && run(p, t.pieces[i+1]) {
			return fmt.Errorf("template: nothing says where %v ends and %v begins",
				p, t.pieces[i+1])
		}
	}
	return nil
}

// run reports whether one of two neighbours is a number and the other may have a digit at their
// border.
func run(left, right piece) bool {
	switch {
	case left.number():
		return right.kind != pieceText || isDigit(right.text[0])
	case right.number():
		return left.kind != pieceText || isDigit(left.text[len(left.text)-1])
	}
	return false
}

func (t *Template) index(kind pieceKind) int {
	return slices.IndexFunc(t.pieces, func(p piece) bool { return p.kind == kind })
}

// number reports whether p is a decimal number.
func (p piece) number() bool {
	return p.kind == pieceIndex || p.kind == pieceSeq || p.kind == pieceTime
}

// String returns p as it stands in a template.
func (p piece) String() string {
	for name, kind := range pieceNames {
		switch {
		case p.kind != kind:
		case kind == pieceRandom:
			return fmt.Sprintf("{%s:%d}", name, p.n)
		default:
			return "{" + name + "}"
		}
	}
	return strconv.Quote(string(p.text))
}

// AppendTo appends message seq of connection i to dst. at is for {time}: what Parse returns.
func (t *Template) AppendTo(dst []byte, i int, seq uint64, at time.Duration) []byte {
	from := len(dst)
	random := mix(uint64(i)) ^ seq
	for k := range t.pieces {
		switch p := &t.pieces[k]; p.kind {
		case pieceText:
			dst = append(dst, p.text...)
		case pieceIndex:
			dst = strconv.AppendUint(dst, uint64(i), 10)
		case pieceSeq:
			dst = strconv.AppendUint(dst, seq, 10)
		case pieceTime:
			dst = strconv.AppendUint(dst, uint64(at), 10)
		case pieceRandom:
			dst, random = appendRandom(dst, p.n, random)
		case pieceSum:
			dst = appendSum(dst, crc32.Checksum(dst[from:], castagnoli))
		}
	}
	return dst
}

// appendRandom appends n bytes that follow from state, ten of each step of SplitMix64.
func appendRandom(dst []byte, n int, state uint64) ([]byte, uint64) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	dst = slices.Grow(dst, n)
	for n > 0 {
		state += 0x9E3779B97F4A7C15
		bits := mix(state)
		for range min(n, 10) {
			dst = append(dst, alphabet[bits&63])
			bits >>= 6
		}
		n -= 10
	}
	return dst, state
}

// mix is the output function of SplitMix64.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func appendSum(dst []byte, sum uint32) []byte {
	const digits = "0123456789abcdef"
	var hex [sumBytes]byte
	for i := range hex {
		hex[i] = digits[sum>>(28-4*i)&15]
	}
	return append(dst, hex[:]...)
}

// readSum reads what appendSum appends.
func readSum(p []byte) (sum uint32, ok bool) {
	for _, c := range p {
		switch {
		case isDigit(c):
			sum = sum<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			sum = sum<<4 | uint32(c-'a'+10)
		default:
			return 0, false
		}
	}
	return sum, true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
