package sessions

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/rueidis"
)

// redisServer is a real Redis on a Unix socket of its own, without persistence.
type redisServer struct {
	t    *testing.T
	path string // of the socket
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone
}

// newRedis starts a server.
func newRedis(t *testing.T) *redisServer {
	t.Helper()
	// A socket's path is short, which t.TempDir may not be.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &redisServer{t: t, path: filepath.Join(dir, "s")}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// start starts the server and waits until it says that it is ready.
func (s *redisServer) start() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", s.path,
		"--save", "", "--appendonly", "no", "--dir", filepath.Dir(s.path))
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("these tests need redis-server: %v", err)
	}
	s.done = make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(s.done)
		defer s.cmd.Wait()
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "ready to accept connections") {
				close(ready)
				break
			}
		}
		io.Copy(io.Discard, out)
	}()
	select {
	case <-ready:
	case <-s.done:
		s.t.Fatal("redis-server ended before it was ready")
	}
}

// kill ends the server at once.
func (s *redisServer) kill() {
	s.cmd.Process.Kill()
	<-s.done
	os.Remove(s.path)
}

// freeze lets the server hang, until thaw.
func (s *redisServer) freeze() { s.signal(syscall.SIGSTOP) }
func (s *redisServer) thaw()   { s.signal(syscall.SIGCONT) }

func (s *redisServer) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// do runs a command.
func (s *redisServer) do(args ...string) {
	s.t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.path}, DialCtxFn: dial, DisableCache: true,
		ForceSingleClient: true,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Do(context.Background(), c.B().Arbitrary(args...).Build()).Error(); err != nil {
		s.t.Fatal(err)
	}
}
