//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// childMark makes the test binary the command.
const childMark = "SLUICE_BENCH_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childMark) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func command(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), childMark+"=1")
	return c
}

func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"help", []string{"--help"}, 0, "figures"},
		{"unknown_flag", []string{"figures", "--fast"}, exitUsage, "--fast"},
		{"no_rounds", []string{"figures", "--rounds", "0"}, exitUsage, "at least 1 round"},
		{"no_time", []string{"figures", "--duration", "1ms"}, exitUsage, "100ms"},
		{"unknown_figure", []string{"figures", "--only", "ekko"}, exitUsage, `"ekko"`},
		{"no_loops", []string{"floor", "--loops", "0"}, exitUsage, "at least one loop"},
		{"nowhere", []string{"floor", "--listen", "nowhere"}, exitRun, "nowhere"},
		{"no_gateway", []string{"figures", "--only", "deflate512", "--gateway", "/nonexistent"},
			exitRun, "/nonexistent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := command(tt.args...).CombinedOutput()
			code := 0
			if exit := new(exec.ExitError); errors.As(err, &exit) {
				code = exit.ExitCode()
			}
			if code != tt.code || !strings.Contains(string(out), tt.says) {
				t.Errorf("exit code %d (%v), want %d with %q:\n%s", code, err, tt.code, tt.says, out)
			}
		})
	}
}

// A shell and the figures end a floor with these.
func TestFloorEndsOnSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			c := command("floor", "--listen", "127.0.0.1:0", "--loops", "2")
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(line, "ws://")
			conn, err := net.Dial("tcp", strings.TrimSuffix(rest, "/echo\n"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c.Process.Signal(sig)
			if err := c.Wait(); err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// The whole way, with the floor in the gateway's place.
func TestFiguresWritesItsReport(t *testing.T) {
	dir := t.TempDir()
	gateway, out := filepath.Join(dir, "gateway"), filepath.Join(dir, "results", "figures.json")
	script := "#!/bin/sh\nexec " + os.Args[0] + " floor --listen 127.0.0.1:0\n"
	if err := os.WriteFile(gateway, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	table, err := command("figures", "--gateway", gateway, "--only", "echo", "--rounds", "1",
		"--duration", "100ms", "--out", out).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, figures, _ := strings.Cut(string(table), "\n\n") // without the name of this machine
	if !strings.Contains(figures, "netpoll") {
		t.Errorf("no table:\n%s", table)
	}
	for line := range strings.Lines(figures) {
		if len(strings.TrimSuffix(line, "\n")) > 80 {
			t.Errorf("wider than 80 columns: %q", line)
		}
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var r figuresFile
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	m := r.Machine
	if r.At.IsZero() || m.Cores == 0 || m.Kernel == "" || m.Go == "" || len(r.Command) == 0 {
		t.Errorf("it does not say where it comes from: %+v", r)
	}
	for _, server := range []string{"floor", "epoll", "netpoll"} {
		samples := r.Result.Samples[server]["echo"]
		if len(samples) != 1 || samples[0].Value <= 0 {
			t.Errorf("%s: %+v", server, samples)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, r := range []struct{ path, dir, want string }{
		{"/src/bin/bench", "/src", "./bin/bench"},
		{"/src/bench", "/src", "./bench"},
		{"/usr/bin/bench", "/src", "/usr/bin/bench"},
	} {
		if got := shorten(r.path, r.dir); got != r.want {
			t.Errorf("%s in %s is %s, want %s", r.path, r.dir, got, r.want)
		}
	}
}
