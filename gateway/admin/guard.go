package admin

import (
	"net"
	"net/http"
	"strings"

	"sluice/gateway/local"
)

// guard stands before every request: it judges host and method, and sets the headers that tell
// browsers what they may do with the answer.
type guard struct {
	next         http.Handler
	hosts        *local.Hosts // names that requests may ask for; nil means all
	webSocketURL func() string
}

func newGuard(next http.Handler, cfg Config, bound net.Addr) *guard {
	g := &guard{next: next, webSocketURL: cfg.WebSocketURL}
	switch {
	case !isLocal(bound):
	case bound.Network() == "unix":
		// No browser gets here, but a proxy may pass on what a browser asks it for.
		g.hosts = local.NewHosts()
	default:
		g.hosts = local.NewHosts(cfg.Addr, bound.String())
	}
	return g
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.setHeaders(w.Header(), r.Host)
	_, ok := local.Hostname(r.Host)
	switch {
	case !ok || g.hosts != nil && !g.hosts.Serves(r.Host):
		writeText(w, http.StatusMisdirectedRequest, "unknown host\n")
	case !isPlain(r):
		writeText(w, http.StatusNotFound, "no such path\n")
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.URL.Path != revokePath:
		w.Header().Set("Allow", "GET, HEAD")
		writeText(w, http.StatusMethodNotAllowed, "only GET and HEAD\n")
	case !strings.HasPrefix(r.URL.Path, "/"):
		writeText(w, http.StatusNotFound, "no such path\n")
	default:
		g.next.ServeHTTP(w, r)
	}
}

// isPlain reports whether the path of a request is spelled as it is routed: without escapes, empty
// segments and dots that a proxy in front, or a router behind, may read differently (faults I04).
// It also accepts what OPTIONS * and CONNECT have for a path.
func isPlain(r *http.Request) bool {
	path := r.URL.Path
	return r.URL.EscapedPath() == path &&
		!strings.Contains(path, "//") && !strings.Contains(path, "/.") &&
		!strings.ContainsAny(path, "\\;")
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
