package wire

import (
	"bytes"
	"strings"
)

// HandshakeLimits bounds a handshake request. All values must be positive.
type HandshakeLimits struct {
	RequestLineBytesMax int // without the line end
	HeaderBytesMax      int // all header lines together
	HeadersMax          int
}

// Handshake reads the request of one handshake, from however many pieces. It looks at every byte
// once and keeps at most what its limits allow. The zero value with Limits set is ready.
type Handshake struct {
	Limits HandshakeLimits

	head    []byte // what has been read, line ends included
	line    int    // where the current line begins in head
	first   int    // length of the request line with its end; 0 while it is not complete
	headers int
	request Request
}

// Reset makes h ready for another request. It keeps its buffer.
func (h *Handshake) Reset() { *h = Handshake{Limits: h.Limits, head: h.head[:0]} }

// Started reports whether a byte has been read.
func (h *Handshake) Started() bool { return len(h.head) > 0 }

// Feed reads the next piece and returns how much of it belongs to the request. With done, Request
// has it. The error is always a *Refusal; h must not be fed any more then.
func (h *Handshake) Feed(p []byte) (n int, done bool, err error) {
	for n < len(p) {
		room := h.room()
		rest := p[n:]
		i := bytes.IndexByte(rest[:min(len(rest), room)], '\n')
		if i < 0 {
			if len(rest) >= room {
				return n, false, h.tooLong()
			}
			h.head = append(h.head, rest...)
			return len(p), false, h.checkStart()
		}
		h.head = append(h.head, rest[:i+1]...)
		n += i + 1
		done, err := h.endLine()
		if done || err != nil {
			return n, done, err
		}
	}
	return n, false, nil
}

// Request returns the request that Feed has read. It stays valid after Reset.
func (h *Handshake) Request() *Request {
	r := h.request
	return &r
}

// room is how many bytes, line end included, may come before a limit is broken.
func (h *Handshake) room() int {
	if h.first == 0 {
		return h.Limits.RequestLineBytesMax + len("\r\n") + 1 - len(h.head)
	}
	// The blank line is not counted.
	return h.Limits.HeaderBytesMax + len("\r\n") + 1 - (len(h.head) - h.first)
}

func (h *Handshake) tooLong() error {
	if h.first == 0 {
		return lineTooLong
	}
	return headTooLarge
}

// checkStart refuses at once what cannot become a request, like a TLS handshake.
func (h *Handshake) checkStart() error {
	if h.first == 0 && !isToken(h.head[0]) {
		return BadRequest
	}
	return nil
}

// endLine checks the line that has just been completed.
func (h *Handshake) endLine() (done bool, err error) {
	line := h.head[h.line : len(h.head)-1]
	if len(line) == 0 || line[len(line)-1] != '\r' {
		return false, BadRequest // a bare LF
	}
	line = line[:len(line)-1]
	if h.first == 0 {
		h.first = len(h.head)
		h.line = h.first
		return false, checkRequestLine(line)
	}
	h.line = len(h.head)
	if len(line) == 0 {
		r, err := parseRequest(string(h.head))
		h.request = r
		return err == nil, err
	}
	h.headers++
	if h.headers > h.Limits.HeadersMax {
		return false, headTooLarge
	}
	return false, checkHeaderLine(line)
}

// checkRequestLine judges "GET /path HTTP/1.1", RFC 9112 section 3.
func checkRequestLine(line []byte) error {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || !isTokenString(method) {
		return BadRequest
	}
	if len(version) != len("HTTP/1.1") || !bytes.HasPrefix(version, []byte("HTTP/")) ||
		!isDigit(version[5]) || version[6] != '.' || !isDigit(version[7]) {
		return BadRequest
	}
	if version[5] != '1' || version[7] != '1' {
		return badHTTP
	}
	if string(method) != "GET" {
		return badMethod
	}
	return checkTarget(string(target))
}

// checkTarget accepts the origin form only, and of it only what needs no normalising: what two
// servers could read differently is refused.
func checkTarget(target string) error {
	path, query, _ := strings.Cut(target, "?")
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") {
		return badTarget
	}
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7F || strings.IndexByte("#\"<>\\^`{|}", c) >= 0 {
			return badTarget
		}
	}
	if strings.Contains(path, ";") || !checkEscapes(path, true) || !checkEscapes(query, false) {
		return badTarget
	}
	for seg := range strings.SplitSeq(path, "/") {
		if s := strings.ReplaceAll(strings.ToLower(seg), "%2e", "."); s == "." || s == ".." {
			return badTarget
		}
	}
	return nil
}

// checkEscapes checks that every % begins an escape, in a path also that it does not hide a control
// character or a separator.
func checkEscapes(s string, path bool) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i+2 >= len(s) {
			return false
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 {
			return false
		}
		if c := byte(hi<<4 | lo); path && (c < ' ' || c == 0x7F || c == '/' || c == '\\') {
			return false
		}
	}
	return true
}

// checkHeaderLine judges "Name: value", RFC 9112 section 5.
func checkHeaderLine(line []byte) error {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !isTokenString(line[:colon]) {
		return BadRequest // also a folded line, and a blank before the colon
	}
	for _, c := range line[colon+1:] {
		if c < ' ' && c != '\t' || c == 0x7F {
			return BadRequest
		}
	}
	return nil
}

// isToken reports whether c may stand in a token, RFC 9110 section 5.6.2.
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isTokenString[S string | []byte](s S) bool {
	for i := range len(s) {
		if !isToken(s[i]) {
			return false
		}
	}
	return len(s) > 0
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// unhex is the value of a hexadecimal digit, -1 for any other byte.
func unhex(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
