package wire

import "unicode/utf8"

// UTF8 checks a text that comes in pieces. It finds a fault in the piece that has it, also inside a
// character that is not complete yet. The zero value is ready.
type UTF8 struct {
	tail [utf8.UTFMax]byte // an unfinished character
	n    uint8
}

// Feed checks the next piece. After false the text is invalid for good.
func (u *UTF8) Feed(p []byte) bool {
	for u.n > 0 && len(p) > 0 {
		u.tail[u.n] = p[0]
		u.n++
		p = p[1:]
		if t := u.tail[:u.n]; utf8.FullRune(t) {
			if !utf8.Valid(t) {
				return false
			}
			u.n = 0
		}
	}
	if utf8.Valid(p) {
		return true
	}
	cut := len(p)
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if c := p[len(p)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-i:]) {
				cut = len(p) - i
			}
			break
		}
	}
	u.n = uint8(copy(u.tail[:], p[cut:]))
	return utf8.Valid(p[:cut])
}

// Complete reports whether the text may end here.
func (u *UTF8) Complete() bool { return u.n == 0 }
