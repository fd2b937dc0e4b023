package gateway

import (
	"net/http"
	"strings"
	"testing"
)

// asking is a request for a host, by a page if origin is not empty.
func asking(host, origin string) string {
	in := strings.Replace(upgradeRequest("/chat/ann"), "Host: localhost", "Host: "+host, 1)
	if origin == "" {
		return in
	}
	return strings.Replace(in, "\r\n", "\r\nOrigin: "+origin+"\r\n", 1)
}

// A page of any site that somebody visits can reach a gateway on the visitor's machine.
func TestH16_gateway_without_configuration(t *testing.T) {
	onEachEngine(t, nil, func(t *testing.T, g *Gateway) {
		for _, r := range []struct{ name, host, origin, status string }{
			{"no_page", "localhost", "", "101"},
			{"no_page_by_address", "127.0.0.1:8080", "", "101"},
			{"demo_page", "127.0.0.1:8080", "http://127.0.0.1:9090", "101"},
			{"page_of_a_developer", "localhost:8080", "http://localhost:3000", "101"},
			{"name_below", "app.localhost:8080", "https://app.localhost", "101"},
			{"ipv6", "[::1]:8080", "http://[::1]:5173", "101"},
			{"H16_foreign_page", "127.0.0.1:8080", "https://evil.example", "403"},
			{"H16_foreign_page_same_port", "127.0.0.1:8080", "http://evil.example:8080", "403"},
			{"H16_null", "127.0.0.1:8080", "null", "403"},
			{"H16_looks_local", "127.0.0.1:8080", "http://localhost.evil.example", "403"},
			{"H16_extension", "127.0.0.1:8080", "chrome-extension://abcdef", "403"},
			{"H07_rebound", "evil.example:8080", "http://evil.example:8080", "421"},
			{"H07_rebound_without_origin", "evil.example:8080", "", "421"},
			{"H07_rebound_with_local_origin", "evil.example", "http://localhost", "421"},
			{"H07_other_address", "192.0.2.1:8080", "", "421"},
		} {
			t.Run(r.name, func(t *testing.T) {
				if status := statusOf(t, g, asking(r.host, r.origin)); status != r.status {
					t.Errorf("%s, want %s", status, r.status)
				}
			})
		}
	})
}

// What is configured counts instead of the rule for gateways without configuration.
func TestH16_configured_pages(t *testing.T) {
	listed := func(cfg *Config) { cfg.Origins = []string{"https://good.com"} }
	for _, r := range []struct {
		name         string
		change       func(*Config)
		host, origin string
		want         int
	}{
		{"listed", listed, "ws.good.com", "https://good.com", 101},
		{"not_listed", listed, "localhost", "http://localhost:3000", 403},
		{"rebound", listed, "evil.example", "http://evil.example", 403},
		{"all", func(cfg *Config) { cfg.Origins = []string{"*"} }, "any.example", "https://any.example", 101},
		{"everywhere", func(cfg *Config) { cfg.Listen = "192.0.2.1:80" }, "any.example", "https://any.example", 101},
		{"everywhere_listed", func(cfg *Config) { listed(cfg); cfg.Listen = "192.0.2.1:80" }, "any.example",
			"https://any.example", 403},
		{"authenticated", func(cfg *Config) {
			guarded(t, cfg)
			cfg.Origins, cfg.AuthSources = nil, []string{"message"}
		}, "any.example", "https://any.example", 101},
		{"behind_a_proxy", func(cfg *Config) {
			cfg.TrustedProxies, cfg.ClientHeader = []string{"127.0.0.1"}, "x-forwarded-for"
		}, "localhost", "https://any.example", 403},
		{"ipv6", func(cfg *Config) { cfg.Listen = "[::1]:0" }, "localhost", "http://localhost", 101},
		{"ipv6_foreign", func(cfg *Config) { cfg.Listen = "[::1]:0" }, "localhost", "https://any.example", 403},
	} {
		t.Run(r.name, func(t *testing.T) {
			cfg := quick()
			r.change(&cfg)
			if status, _ := newStage(t, cfg).connect().answer(asking(r.host, r.origin)); status != r.want {
				t.Errorf("%d, want %d", status, r.want)
			}
		})
	}
}

// A reload takes the rule away and puts it back.
func TestH16_pages_after_a_reload(t *testing.T) {
	cfg := quick()
	g := serve(t, cfg)
	foreign := asking("any.example", "https://any.example")
	for _, r := range []struct {
		origins []string
		status  string
	}{
		{nil, "421"}, {[]string{"https://any.example"}, "101"}, {nil, "421"},
	} {
		cfg.Origins = r.origins
		if err := g.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		if status := statusOf(t, g, foreign); status != r.status {
			t.Errorf("with %q: %s, want %s", r.origins, status, r.status)
		}
	}
}

// The page that the admin listener serves may connect as it always could.
func TestDemoPageConnects(t *testing.T) {
	cfg := quick()
	cfg.Admin = "127.0.0.1:0"
	g := serve(t, cfg)
	for _, host := range []string{"127.0.0.1", "localhost"} {
		page := "http://" + strings.Replace(g.AdminAddr().String(), "127.0.0.1", host, 1)
		resp, err := http.Get(page)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("the page: %v, %v", resp, err)
		}
		resp.Body.Close()
		socket := strings.Replace(g.Addr().String(), "127.0.0.1", host, 1)
		if status := statusOf(t, g, asking(socket, page)); status != "101" {
			t.Errorf("the page at %s gets %s", page, status)
		}
	}
}

// An echo is for trying out: by default only this machine gets one, and not more of it than of a
// chat.
func TestEchoIsServed(t *testing.T) {
	for _, r := range []struct {
		listen string
		mode   EchoMode
		status int
	}{
		{"127.0.0.1:0", EchoAuto, 101},
		{"[::1]:0", EchoAuto, 101},
		{"192.0.2.1:80", EchoAuto, 404},
		{":80", EchoAuto, 404},
		{"127.0.0.1:0", EchoOff, 404},
		{"192.0.2.1:80", EchoOn, 101},
	} {
		cfg := quick()
		cfg.Listen, cfg.Echo = r.listen, r.mode
		if status, _ := newStage(t, cfg).connect().answer(upgradeRequest("/echo")); status != r.status {
			t.Errorf("%s on %s: %d, want %d", r.mode, r.listen, status, r.status)
		}
	}
	cfg := quick()
	cfg.Echo = "maybe"
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "Echo") {
		t.Errorf("a mode that is none: %v", err)
	}
	cfg.Echo, cfg.Listen = EchoOn, ":0"
	if w := strings.Join(cfg.Warnings(), "\n"); !strings.Contains(w, "/echo") {
		t.Errorf("warnings %q", w)
	}
	if def := DefaultConfig(); def.Echo != EchoAuto || def.MessageRate == 0 {
		t.Errorf("by default %s, %v", def.Echo, def.MessageRate)
	}
}
