//go:build linux

package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sluice/bench/benchtest"
)

// code runs the command and returns its exit code, what it says of its result, and all it says.
func code(t *testing.T, c *exec.Cmd) (exit int, out, all string) {
	t.Helper()
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if ended := new(exec.ExitError); errors.As(err, &ended) {
		exit = ended.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return exit, stdout.String(), stdout.String() + stderr.String()
}

func TestScenarios(t *testing.T) {
	url := benchtest.New(t, benchtest.Faults{}).URL("/echo")
	// This server has one room: whoever publishes needs one for himself.
	chat := func() string { return benchtest.New(t, benchtest.Faults{}).URL("/chat/u{i}?room={room}") }
	refusing := benchtest.New(t, benchtest.Faults{Status: 503}).URL("/echo")
	short := []string{"-c", "5", "-d", "300ms", "--warmup", "0"}
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"echo", append([]string{"echo", url}, short...), 0, "errors      none"},
		{"closed_loop", append([]string{"echo", url, "--inflight", "4"}, short...), 0, "closed loop"},
		{"message", append([]string{"echo", url, "-m", "hi {seq}", "--verify"}, short...), 0,
			"errors      none"},
		{"processes", append([]string{"echo", url, "--processes", "2"}, short...), 0,
			"connections 5 of 5"},
		{"fanout", append([]string{"fanout", chat(), "-r", "20"}, short...), 0, "0 lost"},
		{"slow", append([]string{"slow", chat(), "--share", "0.5"}, short...), 0, "2 slow receivers"},
		{"idle", append([]string{"idle", url}, short...), 0, "connections 5 of 5"},
		{"storm", []string{"storm", url, "-c", "5", "-d", "20s"}, 0, "back"},
		{"assertion_met", append([]string{"echo", url, "--assert", "p99<10s"}, short...), 0, "latency"},
		{"assertion_not_met", append([]string{"echo", url, "--assert", "p99<1us"}, short...),
			exitAssertion, "not met: p99<1us"},
		{"impossible_rate", append([]string{"echo", url, "-r", "50m/s", "--require-valid"}, short...),
			exitInvalid, "SUSPECT"},
		{"nonsense_assertion", append([]string{"echo", url, "--assert", "speed>9"}, short...),
			exitUsage, "no figure"},
		{"unknown_output", append([]string{"echo", url, "--out", "pdf=x"}, short...), exitUsage, "--out"},
		{"unknown_ui", append([]string{"echo", url, "--ui", "3d"}, short...), exitUsage, "--ui"},
		{"no_url", []string{"echo"}, exitUsage, "needs one URL"},
		{"http_url", append([]string{"echo", "http://127.0.0.1"}, short...), exitRun, "ws://"},
		{"no_receiver", []string{"fanout", chat(), "-c", "1"}, exitUsage, "no receiver"},
		{"refused", append([]string{"echo", refusing}, short...), exitRun, "503"},
		{"bad_deflate", append([]string{"echo", url, "--deflate=fast"}, short...), exitUsage, "fast"},
		{"missing_secret", append([]string{"echo", url, "--jwt-hs256", "@/none"}, short...), exitUsage,
			"--jwt-hs256"},
		{"search", []string{"search", url, "--scenario", "idle", "--over", "connections", "-d", "200ms",
			"--warmup", "0", "--from", "2", "--to", "4", "--assert", "errors==0"}, 0,
			"connections 4 is the largest"},
		{"search_nothing", []string{"search", url, "-c", "5", "-d", "200ms", "--warmup", "0",
			"--from", "50", "--to", "100", "--assert", "p99<1us"}, exitAssertion, "not even"},
		{"search_without_assertion", []string{"search", url}, exitUsage, "--assert"},
		{"no_profile", []string{"soak", "/none"}, exitUsage, "/none"},
		{"calibrate", []string{"calibrate", "-d", "100ms"}, 0, "pipelined"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, out, all := code(t, command(tt.args...))
			if got != tt.code || !strings.Contains(all, tt.says) {
				t.Errorf("exit code %d, want %d with %q:\n%s", got, tt.code, tt.says, all)
			}
			if n := strings.Count(out, "\n"); n > 25 {
				t.Errorf("%d lines:\n%s", n, out)
			}
			for line := range strings.Lines(out) {
				if len(line) > 81 {
					t.Errorf("wider than 80 columns: %q", line)
				}
			}
		})
	}
}

func TestResultsAreComparedAndMerged(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	url := benchtest.New(t, benchtest.Faults{}).URL("/echo?key=hush")
	if got, _, all := code(t, command("echo", url, "-c", "5", "-d", "300ms", "--warmup", "0",
		"--token", "hush", "--out", "json="+file("a.json")+",csv="+file("a.csv")+
			",hlog="+file("a.hlog")+",html="+file("a.html"))); got != 0 {
		t.Fatalf("exit code %d:\n%s", got, all)
	}
	for _, name := range []string{"a.json", "a.csv", "a.hlog", "a.html"} {
		text, err := os.ReadFile(file(name))
		if err != nil || len(text) == 0 || strings.Contains(string(text), "hush") {
			t.Errorf("%s: %v, %d bytes, with the secret: %v", name, err, len(text),
				strings.Contains(string(text), "hush"))
		}
	}
	a := file("a.json")
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"same", []string{"compare", a, a, "--fail-on", "p99>+5%"}, 0, "p99"},
		{"worse", []string{"compare", a, a, "--fail-on", "p99>-5%"}, exitAssertion, "FAILED: p99>-5%"},
		{"bad_condition", []string{"compare", a, a, "--fail-on", "p99"}, exitUsage, "p99"},
		{"not_there", []string{"compare", a, file("b.json")}, exitRun, "b.json"},
		{"merge", []string{"merge", a, a}, 0, "connections 10 of 10"},
		{"merge_assertion", []string{"merge", a, a, "--assert", "connections>10"}, exitAssertion,
			"FAILED"},
		{"merge_of_no_result", []string{"merge", file("a.csv")}, exitRun, "a.csv"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _, all := code(t, command(tt.args...)); got != tt.code ||
				!strings.Contains(all, tt.says) {
				t.Errorf("exit code %d, want %d with %q:\n%s", got, tt.code, tt.says, all)
			}
		})
	}
}

// An interrupted run reports what there was.
func TestInterrupt(t *testing.T) {
	c := command("echo", benchtest.New(t, benchtest.Faults{}).URL("/echo"), "-c", "2", "-d", "1h",
		"--warmup", "0")
	var out strings.Builder
	c.Stdout = &out
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "at=") {
	}
	c.Process.Signal(syscall.SIGINT)
	for lines.Scan() {
	}
	err = c.Wait()
	ended := new(exec.ExitError)
	if !errors.As(err, &ended) || ended.ExitCode() != exitInterrupted ||
		!strings.Contains(out.String(), "connections 2 of 2") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestSecretsStayOutOfTheCommandLine(t *testing.T) {
	got := publicCommand([]string{"sluice-bench", "echo", "ws://x/echo?key=hush", "--token", "hush",
		"--jwt-hs256=hush", "-H", "Cookie: hush", "-HCookie:hush", "-c", "5"})
	want := []string{"sluice-bench", "echo", "ws://x/echo", "--token", "...", "--jwt-hs256=...",
		"-H", "...", "-H", "-c", "5"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
