package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/auth"
	"sluice/gateway/wire"
)

const signingKey = "a secret of no less than thirty-two bytes"

// secretFile writes a secret and returns how a setting refers to it.
func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "@" + path
}

// sign signs claims; exp is in an hour unless they say otherwise.
func sign(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	if _, ok := claims["exp"]; !ok {
		claims["exp"] = time.Now().Add(time.Hour).Unix()
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(signingKey))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// guarded is a configuration that wants a token.
func guarded(t *testing.T, cfg *Config) {
	cfg.AuthJWT = []string{"alg=HS256,rooms=rooms?,key=" + secretFile(t, signingKey)}
	cfg.AuthSources = []string{"header", "cookie:session", "query:token", "subprotocol", "message"}
	cfg.Origins = []string{"https://good.com"}
}

func onEachGuarded(t *testing.T, change func(*Config), test func(t *testing.T, g *Gateway)) {
	onEachEngine(t, func(cfg *Config) {
		guarded(t, cfg)
		if change != nil {
			change(cfg)
		}
	}, test)
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// refusedWith sends a request and returns the answer to it, which must not be 101.
func refusedWith(t *testing.T, g *Gateway, target string, headers ...string) *http.Response {
	t.Helper()
	c := dialRaw(t, g)
	if _, err := io.WriteString(c, upgradeRequest(target, headers...)); err != nil {
		t.Fatal(err)
	}
	out := readAll(t, c)
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func TestTokenComesFromEverySource(t *testing.T) {
	onEachGuarded(t, nil, func(t *testing.T, g *Gateway) {
		good := sign(t, jwt.MapClaims{"sub": "ann"})
		listener, _ := dialWebSocket(t, g, "/chat/bob", bearer(sign(t, jwt.MapClaims{"sub": "bob"})))
		for _, r := range []struct{ name, target, header string }{
			{"header", "/chat/ann", bearer(good)},
			{"cookie", "/chat/ann", "Origin: https://good.com\r\nCookie: a=b; session=" + good},
			{"A10_query", "/chat/ann?token=" + good, "X: y"},
			{"subprotocol", "/chat/ann", "Sec-WebSocket-Protocol: bearer, " + good},
			{"no_name_in_path", "/chat/", bearer(good)},
		} {
			t.Run(r.name, func(t *testing.T) {
				p, head := dialWebSocket(t, g, r.target, r.header)
				selected := strings.Contains(head, "Sec-WebSocket-Protocol: bearer\r\n")
				if selected != (r.name == "subprotocol") {
					t.Errorf("the answer is %q", head)
				}
				p.send(wire.OpText, r.name)
				listener.wantMessage("ann: " + r.name)
			})
		}
	})
}

func TestFirstMessageIsAToken(t *testing.T) {
	onEachGuarded(t, nil, func(t *testing.T, g *Gateway) {
		bob, _ := dialWebSocket(t, g, "/chat/bob", bearer(sign(t, jwt.MapClaims{"sub": "bob"})))
		ann, _ := dialWebSocket(t, g, "/chat/ann")
		// What follows the token at once waits until it is verified.
		ann.send(wire.OpText, `{"token":"`+sign(t, jwt.MapClaims{"sub": "ann"})+`"}`)
		ann.send(wire.OpText, "first")
		bob.wantMessage("ann: first")

		cara := joinPacked(t, g, "/chat/cara", "permessage-deflate")
		cara.sendPacked(`{"token":"` + sign(t, jwt.MapClaims{"sub": "cara"}) + `"}`)
		cara.sendPacked("compressed")
		bob.wantMessage("cara: compressed")
		ann.wantMessage("cara: compressed")
	})
}

func TestFirstMessageRefused(t *testing.T) {
	onEachGuarded(t, func(cfg *Config) { cfg.AuthTimeout = 200 * time.Millisecond },
		func(t *testing.T, g *Gateway) {
			rows := []struct {
				name, target, text string
				op                 wire.Opcode
				code               uint16
			}{
				{"text", "/chat/ann", "hello", wire.OpText, 3000},
				{"binary", "/chat/ann", "hello", wire.OpBinary, 3000},
				{"A01_unsigned", "/chat/ann", `{"token":"e30.e30."}`, wire.OpText, 3000},
				{"A06_duplicate", "/chat/ann", `{"token":"a","token":"b"}`, wire.OpText, 3000},
				{
					"A05_expired", "/chat/ann", `{"token":"` + sign(t, jwt.MapClaims{
						"sub": "ann", "exp": time.Now().Add(-time.Hour).Unix(),
					}) + `"}`, wire.OpText, 3000,
				},
				{
					"other_name", "/chat/ann",
					`{"token":"` + sign(t, jwt.MapClaims{"sub": "bob"}) + `"}`, wire.OpText, 3003,
				},
				{"echo", "/echo", "hello", wire.OpText, 3000},
			}
			for _, r := range rows {
				t.Run(r.name, func(t *testing.T) {
					p, _ := dialWebSocket(t, g, r.target)
					p.send(r.op, r.text)
					p.wantClose(r.code)
				})
			}
			t.Run("never", func(t *testing.T) {
				p, _ := dialWebSocket(t, g, "/chat/ann")
				p.wantClose(3000)
			})
		})
}

func TestHandshakeRefusals(t *testing.T) {
	onEachGuarded(t, func(cfg *Config) { cfg.AuthSources = []string{"header", "cookie:session"} },
		func(t *testing.T, g *Gateway) {
			expired := jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(-time.Hour).Unix()}
			rows := []struct {
				name, target, header string
				status               int
				challenge            string
			}{
				{"missing", "/chat/ann", "X: y", 401, "Bearer"},
				{"missing_echo", "/echo", "X: y", 401, "Bearer"},
				{"A10_query_is_opt_in", "/echo?token=" + sign(t, jwt.MapClaims{"sub": "ann"}),
					"X: y", 401, "Bearer"},
				{"A05_expired", "/chat/ann", bearer(sign(t, expired)), 401,
					`Bearer error="invalid_token"`},
				{"A01_none", "/chat/ann", bearer("eyJhbGciOiJub25lIn0.e30."), 401,
					`Bearer error="invalid_token"`},
				{"H17_foreign_page", "/chat/ann",
					"Origin: https://evil.com\r\nCookie: session=" + sign(t, jwt.MapClaims{"sub": "ann"}),
					403, ""},
				{"H17_no_origin", "/chat/ann",
					"Cookie: session=" + sign(t, jwt.MapClaims{"sub": "ann"}), 403, ""},
				{"H16_foreign_page_with_token", "/chat/ann",
					"Origin: https://evil.com\r\n" + bearer(sign(t, jwt.MapClaims{"sub": "ann"})),
					403, ""},
				{"two_cookies", "/chat/ann", "Cookie: session=a; session=b", 400,
					`Bearer error="invalid_request"`},
				{"other_name", "/chat/bob", bearer(sign(t, jwt.MapClaims{"sub": "ann"})), 403,
					`Bearer error="insufficient_scope"`},
				{"A15_other_room", "/chat/ann?room=secret",
					bearer(sign(t, jwt.MapClaims{"sub": "ann", "rooms": []string{"open"}})), 403,
					`Bearer error="insufficient_scope"`},
				{"ambiguous_name", "/chat/", bearer(sign(t, jwt.MapClaims{"sub": "ann: b"})), 403,
					`Bearer error="insufficient_scope"`},
			}
			for _, r := range rows {
				t.Run(r.name, func(t *testing.T) {
					resp := refusedWith(t, g, r.target, r.header)
					challenge := resp.Header.Get("WWW-Authenticate")
					if resp.StatusCode != r.status || challenge != r.challenge {
						t.Errorf("%d %q, want %d %q", resp.StatusCode, challenge, r.status,
							r.challenge)
					}
				})
			}
			t.Run("H11_early_data", func(t *testing.T) {
				c := dialRaw(t, g)
				io.WriteString(c, upgradeRequest("/echo", bearer(sign(t, jwt.MapClaims{"sub": "x"})))+
					frame(0x81, "early"))
				if out := readAll(t, c); !strings.HasPrefix(string(out), "HTTP/1.1 400 ") {
					t.Errorf("answered %q", out)
				}
			})
			t.Run("H15_header_is_hidden", func(t *testing.T) {
				c := dialRaw(t, g)
				request := strings.Replace(
					upgradeRequest("/echo", bearer(sign(t, jwt.MapClaims{"sub": "x"}))),
					"Connection: Upgrade", "Connection: Upgrade, Authorization", 1)
				io.WriteString(c, request)
				if out := readAll(t, c); !strings.HasPrefix(string(out), "HTTP/1.1 400 ") {
					t.Errorf("answered %q", out)
				}
			})
		})
}

func TestA09_tokens_end(t *testing.T) {
	onEachGuarded(t, func(cfg *Config) { cfg.AuthGrace = 0 }, func(t *testing.T, g *Gateway) {
		soon := func() jwt.MapClaims {
			return jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(2 * time.Second).Unix()}
		}
		p, _ := dialWebSocket(t, g, "/chat/ann", bearer(sign(t, soon())))
		renewed, _ := dialWebSocket(t, g, "/chat/ann", bearer(sign(t, soon())))
		renewed.send(wire.OpText, `{"token":"`+sign(t, jwt.MapClaims{"sub": "ann"})+`"}`)
		p.wantClose(3000)
		other, _ := dialWebSocket(t, g, "/chat/bob", bearer(sign(t, jwt.MapClaims{"sub": "bob"})))
		other.send(wire.OpText, "still here?")
		renewed.wantMessage("bob: still here?")
	})
}

func TestA09_renewal_refused(t *testing.T) {
	onEachGuarded(t, nil, func(t *testing.T, g *Gateway) {
		for _, r := range []struct {
			name, text string
			code       uint16
		}{
			{"other_user", sign(t, jwt.MapClaims{"sub": "bob"}), 3003},
			{"room_lost", sign(t, jwt.MapClaims{"sub": "ann", "rooms": []string{}}), 3003},
			{"garbage", "garbage", 3000},
			{"unprintable", "a b", 3000},
		} {
			t.Run(r.name, func(t *testing.T) {
				witness, _ := dialWebSocket(t, g, "/chat/w", bearer(sign(t, jwt.MapClaims{"sub": "w"})))
				p, _ := dialWebSocket(t, g, "/chat/ann", bearer(sign(t, jwt.MapClaims{"sub": "ann"})))
				p.send(wire.OpText, `{"token":"`+r.text+`"}`)
				p.wantClose(r.code)
				witness.send(wire.OpText, "x") // nothing else has reached the room
				last, _ := dialWebSocket(t, g, "/chat/l", bearer(sign(t, jwt.MapClaims{"sub": "l"})))
				last.send(wire.OpText, "end")
				witness.wantMessage("l: end")
			})
		}
	})
}

func TestA09_revocation(t *testing.T) {
	onEachGuarded(t, nil, func(t *testing.T, g *Gateway) {
		until := time.Now().Add(time.Hour)
		ann := sign(t, jwt.MapClaims{"sub": "ann", "iat": time.Now().Add(-time.Minute).Unix()})
		bob := sign(t, jwt.MapClaims{"sub": "bob", "jti": "b-1"})
		first, _ := dialWebSocket(t, g, "/chat/ann", bearer(ann))
		second, _ := dialWebSocket(t, g, "/echo", bearer(ann))
		third, _ := dialWebSocket(t, g, "/chat/bob", bearer(bob))
		if done, err := g.Revoke(Revocation{User: "ann", Until: until}); done.Closed != 2 || err != nil {
			t.Errorf("%+v, %v", done, err)
		}
		first.wantClose(3000)
		second.wantClose(3000)
		if done, err := g.Revoke(Revocation{TokenID: "b-1", Until: until}); done.Closed != 1 || err != nil {
			t.Errorf("%+v, %v", done, err)
		}
		third.wantClose(3000)
		for _, revoked := range []string{ann, bob} {
			if resp := refusedWith(t, g, "/echo", bearer(revoked), "Cookie: x=y"); resp.StatusCode != 401 {
				t.Errorf("a revoked token gets %d", resp.StatusCode)
			}
		}
	})
}

func TestConnectionsPerUser(t *testing.T) {
	onEachGuarded(t, func(cfg *Config) { cfg.ConnectionsPerUserMax = 2 },
		func(t *testing.T, g *Gateway) {
			ann := sign(t, jwt.MapClaims{"sub": "ann"})
			first, _ := dialWebSocket(t, g, "/echo", bearer(ann))
			dialWebSocket(t, g, "/echo", bearer(ann))
			if resp := refusedWith(t, g, "/echo", bearer(ann)); resp.StatusCode != 429 {
				t.Errorf("the third gets %d", resp.StatusCode)
			}
			late, _ := dialWebSocket(t, g, "/echo")
			late.send(wire.OpText, `{"token":"`+ann+`"}`)
			late.wantClose(1008)
			first.c.Close()
			settled(t, "the place of the first is free", func() bool {
				return len(g.authority.roster.ofUser(auth.AnyIssuer, "ann")) == 1
			})
			dialWebSocket(t, g, "/echo", bearer(ann))
		})
}

func TestAuthExplain(t *testing.T) {
	onEachGuarded(t, func(cfg *Config) {
		cfg.AuthExplain, cfg.AuthSources = true, []string{"header", "subprotocol"}
	}, func(t *testing.T, g *Gateway) {
		p, head := dialWebSocket(t, g, "/echo", "Sec-WebSocket-Protocol: bearer, e30.e30.x")
		if !strings.Contains(head, "Sec-WebSocket-Protocol: bearer\r\n") {
			t.Errorf("a browser would not accept %q", head)
		}
		p.wantClose(3000)
		p, _ = dialWebSocket(t, g, "/chat/bob", bearer(sign(t, jwt.MapClaims{"sub": "ann"})))
		p.wantClose(3003)
		plain := 0 // past its rate, the plain answer
		for range 100 * g.Loops() {
			c := dialRaw(t, g)
			io.WriteString(c, upgradeRequest("/echo"))
			if strings.HasPrefix(string(readSome(t, c)), "HTTP/1.1 401 ") {
				plain++
			}
			c.Close()
		}
		if plain == 0 {
			t.Error("explanations have no bound")
		}
	})
}

// readSome reads what comes first.
func readSome(t *testing.T, c io.Reader) []byte {
	t.Helper()
	b := make([]byte, 4<<10)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// hookServer answers for the hook by the path that it is asked about.
func hookServer(t *testing.T, answer func(question map[string]any) (status int, body string)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var question map[string]any
		if err := json.NewDecoder(r.Body).Decode(&question); err != nil {
			t.Error(err)
		}
		status, body := answer(question)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestHookDecides(t *testing.T) {
	url := hookServer(t, func(q map[string]any) (int, string) {
		headers, _ := q["headers"].(map[string]any)
		switch tenant, _ := headers["X-Tenant"].(string); tenant {
		case "good":
			return 200, `{"user":"ann","rooms":["lobby"]}`
		case "bad":
			return 403, ""
		case "broken":
			return 500, ""
		case "busy":
			return 429, ""
		}
		return 401, ""
	})
	onEachEngine(t, func(cfg *Config) {
		cfg.AuthHook = []string{"url=" + url + ",headers=X-Tenant"}
	}, func(t *testing.T, g *Gateway) {
		dialWebSocket(t, g, "/chat/ann", "X-Tenant: good")
		for tenant, status := range map[string]int{"bad": 403, "broken": 503, "busy": 429, "none": 401} {
			resp := refusedWith(t, g, "/chat/ann", "X-Tenant: "+tenant)
			if resp.StatusCode != status {
				t.Errorf("%s gets %d, want %d", tenant, resp.StatusCode, status)
			}
			if retry := resp.Header.Get("Retry-After"); (status == 503 || status == 429) != (retry != "") {
				t.Errorf("%s: Retry-After is %q", tenant, retry)
			}
		}
	})
}

// TestA13_slow_service holds every call of a service up: others are served meanwhile, and those who
// leave are forgotten.
func TestA13_slow_service(t *testing.T) {
	var release chan struct{}
	onEachEngine(t, func(cfg *Config) {
		guarded(t, cfg)
		released := make(chan struct{})
		release = released
		url := hookServer(t, func(q map[string]any) (int, string) {
			<-released
			return 200, `{"user":"slow"}`
		})
		cfg.AuthJWT[0] += ",issuer=us"
		cfg.AuthHook = []string{"url=" + url + ",timeout=20s"}
	}, func(t *testing.T, g *Gateway) {
		defer close(release)
		var waiting []io.Closer
		for range auth.DefaultBackend().CallsMax / 2 {
			c := dialRaw(t, g)
			io.WriteString(c, upgradeRequest("/echo", bearer("opaque-token")))
			waiting = append(waiting, c)
		}
		settled(t, "all calls are under way", func() bool {
			return g.authority.pending.Load() == int64(len(waiting))
		})
		p, _ := dialWebSocket(t, g, "/echo", bearer(sign(t, jwt.MapClaims{"sub": "ann", "iss": "us"})))
		p.send(wire.OpText, "here")
		p.wantMessage("here")
		for _, c := range waiting {
			c.Close()
		}
		settled(t, "those who left are forgotten", func() bool {
			return g.authority.pending.Load() == 0
		})
	})
}

func TestAuthenticationThatCannotStart(t *testing.T) {
	for name, r := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no_such_file": {func(c *Config) { c.AuthJWT = []string{"alg=HS256,key=@/no/such/file"} },
			"no such file"},
		"inline_secret": {func(c *Config) { c.AuthJWT = []string{"alg=HS256,key=hunter2"} },
			"key must be a file"},
		"no_source": {func(c *Config) { guarded(t, c); c.AuthSources = nil }, "auth-sources"},
		"H17_cookie_without_origins": {func(c *Config) { guarded(t, c); c.Origins = nil },
			"list the origins"},
		"origin_with_path": {func(c *Config) { c.Origins = []string{"https://a.com/x"} },
			"is not an origin"},
		"typo": {func(c *Config) { c.AuthJWT = []string{"isuer=a"} }, `there is no "isuer"`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := quick()
			r.change(&cfg)
			g, err := New(cfg, Options{})
			if err == nil {
				g.Close()
				t.Fatal("it starts")
			}
			if !strings.Contains(err.Error(), r.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v; want %q in it", err, r.want)
			}
		})
	}
}

// TestI05_no_secret_is_logged runs into every refusal and looks for the tokens in the log.
func TestI05_no_secret_is_logged(t *testing.T) {
	onEachEngine(t, nil, func(t *testing.T, g *Gateway) {
		cfg := quick()
		guarded(t, &cfg)
		log := new(logged)
		cfg.Engine, cfg.Admin = g.EngineName(), "127.0.0.1:0"
		g = serveLogged(t, cfg, log)
		secret := sign(t, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(-time.Hour).Unix()})
		refusedWith(t, g, "/chat/ann?token="+secret)
		refusedWith(t, g, "/chat/ann", bearer(secret))
		refusedWith(t, g, "/chat/ann", "Origin: https://good.com", "Cookie: session="+secret)
		p, _ := dialWebSocket(t, g, "/chat/ann")
		p.send(wire.OpText, fmt.Sprintf(`{"token":%q}`, secret))
		p.wantClose(3000)
		_, page := ask(t, g, "/metrics")
		if !strings.Contains(page, `sluice_auth_verdicts_total{verdict="expired"} 4`) {
			t.Error("the metrics do not count what was refused")
		}
		lines := strings.Join(log.lines(), "\n") + page
		if !strings.Contains(lines, "handshake_refused") {
			t.Fatalf("nothing was logged: %s", lines)
		}
		if strings.Contains(lines, secret[:40]) || strings.Contains(lines, signingKey) {
			t.Errorf("a secret was logged: %s", lines)
		}
	})
}
