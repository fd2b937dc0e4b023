package load

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// tokenLife is how long a token of HS256 is good for.
const tokenLife = time.Hour

// HS256 returns a maker of JSON Web Tokens (RFC 7519) for connection i, signed by HMAC-SHA-256
// (RFC 7518 section 3.2). claims is a JSON object in which {i} stands for the number of the
// connection. Unless it has them, iat (now) and exp (in an hour) are added each time. secret is
// copied; no error contains it. The maker may be called from any goroutine; it takes a microsecond
// or two.
func HS256(secret []byte, claims string) (func(i int) string, error) {
	if len(secret) == 0 {
		return nil, errors.New("token: the secret is empty")
	}
	var object map[string]json.RawMessage
	for _, i := range []int{0, 12} { // "{i}1" is no number for all of them
		object = nil
		err := json.Unmarshal(appendNumbered(nil, claims, i), &object)
		if err == nil && object == nil {
			err = errors.New("null is no object")
		}
		if err != nil {
			return nil, fmt.Errorf("token: the claims are not a JSON object: %w", err)
		}
	}
	_, issued := object["iat"]
	_, expires := object["exp"]
	c := claimTemplate{
		// What is valid JSON ends in the brace that ends the object.
		open:  strings.TrimSuffix(strings.TrimRight(claims, " \t\r\n"), "}"),
		empty: len(object) == 0, addIssued: !issued, addExpiry: !expires,
	}
	key := bytes.Clone(secret)
	return func(i int) string { return sign(key, c.append(nil, i, time.Now())) }, nil
}

// claimTemplate is a JSON object without its end.
type claimTemplate struct {
	open                        string
	empty, addIssued, addExpiry bool
}

// append appends the claims of connection i.
func (c *claimTemplate) append(dst []byte, i int, now time.Time) []byte {
	dst = appendNumbered(dst, c.open, i)
	comma := !c.empty
	add := func(name string, at time.Time) {
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = append(append(append(dst, '"'), name...), `":`...)
		dst = strconv.AppendInt(dst, at.Unix(), 10)
	}
	if c.addIssued {
		add("iat", now)
	}
	if c.addExpiry {
		add("exp", now.Add(tokenLife))
	}
	return append(dst, '}')
}

// sign makes the compact form of RFC 7515 section 3.1.
func sign(key, claims []byte) string {
	const header = `{"alg":"HS256","typ":"JWT"}`
	token := base64.RawURLEncoding.AppendEncode(nil, []byte(header))
	token = base64.RawURLEncoding.AppendEncode(append(token, '.'), claims)
	mac := hmac.New(sha256.New, key)
	mac.Write(token)
	return string(base64.RawURLEncoding.AppendEncode(append(token, '.'), mac.Sum(nil)))
}

// TokenIn is where a request carries its token. The zero TokenIn is "header".
type TokenIn struct {
	place tokenPlace
	name  string // of the cookie or, escaped, of the query parameter
}

type tokenPlace uint8

const (
	inHeader tokenPlace = iota
	inCookie
	inQuery
	inSubprotocol
)

// bearer is the subprotocol that goes before a token.
const bearer = "bearer"

// ParseTokenIn reads a place: "header" for Authorization: Bearer, "cookie:NAME", "query:NAME", or
// "subprotocol" for Sec-WebSocket-Protocol: bearer, <token>.
func ParseTokenIn(s string) (TokenIn, error) {
	place, name, named := strings.Cut(s, ":")
	switch {
	case place == "header" && !named:
		return TokenIn{}, nil
	case place == "subprotocol" && !named:
		return TokenIn{place: inSubprotocol}, nil
	case place == "cookie" && isToken(name):
		return TokenIn{place: inCookie, name: name}, nil
	case place == "query" && name != "":
		return TokenIn{place: inQuery, name: url.QueryEscape(name)}, nil
	}
	return TokenIn{}, fmt.Errorf(
		"token: %q is none of header, cookie:NAME, query:NAME and subprotocol", s)
}

// header is the name of the header that holds the token; empty if none does, or one that is not for
// headers at large.
func (t TokenIn) header() string {
	switch t.place {
	case inHeader:
		return "Authorization"
	case inCookie:
		return "Cookie"
	}
	return ""
}

// check reports whether a token may stand in its place. The error does not contain it.
func (t TokenIn) check(token string) error {
	fit := token != ""
	switch t.place {
	case inHeader:
		fit = fit && isVisible(token)
	case inCookie: // RFC 6265 section 4.1.1
		fit = fit && isVisible(token) && !strings.ContainsAny(token, `",;\`)
	case inSubprotocol: // RFC 6455 section 4.1
		fit = fit && isToken(token)
	}
	if !fit {
		return &Error{Class: "token: unfit", Err: fmt.Errorf(
			"token: it is empty, or has bytes that a %s cannot carry", t.place)}
	}
	return nil
}

func (p tokenPlace) String() string {
	return [...]string{"header", "cookie", "query", "subprotocol"}[p]
}

// appendPath appends a request target, with the token if it goes there.
func (t TokenIn) appendPath(dst []byte, path, token string) []byte {
	dst = append(dst, path...)
	if token == "" || t.place != inQuery {
		return dst
	}
	separator := byte('?')
	if strings.Contains(path, "?") {
		separator = '&'
	}
	dst = append(append(append(dst, separator), t.name...), '=')
	return append(dst, url.QueryEscape(token)...)
}

// appendHeader appends the header line with the token, if it goes into one.
func (t TokenIn) appendHeader(dst []byte, token string) []byte {
	switch {
	case token == "":
		return dst
	case t.place == inHeader:
		return appendLine(dst, t.header(), "Bearer "+token)
	case t.place == inCookie:
		return appendLine(dst, t.header(), t.name+"="+token)
	}
	return dst
}
