// Package local says which names and addresses mean this machine, whatever network it is in.
//
// A browser that runs on this machine reaches a listener on loopback, also for a page of any other
// site. Such a page shows by its Origin, and if the name of its site points to 127.0.0.1 (DNS
// rebinding) by its Host: neither is a name that IsLoopback knows.
package local

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Hostname is the name or address in a Host header or an address to listen on, without port,
// brackets and final dot, in lower case. An empty one has an empty name. ok is false if it is
// neither a name nor an address; else it can be part of a header of our own.
func Hostname(host string) (name string, ok bool) {
	name = host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		name = host[1 : len(host)-1]
	}
	if ip, err := netip.ParseAddr(name); err == nil && ip.Zone() == "" {
		return ip.String(), true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return "", false
		}
	}
	return name, true
}

// IsLoopback reports whether a name, as Hostname returns it, is this machine's by definition:
// localhost and every name below it (RFC 6761 section 6.3), 127.0.0.0/8 and ::1. It resolves
// nothing.
func IsLoopback(name string) bool {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// Listens reports whether only this machine can reach a listener on addr, as host:port. It is
// false for a name that would have to be resolved to know.
func Listens(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	name, ok := Hostname(host)
	return err == nil && ok && IsLoopback(name)
}

// Hosts are the names by which requests may ask for a listener on loopback: localhost and the names
// below it, 127.0.0.1, ::1, and those that the listener was given. It does not change and is safe
// for concurrent use.
type Hosts struct{ names []string }

// NewHosts returns the names for a listener on addrs, each as host:port.
func NewHosts(addrs ...string) *Hosts {
	h := &Hosts{names: []string{"localhost", "127.0.0.1", "::1"}}
	for _, addr := range addrs {
		if name, ok := Hostname(addr); ok && name != "" {
			h.names = append(h.names, name)
		}
	}
	return h
}

// Serves reports whether a request with such a Host header may be answered.
func (h *Hosts) Serves(host string) bool {
	name, ok := Hostname(host)
	return ok && (slices.Contains(h.names, name) || strings.HasSuffix(name, ".localhost"))
}
