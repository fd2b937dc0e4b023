package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	gen := func(more ...string) string {
		t.Helper()
		o := execute(nil, append([]string{"token", "gen", "--key", key, "--sub", "ann"}, more...)...)
		if o.code != exitOK || strings.Count(o.stdout, ".") != 2 {
			t.Fatalf("%+v", o)
		}
		return strings.TrimSpace(o.stdout)
	}
	settings := []string{"--auth-jwt", "issuer=us,audience=chat,alg=HS256,rooms=rooms,key=@" + key}
	good := gen("--issuer", "us", "--audience", "chat", "--rooms", "lobby,dev")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(good+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		name, token string
		settings    []string
		code        int
		want        string
	}{
		{"good", good, settings, exitOK, `accepted as "ann"`},
		{"rooms", good, settings, exitOK, "rooms     lobby, dev"},
		{"file", "@" + file, settings, exitOK, `accepted as "ann"`},
		{"expired", gen("--issuer", "us", "--audience", "chat", "--for", "-1h"), settings, exitRun,
			"it has expired (expired)"},
		{"audience", gen("--issuer", "us", "--audience", "other"), settings, exitRun, "(audience)"},
		{"issuer", gen("--audience", "chat"), settings, exitRun, "nobody who is trusted"},
		{"garbage", "garbage", settings, exitRun, "not a JSON Web Token"},
		{"no_authentication", good, nil, exitRun, "no authentication"},
		{"no_key", good, []string{"--auth-jwt", "alg=HS256,key=@/no/such"}, exitRun, "no such file"},
		{"no_such_file", "@/no/such", settings, exitUsage, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			o := execute(nil, append([]string{"token", "check", r.token}, r.settings...)...)
			if o.code != r.code || !strings.Contains(o.stdout, r.want) {
				t.Errorf("%+v, want exit code %d and %q", o, r.code, r.want)
			}
			if _, columns := screen(o.stdout); columns > 80 {
				t.Errorf("%d columns:\n%s", columns, o.stdout)
			}
			if signature := good[strings.LastIndexByte(good, '.'):]; strings.Contains(o.stdout, signature) {
				t.Error("the signature is shown: the output could be used as a token")
			}
		})
	}
	for _, args := range [][]string{
		{"token"}, {"token", "gen"}, {"token", "gen", "--sub", "ann"}, {"token", "check"},
		{"token", "gen", "--sub", "ann", "--key", "/no/such"},
	} {
		if o := execute(nil, args...); o.code != exitUsage && o.code != exitRun || o.stderr == "" {
			t.Errorf("%v: %+v", args, o)
		}
	}
}

func TestCheckOpensWhatAStartWouldNeed(t *testing.T) {
	for _, r := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--tls-cert", "/no/cert", "--tls-key", "/no/key"}, exitUsage, "/no/cert"},
		{[]string{"--auth-jwt", "alg=HS256,key=@/no/key"}, exitUsage, "/no/key"},
		{[]string{"--chat-hmac-key-file", "/no/key"}, exitUsage, "/no/key"},
		{[]string{"--tls-self-signed"}, exitOK, "warning: nobody trusts the self-signed"},
		{[]string{"--listen", ":8080"}, exitOK, "warning: anyone who can reach"},
	} {
		o := execute(nil, append([]string{"check"}, r.args...)...)
		if o.code != r.code || !strings.Contains(o.stderr, r.want) {
			t.Errorf("%v: %+v, want %q", r.args, o, r.want)
		}
	}
}
