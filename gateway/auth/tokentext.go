package auth

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

const (
	tokenName = "token"
	// nameBytesMax is the longest way to write tokenName as a JSON string: every character as an
	// escape of six bytes.
	nameBytesMax = 6 * len(tokenName)
	// byteOrderMark is skipped by many readers of JSON, although it is no white space.
	byteOrderMark = "\uFEFF"
)

// HasToken reports whether a text is a JSON object with a top-level member "token", so that it may
// hold a credential and must not be shown to others. It is generous: letter case, escapes, white
// space, other or repeated members do not matter, nor does what follows the name, which may be cut
// off or broken. Of a text that is valid JSON it says exactly whether there is such a member. It
// takes time in proportion to the text, and next to none for one that does not begin like an
// object.
func HasToken(text []byte) bool {
	if len(text) == 0 || text[0] > ' ' && text[0] < utf8.RuneSelf && text[0] != '{' {
		return false
	}
	text = bytes.TrimLeft(bytes.TrimPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte(byteOrderMark)),
		" \t\r\n")
	if len(text) == 0 || text[0] != '{' {
		return false
	}
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth = max(depth-1, 0)
		case '"':
			size := stringSize(text[i+1:])
			if size < 0 {
				return false // the text ends within a string
			}
			content := text[i+1 : i+1+size]
			i += size + 1
			if depth <= 1 && namesToken(content) && beforeColon(text[i+1:]) {
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

// namesToken reports whether the content of a JSON string is tokenName, in any case.
func namesToken(content []byte) bool {
	if len(content) < len(tokenName) || len(content) > nameBytesMax {
		return false
	}
	if bytes.IndexByte(content, '\\') < 0 {
		return strings.EqualFold(string(content), tokenName)
	}
	var name string
	quoted := append(append([]byte{'"'}, content...), '"')
	return json.Unmarshal(quoted, &name) == nil && strings.EqualFold(name, tokenName)
}

// beforeColon reports whether what follows a string makes it the name of a member.
func beforeColon(rest []byte) bool {
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return len(rest) > 0 && rest[0] == ':'
}
