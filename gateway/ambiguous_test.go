package gateway

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// naming is a request that names a header in Connection.
func naming(header, request string) string {
	return strings.Replace(request, "Connection: Upgrade", "Connection: Upgrade, "+header, 1)
}

// statusOf sends a request and returns the status of the answer. The connection stays open.
func statusOf(t *testing.T, g *Gateway, request string) string {
	t.Helper()
	c := dialRaw(t, g)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readSome(t, c)), " ")
	status, _, _ := strings.Cut(rest, " ")
	return status
}

// A request in which a header has two values, or may be removed on the way, reaches no hook.
func TestH15_headers_of_the_hook(t *testing.T) {
	var asked atomic.Int64
	var cookies atomic.Value // of the last handshake that had any
	url := hookServer(t, func(q map[string]any) (int, string) {
		asked.Add(1)
		headers, _ := q["headers"].(map[string]any)
		if c, ok := headers["Cookie"]; ok {
			cookies.Store(c)
		}
		return 200, `{"user":"ann"}`
	})
	onEachEngine(t, func(cfg *Config) {
		cfg.AuthHook = []string{"url=" + url + ",headers=X-Tenant+Cookie"}
		cfg.Origins = []string{"https://good.com"}
	}, func(t *testing.T, g *Gateway) {
		const page = "Origin: https://good.com"
		good := upgradeRequest("/chat/ann", page, "X-Tenant: a")
		for _, r := range []struct{ name, in, status string }{
			{"good", good, "101"},
			{"H15_named", naming("X-Tenant", good), "400"},
			{"H15_named_lower_case", naming("x-tenant", good), "400"},
			{"H15_named_and_absent", naming("X-Tenant", upgradeRequest("/chat/ann", page)), "400"},
			{"H15_other_named", naming("X-Other", good), "101"},
			{"twice", upgradeRequest("/chat/ann", page, "X-Tenant: a", "x-tenant: b"), "400"},
			{"twice_the_same", upgradeRequest("/chat/ann", page, "X-Tenant: a", "X-Tenant: a"), "400"},
			{"other_twice", upgradeRequest("/chat/ann", page, "X-Other: a", "X-Other: b"), "101"},
			{"cookie_lines", upgradeRequest("/chat/ann", page, "Cookie: a=1", "Cookie: b=2"), "101"},
		} {
			t.Run(r.name, func(t *testing.T) {
				before := asked.Load()
				if status := statusOf(t, g, r.in); status != r.status {
					t.Errorf("%s, want %s", status, r.status)
				}
				if got := asked.Load() - before; (got > 0) != (r.status == "101") {
					t.Errorf("the hook was asked %d times", got)
				}
			})
		}
		if got := cookies.Load(); got != "a=1; b=2" {
			t.Errorf("the hook sees the cookies %q", got)
		}
	})
}

// The lines of a split Cookie header are one list, whatever line a cookie stands in.
func TestH17_session_cookies(t *testing.T) {
	onEachGuarded(t, nil, func(t *testing.T, g *Gateway) {
		const page = "Origin: https://good.com"
		good := sign(t, jwt.MapClaims{"sub": "ann"})
		other := sign(t, jwt.MapClaims{"sub": "bob"})
		for _, r := range []struct {
			name    string
			headers []string
			status  string
		}{
			{"second_line", []string{"Cookie: a=b", "Cookie: session=" + good}, "101"},
			{"first_line", []string{"Cookie: session=" + good, "cookie: a=b"}, "101"},
			{"two_in_a_line", []string{"Cookie: session=" + good + "; session=" + other}, "400"},
			{"two_lines", []string{"Cookie: session=" + good, "Cookie: session=" + other}, "400"},
			{"two_lines_the_same", []string{"Cookie: session=" + good, "Cookie: session=" + good}, "400"},
			{"far_apart", []string{"Cookie: session=" + good + "; a=b", "X: y", "Cookie: c=d; session=x"}, "400"},
			{"one_empty", []string{"Cookie: session=", "Cookie: session=" + good}, "400"},
			{"H15_named", []string{"Cookie: session=" + good, "Connection: Cookie"}, "400"},
		} {
			t.Run(r.name, func(t *testing.T) {
				in := upgradeRequest("/chat/ann", append([]string{page}, r.headers...)...)
				if status := statusOf(t, g, in); status != r.status {
					t.Errorf("%s, want %s", status, r.status)
				}
			})
		}
		for name, target := range map[string]string{
			"token_twice":         "/chat/ann?token=" + good + "&token=" + good,
			"token_twice_escaped": "/chat/ann?token=" + good + "&tok%65n=" + other,
		} {
			if status := statusOf(t, g, upgradeRequest(target)); status != "400" {
				t.Errorf("%s: %s", name, status)
			}
		}
	})
}
