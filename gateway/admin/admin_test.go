package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/gateway/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090}
	public   = &net.TCPAddr{IP: net.IPv4zero, Port: 9090}
)

// config is of a gateway that is well.
func config() Config {
	text := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, s) })
	}
	page := http.NewServeMux()
	page.Handle("/{$}", text("page"))
	page.Handle("/page.js", text("script"))
	return Config{
		Addr:         "127.0.0.1:0",
		Live:         func() error { return nil },
		Ready:        func() []Check { return []Check{{Name: "listener"}, {Name: "drain"}} },
		Metrics:      text("samples"),
		Page:         page,
		WebSocketURL: func() string { return "ws://127.0.0.1:8080" },
	}
}

func get(h http.Handler, target string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = "localhost:9090"
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRoutes(t *testing.T) {
	rows := []struct {
		name, target string
		change       func(*Config)
		status       int
		body         string // whole, but for 404
	}{
		{"livez", "/livez", nil, 200, "ok\n"},
		{"healthz_is_livez", "/healthz", nil, 200, "ok\n"},
		{"livez_fails", "/livez", dead, 503, "loop 1 hangs forged\n"},
		{"healthz_fails", "/healthz", dead, 503, "loop 1 hangs forged\n"},
		{"readyz", "/readyz", nil, 200, "ok\n"},
		{"readyz_verbose", "/readyz?verbose", nil, 200, "[+] listener\n[+] drain\nok\n"},
		{"readyz_fails", "/readyz", draining, 503, "[-] drain: closing down\nnot ready\n"},
		{
			"readyz_fails_verbose", "/readyz?verbose=1", draining, 503,
			"[+] listener\n[-] drain: closing down\nnot ready\n",
		},
		{"readyz_ignores_live", "/readyz", dead, 200, "ok\n"},
		{"livez_ignores_ready", "/livez", draining, 200, "ok\n"},
		{"metrics", "/metrics", nil, 200, "samples"},
		{"metrics_none", "/metrics", func(c *Config) { c.Metrics = nil }, 404, ""},
		{"page", "/", nil, 200, "page"},
		{"page_file", "/page.js", nil, 200, "script"},
		{"page_none", "/", func(c *Config) { c.Page = nil }, 404, ""},
		{"unknown", "/api", nil, 404, ""},
		{"unknown_without_page", "/api", func(c *Config) { c.Page = nil }, 404, ""},
		{"below_livez", "/livez/", nil, 404, ""},
		{"case", "/LIVEZ", nil, 404, ""},
		{"pprof", "/debug/pprof/goroutine?debug=1", profiled, 200, "*"},
		{"pprof_index", "/debug/pprof/", profiled, 200, "*"},
		{"pprof_cmdline", "/debug/pprof/cmdline", profiled, 200, "*"},
		{"pprof_symbol", "/debug/pprof/symbol", profiled, 200, "*"},
		{"pprof_unknown", "/debug/pprof/nothing", profiled, 404, ""},
		{"pprof_no_slash", "/debug/pprof", profiled, 404, ""},
		{"debug_other", "/debug/vars", profiled, 404, ""},
		{"I04_pprof_off", "/debug/pprof/", nil, 404, ""},
		{"I04_pprof_off_heap", "/debug/pprof/heap", nil, 404, ""},
		{"I04_pprof_off_dot", "/debug/./pprof/heap", nil, 404, ""},
		{"I04_pprof_off_escaped", "/debug%2Fpprof%2Fheap", nil, 404, ""},
		{"I04_pprof_off_case", "/Debug/pprof/heap", nil, 404, ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			cfg := config()
			if r.change != nil {
				r.change(&cfg)
			}
			w := get(New(cfg, loopback), r.target)
			if w.Code != r.status {
				t.Fatalf("status %d, want %d: %s", w.Code, r.status, w.Body)
			}
			if got := w.Body.String(); r.status != 404 && r.body != "*" && got != r.body {
				t.Errorf("body %q, want %q", got, r.body)
			}
		})
	}
}

func dead(c *Config) { c.Live = func() error { return errors.New("loop 1 hangs\nforged") } }

func draining(c *Config) {
	c.Ready = func() []Check {
		return []Check{{Name: "listener"}, {Name: "drain", Err: errors.New("closing\ndown")}}
	}
}

func profiled(c *Config) { c.Pprof = true }

// TestI04_one_spelling: what the guard sees is what is routed, and what a proxy in front has seen.
func TestI04_one_spelling(t *testing.T) {
	cfg := config()
	cfg.Pprof = true
	cfg.Revoke = func(Revocation) (Revoked, error) {
		t.Error("revoked")
		return Revoked{}, nil
	}
	everything := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the page gets %q", r.URL.Path)
	})
	cfg.Page = everything
	h := New(cfg, loopback)
	for _, target := range []string{
		"/auth%2frevoke", "/auth%2Frevoke", "/%61uth/revoke", "/auth/revok%65", "/./auth/revoke",
		"/auth/./revoke", "/x/../auth/revoke", "//auth/revoke", "/auth//revoke", "/auth/revoke/..",
		"/auth%5crevoke", "/auth\\revoke", "/auth;x/revoke", "/auth/revoke;x",
		"/auth/revoke%00", "/%2e%2e/livez",
		"/livez%20", "/%", "/%zz", "/metrics%3f", "/debug%2fpprof/heap", "/debug/pprof%2fheap",
		"/debug/pprof/%2e", "/é", "/%c3%a9", "//", "/.", "/..", "/.hidden", "/demo.json/.",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := httptest.NewRequest(method, "/", strings.NewReader(`{"user":"ann"}`))
			u, err := url.ParseRequestURI(target)
			if err != nil {
				continue // net/http answers 400
			}
			r.URL, r.Host = u, "localhost"
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", method, target, w.Code, w.Body)
			}
		}
	}
}

// TestI04_double_slash follows the page's redirects: no spelling may lead to the profiles.
func TestI04_double_slash(t *testing.T) {
	h := New(config(), loopback)
	target := "//debug/pprof/heap"
	for range 3 {
		w := get(h, "/", func(r *http.Request) { r.URL = &url.URL{Path: target} })
		if w.Code == http.StatusNotFound {
			return
		}
		if target = w.Header().Get("Location"); target == "" {
			t.Fatalf("status %d", w.Code)
		}
	}
	t.Error("redirected without end")
}

func TestMethods(t *testing.T) {
	h := New(config(), loopback)
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/", "/demo.json", "/nothing"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
			w := get(h, path, func(r *http.Request) { r.Method = method })
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: status %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
		w := get(h, path, func(r *http.Request) { r.Method = http.MethodHead })
		if want := get(h, path).Code; w.Code != want {
			t.Errorf("HEAD %s: status %d, GET has %d", path, w.Code, want)
		}
	}
}

func TestRebinding(t *testing.T) {
	other := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 9090}
	v6 := &net.TCPAddr{IP: net.IPv6loopback, Port: 9090}
	rows := []struct {
		name   string
		bound  *net.TCPAddr
		addr   string
		host   string
		status int
	}{
		{"localhost", loopback, "127.0.0.1:9090", "localhost:9090", 200},
		{"localhost_bare", loopback, "127.0.0.1:9090", "localhost", 200},
		{"localhost_dot", loopback, "127.0.0.1:9090", "LocalHost.:9090", 200},
		{"forwarded_port", loopback, "127.0.0.1:9090", "localhost:19090", 200},
		{"below_localhost", loopback, "127.0.0.1:9090", "app.localhost:9090", 200},
		{"v4", loopback, "127.0.0.1:9090", "127.0.0.1:9090", 200},
		{"v6", v6, "[::1]:9090", "[::1]:9090", 200},
		{"v6_bare", v6, "[::1]:9090", "[::1]", 200},
		{"v6_long", v6, "[::1]:9090", "[0:0:0:0:0:0:0:1]:9090", 200},
		{"other_loopback", other, "127.0.0.2:9090", "127.0.0.2:9090", 200},
		{"bound_by_name", other, "gateway.internal:9090", "127.0.0.2:9090", 200},
		{"name_of_the_config", loopback, "Gateway.internal:9090", "gateway.internal:9090", 200},
		{"other_name", loopback, "127.0.0.1:9090", "evil.example:9090", 421},
		{"other_name_localhost_inside", loopback, "127.0.0.1:9090", "localhost.evil.example", 421},
		{"not_the_bound_loopback", loopback, "127.0.0.1:9090", "127.0.0.3:9090", 421},
		{"mapped", loopback, "127.0.0.1:9090", "[::ffff:127.0.0.1]:9090", 421},
		{"unspecified", loopback, "127.0.0.1:9090", "0.0.0.0:9090", 421},
		{"decimal", loopback, "127.0.0.1:9090", "2130706433:9090", 421},
		{"empty", loopback, "127.0.0.1:9090", "", 421},
		{"user_info", loopback, "127.0.0.1:9090", "localhost@evil.example", 421},
		{"header_injection", public, "0.0.0.0:9090", "x;script-src *", 421},
		{"zone", v6, "[::1]:9090", "[::1%25eth0]:9090", 421},
		{"zone_injection", public, "0.0.0.0:9090", "[fe80::1%;script-src *]", 421},
		{"public_any_name", public, "0.0.0.0:9090", "metrics.example:9090", 200},
		{"public_empty", public, "0.0.0.0:9090", "", 200},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			cfg := config()
			cfg.Addr = r.addr
			h := New(cfg, r.bound)
			for _, path := range []string{"/livez", "/metrics", "/", "/demo.json"} {
				w := get(h, path, func(req *http.Request) { req.Host = r.host })
				if w.Code != r.status {
					t.Errorf("%s: status %d, want %d", path, w.Code, r.status)
				}
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	h := New(config(), loopback)
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; " +
			"img-src 'self'; connect-src 'self' ws://localhost:8080; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "no-referrer",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control":                "no-store",
	}
	for _, path := range []string{"/", "/livez", "/metrics", "/nothing", "/demo.json"} {
		w := get(h, path)
		for name, value := range want {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s: %s is %q, want %q", path, name, got, value)
			}
		}
		if allowed := w.Header().Get("Access-Control-Allow-Origin"); allowed != "" {
			t.Errorf("%s: readable by %q", path, allowed)
		}
	}
}

func TestDemoAddress(t *testing.T) {
	rows := []struct {
		name, url, host, ws string
	}{
		{"every_address", "ws://0.0.0.0:8080", "gw.example:9090", "ws://gw.example:8080"},
		{"every_address_v6", "ws://[::]:8080", "[2001:db8::1]:9090", "ws://[2001:db8::1]:8080"},
		{"loopback", "ws://127.0.0.1:8080", "localhost:9090", "ws://localhost:8080"},
		{"one_address", "ws://192.0.2.1:8080", "gw.example:9090", "ws://192.0.2.1:8080"},
		{"tls", "wss://0.0.0.0:8443", "gw.example", "wss://gw.example:8443"},
		{"no_host", "ws://192.0.2.1:8080", "", "ws://192.0.2.1:8080"},
		{"not_listening", "", "gw.example", ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			cfg := config()
			cfg.WebSocketURL = func() string { return r.url }
			w := get(New(cfg, public), "/demo.json", func(req *http.Request) { req.Host = r.host })
			policy := w.Header().Get("Content-Security-Policy")
			if r.ws == "" {
				if w.Code != http.StatusServiceUnavailable {
					t.Errorf("status %d, want 503", w.Code)
				}
				if !strings.Contains(policy, "connect-src 'self';") {
					t.Errorf("policy %s", policy)
				}
				return
			}
			var got struct{ WS string }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.WS != r.ws {
				t.Errorf("ws %q, want %q (%v)", got.WS, r.ws, err)
			}
			if kind := w.Header().Get("Content-Type"); kind != "application/json" {
				t.Errorf("type %q", kind)
			}
			if !strings.Contains(policy, "connect-src 'self' "+r.ws+";") {
				t.Errorf("the page may not connect: %s", policy)
			}
		})
	}
}

func TestProfilesAreNotForOtherSites(t *testing.T) {
	cfg := config()
	cfg.Pprof = true
	h := New(cfg, loopback)
	for site, status := range map[string]int{
		"": 200, "none": 200, "same-origin": 200,
		"same-site": 403, "cross-site": 403, "anything": 403,
	} {
		w := get(h, "/debug/pprof/cmdline", func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", site)
		})
		if w.Code != status {
			t.Errorf("%q: status %d, want %d", site, w.Code, status)
		}
	}
}

// FuzzHost: whatever the Host header is, it adds no directive to the policy, and the page is told
// an address that is a URL with the port of the listener.
func FuzzHost(f *testing.F) {
	for _, host := range []string{
		"", "localhost", "[::1]:1", "a;b", "a b", "a,b", "'self'", "*", "%41", "a\r\nb", "::1", "[a]",
		"[::1%25lo]", "x:y:z", "1.2.3.4:99999", "é", ":1",
	} {
		f.Add(host)
	}
	cfg := config()
	cfg.WebSocketURL = func() string { return "ws://0.0.0.0:8080" }
	open, closed := New(cfg, public), New(cfg, loopback)
	f.Fuzz(func(t *testing.T, host string) {
		w := get(open, "/demo.json", func(r *http.Request) { r.Host = host })
		policy := w.Header().Get("Content-Security-Policy")
		if strings.Count(policy, ";") != 7 || strings.ContainsAny(policy, "*,\r\n") {
			t.Fatalf("policy %q", policy)
		}
		if w.Code == http.StatusOK {
			var got struct{ WS string }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(got.WS)
			if err != nil || u.Scheme != "ws" || u.Port() != "8080" || u.Path != "" || u.User != nil {
				t.Fatalf("ws %q: %v", got.WS, err)
			}
		}
		w = get(closed, "/livez", func(r *http.Request) { r.Host = host })
		if name, ok := local.Hostname(host); w.Code == http.StatusOK &&
			(!ok || !local.IsLoopback(name)) {
			t.Fatalf("let in as %q", name)
		}
	})
}
