package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// askUnix sends a request over a unix socket.
func askUnix(t *testing.T, path, request string) (status int, body string) {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, request)
	return answer(t, c)
}

func revokeOver(host, token string) string {
	const body = `{"user":"ann"}`
	return fmt.Sprintf("POST /auth/revoke HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
		"Authorization: Bearer %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		host, token, len(body), body)
}

func TestUnixSocket(t *testing.T) {
	addr, path := socketIn(t)
	cfg := config()
	cfg.Addr = addr
	callers := make(chan string, 1)
	cfg.Revoke = func(r Revocation) (Revoked, error) {
		callers <- r.Caller
		return Revoked{}, nil
	}
	s := start(t, cfg)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if s.Addr().Network() != "unix" || s.Addr().String() != path {
		t.Errorf("bound to %v", s.Addr())
	}
	for host, want := range map[string]int{"localhost": 200, "127.0.0.1": 200, "evil.example": 421} {
		request := "GET /livez HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
		if status, body := askUnix(t, path, request); status != want {
			t.Errorf("%s gets %d %q", host, status, body)
		}
	}
	// Who may open the file is on this host: that is enough as long as there is no token.
	if status, body := askUnix(t, path, revokeOver("localhost", "")); status != 200 {
		t.Errorf("revoking gets %d %q", status, body)
	}
	want := "unix"
	if runtime.GOOS == "linux" {
		want = fmt.Sprintf("uid %d, pid %d", os.Getuid(), os.Getpid())
	}
	if caller := <-callers; caller != want {
		t.Errorf("%q asks, want %q", caller, want)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestUnixSocketWithToken(t *testing.T) {
	addr, path := socketIn(t)
	cfg := config()
	cfg.Addr, cfg.Token = addr, "0123456789abcdef"
	cfg.Revoke = func(r Revocation) (Revoked, error) {
		if !strings.HasSuffix(r.Caller, " with the admin token") {
			t.Errorf("caller %q", r.Caller)
		}
		return Revoked{}, nil
	}
	start(t, cfg)
	if status, _ := askUnix(t, path, revokeOver("localhost", "wrong")); status != 403 {
		t.Errorf("a wrong token gets %d", status)
	}
	if status, _ := askUnix(t, path, revokeOver("localhost", cfg.Token)); status != 200 {
		t.Errorf("the token gets %d", status)
	}
}

// TestStaleSocket: the file of a process that was killed makes way; what is in use, or is no
// socket, stays.
func TestStaleSocket(t *testing.T) {
	addr, path := socketIn(t)
	cfg := config()
	cfg.Addr = addr
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(cfg); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket in use: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	first := start(t, cfg)
	if _, err := Start(cfg); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second one starts: %v", err)
	}
	// A successor may have bound the path already.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	start(t, cfg)
	first.Close(context.Background())
	if status, _ := askUnix(t, path, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); status != 200 {
		t.Errorf("the successor answers %d", status)
	}

	for name, make := range map[string]func(path string) error{
		"file":    func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"dir":     func(path string) error { return os.Mkdir(path, 0o700) },
		"symlink": func(path string) error { return os.Symlink("/nowhere", path) },
	} {
		cfg.Addr, path = socketIn(t)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if s, err := Start(cfg); err == nil {
			s.Close(context.Background())
			t.Errorf("%s: it starts", name)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s was removed", name)
		}
	}
	cfg.Addr = UnixPrefix + "/no/such/directory/admin.sock"
	if _, err := Start(cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestCheckSocketPath(t *testing.T) {
	for path, ok := range map[string]bool{
		"/run/sluice.sock": true, "relative.sock": true, "": false, "@abstract": false,
		"/" + strings.Repeat("a", 200): false, "/a\x00b": false,
	} {
		if err := CheckSocketPath(path); (err == nil) != ok {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestDenials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.Token = "0123456789abcdef"
		var callers []string
		cfg.Denied = func(caller string) { callers = append(callers, caller) }
		cfg.Revoke = func(Revocation) (Revoked, error) { return Revoked{Closed: 1}, nil }
		h := newHandler(cfg, public)
		g := newGuard(h, cfg, public)
		revoke := func(from, token string) int {
			r := httptest.NewRequest("POST", revokePath, strings.NewReader(`{"user":"ann"}`))
			r.RemoteAddr = from
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			return w.Code
		}
		for range 100 { // the right token costs nothing
			if status := revoke("192.0.2.1", cfg.Token); status != 200 {
				t.Fatalf("the token gets %d", status)
			}
		}
		for i := range 20 {
			want := http.StatusForbidden
			if i >= denialBurst {
				want = http.StatusTooManyRequests
			}
			if status := revoke("192.0.2.1", "wrong"); status != want {
				t.Errorf("wrong token %d gets %d", i, status)
			}
		}
		if status := revoke("192.0.2.1", cfg.Token); status != http.StatusTooManyRequests {
			t.Errorf("past its guesses an address gets %d", status)
		}
		if status := revoke("192.0.2.2", cfg.Token); status != 200 {
			t.Errorf("another address gets %d", status)
		}
		if h.denied.Load() != denialBurst || h.limited.Load() != 11 ||
			len(callers) != denialBurst || callers[0] != "192.0.2.1" {
			t.Errorf("%d, %d, %q", h.denied.Load(), h.limited.Load(), callers)
		}
		time.Sleep(denialEvery)
		if status := revoke("192.0.2.1", cfg.Token); status != 200 {
			t.Errorf("later it gets %d", status)
		}
	})
}

// TestP09_complaints_are_bounded: what peers can make net/http say does not fill the log.
func TestP09_complaints_are_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		c := &complaints{log: slog.New(slog.NewJSONHandler(&out, nil))}
		for range 1000 {
			fmt.Fprint(c, "http: TLS handshake error from 192.0.2.1:1: EOF\n")
			time.Sleep(time.Millisecond)
		}
		if n := strings.Count(out.String(), `"event":"admin_request_failed"`); n < 10 || n > 21 {
			t.Errorf("%d lines in a second", n)
		}
		time.Sleep(time.Minute)
		out.Reset()
		fmt.Fprint(c, "http: panic serving 192.0.2.1:1: broken\ngoroutine 7\nmain\n")
		if text := out.String(); !strings.Contains(text, `"stack":"goroutine 7\nmain"`) ||
			!strings.Contains(text, `"skipped":`) || strings.Count(text, "\n") != 1 {
			t.Errorf("%s", text)
		}
	})
}

func TestDenialsAreForgotten(t *testing.T) {
	d := newDenials()
	now := time.Now()
	for i := range 3 * denialPeersMax {
		d.try(fmt.Sprint(i), now)
	}
	if len(d.peers) > denialPeersMax+1 {
		t.Errorf("%d peers are remembered", len(d.peers))
	}
	for range denialBurst {
		d.try("0", now)
	}
	if d.try("0", now.Add(denialEvery/2)) || !d.try("0", now.Add(2*denialEvery)) {
		t.Error("not one guess each time that passes")
	}
	d.try("new", now.Add(time.Hour))
	if len(d.peers) != 1 {
		t.Errorf("%d peers are remembered after an hour", len(d.peers))
	}
}
