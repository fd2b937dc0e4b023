package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/gateway/wire"
)

// audited are the lines of an audit log in a file.
func audited(t *testing.T, path string) (list []entry) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l := new(logged)
	l.Write(b)
	for _, event := range []string{"login", "renewal", "end", "revocation"} {
		list = append(list, l.entries(t, event)...)
	}
	if n := strings.Count(string(b), "\n"); n != len(list) {
		t.Errorf("%d lines, %d events", n, len(list))
	}
	return list
}

// signKid is sign with a key id.
func signKid(t *testing.T, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	token.Header["kid"] = kid
	signed, err := token.SignedString([]byte(signingKey))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestAuditEvents goes through every way in and out, and compares what was recorded.
func TestAuditEvents(t *testing.T) {
	var path string
	onEachGuarded(t, func(cfg *Config) {
		path = filepath.Join(t.TempDir(), "audit.log")
		cfg.AuditLog, cfg.ConnectionsPerUserMax, cfg.AuthGrace = path, 2, 0
		cfg.AuthTimeout = 100 * time.Millisecond
		cfg.LogLevel = slog.LevelError
	}, func(t *testing.T, g *Gateway) {
		hour, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
		claims := func(sub, jti string, exp time.Time) jwt.MapClaims {
			return jwt.MapClaims{"iss": "us", "sub": sub, "jti": jti, "exp": exp.Unix(),
				"iat": past.Unix()}
		}
		ann := signKid(t, "k1", claims("ann", "a-1", hour))
		p, _ := dialWebSocket(t, g, "/chat/ann", bearer(ann))
		again := signKid(t, "k2", claims("ann", "a-2", hour))
		p.send(wire.OpText, `{"token":"`+again+`"}`)
		other, _ := dialWebSocket(t, g, "/echo")
		other.send(wire.OpText, `{"token":"`+ann+`"}`)
		other.send(wire.OpText, "x")
		other.wantMessage("x")
		refusedWith(t, g, "/echo", bearer(ann)) // the third
		expired := signKid(t, "k1", claims("bob", "b-1", past))
		refusedWith(t, g, "/chat/bob?token="+expired)
		refusedWith(t, g, "/chat/eve", bearer(ann)) // somebody else's path
		refusedWith(t, g, "/echo", bearer("s3cr3t-and-opaque"))
		refusedWith(t, g, "/echo", "Cookie: session="+ann) // no origin
		silent, _ := dialWebSocket(t, g, "/echo")
		silent.wantClose(3000)
		other.send(wire.OpText, "y")
		other.wantMessage("y")
		settled(t, "renewed", func() bool { return len(audited(t, path)) >= 9 })
		done, err := g.Revoke(Revocation{User: "ann", Until: hour, Caller: "the test"})
		if done.Closed != 2 || err != nil {
			t.Errorf("%+v, %v", done, err)
		}
		p.wantClose(3000)
		other.wantClose(3000)
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, e := range audited(t, path) {
			at, err := time.Parse(time.RFC3339, e["time"].(string))
			if err != nil || time.Since(at) > time.Minute {
				t.Errorf("time %v, %v", e["time"], err)
			}
			if e["event"] != "revocation" && (e["connection"] == nil ||
				!strings.HasPrefix(e["remote"].(string), "127.0.0.1:")) {
				t.Errorf("whose is %v", e)
			}
			if e["event"] == "login" && e["verdict"] == "accepted" &&
				e["until"] != hour.UTC().Truncate(time.Second).Format(time.RFC3339) {
				t.Errorf("until %v", e["until"])
			}
			line := ""
			for _, name := range []string{"event", "verdict", "reason", "issuer", "subject",
				"token_id", "key_id", "unverified", "source", "caller", "closed"} {
				if v, ok := e[name]; ok {
					line += fmt.Sprint(v, " ")
				}
			}
			got[line]++
		}
		for _, want := range []string{
			"login accepted jwt:us ann a-1 k1 header ",
			"renewal accepted jwt:us ann a-2 k2 message ",
			"login accepted jwt:us ann a-1 k1 message ",
			"login refused user_connections jwt:us ann a-1 k1 header ",
			"login refused expired us bob b-1 k1 true query ",
			"login refused forbidden jwt:us ann a-1 k1 header ",
			"login refused malformed header ",
			"login refused origin cookie ",
			"login refused auth_timeout message ",
			"revocation accepted * ann the test 2 ",
			"end token_revoked jwt:us ann a-2 k2 header ",
			"end token_revoked jwt:us ann a-1 k1 message ",
		} {
			if got[want] != 1 {
				t.Errorf("%q is recorded %d times", want, got[want])
			}
			delete(got, want)
		}
		for line := range got {
			t.Errorf("nobody expects %q", line)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{ann[len(ann)-20:], again[len(again)-20:],
			expired[len(expired)-20:], "s3cr3t", "/chat", "?"} {
			if strings.Contains(string(b), secret) {
				t.Errorf("A10: the audit log tells %s", secret)
			}
		}
	})
}

// stuck is a sink that takes nothing until it is let go.
type stuck struct {
	logged
	free chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.free
	return s.logged.Write(p)
}

// TestP08_audit_log_is_full: no login is accepted that it could not record, open connections go on, and
// nothing is lost.
func TestP08_audit_log_is_full(t *testing.T) {
	leavesNothing(t)
	sink := &stuck{free: make(chan struct{})}
	cfg := quick()
	guarded(t, &cfg)
	cfg.Admin, cfg.AuditLog, cfg.BadHandshakeRate = "127.0.0.1:0", "stderr", 0
	cfg.ConnectionsPerUserMax = 0
	log := new(logged)
	g, err := New(cfg, Options{Stderr: sink, Logger: slog.New(slog.NewJSONHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	ann := bearer(sign(t, jwt.MapClaims{"sub": "ann"}))
	inside, _ := dialWebSocket(t, g, "/echo", ann)
	waiting, _ := dialWebSocket(t, g, "/echo")
	for !g.audit.Full() {
		g.auditRevocation(Revocation{User: "filler"}, Revoked{}, nil)
	}
	before := g.audit.Stats().Waiting
	for range 3 {
		if resp := refusedWith(t, g, "/echo", ann); resp.StatusCode != 503 ||
			resp.Header.Get("Retry-After") == "" {
			t.Errorf("while it is full a login gets %d", resp.StatusCode)
		}
	}
	waiting.send(wire.OpText, `{"token":"`+sign(t, jwt.MapClaims{"sub": "ann"})+`"}`)
	waiting.wantClose(1013)
	inside.send(wire.OpText, "x")
	inside.wantMessage("x")
	if code, text := ask(t, g, "/readyz"); code != http.StatusServiceUnavailable ||
		!strings.Contains(text, "[-] audit: ") {
		t.Errorf("/readyz says %d %q", code, text)
	}
	if _, text := ask(t, g, "/metrics"); !strings.Contains(text,
		fmt.Sprintf("sluice_audit_events_pending %d\n", before)) ||
		!strings.Contains(text, `sluice_auth_verdicts_total{verdict="audit"} 4`) {
		t.Errorf("the metrics do not tell: %s", text)
	}
	if n := len(log.entries(t, "audit_full")); n != 4 {
		t.Errorf("the log tells %d times", n)
	}
	close(sink.free)
	settled(t, "written", func() bool { return g.audit.Stats().Waiting == 0 })
	dialWebSocket(t, g, "/echo", ann)
	if code, text := ask(t, g, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz says %d %q", code, text)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if n := len(sink.entries(t, "revocation")); n != before-1 {
		t.Errorf("%d fillers of %d", n, before-1)
	}
	if n := len(sink.entries(t, "login")); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

// TestP08_audit_log_cannot_be_opened: a gateway that could not record does not start, and check
// says so.
func TestP08_audit_log_cannot_be_opened(t *testing.T) {
	cfg := quick()
	guarded(t, &cfg)
	cfg.AuditLog = filepath.Join(t.TempDir(), "no", "such", "file")
	if g, err := New(cfg, Options{}); err == nil {
		g.Close()
		t.Error("it starts")
	}
	if _, err := Examine(cfg); err == nil {
		t.Error("check finds nothing")
	}
	cfg.AuditLog = filepath.Join(t.TempDir(), "file")
	if _, err := Examine(cfg); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(cfg.AuditLog); err == nil {
		t.Error("check makes the file")
	}
}
