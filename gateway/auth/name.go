package auth

import (
	"unicode"
	"unicode/utf8"
)

// IsUser reports whether s can be the user of an Identity: valid UTF-8 of at most UserBytesMax
// bytes, of printable characters and inner spaces (U+0020). It is never trimmed or otherwise
// changed. What cannot be seen is refused, since two users would look the same by it, or the text
// around a name would be read in another order: white space at the ends or other than U+0020,
// control and format characters (zero-width ones, bidirectional overrides), fillers, variation
// selectors, a mark at the beginning, and U+FFFD, which stands for lost bytes. Letters that only
// look alike, and composed and decomposed forms of one letter, are different.
func IsUser(s string) bool { return isName(s, UserBytesMax) }

// isName is IsUser for names of another length.
func isName(s string, bytesMax int) bool {
	if s == "" || len(s) > bytesMax || !utf8.ValidString(s) {
		return false
	}
	if s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for i, r := range s {
		if !unicode.IsPrint(r) || invisible(r) || i == 0 && unicode.IsMark(r) {
			return false
		}
	}
	return true
}

// invisible reports whether a printable character shows nothing, or nothing of what was meant.
func invisible(r rune) bool {
	const brailleBlank = 0x2800
	return r >= utf8.RuneSelf && (r == brailleBlank || r == utf8.RuneError ||
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector))
}
