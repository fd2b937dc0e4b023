package load

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// HeaderLine is a header line of a request. In the value, {i} stands for the number of the
// connection.
type HeaderLine struct{ Name, Value string }

// Request is what the handshakes of a swarm are made of. It must not change while they are made;
// then its methods may be called from any goroutine.
type Request struct {
	// Target must be set.
	Target *Target
	// Header is sent as it is, beside the lines that the handshake consists of.
	Header []HeaderLine
	// Subprotocols are offered in this order; none if it is empty.
	Subprotocols []string
	// Origin is that of a page which a browser would connect from; none if it is empty.
	Origin string
	// Token makes the credentials of connection i, as HS256 does; nil means none. It is called on
	// event loops and must not block.
	Token func(i int) string
	// TokenIn is where the token goes.
	TokenIn TokenIn
}

// headersOfOurs are set by AppendTo, or would make something else of the request.
var headersOfOurs = []string{
	"Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version",
	"Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding",
}

// Validate reports all that is wrong. Requests are made only of what it has found good.
func (r *Request) Validate() error {
	if r.Target == nil {
		return errors.New("request: no target")
	}
	faults := []error{r.checkTarget()}
	for _, h := range r.Header {
		faults = append(faults, r.checkHeader(h))
	}
	for i, name := range r.Subprotocols {
		switch {
		case !isToken(name):
			faults = append(faults, fmt.Errorf("request: subprotocol %q is not a token", name))
		case slices.Contains(r.Subprotocols[:i], name):
			faults = append(faults, fmt.Errorf("request: subprotocol %q is offered twice", name))
		case name == bearer && r.Token != nil && r.TokenIn.place == inSubprotocol:
			faults = append(faults, fmt.Errorf("request: subprotocol %q is the token's", name))
		}
	}
	if !isVisible(r.Origin) {
		faults = append(faults, fmt.Errorf("request: origin %q has a blank or odd byte", r.Origin))
	}
	if r.Token != nil {
		faults = append(faults, r.TokenIn.check(r.Token(0)))
	}
	return errors.Join(faults...)
}

// checkTarget refuses what would end the request line early or never reach the server.
func (r *Request) checkTarget() error {
	if !isVisible(r.Target.template) || strings.Contains(r.Target.template, "#") {
		return fmt.Errorf("request: %q has a fragment or a byte that must be percent-encoded",
			r.Target.template)
	}
	return nil
}

func (r *Request) checkHeader(h HeaderLine) error {
	is := func(name string) bool { return strings.EqualFold(h.Name, name) }
	switch {
	case !isToken(h.Name):
		return fmt.Errorf("request: header name %q is not a token", h.Name)
	case !legalValue([]byte(h.Value)):
		return fmt.Errorf("request: header %s has a line break or control character", h.Name)
	case slices.ContainsFunc(headersOfOurs, is):
		return fmt.Errorf("request: header %s belongs to the handshake", h.Name)
	case is("Sec-WebSocket-Protocol"):
		return fmt.Errorf("request: header %s: set the subprotocols instead", h.Name)
	case is("Origin") && r.Origin != "":
		return errors.New("request: the origin is set twice")
	case r.Token != nil && r.TokenIn.header() != "" && is(r.TokenIn.header()):
		return fmt.Errorf("request: header %s holds the token already", h.Name)
	}
	return nil
}

// Offered returns what CheckAnswer needs to know of a request with that key and those extensions.
// Of "bearer, <token>" only the first may be the server's choice.
func (r *Request) Offered(key, extensions string) Offered {
	o := Offered{Key: key, Subprotocols: r.Subprotocols, Extensions: extensions != ""}
	if r.Token != nil && r.TokenIn.place == inSubprotocol {
		o.Subprotocols = append(slices.Clip(o.Subprotocols), bearer)
	}
	return o
}

// AppendTo appends the whole request of connection i. key is its Sec-WebSocket-Key, extensions what
// it offers, if anything. It fails, with dst as it was, if the token is not fit for its place.
func (r *Request) AppendTo(dst []byte, i int, key, extensions string) ([]byte, error) {
	token, err := r.token(i)
	if err != nil {
		return dst, err
	}
	dst = append(dst, "GET "...)
	dst = r.TokenIn.appendPath(dst, r.Target.path(i), token)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, r.Target.host...)
	dst = append(dst, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\n"...)
	dst = appendLine(dst, "Sec-WebSocket-Key", key)
	dst = appendLine(dst, "Sec-WebSocket-Extensions", extensions)
	dst = appendLine(dst, "Origin", r.Origin)
	dst = r.appendSubprotocols(dst, token)
	dst = r.TokenIn.appendHeader(dst, token)
	for _, h := range r.Header {
		dst = append(append(dst, h.Name...), ": "...)
		dst = append(appendNumbered(dst, h.Value, i), "\r\n"...)
	}
	return append(dst, "\r\n"...), nil
}

// token is that of connection i; empty if there is none.
func (r *Request) token(i int) (string, error) {
	if r.Token == nil {
		return "", nil
	}
	token := r.Token(i)
	if err := r.TokenIn.check(token); err != nil {
		return "", fmt.Errorf("connection %d: %w", i, err)
	}
	return token, nil
}

func (r *Request) appendSubprotocols(dst []byte, token string) []byte {
	offered := strings.Join(r.Subprotocols, ", ")
	if token != "" && r.TokenIn.place == inSubprotocol {
		if offered != "" {
			offered += ", "
		}
		offered += bearer + ", " + token
	}
	return appendLine(dst, "Sec-WebSocket-Protocol", offered)
}

// appendLine appends a header line, unless the value is empty.
func appendLine(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

// numberMark stands for the number of a connection.
const numberMark = "{i}"

// appendNumbered appends text with the number in place of every {i}.
func appendNumbered(dst []byte, text string, i int) []byte {
	for {
		before, after, found := strings.Cut(text, numberMark)
		dst = append(dst, before...)
		if !found {
			return dst
		}
		dst = strconv.AppendInt(dst, int64(i), 10)
		text = after
	}
}

// isVisible reports whether s has nothing but visible ASCII; so has the empty string.
func isVisible(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7F }) < 0
}
