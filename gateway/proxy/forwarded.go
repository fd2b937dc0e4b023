package proxy

import (
	"net/netip"
	"strings"
)

// Header is the header that proxies write the client's address into.
type Header string

// The headers.
const (
	XForwardedFor Header = "X-Forwarded-For"
	Forwarded     Header = "Forwarded" // RFC 7239
)

// hopsMax bounds the proxies that are walked past.
const hopsMax = 32

// Client returns the client of a handshake. From the peer of the connection on, each trusted hop
// names the one before it, and the first hop that is not trusted is the client. values
// are the lines of the header in their order, which proxies append to. If an entry on the way is
// no address, it is the last hop before it.
func (t *Trust) Client(remote netip.Addr, header Header, values []string) netip.Addr {
	client := remote.Unmap().WithZone("")
	hops := 0
	for i := len(values) - 1; i >= 0; i-- {
		for rest := values[i]; rest != "" && t.Contains(client); hops++ {
			var entry string
			rest, entry = lastEntry(rest, header)
			addr, ok := parseEntry(entry, header)
			if !ok || hops == hopsMax {
				return client
			}
			client = addr
		}
	}
	return client
}

// lastEntry cuts off what stands behind the last comma, commas in quotes excepted.
func lastEntry(text string, header Header) (rest, entry string) {
	quoted := false
	for i := len(text) - 1; i >= 0; i-- {
		switch {
		case text[i] == '"' && header == Forwarded:
			quoted = !quoted
		case text[i] == ',' && !quoted:
			return text[:i], text[i+1:]
		}
	}
	return "", text
}

// parseEntry reads an entry. One that names two nodes is none: RFC 7239 section 4 forbids it.
func parseEntry(entry string, header Header) (netip.Addr, bool) {
	entry = strings.Trim(entry, " \t")
	if header == XForwardedFor {
		return parseNode(entry)
	}
	node, found := "", false
	for pair := range strings.SplitSeq(entry, ";") {
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if found {
			return netip.Addr{}, false
		}
		node, found = value, true
	}
	if inner, ok := strings.CutPrefix(node, `"`); ok {
		if node, ok = strings.CutSuffix(inner, `"`); !ok {
			return netip.Addr{}, false
		}
	}
	return parseNode(node)
}

// parseNode reads an address that may have a port; with one, IPv6 has brackets. Names, "unknown"
// and hidden identifiers are none.
func parseNode(node string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(node)
	if err != nil {
		var withPort netip.AddrPort
		if withPort, err = netip.ParseAddrPort(node); err == nil {
			addr = withPort.Addr()
		} else if inner, ok := strings.CutPrefix(node, "["); ok {
			if inner, ok = strings.CutSuffix(inner, "]"); ok {
				addr, err = netip.ParseAddr(inner)
			}
		}
	}
	return addr.Unmap().WithZone(""), err == nil
}
