// Package load is the client side of a benchmark: crowds of WebSocket clients on a few event loops.
// It speaks to any server by its URL.
package load

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Target is a WebSocket endpoint. In its path and query, {i} stands for the number of the
// connection and {room} for that number divided by the size of a room.
type Target struct {
	addr     netip.AddrPort
	host     string
	template string
	roomSize int
}

// ParseTarget parses a ws:// URL and resolves its host. roomSize is how many connections share a
// {room}; 0 means all of them.
func ParseTarget(raw string, roomSize int) (*Target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	if u.Scheme != "ws" || u.Host == "" {
		return nil, fmt.Errorf("target: %q is not a ws:// URL", raw)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	tcp, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	at := tcp.AddrPort()
	// The template is taken from the text as it stands: parsing escapes the braces.
	template := strings.TrimPrefix(raw, "ws://"+u.Host)
	if !strings.HasPrefix(template, "/") {
		template = "/" + template
	}
	return &Target{
		addr: netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), host: u.Host,
		template: template, roomSize: roomSize,
	}, nil
}

// Loopback reports whether the target is on this machine.
func (t *Target) Loopback() bool { return t.addr.Addr().IsLoopback() }

// path is the request target of connection i.
func (t *Target) path(i int) string {
	room := 0
	if t.roomSize > 0 {
		room = i / t.roomSize
	}
	return strings.NewReplacer("{i}", strconv.Itoa(i), "{room}", strconv.Itoa(room)).
		Replace(t.template)
}

// appendRequest appends the handshake of connection i. extensions is what it offers, if anything.
func (t *Target) appendRequest(dst []byte, i int, key, extensions string) []byte {
	dst = fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n",
		t.path(i), t.host, key)
	if extensions != "" {
		dst = fmt.Appendf(dst, "Sec-WebSocket-Extensions: %s\r\n", extensions)
	}
	return append(dst, "\r\n"...)
}

// newKey returns a fresh Sec-WebSocket-Key.
func newKey() string {
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails
	return base64.StdEncoding.EncodeToString(nonce[:])
}
