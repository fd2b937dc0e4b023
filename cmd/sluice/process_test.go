package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a sluice of its own, on ports that the kernel chooses.
type process struct {
	*exec.Cmd
	stdout *bufio.Reader
	stderr *bufio.Reader // nil if the test has said where it goes
	echo   string        // the line of the banner
}

// start runs the program. It is killed when the test ends without waiting for it.
func start(t *testing.T, stderr *os.File, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	p := &process{Cmd: exec.CommandContext(ctx, os.Args[0], args...)}
	p.Env = append(os.Environ(), childMark+"=1", "SLUICE_LISTEN=127.0.0.1:0", "SLUICE_ADMIN=")
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(out)
	if stderr != nil {
		p.Stderr = stderr
	} else if log, err := p.StderrPipe(); err != nil {
		t.Fatal(err)
	} else {
		p.stderr = bufio.NewReader(log)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.echo = p.await(t, p.stdout, "echo ")
	return p
}

// await reads lines up to one that begins with a prefix, or, if they are JSON, has it as event.
func (p *process) await(t *testing.T, r *bufio.Reader, what string) string {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%q did not come: %v", what, err)
		}
		var l logLine
		if strings.HasPrefix(line, what) || json.Unmarshal([]byte(line), &l) == nil && l.Event == what {
			return line
		}
	}
}

func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	if p.stderr != nil {
		io.Copy(io.Discard, p.stderr)
	}
	io.Copy(io.Discard, p.stdout)
	if err := p.Wait(); err != nil && p.ProcessState == nil {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

func TestP01_signal_drains_and_exits_with_0(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		p := start(t, nil)
		p.signal(t, sig)
		p.await(t, p.stderr, "drain_finished")
		if code := p.exit(t); code != exitOK {
			t.Errorf("%v: exit code %d", sig, code)
		}
	}
}

func TestP07_process_reloads_on_SIGHUP(t *testing.T) {
	file := writeFile(t, "message-rate: 10\n")
	p := start(t, nil, "--config", file)
	for _, step := range []struct{ content, event string }{
		{"message-rate: 20\n", "config_reloaded"},
		{"mesage-rate: 30\n", "config_reload_failed"},
		{"echo: false\n", "config_reload_refused"},
		{"message-rate: 20\n", "config_unchanged"},
	} {
		if err := os.WriteFile(file, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(t, syscall.SIGHUP)
		p.await(t, p.stderr, step.event)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestP02_SIGHUP_storm(t *testing.T) {
	p := start(t, nil, "--config", writeFile(t, ""))
	for range 1000 {
		p.signal(t, syscall.SIGHUP)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestP08_process_on_a_full_disk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	p := start(t, full, "--log-level", "debug", "--config", writeFile(t, ""))
	p.signal(t, syscall.SIGHUP)
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestP08_process_with_a_log_that_nobody_reads: the pipe is full from the start, so not one line
// gets through; the gateway works and ends all the same.
func TestP08_process_with_a_log_that_nobody_reads(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fill(t, w)
	p := start(t, w, "--config", writeFile(t, ""))
	p.signal(t, syscall.SIGHUP)
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// fill writes to a pipe until it takes no more.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, 4096)
	err = raw.Control(func(fd uintptr) {
		for {
			if _, err := syscall.Write(int(fd), page); err != nil {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestP08_process_whose_reader_is_gone: SIGPIPE must not end it.
func TestP08_process_whose_reader_is_gone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	p := start(t, w, "--config", writeFile(t, ""))
	p.signal(t, syscall.SIGHUP)
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestP07_audit_log_is_rotated: SIGHUP opens the file anew, whatever else is wrong, and the end of
// the process loses nothing.
func TestP07_audit_log_is_rotated(t *testing.T) {
	dir := t.TempDir()
	key, audit := filepath.Join(dir, "key"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, "auth-jwt: alg=HS256,key=@"+key+"\naudit-log: "+audit+"\n")
	p := start(t, nil, "--config", file)
	address := strings.TrimSuffix(strings.TrimPrefix(strings.Fields(p.echo)[1], "ws://"), "/echo")
	login := func(path string) {
		ask(t, address, "/echo", "Authorization: Bearer e30.e30.x\r\n")
		for { // until it is written
			b, err := os.ReadFile(path)
			if err == nil && strings.Count(string(b), "\n") == 1 {
				return
			}
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	}
	login(audit)
	if err := os.Rename(audit, audit+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("mesage-rate: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGHUP)
	p.await(t, p.stderr, "config_reload_failed")
	login(audit)
	if b, err := os.ReadFile(audit + ".1"); err != nil || strings.Count(string(b), "\n") != 1 {
		t.Errorf("the old file has %q, %v", b, err)
	}
	ask(t, address, "/echo", "")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if b, err := os.ReadFile(audit); err != nil || strings.Count(string(b), "\n") != 2 {
		t.Errorf("at the end the file has %q, %v", b, err)
	}
}
