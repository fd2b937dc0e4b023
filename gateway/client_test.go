package gateway

import (
	"io"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/wire"
)

// proxied sends a PROXY header and a request, and returns the status of the answer.
func proxied(t *testing.T, g *Gateway, header string) (status string, p *peer) {
	t.Helper()
	p = &peer{t: t, c: dialRaw(t, g)}
	p.dec.Init(&clientLimits, wire.Client, true)
	io.WriteString(p.c, header+upgradeRequest("/echo"))
	out := readSome(t, p.c)
	return strings.Fields(string(out))[1], p
}

const proxyHeader = "PROXY TCP4 198.51.100.1 10.0.0.1 4711 443\r\n"

func behindProxy(cfg *Config) {
	cfg.TrustedProxies, cfg.ProxyProtocol = []string{"127.0.0.0/8"}, true
	cfg.ConnectionsPerIPMax = 2
}

func TestX02_proxy_protocol(t *testing.T) {
	onEachEngine(t, behindProxy, func(t *testing.T, g *Gateway) {
		status, first := proxied(t, g, proxyHeader)
		if status != "101" {
			t.Fatalf("the first gets %s", status)
		}
		first.send(wire.OpText, "hello")
		first.wantMessage("hello")
		if status, _ := proxied(t, g, proxyHeader); status != "101" {
			t.Errorf("the second gets %s", status)
		}
		if status, _ := proxied(t, g, proxyHeader); status != "429" {
			t.Errorf("the third of an address gets %s", status)
		}
		if status, _ := proxied(t, g, strings.Replace(proxyHeader, "100.1 ", "100.2 ", 1)); status != "101" {
			t.Errorf("another client gets %s", status)
		}
		first.c.Close()
		settled(t, "the first is gone", func() bool {
			status, p := proxied(t, g, proxyHeader)
			p.c.Close()
			return status == "101"
		})
		// Byte by byte, and no header at all.
		c := dialRaw(t, g)
		for _, b := range []byte(strings.Replace(proxyHeader, "100.1 ", "100.3 ", 1) + upgradeRequest("/echo")) {
			if _, err := c.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		if out := readSome(t, c); !strings.HasPrefix(string(out), "HTTP/1.1 101 ") {
			t.Errorf("byte by byte: %q", out)
		}
		plain := dialRaw(t, g)
		io.WriteString(plain, upgradeRequest("/echo"))
		if out, _ := io.ReadAll(plain); len(out) > 0 {
			t.Errorf("without a header: %q", out)
		}
		if s := g.clients.proxied.Stats(); s.Invalid != 1 || s.Announced < 6 {
			t.Errorf("stats %+v", s)
		}
		// One that never says anything must not stop a drain.
		dialRaw(t, g)
		if err := g.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestH10_silent_proxies: those whose header does not come are counted, and gone in time.
func TestH10_silent_proxies(t *testing.T) {
	onEachEngine(t, behindProxy, func(t *testing.T, g *Gateway) {
		pending := func(n int64) func() bool {
			return func() bool { return g.clients.proxied.Stats().Pending == n }
		}
		for _, said := range []string{"", "P", proxyHeader[:20]} {
			io.WriteString(dialRaw(t, g), said)
		}
		settled(t, "three are pending", pending(3))
		if status, p := proxied(t, g, proxyHeader); status != "101" || !pending(3)() {
			t.Errorf("one with a header gets %s", status)
		} else {
			p.c.Close()
		}
		half := dialRaw(t, g)
		io.WriteString(half, proxyHeader[:5])
		half.Close()
		io.WriteString(dialRaw(t, g), "nonsense\r\n")
		settled(t, "none is pending", pending(0))
		if n := g.clients.proxied.Stats().Invalid; n != 5 {
			t.Errorf("%d had no valid header", n)
		}
	})
}

func TestX02_untrusted_proxy(t *testing.T) {
	onEachEngine(t, func(cfg *Config) {
		behindProxy(cfg)
		cfg.TrustedProxies = []string{"192.0.2.0/24"}
	}, func(t *testing.T, g *Gateway) {
		c := dialRaw(t, g)
		io.WriteString(c, proxyHeader+upgradeRequest("/echo"))
		if out, _ := io.ReadAll(c); len(out) > 0 {
			t.Errorf("answered %q", out)
		}
		if s := g.clients.proxied.Stats(); s.Untrusted != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestX02_off_is_not_http(t *testing.T) {
	onEachEngine(t, nil, func(t *testing.T, g *Gateway) {
		c := dialRaw(t, g)
		io.WriteString(c, proxyHeader)
		if out := readAll(t, c); !strings.HasPrefix(string(out), "HTTP/1.1 400 ") &&
			!strings.HasPrefix(string(out), "HTTP/1.1 405 ") {
			t.Errorf("answered %q", out)
		}
	})
}

func TestProxyProtocolUnderTLS(t *testing.T) {
	ca := newCertAuthority(t)
	onEachEngine(t, withTLS(t, ca, behindProxy), func(t *testing.T, g *Gateway) {
		c := dialRaw(t, g)
		io.WriteString(c, proxyHeader)
		p := overTLS(t, c, ca.client(), "/echo")
		p.send(wire.OpText, "hello")
		p.wantMessage("hello")
		if err := g.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		p.wantClose(1012)
	})
}

func TestX01_forwarded_for(t *testing.T) {
	onEachEngine(t, func(cfg *Config) {
		cfg.TrustedProxies, cfg.ClientHeader = []string{"127.0.0.1"}, "x-forwarded-for"
		cfg.ConnectionsPerIPMax = 2
	}, func(t *testing.T, g *Gateway) {
		first, _ := dialWebSocket(t, g, "/echo", "X-Forwarded-For: 198.51.100.1")
		dialWebSocket(t, g, "/echo", "X-Forwarded-For: 1.1.1.1, 198.51.100.1")
		for _, forged := range []string{
			"X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 2.2.2.2, 198.51.100.1",
			"X-Forwarded-For: 3.3.3.3\r\nX-Forwarded-For: 198.51.100.1",
		} {
			if resp := refusedWith(t, g, "/echo", forged); resp.StatusCode != 429 {
				t.Errorf("%q gets %d", forged, resp.StatusCode)
			}
		}
		dialWebSocket(t, g, "/echo", "X-Forwarded-For: 198.51.100.2")
		// X03: only the header that is configured counts.
		dialWebSocket(t, g, "/echo", "X-Forwarded-For: 198.51.100.2", "X-Real-IP: 198.51.100.1",
			"Forwarded: for=198.51.100.1")
		first.c.Close()
		settled(t, "the place of the first is free", func() bool {
			c := dialRaw(t, g)
			io.WriteString(c, upgradeRequest("/echo", "X-Forwarded-For: 198.51.100.1"))
			defer c.Close()
			return strings.HasPrefix(string(readSome(t, c)), "HTTP/1.1 101 ")
		})
	})
}

// A client cannot make the header disappear in which its proxy says who it is.
func TestH15_client_header(t *testing.T) {
	onEachEngine(t, func(cfg *Config) {
		cfg.TrustedProxies, cfg.ClientHeader = []string{"127.0.0.1"}, "x-forwarded-for"
	}, func(t *testing.T, g *Gateway) {
		const header = "X-Forwarded-For: 198.51.100.1"
		for _, named := range []string{
			"X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR , keep-alive", "Forwarded",
			"X-Forwarded-Proto",
		} {
			if status := statusOf(t, g, naming(named, upgradeRequest("/echo", header))); status != "400" {
				t.Errorf("Connection names %s: %s", named, status)
			}
		}
		if status := statusOf(t, g, naming("keep-alive", upgradeRequest("/echo", header))); status != "101" {
			t.Errorf("a client with the options of a browser gets %s", status)
		}
	})
}

// The limits of an address hold for every connection that a proxy speaks for, also if the address is
// that of the proxy or of this machine, and for no other one from this machine.
func TestX01_loopback_is_exempt_only_by_itself(t *testing.T) {
	const unknown = "PROXY UNKNOWN\r\n"
	local := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	for _, r := range []struct {
		name, clientHeader, before, header string
		limited                            bool
	}{
		{"direct", "none", "", "X: y", false},
		{"direct_with_a_header", "none", "", "X-Forwarded-For: 198.51.100.1", false},
		{"client", "x-forwarded-for", "", "X-Forwarded-For: 198.51.100.1", true},
		{"no_header", "x-forwarded-for", "", "X: y", true},
		{"empty", "x-forwarded-for", "", "X-Forwarded-For:", true},
		{"unknown", "x-forwarded-for", "", "X-Forwarded-For: unknown", true},
		{"loopback", "x-forwarded-for", "", "X-Forwarded-For: 127.0.0.9", true},
		{"loopback_ipv6", "x-forwarded-for", "", "X-Forwarded-For: ::1", true},
		{"mapped", "x-forwarded-for", "", "X-Forwarded-For: ::ffff:127.0.0.9", true},
		{"forwarded_hidden", "forwarded", "", "Forwarded: for=_hidden", true},
		{"forwarded_unknown", "forwarded", "", "Forwarded: for=unknown", true},
		{"forwarded_loopback", "forwarded", "", `Forwarded: for="[::1]:1"`, true},
		{"proxy_unknown", "proxy", unknown, "X: y", true},
		{"proxy_local", "proxy", local, "X: y", true},
		{"proxy_loopback", "proxy", "PROXY TCP4 127.0.0.9 10.0.0.1 1 2\r\n", "X: y", true},
	} {
		t.Run(r.name, func(t *testing.T) {
			cfg := quick()
			cfg.ConnectionsPerIPMax = 2
			if r.clientHeader == "proxy" {
				cfg.ProxyProtocol = true
			} else {
				cfg.ClientHeader = r.clientHeader
			}
			if r.limited {
				cfg.TrustedProxies = []string{"127.0.0.0/30"}
			}
			g := serve(t, cfg)
			in := r.before + upgradeRequest("/echo", r.header)
			for range 2 {
				if status := statusOf(t, g, in); status != "101" {
					t.Fatalf("within the limit: %s", status)
				}
			}
			want := "101"
			if r.limited {
				want = "429"
			}
			if status := statusOf(t, g, in); status != want {
				t.Errorf("past the limit of an address: %s, want %s", status, want)
			}
		})
	}
}

// A proxy on this machine that nobody believes is a mistake, and worth one line.
func TestX03_forwarding_header_is_not_believed(t *testing.T) {
	for _, r := range []struct {
		name   string
		change func(*Config)
		header string
		want   int
	}{
		{"X-Forwarded-For", nil, "X-Forwarded-For: 198.51.100.1", 1},
		{"Forwarded", nil, "forwarded: for=198.51.100.1", 1},
		{"X-Real-IP", nil, "X-Real-IP: 198.51.100.1", 1},
		{"X-Forwarded-Proto", nil, "X-Forwarded-Proto: https", 1},
		{"none", nil, "X-Request-ID: 1", 0},
		{"believed", func(cfg *Config) {
			cfg.TrustedProxies, cfg.ClientHeader = []string{"127.0.0.1"}, "x-forwarded-for"
		}, "X-Forwarded-For: 198.51.100.1", 0},
		{"another_is_believed", func(cfg *Config) {
			cfg.TrustedProxies, cfg.ClientHeader = []string{"192.0.2.1"}, "x-forwarded-for"
		}, "X-Forwarded-For: 198.51.100.1", 1},
	} {
		t.Run(r.name, func(t *testing.T) {
			cfg, log := quick(), new(logged)
			if r.change != nil {
				r.change(&cfg)
			}
			g := serveLogged(t, cfg, log)
			for range 3 {
				statusOf(t, g, upgradeRequest("/echo", r.header))
			}
			lines := 0
			for _, l := range log.lines() {
				if strings.Contains(l, `"event":"proxy_not_trusted"`) {
					lines++
					if !strings.Contains(l, `"level":"WARN"`) || !strings.Contains(l, "trusted-proxies") {
						t.Errorf("logged %s", l)
					}
				}
			}
			if lines != r.want {
				t.Errorf("%d lines, want %d", lines, r.want)
			}
		})
	}
}

func TestHookSeesTheClient(t *testing.T) {
	url := hookServer(t, func(q map[string]any) (int, string) {
		if q["remote_ip"] != "198.51.100.1" {
			return 403, ""
		}
		return 200, `{"user":"ann"}`
	})
	cfg := quick()
	cfg.AuthHook = []string{"url=" + url}
	cfg.TrustedProxies, cfg.ClientHeader = []string{"127.0.0.1"}, "forwarded"
	g := serve(t, cfg)
	dialWebSocket(t, g, "/echo", `Forwarded: for="198.51.100.1:4711"`,
		bearer(sign(t, jwt.MapClaims{"sub": "x"})))
	g.Close()
	// Also with a token in the first message.
	cfg.AuthSources = []string{"message"}
	g = serve(t, cfg)
	p, _ := dialWebSocket(t, g, "/echo", "Forwarded: for=198.51.100.1")
	p.send(wire.OpText, `{"token":"opaque"}`)
	p.send(wire.OpText, "hello")
	p.wantMessage("hello")
	p, _ = dialWebSocket(t, g, "/echo", "Forwarded: for=198.51.100.2")
	p.send(wire.OpText, `{"token":"opaque"}`)
	p.wantClose(3003)
}
