package wire

import (
	"crypto/sha1"
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
)

// protocolsMax bounds the subprotocols that a request may offer.
const protocolsMax = 16

// Request is a handshake request that is in order, RFC 6455 section 4.2.1. Its strings are parts of
// one copy of the request: whoever keeps one for long clones it.
type Request struct {
	Path      string // as sent: percent-escapes are not decoded
	RawQuery  string
	Host      string
	Key       string
	Origin    string // empty if there was none
	HasOrigin bool
	Protocols []string // as offered
	// Extensions is what all Sec-WebSocket-Extensions headers say together. It is not parsed.
	Extensions string
	UserAgent  string

	lines      string // the header lines
	connection string // the options of all Connection headers together
}

// fields is what a handshake says, before it is judged as a whole.
type fields struct {
	hosts, keys, versions, origins int
	credentials, agents, lengths   int
	version, upgrade, protocols    string
}

// parseRequest judges the headers of a request whose lines are known to be well formed.
func parseRequest(head string) (Request, error) {
	line, lines, _ := strings.Cut(head, "\r\n")
	target := strings.TrimSuffix(strings.TrimPrefix(line, "GET "), " HTTP/1.1")
	r := Request{lines: lines}
	r.Path, r.RawQuery, _ = strings.Cut(target, "?")
	var f fields
	for name, value := range headerLines(lines) {
		if err := r.take(&f, strings.ToLower(name), value); err != nil {
			return Request{}, err
		}
	}
	return r, r.judge(&f)
}

// take notes a header that the handshake depends on.
func (r *Request) take(f *fields, name, value string) error {
	switch name {
	case "host":
		r.Host = value
		f.hosts++
	case "sec-websocket-key":
		r.Key = value
		f.keys++
	case "sec-websocket-version":
		f.version = value
		f.versions++
	case "origin":
		r.Origin, r.HasOrigin = value, true
		f.origins++
	case "authorization":
		f.credentials++
	case "user-agent":
		r.UserAgent = value
		f.agents++
	case "connection":
		r.connection = joinList(r.connection, value)
	case "upgrade":
		f.upgrade = joinList(f.upgrade, value)
	case "sec-websocket-protocol":
		f.protocols = joinList(f.protocols, value)
	case "sec-websocket-extensions":
		r.Extensions = joinList(r.Extensions, value)
	case "transfer-encoding":
		return hasBody
	case "content-length":
		f.lengths++
		if value != "0" {
			return hasBody
		}
	}
	return nil
}

func (r *Request) judge(f *fields) error {
	switch {
	case f.hosts != 1 || !validHost(r.Host):
		return badHost
	case !hasToken(f.upgrade, "websocket"):
		return notWebSocket
	}
	if err := checkConnection(r.connection); err != nil {
		return err
	}
	switch {
	case f.versions != 1:
		return noVersion
	case f.version != "13":
		return otherVersion
	case f.keys != 1 || !validKey(r.Key):
		return badKey
	case f.origins > 1:
		return twoOrigins
	case f.credentials > 1, f.agents > 1, f.lengths > 1:
		return repeatedHeader
	case f.protocols == "":
		return nil
	}
	for p := range strings.SplitSeq(f.protocols, ",") {
		p = strings.Trim(p, " \t")
		if len(r.Protocols) == protocolsMax || !isTokenString(p) || contains(r.Protocols, p) {
			return badProtocols
		}
		r.Protocols = append(r.Protocols, p)
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// validKey reports whether a key is the base64 form of 16 bytes, RFC 6455 section 4.1.
func validKey(key string) bool {
	var b [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Strict().Decode(b[:], []byte(key))
	return err == nil && n == 16
}

// validHost checks host[:port], RFC 9110 section 7.2.
func validHost(host string) bool {
	name, port := host, ""
	if strings.HasPrefix(host, "[") {
		end := strings.IndexByte(host, ']')
		if end < 0 {
			return false
		}
		addr, err := netip.ParseAddr(host[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return false
		}
		name, port = "v6", host[end+1:]
	} else if i := strings.IndexByte(host, ':'); i >= 0 {
		name, port = host[:i], host[i:]
	}
	if port != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(port, ":"), 10, 16)
		if port[0] != ':' || err != nil || n == 0 {
			return false
		}
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) ||
			c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return len(name) > 0 && len(name) <= 255
}

// acceptSuffix is the GUID of RFC 6455 section 1.3.
const acceptSuffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AcceptKey is the answer to a key, RFC 6455 section 4.2.2.
func AcceptKey(key string) string {
	return string(appendAcceptKey(nil, key))
}

func appendAcceptKey(dst []byte, key string) []byte {
	var in [24 + len(acceptSuffix)]byte
	n := copy(in[:], key)
	n += copy(in[n:], acceptSuffix)
	sum := sha1.Sum(in[:n])
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// AppendAccept appends the 101 response to a key. protocol and extensions may be empty; they are
// the server's own words and must contain no control character, else it panics.
func AppendAccept(dst []byte, key, protocol, extensions string) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = appendAcceptKey(dst, key)
	dst = appendOwn(dst, "\r\nSec-WebSocket-Protocol: ", protocol)
	dst = appendOwn(dst, "\r\nSec-WebSocket-Extensions: ", extensions)
	return append(dst, "\r\n\r\n"...)
}

func appendOwn(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] == 0x7F {
			panic("wire: control character in a response header")
		}
	}
	return append(append(dst, name...), value...)
}
