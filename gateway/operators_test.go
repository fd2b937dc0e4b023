package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAdminTokenFile(t *testing.T) {
	for name, tt := range map[string]struct {
		content string
		ok      bool
	}{
		"15_bytes":           {"0123456789abcde\n", false},
		"16_bytes":           {"0123456789abcdef\n", true},
		"line_end_no_byte":   {"0123456789abcde\r\n", false},
		"two_line_ends":      {"0123456789abcdef\n\n", false},
		"space":              {"0123456789 abcdef", false},
		"binary":             {"0123456789abcdef\x00", false},
		"not_ascii":          {"0123456789abcdefé", false},
		"empty":              {"\n", false},
		"long":               {strings.Repeat("x", 4096), true},
		"longer_than_a_file": {strings.Repeat("x", 2<<20), false},
	} {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := quick()
		cfg.Admin, cfg.AdminTokenFile = "127.0.0.1:0", path
		if _, err := Examine(cfg); (err == nil) != tt.ok {
			t.Errorf("%s: check says %v", name, err)
		} else if err != nil && strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%s: the error tells the token: %v", name, err)
		}
		g, err := New(cfg, Options{Logger: slog.New(slog.DiscardHandler)})
		if (err == nil) != tt.ok {
			t.Errorf("%s: starting says %v", name, err)
		}
		if g != nil {
			g.Close()
		}
	}
	cfg := quick()
	cfg.Admin, cfg.AdminTokenFile = "127.0.0.1:0", "/no/such/file"
	if _, err := Examine(cfg); err == nil {
		t.Error("check does not open the file")
	}
}

// adminClient asks an admin listener over one connection per request.
func adminClient(t *testing.T, dial func() (net.Conn, error), ca *certAuthority) *http.Client {
	tr := &http.Transport{DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return dial() }}
	if ca != nil {
		tr.TLSClientConfig = ca.client()
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func body(t *testing.T, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(b))
}

// TestAdminTLS: the listener speaks https only, and follows the files of its certificate.
func TestAdminTLS(t *testing.T) {
	ca := newCertAuthority(t)
	cert, key := ca.issue("server", func(c *x509.Certificate) {
		c.DNSNames = []string{"localhost"}
	})
	log := new(logged)
	cfg := quick()
	cfg.Admin, cfg.AdminTLSCert, cfg.AdminTLSKey = "127.0.0.1:0", cert, key
	g := serveLogged(t, cfg, log)
	dial := func() (net.Conn, error) { return net.Dial("tcp", g.AdminAddr().String()) }
	client := adminClient(t, dial, ca)
	resp, err := client.Get("https://localhost/livez")
	if got := body(t, resp, err); got != "200 ok\n" {
		t.Errorf("over TLS: %q", got)
	}
	resp, err = adminClient(t, dial, nil).Get("http://localhost/livez")
	if got := body(t, resp, err); !strings.HasPrefix(got, "400 ") {
		t.Errorf("without TLS: %q", got)
	}
	if conf := g.adminTLS.config; conf.MinVersion != tls.VersionTLS12 {
		t.Errorf("version %x", conf.MinVersion)
	}
	serial := func() string {
		resp, err := client.Get("https://localhost/livez")
		body(t, resp, err)
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	if err := os.WriteFile(key, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(cfg); err != nil {
		t.Error(err)
	}
	if now := serial(); now != before || len(log.entries(t, "certificates_failed")) != 1 {
		t.Error("a broken key takes the certificate away, or is not told of")
	}
	newCert, newKey := ca.issue("again", func(c *x509.Certificate) {
		c.DNSNames = []string{"localhost"}
	})
	for from, to := range map[string]string{newCert: cert, newKey: key} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Reload(cfg); err != nil {
		t.Error(err)
	}
	if serial() == before {
		t.Error("the new certificate is not in use")
	}
	stats := g.snapshot()
	if stats.TLS.Reloaded != 1 || stats.TLS.Failed != 1 {
		t.Errorf("%+v", stats.TLS)
	}
}

func TestAdminUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	audit := filepath.Join(t.TempDir(), "audit.log")
	cfg := quick()
	guarded(t, &cfg)
	cfg.Admin, cfg.AuditLog = "unix:"+path, audit
	g := serve(t, cfg)
	client := adminClient(t, func() (net.Conn, error) { return net.Dial("unix", path) }, nil)
	resp, err := client.Get("http://localhost/readyz")
	if got := body(t, resp, err); got != "200 ok\n" {
		t.Errorf("%q", got)
	}
	resp, err = client.Post("http://localhost/auth/revoke", "application/json",
		strings.NewReader(`{"user":"ann"}`))
	if got := body(t, resp, err); !strings.HasPrefix(got, "200 ") {
		t.Errorf("%q", got)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is still there")
	}
	entries := audited(t, audit)
	if len(entries) != 1 || !strings.Contains(entries[0]["caller"].(string),
		fmt.Sprintf("uid %d", os.Getuid())) {
		t.Errorf("%v", entries)
	}
}

// TestAdminDenied: a wrong token is counted, logged and recorded; the token itself is not.
func TestAdminDenied(t *testing.T) {
	log := new(logged)
	cfg := quick()
	guarded(t, &cfg)
	cfg.Admin, cfg.AuditLog = "127.0.0.1:0", filepath.Join(t.TempDir(), "audit.log")
	cfg.AdminTokenFile = strings.TrimPrefix(secretFile(t, "0123456789abcdef"), "@")
	g := serveLogged(t, cfg, log)
	url := "http://" + g.AdminAddr().String() + "/auth/revoke"
	client := adminClient(t, func() (net.Conn, error) {
		return net.Dial("tcp", g.AdminAddr().String())
	}, nil)
	for _, token := range []string{"", "guess-0123456789", "0123456789abcdefg"} {
		r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(`{"user":"ann"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(r)
		if got := body(t, resp, err); !strings.HasPrefix(got, "403 ") {
			t.Errorf("%q gets %s", token, got)
		}
	}
	if n := len(log.entries(t, "admin_denied")); n != 3 {
		t.Errorf("%d lines in the log", n)
	}
	if _, text := ask(t, g, "/metrics"); !strings.Contains(text,
		`sluice_admin_denied_total{reason="token"} 3`) {
		t.Error("the metrics do not tell")
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	entries := audited(t, cfg.AuditLog)
	text := fmt.Sprint(entries, log.lines())
	if len(entries) != 3 || strings.Contains(text, "guess") || strings.Contains(text, "0123456789") {
		t.Errorf("%s", text)
	}
}

func TestFileWarnings(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := strings.Repeat("s", 32)
	public := "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"
	for name, tt := range map[string]struct {
		change func(c *Config, path string)
		text   string
		key    string
	}{
		"admin_token": {func(c *Config, p string) { c.AdminTokenFile = p }, secret, "admin-token-file"},
		"admin_key":   {func(c *Config, p string) { c.AdminTLSKey = p }, secret, "admin-tls-key"},
		"tls_key":     {func(c *Config, p string) { c.TLSKeys = []string{p} }, secret, "tls-key"},
		"hmac":        {func(c *Config, p string) { c.ChatHMACKeyFile = p }, secret, "chat-hmac-key-file"},
		"audit":       {func(c *Config, p string) { c.AuditLog = p }, "", "audit-log"},
		"jwt": {func(c *Config, p string) { c.AuthJWT = []string{"alg=HS256,key=@" + p} },
			secret, "auth-jwt"},
		"jwk": {func(c *Config, p string) { c.AuthJWT = []string{"key=@" + p} },
			`{"kty":"oct","k":"c2VjcmV0"}`, "auth-jwt"},
		"jwt_public": {func(c *Config, p string) { c.AuthJWT = []string{"key=@" + p} }, public, ""},
		"introspection": {func(c *Config, p string) {
			c.AuthIntrospection = []string{"url=https://h/,client-secret=@" + p}
		}, secret, "auth-introspection"},
		"hook": {func(c *Config, p string) { c.AuthHook = []string{"url=https://h/,secret=@" + p} },
			secret, "auth-hook"},
		"sessions": {func(c *Config, p string) { c.AuthSessions = []string{"password=@" + p} },
			secret, "auth-sessions"},
		"cert": {func(c *Config, p string) { c.TLSCerts = []string{p} }, public, ""},
	} {
		for mode, warns := range map[os.FileMode]bool{
			0o600: false, 0o400: false, 0o640: false, 0o440: false,
			0o644: true, 0o604: true, 0o602: true, 0o660: true, 0o666: true,
		} {
			cfg := quick()
			path := file(fmt.Sprintf("%s-%o", name, mode), tt.text, mode)
			tt.change(&cfg, path)
			list := cfg.FileWarnings()
			if want := warns && tt.key != ""; (len(list) == 1) != want || len(list) > 1 {
				t.Errorf("%s %o: %q", name, mode, list)
			}
			if len(list) == 1 && (!strings.HasPrefix(list[0], tt.key+": ") ||
				!strings.Contains(list[0], path)) {
				t.Errorf("%s %o: %q", name, mode, list)
			}
		}
	}
	cfg := quick()
	cfg.AuditLog, cfg.AdminTokenFile = "stderr", "/no/such/file"
	if list := cfg.FileWarnings(); len(list) != 0 {
		t.Errorf("%q", list)
	}
}

func TestValidateAdmin(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		field  string // empty if it is valid
	}{
		"unix":           {func(c *Config) { c.Admin = "unix:/run/sluice.sock" }, ""},
		"unix_no_path":   {func(c *Config) { c.Admin = "unix:" }, "Admin"},
		"unix_abstract":  {func(c *Config) { c.Admin = "unix:@sluice" }, "Admin"},
		"cert_only":      {func(c *Config) { c.AdminTLSCert = "c" }, "AdminTLSKey"},
		"key_only":       {func(c *Config) { c.AdminTLSKey = "k" }, "AdminTLSKey"},
		"cert_and_key":   {func(c *Config) { c.AdminTLSCert, c.AdminTLSKey = "c", "k" }, ""},
		"cert_and_unix":  {func(c *Config) { c.Admin, c.AdminTLSCert, c.AdminTLSKey = "unix:/s", "c", "k" }, "AdminTLSCert"},
		"cert_and_none":  {func(c *Config) { c.Admin, c.AdminTLSCert, c.AdminTLSKey = "", "c", "k" }, "AdminTLSCert"},
		"ca_not_asked":   {func(c *Config) { c.TLSSelfSigned, c.TLSClientCA = true, "ca" }, "TLSClientAuth"},
		"ca_without_tls": {func(c *Config) { c.TLSClientCA = "ca" }, "TLSClientAuth"},
		"ca_asked": {func(c *Config) {
			c.TLSSelfSigned, c.TLSClientCA, c.TLSClientAuth = true, "ca", "require"
		}, ""},
	} {
		cfg := DefaultConfig()
		tt.change(&cfg)
		err := cfg.Validate()
		if tt.field == "" && err != nil || tt.field != "" &&
			(err == nil || !strings.HasPrefix(err.Error(), tt.field+": ")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
