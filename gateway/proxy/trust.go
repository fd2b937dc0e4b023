// Package proxy says who the client of a connection is when proxies stand in front: by the PROXY
// protocol, which comes before the first byte, or by what the proxies have written into the
// handshake (X-Forwarded-For, Forwarded). Both count only from proxies that are trusted.
package proxy

import (
	"errors"
	"fmt"
	"net/netip"
)

// Trust is a set of networks. It does not change and is safe for concurrent use. The zero value
// trusts nobody.
type Trust struct{ prefixes []netip.Prefix }

// ParseTrust reads networks like 10.0.0.0/8 and single addresses.
func ParseTrust(items []string) (*Trust, error) {
	t := &Trust{}
	var errs []error
	for _, item := range items {
		p, err := netip.ParsePrefix(item)
		if err != nil {
			addr, addrErr := netip.ParseAddr(item)
			if addrErr != nil || addr.Zone() != "" {
				errs = append(errs, fmt.Errorf("%q is no address and no network like 10.0.0.0/8",
					item))
				continue
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		if p.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("%q: write the IPv4 network itself", item))
			continue
		}
		t.prefixes = append(t.prefixes, p.Masked())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

// Contains reports whether an address is trusted. An IPv4 address in IPv6 counts as the former.
func (t *Trust) Contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range t.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Len is how many networks there are.
func (t *Trust) Len() int { return len(t.prefixes) }
