package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/gateway/tlsio"
)

// A hook that is asked about a handshake without a token may go by what the browser adds, or by the
// address: a page gets that only if it is listed.
func TestH17_hook_without_a_token(t *testing.T) {
	var asked atomic.Int64
	url := hookServer(t, func(map[string]any) (int, string) {
		asked.Add(1)
		return 200, `{"user":"ann"}`
	})
	const page, other, cookie = "Origin: https://good.com", "Origin: https://evil.com", "Cookie: a=b"
	for _, r := range []struct {
		name    string
		origins []string
		headers []string
		status  string
	}{
		{"no_page", nil, nil, "101"},
		{"no_page_with_cookie", nil, []string{cookie}, "403"},
		{"page", nil, []string{page}, "403"},
		{"page_with_cookie", nil, []string{page, cookie}, "403"},
		{"page_with_password", nil, []string{page, "Authorization: Basic YTpi"}, "403"},
		{"page_with_token", nil, []string{page, bearer("opaque")}, "101"},
		{"page_with_subprotocol", nil, []string{page, "Sec-WebSocket-Protocol: bearer, opaque"}, "101"},
		{"listed", []string{"https://good.com"}, []string{page, cookie}, "101"},
		{"not_listed", []string{"https://good.com"}, []string{other, cookie}, "403"},
		{"all_listed", []string{"*"}, []string{other}, "101"},
		{"no_page_and_list", []string{"https://good.com"}, nil, "101"},
		{"no_page_with_cookie_and_list", []string{"https://good.com"}, []string{cookie}, "403"},
	} {
		t.Run(r.name, func(t *testing.T) {
			onEachEngine(t, func(cfg *Config) {
				cfg.AuthHook, cfg.Origins = []string{"url=" + url + ",headers=X-Tenant"}, r.origins
			}, func(t *testing.T, g *Gateway) {
				before := asked.Load()
				in := upgradeRequest("/chat/ann", append([]string{"X: y"}, r.headers...)...)
				if status := statusOf(t, g, in); status != r.status {
					t.Errorf("%s, want %s", status, r.status)
				}
				if got := asked.Load() - before; (got > 0) != (r.status == "101") {
					t.Errorf("the hook was asked %d times", got)
				}
			})
		})
	}
}

// A hook that gets to see what browsers add by themselves does not start without a list of pages.
func TestH17_hook_that_sees_cookies_needs_origins(t *testing.T) {
	for header, refused := range map[string]bool{
		"Cookie": true, "cookie": true, "Authorization": true, "X-Tenant": false,
	} {
		cfg := quick()
		cfg.AuthHook = []string{"url=https://hook.example,headers=X-A+" + header}
		err := cfg.Validate()
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "list the origins") {
			t.Errorf("headers=%s without origins: %v", header, err)
		}
		cfg.Origins = []string{"https://good.com"}
		if err := cfg.Validate(); err != nil {
			t.Errorf("headers=%s with origins: %v", header, err)
		}
	}
}

// A certificate that names two users names none, and neither does one whose user is no name.
func TestCertificateNamesOneUser(t *testing.T) {
	ca := newCertAuthority(t)
	issue := func(file, name string, names []string, uris ...string) *tls.Config {
		return ca.client(ca.issue(file, func(c *x509.Certificate) {
			c.Subject.CommonName, c.DNSNames = name, names
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			for _, text := range uris {
				u, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		}))
	}
	for _, r := range []struct {
		name     string
		identity tlsio.Identity
		conf     *tls.Config
		status   string
	}{
		{"uri", tlsio.IdentityURI, issue("a", "ann", nil, "spiffe://a/ann"), "101"},
		{"two_uris", tlsio.IdentityURI, issue("b", "ann", nil, "spiffe://a/ann", "spiffe://a/bob"), "403"},
		{"dns", tlsio.IdentityDNS, issue("c", "ann", []string{"ann.test"}), "101"},
		{"two_dns_names", tlsio.IdentityDNS, issue("d", "ann", []string{"ann.test", "bob.test"}), "403"},
		{"cn", tlsio.IdentityCommonName, issue("e", "ann", nil), "101"},
		{"I01_blank_behind", tlsio.IdentityCommonName, issue("f", "ann ", nil), "403"},
		{"I01_zero_width", tlsio.IdentityCommonName, issue("g", "a\u200bnn", nil), "403"},
	} {
		t.Run(r.name, func(t *testing.T) {
			onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
				cfg.TLSClientAuth, cfg.TLSClientCA = "require", ca.path()
				cfg.TLSIdentity = string(r.identity)
			}), func(t *testing.T, g *Gateway) {
				head := tlsHead(t, tls.Client(dialRaw(t, g), r.conf), "/chat/")
				if status := strings.Fields(head)[1]; status != r.status {
					t.Errorf("%s, want %s", status, r.status)
				}
			})
		})
	}
}

// With authentication a path names a user that a credential can have, or nobody.
func TestI01_user_in_the_path(t *testing.T) {
	onEachGuarded(t, nil, func(t *testing.T, g *Gateway) {
		for target, status := range map[string]string{
			"/chat/": "401", "/chat/ann%20b": "401", "/chat/%E5%B1%B1": "401", "/chat/%20ann": "400",
			"/chat/ann%20": "400", "/chat/ann%C2%A0": "400", "/chat/a%E2%80%8Bnn": "400",
			"/chat/a%E2%80%AEnn": "400", "/chat/ann%FF": "400", "/chat/ann%0A": "400",
		} {
			if got := statusOf(t, g, upgradeRequest(target, bearer("e30.e30.x"))); got != status {
				t.Errorf("%s: %s, want %s", target, got, status)
			}
		}
	})
}
