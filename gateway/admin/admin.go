// Package admin serves the operators of a gateway over HTTP: probes, metrics, profiles and a page
// to try the gateway with.
//
//	/livez          200 while the process works, else 503; /healthz is the same
//	/readyz         200 while the gateway should get connections, else 503 with the reasons;
//	                with ?verbose every check is listed
//	/metrics        for Prometheus
//	/debug/pprof/   profiles, if enabled
//	/demo.json      {"ws": URL}, where the WebSocket listener is, as seen by this client
//	/auth/revoke    POST {"user":"..."} or {"token":"..."}: takes a user or a token back
//	anything else   the page
//
// Only revoking changes anything: it takes the token of the operators, or a listener on loopback.
// All else is GET and HEAD and asks nobody who they are, so the listener belongs on loopback or on
// a network of the operators. On loopback it answers only to requests for this host by name, so
// that no website can reach it by pointing its own name here.
package admin

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strings"
	"sync/atomic"

	"sluice/gateway/local"
)

// Config configures the admin listener. Functions and handlers are called from any goroutine, and
// from several at once; functions must not block.
type Config struct {
	// Addr is where to listen, as host:port, where port 0 means any, or as unix:PATH, a unix socket
	// that the owner and the group of the process may use. A socket that nobody listens on is
	// replaced; Close removes it.
	Addr string
	// TLS makes clients connect by https; nil means http.
	TLS *tls.Config
	// Live says what is wrong with the process, nil if nothing is; required.
	Live func() error
	// Ready returns the checks that must pass for the gateway to be ready; required.
	Ready func() []Check
	// Metrics serves /metrics; nil for none.
	Metrics http.Handler
	// Page gets every request that is for nothing else, and must answer 404 to what it does not
	// know; nil for no page. Scripts and styles must be files of their own: inline ones are
	// forbidden to the browser.
	Page http.Handler
	// WebSocketURL is the address of the WebSocket listener as bound, with its port, like
	// "ws://0.0.0.0:8080"; empty while there is none; required.
	WebSocketURL func() string
	// Revoke takes back a user or a token. It returns ErrUnknown if there is none that could be,
	// or a *RequestError; nil for no such route. Token is what a request must show for it; empty
	// means that it must come from loopback.
	Revoke func(Revocation) (Revoked, error)
	Token  string
	// Denied is told the caller of a request that was refused for its token, or for having none.
	// It may be nil.
	Denied func(caller string)
	// Pprof serves /debug/pprof/.
	Pprof bool
	// Logger receives what goes wrong with requests; nil means slog.Default().
	Logger *slog.Logger
}

// Check is something that readiness depends on.
type Check struct {
	Name string // short and constant, like "listener"
	Err  error  // why it fails; nil if it passes
}

// handler routes the requests that the guard lets through.
type handler struct {
	cfg   Config
	local bool // only this host reaches the listener
	tries *denials

	denied, limited atomic.Uint64
}

func newHandler(cfg Config, bound net.Addr) *handler {
	return &handler{cfg: cfg, local: isLocal(bound), tries: newDenials()}
}

// isLocal reports whether only this host reaches a listener. Over a unix socket those do who may
// open its file.
func isLocal(bound net.Addr) bool {
	switch addr := bound.(type) {
	case *net.TCPAddr:
		return addr.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// New returns the handler of an admin listener that is bound to an address. Every request is
// answered within the guard that the package comment describes.
func New(cfg Config, bound net.Addr) http.Handler {
	return newGuard(newHandler(cfg, bound), cfg, bound)
}

// ServeHTTP implements http.Handler. The guard lets only paths through that have one spelling, so
// none gets around a route, here or in a proxy in front.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case path == "/livez" || path == "/healthz":
		h.live(w)
	case path == "/readyz":
		h.ready(w, r.URL.Query().Has("verbose"))
	case path == "/demo.json":
		h.demo(w, r)
	case path == "/metrics" && h.cfg.Metrics != nil:
		h.cfg.Metrics.ServeHTTP(w, r)
	case path == revokePath && h.cfg.Revoke != nil:
		h.revoke(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		writeText(w, http.StatusMethodNotAllowed, "only GET and HEAD\n")
	case strings.HasPrefix(path, "/debug/"):
		h.debug(w, r)
	case h.cfg.Page != nil:
		h.cfg.Page.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (h *handler) live(w http.ResponseWriter) {
	if err := h.cfg.Live(); err != nil {
		writeText(w, http.StatusServiceUnavailable, oneLine(err.Error())+"\n")
		return
	}
	writeText(w, http.StatusOK, "ok\n")
}

// ready lists the checks that fail, or all of them.
func (h *handler) ready(w http.ResponseWriter, verbose bool) {
	var body strings.Builder
	failed := false
	for _, c := range h.cfg.Ready() {
		switch {
		case c.Err != nil:
			failed = true
			body.WriteString("[-] " + c.Name + ": " + oneLine(c.Err.Error()) + "\n")
		case verbose:
			body.WriteString("[+] " + c.Name + "\n")
		}
	}
	if failed {
		body.WriteString("not ready\n")
		writeText(w, http.StatusServiceUnavailable, body.String())
		return
	}
	body.WriteString("ok\n")
	writeText(w, http.StatusOK, body.String())
}

// demo tells the page where the WebSocket listener is.
func (h *handler) demo(w http.ResponseWriter, r *http.Request) {
	ws := socketURL(h.cfg.WebSocketURL(), r.Host)
	if ws == "" {
		writeText(w, http.StatusServiceUnavailable, "not listening\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct { // the error says that the client has gone
		WS string `json:"ws"`
	}{ws})
}

// debug serves profiles. A page of another site cannot read them, but could keep the process busy
// by asking for them.
func (h *handler) debug(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutPrefix(r.URL.Path, "/debug/pprof/")
	if !h.cfg.Pprof || !ok {
		http.NotFound(w, r)
		return
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		writeText(w, http.StatusForbidden, "not for other sites\n")
		return
	}
	switch name {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}

// socketURL is how the client that asked for host reaches the WebSocket listener bound to the
// address in raw. A listener on every address, or on loopback, is at the name that the client knows
// this host by.
func socketURL(raw, host string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return ""
	}
	name, ok := local.Hostname(host)
	if !ok || name == "" {
		return raw
	}
	ip := net.ParseIP(u.Hostname())
	if ip == nil || ip.IsUnspecified() || ip.IsLoopback() {
		u.Host = net.JoinHostPort(name, u.Port())
	}
	return u.String()
}

func writeText(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// oneLine keeps a text from looking like several lines.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
