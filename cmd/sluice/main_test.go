package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"sluice/cmd/sluice/internal/settings"
)

// childMark makes the test binary behave like sluice, for tests with real signals.
const childMark = "GO_TEST_RUN_SLUICE"

// buildDir is where the tests put binaries.
var buildDir string

// Two goroutines of ants run from the start of a process to its end.
func TestMain(m *testing.M) {
	if os.Getenv(childMark) != "" {
		main()
	}
	// The runtime starts a goroutine of its own with the first call of this kind. Were that within
	// a bubble of synctest, it would be taken for one of the test.
	signal.Reset(syscall.SIGTERM)
	var err error
	if buildDir, err = os.MkdirTemp("", "sluice"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), goleak.Cleanup(func(code int) {
		os.RemoveAll(buildDir)
		os.Exit(code)
	}))
}

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares a text with a file that somebody has looked at.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has changed; look at it and run the test with -update:\n%s", path, got)
	}
}

// outcome is what a command line leads to.
type outcome struct {
	code           int
	stdout, stderr string
}

func execute(env []string, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr, environ: env, root: "/"}
	code := a.execute(args)
	return outcome{code, stdout.String(), stderr.String()}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// screen counts the lines of a text and the columns of the widest.
func screen(text string) (lines, columns int) {
	for line := range strings.Lines(text) {
		lines++
		columns = max(columns, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")))
	}
	return lines, columns
}

func TestHelpFitsOneScreen(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}} {
		o := execute(nil, args...)
		lines, columns := screen(o.stdout)
		if o.code != exitOK || lines > 40 || columns > 80 {
			t.Errorf("%v: exit code %d, %d lines of %d columns", args, o.code, lines, columns)
		}
		golden(t, "help.golden", o.stdout)
	}
}

func TestHelpFlagsListsEverySetting(t *testing.T) {
	for _, args := range [][]string{{"help", "flags"}, {"--help-all"}} {
		o := execute(nil, args...)
		if _, columns := screen(o.stdout); o.code != exitOK || columns > 80 {
			t.Errorf("%v: exit code %d, %d columns", args, o.code, columns)
		}
		for _, s := range settings.Table() {
			if !strings.Contains(o.stdout, " --"+s.Key+" ") {
				t.Errorf("%v does not list --%s", args, s.Key)
			}
		}
		golden(t, "flags.golden", o.stdout)
	}
}

func TestHelpOfCommands(t *testing.T) {
	for _, c := range []string{"run", "check", "config", "doctor", "health", "version", "help"} {
		o, same := execute(nil, c, "--help"), execute(nil, "help", c)
		right := strings.Contains(o.stdout, "Usage: sluice "+c) && o.stdout == same.stdout
		if o.code != exitOK || !right {
			t.Errorf("%s: exit code %d, %q and %q", c, o.code, o.stdout, same.stdout)
		}
		if lines, columns := screen(o.stdout); lines > 40 || columns > 80 {
			t.Errorf("%s: %d lines of %d columns", c, lines, columns)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	typo := writeFile(t, "listen: :1\nmax-mesage-size: 1KiB\n")
	for _, tt := range []struct {
		name string
		env  []string
		args []string
		say  string
	}{
		{"command_typo", nil, []string{"chekc"},
			"there is no command \"chekc\"; did you mean `sluice check`?"},
		{"command_unknown", nil, []string{"teapot"}, "`sluice help` lists them all"},
		{"help_typo", nil, []string{"help", "doktor"}, "did you mean `sluice doctor`?"},
		{"flag_typo", nil, []string{"--lisen", ":1"},
			"there is no flag --lisen; did you mean --listen?"},
		{"flag_typo_of_command", nil, []string{"config", "--yml"}, "did you mean --yaml?"},
		{"flag_one_dash", nil, []string{"-listen", ":1"},
			"there is no flag -listen; did you mean --listen?"},
		{"flag_unknown", nil, []string{"--teapot"}, "`sluice help flags` lists them all"},
		{"flag_without_value", nil, []string{"--listen"},
			"the flag --listen needs a value: --listen addr"},
		{"switch_with_space", nil, []string{"--echo", "false"},
			"write the value of a switch behind =, like --echo=false"},
		{"argument", nil, []string{"check", "config.yaml"}, "takes no arguments"},
		{"file_typo", nil, []string{"check", "--config", typo},
			"max-mesage-size (" + typo + ":2): there is no such setting; did you mean max-message-size?"},
		{"file_typo_at_start", nil, []string{"--config", typo}, ":2): there is no such setting"},
		{"file_missing", nil, []string{"check", "--config", "/none.yaml"},
			"open /none.yaml: no such file"},
		{"env_typo", []string{"SLUICE_LOPS=1"}, []string{"check"},
			"SLUICE_LOPS: there is no such setting; did you mean SLUICE_LOOPS?"},
		{"several", []string{"SLUICE_LOOPS=x"}, []string{"check", "--workers", "y"},
			"2 things are wrong"},
		{"config_of_nonsense", nil, []string{"config", "--engine", "x"}, "engine (--engine)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := execute(tt.env, tt.args...)
			if o.code != exitUsage || !strings.Contains(o.stderr, tt.say) || o.stdout != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q", o.code, o.stdout, o.stderr)
			}
			if !strings.HasPrefix(o.stderr, "sluice: ") || !strings.HasSuffix(o.stderr, "\n") {
				t.Errorf("stderr is %q", o.stderr)
			}
		})
	}
}

func TestCheckOfWhatIsValid(t *testing.T) {
	file := writeFile(t, "loops: 1\nworkers: 8\n")
	o := execute([]string{"SLUICE_ECHO=off"}, "check", "--config", file, "--listen", "[::1]:1")
	want := "The configuration is valid: 2 from " + file + ", 1 from the environment, 1 from flags.\n"
	if o.code != exitOK || o.stdout != want || o.stderr != "" {
		t.Errorf("got %+v", o)
	}
}

func TestConfigPrintsSources(t *testing.T) {
	file := writeFile(t, "loops: 1\n")
	o := execute([]string{"SLUICE_WORKERS=8"}, "config", "--config", file, "--echo=no")
	for key, want := range map[string][2]string{
		"loops": {"1", "config.yaml:1"}, "workers": {"8", "SLUICE_WORKERS"}, "echo": {"off", "--echo"},
		"listen": {"127.0.0.1:8080", "default"},
	} {
		found := false
		for line := range strings.Lines(o.stdout) {
			f := strings.Fields(line)
			found = found || f[0] == key && f[1] == want[0] && strings.HasSuffix(f[len(f)-1], want[1])
		}
		if !found {
			t.Errorf("%s is not shown as %v:\n%s", key, want, o.stdout)
		}
	}
	o = execute(nil, "config", "--yaml", "--loops", "3")
	if o.code != exitOK || !strings.Contains(o.stdout, "\nloops: 3\n") {
		t.Errorf("got %+v", o)
	}
}

func TestVersion(t *testing.T) {
	if o := execute(nil, "version"); o.code != exitOK || !strings.HasPrefix(o.stdout, "sluice ") {
		t.Errorf("got %+v", o)
	}
	if o := execute(nil, "--version"); o.code != exitOK || !strings.HasPrefix(o.stdout, "sluice ") {
		t.Errorf("got %+v", o)
	}
	var b build
	o := execute(nil, "version", "--json")
	if err := json.Unmarshal([]byte(o.stdout), &b); err != nil || b.Go == "" || b.Platform == "" {
		t.Errorf("%v: %+v", err, b)
	}
	b = build{
		Version: "v1.2.3", Go: "go1", Platform: "linux/amd64",
		Commit: "abc", Date: "2026-01-02", Modified: true,
	}
	want := "sluice v1.2.3 (go1, linux/amd64)\ncommit abc of 2026-01-02, with changes\n"
	if got := b.text(false); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHealth(t *testing.T) {
	ready := true
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/livez" || r.URL.Path == "/readyz" && ready:
			w.Write([]byte("ok\n"))
		case r.URL.Path == "/readyz":
			w.WriteHeader(http.StatusServiceUnavailable)
			w.Write([]byte("[-] draining\nnot ready\n"))
		}
	}))
	defer admin.Close()
	addr := strings.TrimPrefix(admin.URL, "http://")
	everywhere := "0.0.0.0:" + addr[strings.LastIndex(addr, ":")+1:]
	// A proxy of the environment must not be asked.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")

	for _, args := range [][]string{
		{"health", "--admin", addr}, {"health", "--admin", everywhere},
		{"health", "--ready", "--admin", addr},
	} {
		if o := execute(nil, args...); o.code != exitOK || o.stdout != "ok\n" {
			t.Errorf("%v: %+v", args, o)
		}
	}
	ready = false
	o := execute([]string{"SLUICE_ADMIN=" + addr}, "health", "--ready")
	said := strings.Contains(o.stderr, "503") && strings.Contains(o.stderr, "draining")
	if o.code != exitRun || !said {
		t.Errorf("not ready: %+v", o)
	}
	admin.Close()
	for name, args := range map[string][]string{
		"gone": {"--admin", addr}, "none": {"--admin", ""}, "port_0": {"--admin", "127.0.0.1:0"},
		"wrong_configuration": {"--loops", "x"},
	} {
		o := execute(nil, append([]string{"health"}, args...)...)
		if o.code != exitRun || o.stderr == "" {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestHealthOverTLSAndUnixSocket(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(r.URL.Path + "\n"))
	})
	encrypted := httptest.NewTLSServer(answer)
	defer encrypted.Close()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	local := &httptest.Server{Listener: l, Config: &http.Server{Handler: answer}}
	local.Start()
	defer local.Close()
	for name, args := range map[string][]string{
		"unix": {"--admin", "unix:" + path},
		"tls": {"--admin", strings.TrimPrefix(encrypted.URL, "https://"),
			"--admin-tls-cert", "c", "--admin-tls-key", "k"},
	} {
		o := execute(nil, append([]string{"health"}, args...)...)
		if o.code != exitOK || o.stdout != "/livez\n" {
			t.Errorf("%s: %+v", name, o)
		}
	}
	local.Close()
	o := execute(nil, "health", "--ready", "--admin", "unix:"+path)
	if o.code != exitRun || !strings.Contains(o.stderr, "unix:"+path+"/readyz cannot be asked") {
		t.Errorf("gone: %+v", o)
	}
}

func TestSocketInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := execute(nil, "--listen", "127.0.0.1:0", "--admin", "unix:"+path)
	if o.code != exitRun || !strings.Contains(o.stderr, "admin unix:"+path+" is in use") {
		t.Errorf("%+v", o)
	}
}

func TestReachable(t *testing.T) {
	for admin, want := range map[string]string{
		":9090": "127.0.0.1:9090", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1",
		"10.0.0.1:2": "10.0.0.1:2", "localhost:3": "localhost:3",
	} {
		if got, err := reachable(admin); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", admin, got, err, want)
		}
	}
}

func TestDoctorExitCode(t *testing.T) {
	root := t.TempDir() // a host of which nothing is known
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr, root: root}
	if code := a.execute([]string{"doctor"}); code != exitOK {
		t.Errorf("exit code %d:\n%s%s", code, stdout.String(), stderr.String())
	}
	limits := filepath.Join(root, "proc/self/limits")
	if err := os.MkdirAll(filepath.Dir(limits), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(limits, []byte("Max open files 1024 4096 files\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout.Reset()
	code := a.execute([]string{"doctor", "--max-connections", "10k"})
	if code != exitRun || stderr.Len() > 0 {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
	golden(t, "doctor.golden", stdout.String())
	if _, columns := screen(stdout.String()); columns > 80 {
		t.Errorf("%d columns", columns)
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o := execute(nil, "--listen", taken.Addr().String(), "--admin", "")
	if o.code != exitRun {
		t.Fatalf("exit code %d", o.code)
	}
	for _, say := range []string{"port " + port, "ss -ltnp 'sport = :" + port + "'", "--listen"} {
		if !strings.Contains(o.stderr, say) {
			t.Errorf("%q is not in %q", say, o.stderr)
		}
	}
}
