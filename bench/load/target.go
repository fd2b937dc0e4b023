// Package load is the client side of a benchmark: crowds of WebSocket clients on a few event loops.
// It speaks to any server by its URL.
package load

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
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
	secure   bool   // wss
	name     string // of the host, without a port
	host     string
	template string
	roomSize int
}

// ParseTarget parses a ws:// or wss:// URL and resolves its host. roomSize is how many connections
// share a {room}; 0 means all of them.
func ParseTarget(raw string, roomSize int) (*Target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" || u.User != nil {
		return nil, errors.New("target: that is not a ws:// or wss:// URL with a host and no user")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	}
	tcp, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	at := tcp.AddrPort()
	// The template is taken from the text as it stands: parsing escapes the braces.
	template := strings.TrimPrefix(raw, u.Scheme+"://"+u.Host)
	if !strings.HasPrefix(template, "/") {
		template = "/" + template
	}
	return &Target{
		addr: netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), secure: u.Scheme == "wss",
		name: u.Hostname(), host: u.Host,
		template: template, roomSize: roomSize,
	}, nil
}

// Secure reports whether the target is one of wss.
func (t *Target) Secure() bool { return t.secure }

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

// newKey returns a fresh Sec-WebSocket-Key.
func newKey() string {
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails
	return base64.StdEncoding.EncodeToString(nonce[:])
}
