package auth

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const tokenName = "token"

// HasToken reports whether a text may hold a credential and must not be shown to others. Of valid
// JSON it says exactly whether it is an object with a top-level member "token", or a list with
// such an object in it; letter case and control characters around the name do not matter. A text
// that only begins like one of these has a token if the word is anywhere in it and seems to name
// something, as broken text does not show what is a string or an object of its own. What
// readers of JSON may skip before it is skipped. It takes time in proportion to the text, and next
// to none for one that begins otherwise.
func HasToken(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	switch c := text[0]; {
	case c == '{', c == '[', c == '/', c >= utf8.RuneSelf, blank(rune(c)):
	default:
		return false
	}
	text = skipBlank(text)
	if len(text) == 0 || text[0] != '{' && text[0] != '[' {
		return false
	}
	// People write "[ann] token: lost", so without an object it is prose.
	object := bytes.IndexByte(text, '{')
	if object < 0 || !mentionsToken(text[object:]) {
		return false
	}
	return !json.Valid(text) || hasMember(text)
}

// skipBlank cuts off what a text may have before its first significant character: comments, and
// characters that show nothing.
func skipBlank(text []byte) []byte {
	for len(text) > 0 {
		switch r, size := utf8.DecodeRune(text); {
		case blank(r):
			text = text[size:]
		case bytes.HasPrefix(text, []byte("/*")):
			end := bytes.Index(text[2:], []byte("*/"))
			if end < 0 {
				return nil
			}
			text = text[2+end+2:]
		case bytes.HasPrefix(text, []byte("//")):
			end := bytes.IndexAny(text, "\r\n\u2028\u2029")
			if end < 0 {
				return nil
			}
			text = text[end:]
		default:
			return text
		}
	}
	return nil
}

// blank reports whether a character shows nothing: white space, a control character, or one for
// formatting such as a byte order mark.
func blank(r rune) bool {
	if r < utf8.RuneSelf {
		return r <= ' ' || r == 0x7F
	}
	return unicode.In(r, unicode.Z, unicode.Cc, unicode.Cf)
}

// mentionsToken reports whether tokenName is in a text as a word that names what follows. Strings
// and brackets do not count, as they may be broken.
func mentionsToken(text []byte) bool {
	matched := 0 // how much of tokenName the word has so far; negative if it is another one
	var before, last rune
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r == '\\' || r >= utf8.RuneSelf {
			r, size = character(text[i:])
		}
		switch {
		case !inWord(r):
			if matched == len(tokenName) && names(text[i:], quote(before)) {
				return true
			}
			matched = 0
		case matched < 0:
		case matched < len(tokenName) && foldsTo(r, tokenName[matched]):
			if matched == 0 {
				before = last
			}
			matched++
		default:
			matched = -1
		}
		last = r
		i += size
	}
	return false
}

// names reports whether what follows a word makes it a name: a separator, a comment, or the quote
// of a value. The quote that closes a quoted word is none.
func names(rest []byte, quoted bool) bool {
	for len(rest) > 0 {
		r, size := character(rest)
		switch {
		case quote(r):
			if !quoted {
				return true
			}
			quoted = false
		case r == ':' || r == '=' || r == '\uFF1A' || r == '\uFF1D':
			return true
		case r == '/':
			return bytes.HasPrefix(rest, []byte("//")) || bytes.HasPrefix(rest, []byte("/*"))
		case !blank(r):
			return false
		}
		rest = rest[size:]
	}
	return false
}

// character is the first one of a text, and how long it is. An escape is what it stands for.
func character(text []byte) (r rune, size int) {
	if text[0] != '\\' || len(text) == 1 {
		return utf8.DecodeRune(text)
	}
	switch text[1] {
	case 'b', 'f', 'n', 'r', 't':
		return '\n', 2 // a control character, no matter which
	case 'u':
		if len(text) >= 6 {
			if code, err := strconv.ParseUint(string(text[2:6]), 16, 16); err == nil {
				return rune(code), 6
			}
		}
	}
	r, size = utf8.DecodeRune(text[1:])
	return r, 1 + size
}

// inWord reports whether a character may be part of a name without quotes.
func inWord(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r|0x20 && r|0x20 <= 'z' || '0' <= r && r <= '9' || r == '_' || r == '$'
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r)
}

// foldsTo reports whether a character is a small letter of tokenName, in any case.
func foldsTo(r rune, letter byte) bool {
	const kelvinSign = '\u212A'
	return r == rune(letter) || r == rune(letter-0x20) || r == kelvinSign && letter == 'k'
}

// quote reports whether a character is a quotation mark, as programs or people write them.
func quote(r rune) bool {
	return r == '"' || r == '\'' || r == '`' || '\u2018' <= r && r <= '\u201F'
}

// hasMember reports whether valid JSON is an object with a member tokenName, or a list with such
// an object in it.
func hasMember(text []byte) bool {
	top := 1
	if text[0] == '[' {
		top = 2
	}
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			size := stringSize(text[i+1:])
			content := text[i : i+size+2]
			i += size + 1
			if depth == top && beforeColon(text[i+1:]) && namesToken(content) {
				return true
			}
		}
	}
	return false
}

// stringSize is the length of the JSON string that text begins behind the quote of, without its
// closing quote; negative if that is missing.
func stringSize(text []byte) int {
	for from := 0; ; {
		n := bytes.IndexByte(text[from:], '"')
		if n < 0 {
			return -1
		}
		end := from + n
		escapes := 0
		for escapes < n && text[end-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return end
		}
		from = end + 1
	}
}

// namesToken reports whether a JSON string is tokenName, in any case.
func namesToken(quoted []byte) bool {
	var name string
	return json.Unmarshal(quoted, &name) == nil && foldsToToken(name)
}

// foldsToToken compares a name with tokenName, without control characters around it.
func foldsToToken(name string) bool {
	return strings.EqualFold(strings.TrimFunc(name, unicode.IsControl), tokenName)
}

// beforeColon reports whether what follows a string makes it the name of a member.
func beforeColon(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return len(rest) > 0 && rest[0] == ':'
}
