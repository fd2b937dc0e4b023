package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sluice/cmd/sluice/internal/logsink"
	"sluice/cmd/sluice/internal/settings"
	"sluice/gateway"
)

// fake is a gateway that drains for some time.
type fake struct {
	config   gateway.Config
	reloads  int
	failed   int // configurations that could not be read
	reopened int // logs
	draining time.Duration
}

func (f *fake) Reload(cfg gateway.Config) error {
	f.reloads++
	var cold []string
	for _, c := range gateway.Changes(f.config, cfg) {
		if gateway.NeedsRestart(c.Field) {
			cold = append(cold, c.Field)
		}
	}
	if len(cold) > 0 {
		return &gateway.RestartError{Fields: cold}
	}
	f.config = cfg
	return nil
}

func (f *fake) ReloadFailed() { f.failed++ }
func (f *fake) ReopenLogs()   { f.reopened++ }

func (f *fake) Drain(ctx context.Context) error {
	select {
	case <-time.After(f.draining):
		return nil
	case <-ctx.Done():
		return &gateway.DrainError{Connections: 3}
	}
}

// served is a service on a fake, with a file to reload and the log to read.
type served struct {
	*service
	fake *fake
	file string
	log  *bytes.Buffer
}

func newServed(t *testing.T, content string) *served {
	t.Helper()
	s := &served{file: writeFile(t, content), log: new(bytes.Buffer)}
	src := settings.Sources{File: s.file}
	values, err := settings.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	s.fake = &fake{config: values.Config}
	level := new(slog.LevelVar)
	s.service = &service{
		gateway: s.fake, log: slog.New(logsink.NewHandler(s.log, level, true)), level: level,
		sources: src, config: values.Config,
	}
	return s
}

func (s *served) write(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(s.file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// logLine is what the tests look at of a line.
type logLine struct {
	Event, Key, Old, New string
	Keys, Problems       []string
}

// lines returns what was logged since the last time.
func (s *served) lines(t *testing.T) (all []logLine) {
	t.Helper()
	for text := range strings.Lines(s.log.String()) {
		var l logLine
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		all = append(all, l)
	}
	s.log.Reset()
	return all
}

func TestP07_reload(t *testing.T) {
	s := newServed(t, "message-rate: 10\nlisten: :1\n")
	before := s.fake.config

	s.write(t, "message-rate: 10\nlisten: :2\necho: false\nmax-fragments: 1\n")
	s.reload()
	l := s.lines(t)
	if len(l) != 1 || l[0].Event != "config_reload_refused" ||
		strings.Join(l[0].Keys, " ") != "listen echo" {
		t.Errorf("cold keys: %+v", l)
	}

	s.write(t, "mesage-rate: 10\nlisten: :1\nlog-level: loud\nmax-fragments: 1\n")
	s.reload()
	l = s.lines(t)
	if len(l) != 1 || l[0].Event != "config_reload_failed" || len(l[0].Problems) != 2 {
		t.Errorf("wrong file: %+v", l)
	}

	if err := os.Remove(s.file); err != nil {
		t.Fatal(err)
	}
	s.reload()
	if l = s.lines(t); len(l) != 1 || l[0].Event != "config_reload_failed" {
		t.Errorf("missing file: %+v", l)
	}
	if s.fake.failed != 2 {
		t.Errorf("%d configurations noted as unreadable, want 2", s.fake.failed)
	}
	if !reflect.DeepEqual(s.fake.config, before) || !reflect.DeepEqual(s.config, before) || s.level.Level() != slog.LevelInfo {
		t.Error("a reload that was refused has changed something")
	}

	s.write(t, "message-rate: 20\nlisten: :1\nlog-level: debug\n")
	s.reload()
	l = s.lines(t)
	if len(l) != 2 || l[0].Event != "config_reloaded" || l[0].Key != "message-rate" ||
		l[0].Old != "10/s" || l[0].New != "20/s" || l[1].Key != "log-level" {
		t.Errorf("good file: %+v", l)
	}
	if s.fake.config.MessageRate != 20 || s.level.Level() != slog.LevelDebug {
		t.Error("a good file has no effect")
	}

	// It counts as a reload all the same: the metrics must no longer show the failure before it.
	reloads := s.fake.reloads
	s.reload()
	if l = s.lines(t); len(l) != 1 || l[0].Event != "config_unchanged" || s.fake.reloads != reloads+1 {
		t.Errorf("same file: %+v", l)
	}
}

func TestP02_signals(t *testing.T) {
	const draining = 30 * time.Second
	for _, tt := range []struct {
		name   string
		second time.Duration // after the first; 0 for none
		took   time.Duration
		failed bool
	}{
		{"one_signal_drains", 0, draining, false},
		{"second_signal_stops_at_once", 5 * time.Second, 5 * time.Second, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServed(t, "")
				s.fake.draining = draining
				stop, reload := make(chan os.Signal, 2), make(chan os.Signal, 1)
				done := make(chan error, 1)
				go func() { done <- s.serve(stop, reload) }()
				start := time.Now()
				stop <- syscall.SIGTERM
				synctest.Wait()
				reload <- syscall.SIGHUP // has no effect any more
				if tt.second > 0 {
					time.AfterFunc(tt.second, func() { stop <- os.Interrupt })
				}
				err := <-done
				if took := time.Since(start); took != tt.took || (err != nil) != tt.failed {
					t.Errorf("it took %v and ended in %v", took, err)
				}
				var cut *gateway.DrainError
				if tt.failed && !errors.As(err, &cut) {
					t.Errorf("the error is %v", err)
				}
				if s.fake.reloads != 0 {
					t.Error("it was reloaded during the drain")
				}
			})
		})
	}
}

func TestP02_reloads_are_serialised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServed(t, "")
		stop, reload := make(chan os.Signal, 2), make(chan os.Signal, 1)
		done := make(chan error, 1)
		go func() { done <- s.serve(stop, reload) }()
		for i := range 3 {
			s.write(t, "message-burst: "+[]string{"5", "6", "7"}[i]+"\n")
			reload <- syscall.SIGHUP
			synctest.Wait()
		}
		stop <- syscall.SIGTERM
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if s.fake.config.MessageBurst != 7 || s.fake.reloads != 3 {
			t.Errorf("burst %d after %d reloads", s.fake.config.MessageBurst, s.fake.reloads)
		}
	})
}

func tcpAddr(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

func TestBanner(t *testing.T) {
	b := build{Version: "v1.2.3", Go: "go1.26", Platform: "linux/amd64"}
	for _, tt := range []struct {
		name string
		at   addresses
		echo gateway.EchoMode
		want string
	}{
		{"all", addresses{tcpAddr("127.0.0.1:8080"), tcpAddr("127.0.0.1:9090")}, gateway.EchoOn,
			`sluice v1.2.3 (go1.26, linux/amd64)
engine  epoll, 2 loops
chat    ws://127.0.0.1:8080/chat/{name}?room={room}
echo    ws://127.0.0.1:8080/echo
demo    http://127.0.0.1:9090/
Only this machine can connect. To let others in: --listen :8080
`},
		{"public", addresses{tcpAddr("[::]:80"), nil}, gateway.EchoAuto,
			`sluice v1.2.3 (go1.26, linux/amd64)
engine  epoll, 2 loops
chat    ws://localhost:80/chat/{name}?room={room}
`},
	} {
		if got := banner(b, "epoll", 2, tt.at, gateway.Config{Echo: tt.echo}); got != tt.want {
			t.Errorf("%s:\n%s", tt.name, got)
		}
	}
}

func TestOpenListenersAreWarnedOf(t *testing.T) {
	for _, tt := range []struct {
		at   addresses
		want string
	}{
		{addresses{tcpAddr("127.0.0.1:1"), tcpAddr("[::1]:2")}, ""},
		{addresses{tcpAddr("127.0.0.1:1"), nil}, ""},
		{addresses{tcpAddr("10.0.0.1:1"), tcpAddr("0.0.0.0:2")}, "admin"},
	} {
		var out bytes.Buffer
		warnOpen(slog.New(logsink.NewHandler(&out, slog.LevelInfo, true)), tt.at,
			gateway.DefaultConfig())
		s := &served{log: &out}
		var keys []string
		for _, l := range s.lines(t) {
			keys = append(keys, l.Key)
		}
		if got := strings.Join(keys, " "); got != tt.want {
			t.Errorf("%v: warned of %q, want %q", tt.at, got, tt.want)
		}
	}
}

func TestStartErrors(t *testing.T) {
	cfg := gateway.DefaultConfig()
	at := func(addr string, errno syscall.Errno) error {
		cause := os.NewSyscallError("bind", errno)
		return &net.OpError{Op: "listen", Net: "tcp", Addr: tcpAddr(addr), Err: cause}
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{at("127.0.0.1:8080", syscall.EADDRINUSE), "port 8080 (listen 127.0.0.1:8080) is in use"},
		{at("127.0.0.1:9090", syscall.EADDRINUSE), "port 9090 (admin 127.0.0.1:9090) is in use"},
		{at("127.0.0.1:8080", syscall.EACCES), "ports below 1024 need a privilege"},
		{at("127.0.0.1:8080", syscall.EADDRNOTAVAIL), "no interface of this host has that address"},
		{at("127.0.0.1:8080", syscall.ENOBUFS), "listen 127.0.0.1:8080 cannot be opened"},
		{errors.New("something else"), "the gateway cannot start: something else"},
	} {
		a := &app{root: t.TempDir()}
		if got := a.startError(cfg, tt.err).Error(); !strings.Contains(got, tt.want) {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}
