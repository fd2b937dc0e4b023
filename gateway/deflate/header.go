package deflate

import (
	"errors"
	"strings"
)

// ErrMalformed is returned when a Sec-WebSocket-Extensions header does not follow the grammar of
// RFC 6455 section 9.1.
var ErrMalformed = errors.New("deflate: malformed Sec-WebSocket-Extensions")

// param is a parameter of an extension.
type param struct {
	name, value string
	valued      bool // there was a value, perhaps an empty quoted one
}

// header is what is left of a Sec-WebSocket-Extensions header, read extension by extension, each
// of them parameter by parameter.
type header struct{ rest string }

// extension reads the name of the next extension; ok is false at the end of the header. Elements
// that are empty are skipped, as in every list of RFC 9110 section 5.6.1.
func (h *header) extension() (name string, ok bool, err error) {
	for h.skipSpace(); h.skip(','); h.skipSpace() {
	}
	if h.rest == "" {
		return "", false, nil
	}
	name, err = h.token()
	return name, err == nil, err
}

// param reads the next parameter of the extension; ok is false if it has no more.
func (h *header) param() (p param, ok bool, err error) {
	h.skipSpace()
	if h.rest == "" || h.rest[0] == ',' {
		return param{}, false, nil
	}
	if !h.skip(';') {
		return param{}, false, ErrMalformed
	}
	h.skipSpace()
	if p.name, err = h.token(); err != nil {
		return param{}, false, err
	}
	if p.valued = h.skip('='); p.valued {
		p.value, err = h.value()
	}
	return p, err == nil, err
}

func (h *header) value() (string, error) {
	if h.skip('"') {
		return h.quoted()
	}
	return h.token()
}

// quoted reads a quoted string from behind its first quote. That its content must be a token too
// is left to who judges the value: nothing that is known here has another one.
func (h *header) quoted() (string, error) {
	var unescaped strings.Builder
	for i := 0; i < len(h.rest); i++ {
		c := h.rest[i]
		if c == '"' {
			h.rest = h.rest[i+1:]
			return unescaped.String(), nil
		}
		if c == '\\' && i+1 < len(h.rest) {
			i++
			c = h.rest[i]
		}
		if c < ' ' && c != '\t' || c == 0x7F {
			break
		}
		unescaped.WriteByte(c)
	}
	return "", ErrMalformed
}

func (h *header) token() (string, error) {
	n := 0
	for n < len(h.rest) && isTokenByte(h.rest[n]) {
		n++
	}
	if n == 0 {
		return "", ErrMalformed
	}
	token := h.rest[:n]
	h.rest = h.rest[n:]
	return token, nil
}

func (h *header) skip(c byte) bool {
	if h.rest == "" || h.rest[0] != c {
		return false
	}
	h.rest = h.rest[1:]
	return true
}

func (h *header) skipSpace() { h.rest = strings.TrimLeft(h.rest, " \t") }

// isTokenByte reports whether c may be in a token, RFC 9110 section 5.6.2.
func isTokenByte(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
