package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// secrets are files with a secret each, and tokens, by what they are.
type secrets struct {
	t   *testing.T
	dir string
	all map[string]string
}

// file makes a secret in a file and returns the path.
func (s *secrets) file(name string) string {
	s.t.Helper()
	secret := strings.Repeat("Secret-of-the-"+name+".", 3)
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.all[name] = secret[:20]
	return path
}

// token makes a JWT.
func (s *secrets) token(name, key string, more ...string) string {
	s.t.Helper()
	o := execute(nil, append([]string{"token", "gen", "--key", key, "--sub", "ann"}, more...)...)
	if o.code != exitOK {
		s.t.Fatalf("%+v", o)
	}
	token := strings.TrimSpace(o.stdout)
	s.all[name] = token[strings.LastIndexByte(token, '.')+1:][:16] // what makes it one
	return token
}

// wantNoneIn looks for all secrets in what the program has said.
func (s *secrets) wantNoneIn(where, text string) {
	s.t.Helper()
	for name, secret := range s.all {
		if strings.Contains(text, secret) {
			s.t.Errorf("%s tells the %s:\n%.4000s", where, name, text)
		}
	}
}

// TestI05_A10_no_secret_in_a_full_run goes through every way in, good and bad, and looks at all
// that the program says from its start to its end.
func TestI05_A10_no_secret_in_a_full_run(t *testing.T) {
	for flag, spec := range map[string]string{
		"--auth-introspection": "url=http://127.0.0.1:1/,client-id=me,client-secret=@",
		"--auth-hook":          "url=http://127.0.0.1:1/,secret=@",
	} {
		t.Run(flag, func(t *testing.T) { fullRun(t, flag, spec) })
	}
}

// fullRun is a run with a service, at which nobody is at home.
func fullRun(t *testing.T, flag, spec string) {
	s := &secrets{t: t, dir: t.TempDir(), all: map[string]string{}}
	jwt, admin := s.file("jwt-key"), s.file("admin-token")
	settings := []string{
		"--auth-jwt", "issuer=us,alg=HS256,key=@" + jwt,
		flag, spec + s.file("client-secret"),
		"--auth-sessions", "addr=127.0.0.1:1,username=me,timeout=50ms,password=@" + s.file("password"),
		"--auth-sources", "header query:token cookie:session subprotocol message",
		"--allowed-origins", "https://good.example",
		"--admin-token-file", admin, "--chat-hmac-key-file", s.file("hmac-key"),
		"--audit-log", filepath.Join(s.dir, "audit.log"),
	}
	for _, command := range []string{"config", "check"} {
		o := execute(nil, append([]string{command}, settings...)...)
		s.wantNoneIn("sluice "+command, o.stdout+o.stderr)
		if o.code != exitOK {
			t.Fatalf("sluice %s: %+v", command, o)
		}
	}
	good := s.token("good token", jwt, "--issuer", "us")
	tokens := []string{
		good, s.token("expired token", jwt, "--issuer", "us", "--for", "-1h"),
		s.token("token of nobody", jwt, "--issuer", "nobody"), "opaque-token-of-ann-0123456789",
	}
	s.all["opaque token"] = "opaque-token"

	log, err := os.CreateTemp(s.dir, "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := start(t, log, append(settings, "--admin", "127.0.0.1:0", "--log-level", "debug",
		"--drain-duration", "0")...)
	said := p.echo
	page := p.await(t, p.stdout, "demo ")
	address := strings.TrimSuffix(strings.Fields(strings.ReplaceAll(p.echo, "ws://", ""))[1], "/echo")
	statuses := map[string]int{}
	for _, token := range tokens {
		for _, way := range []struct{ query, header string }{
			{"", "Authorization: Bearer " + token + "\r\n"},
			{"?token=" + token, ""},
			{"", "Cookie: session=" + token + "\r\nOrigin: https://good.example\r\n"},
			{"", "Cookie: session=" + token + "\r\nOrigin: https://evil.example\r\n"},
			{"", "Sec-WebSocket-Protocol: bearer, " + token + "\r\n"},
			{"", "Authorization: Bearer " + token + "\r\nX: \x01\r\n"},
		} {
			answer := ask(t, address, "/chat/ann"+way.query, way.header)
			statuses[strings.Fields(answer)[1]]++
			if i := strings.Index(answer, "\x81"); i >= 0 { // the welcome of the chat brings its key
				answer = answer[:i]
			}
			said += answer
		}
	}
	for _, want := range []string{"101", "400", "401", "403", "503"} {
		if statuses[want] == 0 {
			t.Errorf("no answer was %s: %v", want, statuses)
		}
	}
	said += visit(t, strings.Fields(page)[1], good)
	p.signal(t, syscall.SIGHUP)
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "handshake_refused") {
		t.Errorf("the log has nothing of it: %s", text)
	}
	s.wantNoneIn("the log", string(text))
	if text, err = os.ReadFile(filepath.Join(s.dir, "audit.log")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"verdict":"accepted"`) ||
		!strings.Contains(string(text), `"verdict":"refused"`) {
		t.Errorf("the audit log has nothing of it: %s", text)
	}
	s.wantNoneIn("the audit log", string(text))
	s.wantNoneIn("an answer", said)
}

// ask sends a handshake and returns the beginning of the answer.
func ask(t *testing.T, address, target, header string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
		target, header)
	r := bufio.NewReader(c)
	if _, err := r.Peek(1); err != nil {
		t.Fatalf("no answer to %q: %v", header, err)
	}
	b := make([]byte, r.Buffered())
	io.ReadFull(r, b)
	return string(b)
}

// visit looks at every page of the admin listener, and revokes a user with a wrong token and the
// one of somebody else.
func visit(t *testing.T, base, token string) (said string) {
	t.Helper()
	do := func(method, path, body string) {
		r, err := http.NewRequest(method, strings.TrimSuffix(base, "/")+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		r.Close = true
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		said += string(b)
	}
	for _, path := range []string{"/metrics", "/readyz?verbose", "/livez", "/demo.json", "/",
		"/nothing?token=" + token} {
		do(http.MethodGet, path, "")
	}
	do(http.MethodPost, "/auth/revoke", `{"user":"ann"}`)
	do(http.MethodPost, "/auth/revoke", `{"user":1}`)
	return said
}
