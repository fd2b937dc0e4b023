package load

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/gateway/wire"
)

// Why CheckAnswer refuses an answer.
var (
	// ErrAnswer is returned when the head is not one of HTTP/1.1.
	ErrAnswer = badAnswer("bad answer", "the server answered what is not HTTP/1.1")
	// ErrAcceptKey is returned when Sec-WebSocket-Accept does not answer our key.
	ErrAcceptKey = badAnswer("bad Accept", "the server's Sec-WebSocket-Accept is wrong")
	// ErrUpgrade is returned when Upgrade is not "websocket".
	ErrUpgrade = badAnswer("bad Upgrade", "the server's Upgrade is not websocket")
	// ErrConnection is returned when Connection does not name Upgrade.
	ErrConnection = badAnswer("bad Connection", "the server's Connection does not name Upgrade")
	// ErrSubprotocol is returned when the server chose a subprotocol that was not offered.
	ErrSubprotocol = badAnswer("bad subprotocol", "the server's subprotocol was not offered")
	// ErrExtensions is returned when the server accepts extensions and none was offered.
	ErrExtensions = badAnswer("bad extensions", "the server's extensions were not offered")
)

func badAnswer(class, text string) error {
	return &Error{Class: "handshake: " + class, Err: errors.New("handshake: " + text)}
}

// StatusError is an answer with another status than 101.
type StatusError struct {
	Code int // 100 to 999
	// Line is the status line, cut if it is long.
	Line string
	// RetryAfter is how long the server asks to wait, RFC 9110 section 10.2.3; 0 if it does not.
	RetryAfter time.Duration
	// Location is where a redirection points to; empty if nowhere.
	Location string
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("handshake: the server answered %q", e.Line)
	if e.RetryAfter > 0 {
		text += fmt.Sprint(", to be tried again in ", e.RetryAfter)
	}
	if e.Location != "" {
		text += fmt.Sprintf(", moved to %q", e.Location)
	}
	return text
}

// Offered is what a handshake has asked for.
type Offered struct {
	// Key is the Sec-WebSocket-Key.
	Key string
	// Subprotocols are the names that the server may choose from.
	Subprotocols []string
	// Extensions says that there was a Sec-WebSocket-Extensions.
	Extensions bool
}

// Answer is what a server has granted.
type Answer struct {
	// Subprotocol is one of those offered, or empty: a server may ignore them.
	Subprotocol string
	// Extensions is the Sec-WebSocket-Extensions, lines joined by commas; it is empty if the server
	// declines. Whether it is legal is for the extension to judge, as DeflateOffer.Accept.
	Extensions string
}

// CheckAnswer reads the answer to a handshake, strictly, by RFC 6455 section 4.1. head is the
// status line and the header lines, each with its CRLF, without the empty line; it is not kept. The
// error is a *StatusError or one of the above, with more words around it and a Class.
func CheckAnswer(head []byte, o Offered) (Answer, error) {
	line, lines, ok := bytes.Cut(head, []byte("\r\n"))
	code, ok2 := statusCode(line)
	if !ok || !ok2 {
		return Answer{}, because(ErrAnswer, line)
	}
	var a answerHead
	wrong := a.read(lines)
	switch {
	case code != 101:
		// A proxy that refuses may say so in less than good HTTP.
		return Answer{}, a.refusal(code, line)
	case wrong != nil:
		return Answer{}, because(ErrAnswer, wrong)
	case !bytes.HasPrefix(line, []byte("HTTP/1.1 ")):
		return Answer{}, because(ErrAnswer, line)
	}
	return a.check(o)
}

// because adds the bytes that are to blame to an error.
func because(err error, p []byte) error {
	return fmt.Errorf("%w: %q", err, shortened(p))
}

// shortened is p, or its beginning if that is more than an error should hold.
func shortened(p []byte) []byte { return p[:min(len(p), 100)] }

// statusCode reads a status line: a version, three digits, and a reason after a space.
func statusCode(line []byte) (code int, ok bool) {
	version, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(rest) < 4 || rest[3] != ' ' ||
		!bytes.Equal(version, []byte("HTTP/1.1")) && !bytes.Equal(version, []byte("HTTP/1.0")) {
		return 0, false
	}
	for _, c := range rest[:3] {
		if !isDigit(c) {
			return 0, false
		}
		code = 10*code + int(c-'0')
	}
	return code, code >= 100 && legalValue(line)
}

// answerHead is what matters of the header lines. An element is a line.
type answerHead struct {
	accept, upgrade, connection, protocol, extensions []string
	retryAfter, location                              string
}

// read takes the header lines and returns the first that is malformed, or nil.
func (a *answerHead) read(lines []byte) (wrong []byte) {
	for len(lines) > 0 {
		line, rest, ended := bytes.Cut(lines, []byte("\r\n"))
		name, value, colon := bytes.Cut(line, []byte(":"))
		if !ended || !colon || !isToken(string(name)) || !legalValue(value) {
			if wrong == nil {
				wrong = lines[:max(1, len(line))]
			}
		} else {
			a.take(string(name), string(bytes.Trim(value, " \t")))
		}
		lines = rest
	}
	return wrong
}

func (a *answerHead) take(name, value string) {
	switch strings.ToLower(name) {
	case "sec-websocket-accept":
		a.accept = append(a.accept, value)
	case "upgrade":
		a.upgrade = append(a.upgrade, value)
	case "connection":
		a.connection = append(a.connection, value)
	case "sec-websocket-protocol":
		a.protocol = append(a.protocol, value)
	case "sec-websocket-extensions":
		a.extensions = append(a.extensions, value)
	case "retry-after":
		a.retryAfter = value
	case "location":
		a.location = value
	}
}

// check judges a 101.
func (a *answerHead) check(o Offered) (Answer, error) {
	one := func(lines []string) string {
		if len(lines) != 1 {
			return ""
		}
		return lines[0]
	}
	answer := Answer{
		Subprotocol: one(a.protocol), Extensions: strings.Join(a.extensions, ", "),
	}
	switch {
	case one(a.accept) != wire.AcceptKey(o.Key):
		return Answer{}, ErrAcceptKey
	case !strings.EqualFold(one(a.upgrade), "websocket"):
		return Answer{}, ErrUpgrade
	case !namesUpgrade(a.connection):
		return Answer{}, ErrConnection
	case len(a.protocol) > 0 && !slices.Contains(o.Subprotocols, answer.Subprotocol):
		return Answer{}, because(ErrSubprotocol, []byte(strings.Join(a.protocol, ", ")))
	case len(a.extensions) > 0 && !o.Extensions:
		return Answer{}, because(ErrExtensions, []byte(answer.Extensions))
	}
	return answer, nil
}

func namesUpgrade(connection []string) bool {
	for element := range strings.SplitSeq(strings.Join(connection, ","), ",") {
		if strings.EqualFold(strings.Trim(element, " \t"), "upgrade") {
			return true
		}
	}
	return false
}

// refusal is the error for another status than 101.
func (a *answerHead) refusal(code int, line []byte) error {
	e := &StatusError{
		Code: code, Line: string(bytes.TrimRight(shortened(line), " ")),
		RetryAfter: retryAfter(a.retryAfter),
	}
	if code/100 == 3 {
		e.Location = string(shortened([]byte(a.location)))
	}
	return &Error{Class: fmt.Sprint("handshake: status ", code), Err: e}
}

// retryAfterMax bounds how long a server is believed to ask for.
const retryAfterMax = 24 * time.Hour

// retryAfter reads a Retry-After: seconds or a date. What is neither, or past, is 0.
func retryAfter(value string) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 63); err == nil {
		d = time.Duration(min(seconds, uint64(retryAfterMax/time.Second))) * time.Second
	} else if at, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", value); err == nil {
		d = time.Until(at).Round(time.Second)
	}
	return min(max(d, 0), retryAfterMax)
}

// isToken reports whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && !isDigit(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// legalValue reports whether b may stand in a line of a head: it has no control character but tabs.
func legalValue(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F }) < 0
}
