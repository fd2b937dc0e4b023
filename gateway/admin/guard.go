package admin

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard stands before every request: it judges host and method, and sets the headers that tell
// browsers what they may do with the answer.
type guard struct {
	next         http.Handler
	hosts        map[string]bool // names that requests may ask for; nil means all
	webSocketURL func() string
}

func newGuard(next http.Handler, cfg Config, bound net.Addr) *guard {
	g := &guard{next: next, webSocketURL: cfg.WebSocketURL}
	addr, ok := bound.(*net.TCPAddr)
	if !ok || !addr.IP.IsLoopback() {
		return g
	}
	g.hosts = map[string]bool{
		"localhost": true, "127.0.0.1": true, "::1": true, addr.IP.String(): true,
	}
	if name, ok := hostname(cfg.Addr); ok && name != "" {
		g.hosts[name] = true
	}
	return g
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.setHeaders(w.Header(), r.Host)
	name, ok := hostname(r.Host)
	switch {
	case !ok || g.hosts != nil && !g.hosts[name]:
		writeText(w, http.StatusMisdirectedRequest, "unknown host\n")
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.URL.Path != revokePath:
		w.Header().Set("Allow", "GET, HEAD")
		writeText(w, http.StatusMethodNotAllowed, "only GET and HEAD\n")
	default:
		g.next.ServeHTTP(w, r)
	}
}

// setHeaders lets a page load what comes from here and connect to the gateway, and nothing else.
func (g *guard) setHeaders(h http.Header, host string) {
	connect := "'self'"
	if ws := socketURL(g.webSocketURL(), host); ws != "" {
		connect += " " + ws
	}
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "+
		"img-src 'self'; connect-src "+connect+"; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// hostname is the name or address in a Host header or an address to listen on, without port and
// brackets, in lower case. An empty header has an empty name. ok is false if it is neither a name
// nor an address: it goes into headers of ours.
func hostname(host string) (name string, ok bool) {
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
