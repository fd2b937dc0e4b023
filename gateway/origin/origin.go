// Package origin decides which pages may open a connection: it compares the Origin of a handshake
// (RFC 6454 section 7, RFC 6455 section 10.2) with an allow-list, as scheme, host and port.
package origin

import (
	"errors"
	"fmt"
	"strings"

	"sluice/gateway/local"
)

// List is an allow-list. It does not change and is safe for concurrent use. The zero value allows
// nothing.
type List struct {
	any     bool
	null    bool
	local   bool // pages of this machine, at any port
	entries []entry
}

// entry is an origin in lower case, with its port.
type entry struct {
	scheme, host, port string
	below              bool // the names below host, at any depth, and not host itself
}

// Parse reads an allow-list. An item is
//
//	https://example.com         that host at the port of the scheme
//	https://example.com:8443    at another port
//	https://*.example.com       every name below it, at any depth, but not example.com
//	null                        pages without an origin: files, sandboxed frames
//	*                           every page
//
// Hosts are written like browsers send them: in ASCII (punycode), IPv6 in brackets.
func Parse(items []string) (*List, error) {
	l := &List{}
	var errs []error
	for _, item := range items {
		switch item {
		case "*":
			l.any = true
			continue
		case "null":
			l.null = true
			continue
		}
		e, err := parseEntry(item)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.entries = append(l.entries, e)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return l, nil
}

func parseEntry(item string) (entry, error) {
	text, below := item, false
	if scheme, rest, ok := strings.Cut(item, "://*."); ok {
		text, below = scheme+"://"+rest, true
	}
	scheme, host, port, ok := split(text)
	if !ok {
		return entry{}, fmt.Errorf("%q is not an origin like https://example.com, "+
			"https://*.example.com, null or *", item)
	}
	if below && host[0] == '[' {
		return entry{}, fmt.Errorf("%q: there are no names below an address", item)
	}
	return entry{
		scheme: strings.ToLower(scheme), host: strings.ToLower(host), port: port, below: below,
	}, nil
}

// Loopback returns a list that allows the pages of this machine: those of http and https on a host
// that is local.IsLoopback, at any port.
func Loopback() *List { return &List{local: true} }

// Len is how many items the list was parsed from.
func (l *List) Len() int {
	n := len(l.entries)
	if l.any {
		n++
	}
	if l.null {
		n++
	}
	return n
}

// Any reports whether every page is allowed.
func (l *List) Any() bool { return l.any }

// Allows reports whether a page of an origin may connect. origin is the value of the header; what
// is not a single well-formed origin is not allowed, whatever the list says, but for "*".
func (l *List) Allows(origin string) bool {
	if l.any {
		return true
	}
	if origin == "null" {
		return l.null
	}
	scheme, host, port, ok := split(origin)
	if !ok {
		return false
	}
	if l.local {
		name, ok := local.Hostname(host)
		return ok && local.IsLoopback(name)
	}
	for i := range l.entries {
		if l.entries[i].matches(scheme, host, port) {
			return true
		}
	}
	return false
}

func (e *entry) matches(scheme, host, port string) bool {
	if port != e.port || !strings.EqualFold(scheme, e.scheme) {
		return false
	}
	if !e.below {
		return strings.EqualFold(host, e.host)
	}
	dot := len(host) - len(e.host) - 1
	return dot > 0 && host[dot] == '.' && strings.EqualFold(host[dot+1:], e.host)
}

// split takes an origin apart. The port is that of the scheme if there is none.
func split(origin string) (scheme, host, port string, ok bool) {
	scheme, rest, ok := strings.Cut(origin, "://")
	switch {
	case !ok:
		return "", "", "", false
	case strings.EqualFold(scheme, "https"):
		port = "443"
	case strings.EqualFold(scheme, "http"):
		port = "80"
	default:
		return "", "", "", false
	}
	host = rest
	colon := strings.LastIndexByte(rest, ':')
	if colon > strings.LastIndexByte(rest, ']') {
		host, port = rest[:colon], rest[colon+1:]
		if !isPort(port) {
			return "", "", "", false
		}
	}
	return scheme, host, port, isHost(host)
}

// isHost reports whether a host is a name or an address as browsers write them.
func isHost(host string) bool {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && strings.Contains(inner, ":") &&
			strings.Trim(inner, "0123456789abcdefABCDEF:.") == ""
	}
	if host == "" || len(host) > 255 || host[0] == '.' || strings.Contains(host, "..") {
		return false
	}
	for i := range len(host) {
		c := host[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return true
}

// isPort reports whether a text is a port without leading zeros.
func isPort(s string) bool {
	if s == "" || len(s) > 5 || s[0] == '0' || len(s) == 5 && s > "65535" {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}
