package gateway

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/admin"
	"sluice/gateway/auth"
	"sluice/gateway/wire"
)

// TestB10_issuers_are_not_mixed has two issuers that both know an ann.
func TestB10_issuers_are_not_mixed(t *testing.T) {
	key := secretFile(t, signingKey)
	token := func(issuer, user string) string {
		return sign(t, jwt.MapClaims{"iss": issuer, "sub": user, "jti": "1",
			"iat": time.Now().Add(-time.Minute).Unix()})
	}
	onEachEngine(t, func(cfg *Config) {
		cfg.ConnectionsPerUserMax = 1
		cfg.AuthJWT = []string{
			"issuer=a,alg=HS256,key=" + key, "issuer=b,alg=HS256,key=" + key,
			"issuer=c,alg=HS256,prefix=c:,key=" + key,
		}
	}, func(t *testing.T, g *Gateway) {
		of := map[string]*peer{}
		for _, issuer := range []string{"a", "b", "c"} {
			of[issuer], _ = dialWebSocket(t, g, "/chat/", bearer(token(issuer, "ann")))
			if resp := refusedWith(t, g, "/chat/", bearer(token(issuer, "ann"))); resp.StatusCode != 429 {
				t.Errorf("a second connection of %s's ann gets %d", issuer, resp.StatusCode)
			}
		}
		of["c"].send(wire.OpText, "hi")
		of["a"].wantMessage("c:ann: hi")
		of["b"].wantMessage("c:ann: hi")
		for name, r := range map[string]struct {
			target, token string
			status        int
		}{
			"path_without_prefix": {"/chat/bob", token("c", "bob"), 403},
			"prefix_of_another":   {"/chat/", token("a", "c:bob"), 403},
		} {
			if resp := refusedWith(t, g, r.target, bearer(r.token)); resp.StatusCode != r.status {
				t.Errorf("%s gets %d", name, resp.StatusCode)
			}
		}
		p, _ := dialWebSocket(t, g, "/chat/c:bob", bearer(token("c", "bob")))
		p.send(wire.OpText, `{"token":"`+token("c", "bob")+`"}`)
		p.send(wire.OpText, "still bob")
		of["a"].wantMessage("c:bob: still bob")

		// A token of another issuer renews nothing, whatever its user is called.
		of["a"].send(wire.OpText, `{"token":"`+token("b", "ann")+`"}`)
		of["a"].wantClose(3003)
		of["a"].c.Close()
		settled(t, "gone", func() bool { return len(g.authority.roster.ofUser("a", "ann")) == 0 })

		again, _ := dialWebSocket(t, g, "/chat/", bearer(token("a", "ann")))
		if _, err := g.Revoke(Revocation{User: "ann"}); err == nil ||
			!strings.Contains(err.Error(), "one of a, b, c") {
			t.Errorf("revoking a user of any issuer: %v", err)
		}
		if _, err := g.Revoke(Revocation{User: "ann", Issuer: "d"}); err == nil {
			t.Error("revoking a user of nobody")
		}
		for what, r := range map[string]Revocation{
			"user":  {User: "ann", Issuer: "a"},
			"token": {TokenID: "1", Issuer: "a"},
		} {
			done, err := g.Revoke(r)
			if what == "user" && done.Closed > 1 || err != nil {
				t.Errorf("revoking a %s: %+v, %v", what, done, err)
			}
		}
		again.wantClose(3000)
		of["b"].send(wire.OpText, "here")
		of["c"].wantMessage("c:bob: still bob")
		of["c"].wantMessage("ann: here")
	})
}

// revocable is a gateway whose users come from a hook: the user is the token up to a dash.
func revocable(cfg *Config, t *testing.T) {
	url := hookServer(t, func(q map[string]any) (int, string) {
		user, _, _ := strings.Cut(q["token"].(string), "-")
		return 200, fmt.Sprintf(`{"user":%q}`, user)
	})
	cfg.AuthHook = []string{"url=" + url}
}

// TestB13_users_without_dates_come_back has users whose sessions do not say since when they are.
func TestB13_users_without_dates_come_back(t *testing.T) {
	onEachEngine(t, func(cfg *Config) { revocable(cfg, t) }, func(t *testing.T, g *Gateway) {
		first, _ := dialWebSocket(t, g, "/echo", bearer("ann-1"))
		other, _ := dialWebSocket(t, g, "/echo", bearer("bob-1"))
		done, err := g.Revoke(Revocation{User: "ann", Until: time.Now().Add(time.Hour)})
		if err != nil || done.Closed != 1 || !done.Until.IsZero() {
			t.Errorf("%+v, %v", done, err)
		}
		first.wantClose(3000)
		if resp := refusedWith(t, g, "/echo", bearer("ann-1")); resp.StatusCode != 401 {
			t.Errorf("the revoked session gets %d", resp.StatusCode)
		}
		again, _ := dialWebSocket(t, g, "/echo", bearer("ann-2"))
		for _, p := range []*peer{again, other} {
			p.send(wire.OpText, "here")
			p.wantMessage("here")
		}
		if done, err := g.Revoke(Revocation{TokenID: auth.TokenHash("ann-2")}); done.Closed != 1 {
			t.Errorf("revoking a session by its hash: %+v, %v", done, err)
		}
		again.wantClose(3000)
	})
}

// TestB13_clock_ahead revokes a user whose token was made in the future, as the leeway allows.
func TestB13_clock_ahead(t *testing.T) {
	onEachGuarded(t, nil, func(t *testing.T, g *Gateway) {
		token := sign(t, jwt.MapClaims{"sub": "ann", "iat": time.Now().Add(20 * time.Second).Unix()})
		p, _ := dialWebSocket(t, g, "/echo", bearer(token))
		if _, err := g.Revoke(Revocation{User: "ann"}); err != nil {
			t.Fatal(err)
		}
		p.wantClose(3000)
		if resp := refusedWith(t, g, "/echo", bearer(token)); resp.StatusCode != 401 {
			t.Errorf("it gets %d", resp.StatusCode)
		}
	})
}

// TestB13_clock_ahead_of_nobody does so while the user is not connected.
func TestB13_clock_ahead_of_nobody(t *testing.T) {
	cfg := quick()
	guarded(t, &cfg)
	cfg.AuthJWT[0] += ",leeway=30s"
	g := serve(t, cfg)
	if _, err := g.Revoke(Revocation{User: "ann"}); err != nil {
		t.Fatal(err)
	}
	ahead := func(user string) string {
		at := time.Now().Add(15 * time.Second)
		return bearer(sign(t, jwt.MapClaims{"sub": user, "iat": at.Unix()}))
	}
	if resp := refusedWith(t, g, "/echo", ahead("ann")); resp.StatusCode != 401 {
		t.Errorf("it gets %d", resp.StatusCode)
	}
	dialWebSocket(t, g, "/echo", ahead("bob"))
}

// TestB13_no_name: an operator is told that a name is nobody's, instead of that it was revoked.
func TestB13_no_name(t *testing.T) {
	cfg := quick()
	guarded(t, &cfg)
	g := serve(t, cfg)
	for _, name := range []string{" ann", "ann\u200b", "ann\n", strings.Repeat("a", 1<<10)} {
		_, err := g.revoke(admin.Revocation{User: name})
		if _, ok := errors.AsType[*admin.RequestError](err); !ok {
			t.Errorf("%.9q: %v", name, err)
		}
	}
}

// TestB13_recorded_until: both logs say until when a revocation holds.
func TestB13_recorded_until(t *testing.T) {
	for spec, want := range map[string]string{"": "restart", ",max-age=2h": "20"} {
		log := new(logged)
		cfg := quick()
		guarded(t, &cfg)
		cfg.AuthJWT[0] += spec
		cfg.AuditLog = filepath.Join(t.TempDir(), "audit.log")
		g := serveLogged(t, cfg, log)
		if _, err := g.revoke(admin.Revocation{User: "ann"}); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		found := append(log.entries(t, "revoked"), audited(t, cfg.AuditLog)...)
		if len(found) != 2 {
			t.Fatalf("%q: recorded as %v", spec, found)
		}
		for _, e := range found {
			if until, _ := e["until"].(string); !strings.HasPrefix(until, want) {
				t.Errorf("%q: until %v in %v", spec, e["until"], e)
			}
		}
	}
}

func TestB13_revocations_last(t *testing.T) {
	now := time.Now()
	for _, r := range []struct {
		name, spec string
		until      time.Time
		least      time.Duration // 0 for ever
	}{
		{"unbounded", "", now.Add(time.Minute), 0},
		{"max_age", ",max-age=2h", time.Time{}, 2 * time.Hour},
		{"no_shorter_than_max_age", ",max-age=2h", now.Add(time.Minute), 2 * time.Hour},
		{"longer_than_max_age", ",max-age=2h", now.Add(24 * time.Hour), 24 * time.Hour},
	} {
		t.Run(r.name, func(t *testing.T) {
			cfg := quick()
			guarded(t, &cfg)
			cfg.AuthJWT[0] += r.spec
			g := serve(t, cfg)
			done, err := g.Revoke(Revocation{User: "ann", Until: r.until})
			if err != nil {
				t.Fatal(err)
			}
			left := done.Until.Sub(now)
			if r.least == 0 && !done.Until.IsZero() || r.least != 0 &&
				(left < r.least || left > r.least+3*time.Hour) {
				t.Errorf("until %v, in %v", done.Until, left)
			}
		})
	}
}

// TestB6_certificate_ends_with_its_chain has an authority that expires before its certificates.
func TestB6_certificate_ends_with_its_chain(t *testing.T) {
	now := time.Now()
	chain := func(ends ...time.Duration) (list []*x509.Certificate) {
		for _, d := range ends {
			list = append(list, &x509.Certificate{NotAfter: now.Add(d)})
		}
		return list
	}
	for name, r := range map[string]struct {
		chains [][]*x509.Certificate
		want   time.Duration
	}{
		"leaf":          {[][]*x509.Certificate{chain(1, 5, 9)}, 1},
		"authority":     {[][]*x509.Certificate{chain(9, 5, 1)}, 1},
		"intermediate":  {[][]*x509.Certificate{chain(9, 1, 5)}, 1},
		"longest_chain": {[][]*x509.Certificate{chain(9, 1), chain(9, 7), chain(9, 3)}, 7},
	} {
		if got := chainsEnd(r.chains).Sub(now); got != r.want {
			t.Errorf("%s ends at %d, want %d", name, got, r.want)
		}
	}

	uri, err := url.Parse("spiffe://example.com/ann")
	if err != nil {
		t.Fatal(err)
	}
	ca := newCertAuthority(t) // for an hour
	cert, key := ca.issue("ann", func(c *x509.Certificate) {
		c.URIs, c.ExtKeyUsage = []*url.URL{uri}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		c.NotAfter = now.Add(48 * time.Hour)
	})
	onEachEngine(t, withTLS(t, ca, func(cfg *Config) {
		cfg.TLSClientAuth, cfg.TLSClientCA = "require", ca.path()
	}), func(t *testing.T, g *Gateway) {
		p := dialTLS(t, g, ca.client(cert, key), "/chat/")
		found := g.authority.roster.ofUser(auth.IssuerCertificate, uri.String())
		if len(found) != 1 {
			t.Fatalf("%d sessions", len(found))
		}
		var id auth.Identity
		done := make(chan struct{})
		found[0].session.conn.Loop().Post(onLoop(func() {
			id = found[0].session.proof.id
			close(done)
		}))
		<-done
		if !id.Expires.Equal(ca.cert.NotAfter) {
			t.Errorf("ends at %v, its authority at %v", id.Expires, ca.cert.NotAfter)
		}
		revoked, err := g.Revoke(Revocation{TokenID: id.TokenID})
		if err != nil || revoked.Closed != 1 || len(id.TokenID) != 64 {
			t.Errorf("revoking %q: %+v, %v", id.TokenID, revoked, err)
		}
		p.wantClose(3000)
	})
}

// onLoop is a function as a poller.Runner.
type onLoop func()

func (f onLoop) Run() { f() }

func TestB10_warnings(t *testing.T) {
	cfg := DefaultConfig()
	cfg.AuthJWT = []string{"issuer=a,jwks=https://a", "issuer=b,jwks=https://b"}
	text := strings.Join(cfg.Warnings(), "\n")
	if !strings.Contains(text, "may have the same name in chat, as they have no prefix:") {
		t.Errorf("no warning in %q", text)
	}
	cfg.AuthJWT[1] += ",prefix=b:"
	if text := strings.Join(cfg.Warnings(), "\n"); strings.Contains(text, "same name") {
		t.Errorf("a warning too many: %q", text)
	}
}
