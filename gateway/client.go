package gateway

import (
	"net/netip"
	"slices"

	"sluice/gateway/proxy"
	"sluice/gateway/wire"
)

// clients says who the client of a connection is when proxies stand in front.
type clients struct {
	trust   *proxy.Trust
	header  proxy.Header   // that proxies write the client into; empty for none
	proxied *proxy.Proxied // nil without the PROXY protocol
}

// clientHeaders are the values of ClientHeader.
var clientHeaders = map[string]proxy.Header{
	"none": "", "x-forwarded-for": proxy.XForwardedFor, "forwarded": proxy.Forwarded,
}

// newClients takes a configuration that Validate has passed.
func newClients(cfg *Config) (clients, error) {
	trust, err := proxy.ParseTrust(cfg.TrustedProxies)
	if err != nil {
		return clients{}, err
	}
	c := clients{trust: trust, header: clientHeaders[cfg.ClientHeader]}
	if cfg.ProxyProtocol {
		c.proxied = proxy.NewProxied(trust)
	}
	return c, nil
}

// forwards reports whether an address is that of a proxy which names its client in the handshake:
// until then the client is not known.
func (c *clients) forwards(addr netip.Addr) bool {
	return c.header != "" && c.trust.Contains(addr)
}

// findClient finds out who the client behind a proxy is and holds it to the limits of its address.
// It reports false if that was the end of the handshake.
func (s *session) findClient(r *wire.Request) bool {
	if !s.forwarded {
		s.warnForwarding(r)
		return true
	}
	g := s.lane.g
	remote := s.conn.RemoteAddr().Addr()
	client := g.clients.trust.Client(remote, g.clients.header,
		r.Headers(string(g.clients.header)))
	if client != remote {
		s.client = &client
	}
	if tag := g.door.judgeClient(client); tag != tagAdmitted {
		s.refuse(refusals[tag])
		return false
	}
	s.forwarded = false
	return true
}

// forwardingHeaders are headers by which a proxy shows.
var forwardingHeaders = []string{
	string(proxy.Forwarded), string(proxy.XForwardedFor), "X-Forwarded-Host", "X-Forwarded-Proto",
	"X-Real-IP",
}

// warnForwarding tells the operator, once, of a proxy on this machine that nobody believes. All its
// clients count as this machine, for which the limits of an address do not hold.
func (s *session) warnForwarding(r *wire.Request) {
	g := s.lane.g
	if g.forwardingWarned.Load() || g.clients.proxied != nil ||
		!s.conn.RemoteAddr().Addr().Unmap().IsLoopback() ||
		!slices.ContainsFunc(forwardingHeaders, r.Has) ||
		!g.forwardingWarned.CompareAndSwap(false, true) {
		return
	}
	g.log.Warn("a proxy on this machine forwards clients, which all count as this machine; "+
		"set trusted-proxies to its address, and client-header or proxy-protocol",
		"event", "proxy_not_trusted")
}

// clientAddr is the address that the client counts by.
func (s *session) clientAddr() netip.Addr {
	if s.client != nil {
		return *s.client
	}
	return s.conn.RemoteAddr().Addr()
}

// remote is the client for the log: with its port, if that is known.
func (s *session) remote() string {
	if s.client != nil {
		return s.client.String()
	}
	return s.conn.RemoteAddr().String()
}
