package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEngine names, in the environment of a child process, the engine that it is to serve with.
const childEngine = "SLUICE_TEST_CHILD_ENGINE"

// childMain is the child of TestR08: it serves until its input ends.
func childMain(t *testing.T, engine string) {
	cfg := quick()
	cfg.Engine = engine
	cfg.PingInterval, cfg.PongTimeout = 300*time.Millisecond, 1800*time.Millisecond
	g, err := New(cfg, Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Println(g.Addr())
	io.Copy(io.Discard, os.Stdin)
}

// A process that was suspended has not listened: the pongs that arrived meanwhile must be read
// before anybody is called dead.
func TestR08_suspended_process_evicts_nobody(t *testing.T) {
	if engine := os.Getenv(childEngine); engine != "" {
		childMain(t, engine)
		return
	}
	for _, engine := range []string{"epoll", "netpoll"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			child, addr := startChild(t, engine)
			var peers []net.Conn
			for range 10 {
				peers = append(peers, openRaw(t, addr))
			}
			// Everybody is asked; the process is suspended before anybody answers.
			for _, c := range peers {
				wantBytes(t, c, "\x89\x00")
			}
			signal(t, child, syscall.SIGSTOP)
			for _, c := range peers {
				io.WriteString(c, frame(0x8A, "")+frame(0x81, "alive"))
			}
			<-time.After(2500 * time.Millisecond) // longer than pong-timeout
			signal(t, child, syscall.SIGCONT)
			for _, c := range peers {
				wantEcho(t, c, "\x81\x05alive")
			}
		})
	}
}

// startChild runs this test in a process of its own, until the test has ended.
func startChild(t *testing.T, engine string) (*os.Process, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestR08_suspended_process_evicts_nobody$")
	cmd.Env = append(os.Environ(), childEngine+"="+engine)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	t.Cleanup(func() {
		stdin.Close()
		io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	addr, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process, strings.TrimSpace(addr)
}

func signal(t *testing.T, p *os.Process, s os.Signal) {
	t.Helper()
	if err := p.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// openRaw opens an echo session.
func openRaw(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, upgradeRequest("/echo"))
	head := make([]byte, 0, 256)
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, b[0]) {
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func wantBytes(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// wantEcho wants an echo, and any number of pings before it.
func wantEcho(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, 2, len(want))
	for {
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatalf("a peer that answered was closed: %v", err)
		}
		if string(got) != "\x89\x00" {
			break
		}
	}
	if string(got) != want[:2] {
		t.Fatalf("got %q", got)
	}
	wantBytes(t, c, want[2:])
}
