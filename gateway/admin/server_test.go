package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// ask sends a request over a connection of its own.
func ask(t *testing.T, s *Server, request string) (status int, body string) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, request)
	return answer(t, c)
}

func answer(t *testing.T, c net.Conn) (status int, body string) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestServer(t *testing.T) {
	s := start(t, config())
	const host = "Host: localhost\r\nConnection: close\r\n"
	rows := []struct {
		name, request string
		status        int
		body          string
	}{
		{"get", "GET /livez HTTP/1.1\r\n" + host + "\r\n", 200, "ok\n"},
		{"rebound", "GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "unknown host\n"},
		{"absolute", "GET http://evil.example/livez HTTP/1.1\r\n" + host + "\r\n", 421, "unknown host\n"},
		{"options_star", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 405, "only GET and HEAD\n"},
		{"connect", "CONNECT localhost:1 HTTP/1.1\r\n" + host + "\r\n", 405, "only GET and HEAD\n"},
		{
			"header_too_large",
			"GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("x", 2*headerBytesMax) + "\r\n\r\n",
			431, "431 Request Header Fields Too Large",
		},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			status, body := ask(t, s, r.request)
			if status != r.status || body != r.body {
				t.Errorf("%d %q, want %d %q", status, body, r.status, r.body)
			}
		})
	}
}

func TestStartFails(t *testing.T) {
	s := start(t, config())
	cfg := config()
	cfg.Addr = s.Addr().String()
	if _, err := Start(cfg); err == nil {
		t.Error("two servers on one address")
	}
}

// blocking is a config whose /metrics does not answer until released.
func blocking() (cfg Config, entered, release chan struct{}) {
	entered, release = make(chan struct{}), make(chan struct{})
	cfg = config()
	cfg.Metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		select {
		case <-release:
			io.WriteString(w, "samples")
		case <-r.Context().Done():
		}
	})
	return cfg, entered, release
}

func TestCloseWaitsForAnswers(t *testing.T) {
	cfg, entered, release := blocking()
	s := start(t, cfg)
	var asked sync.WaitGroup
	asked.Go(func() {
		status, body := ask(t, s, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if status != http.StatusOK || body != "samples" {
			t.Errorf("%d %q", status, body)
		}
	})
	<-entered
	closed := make(chan error)
	go func() { closed <- s.Close(context.Background()) }()
	<-s.done // nothing new is accepted, and the answer is not there yet
	select {
	case <-closed:
		t.Error("did not wait")
	default:
	}
	close(release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	asked.Wait()
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("still listens")
	}
	if err := s.Close(context.Background()); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestCloseCutsWhatIsLeft(t *testing.T) {
	cfg, entered, _ := blocking()
	s := start(t, cfg)
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Close says %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("still connected")
	}
}

func TestPanicIsContained(t *testing.T) {
	cfg := config()
	cfg.Live = func() error { panic("broken") }
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := start(t, cfg)
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if b, _ := io.ReadAll(c); len(b) > 0 {
		t.Errorf("answered %q", b)
	}
	request := "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	if status, _ := ask(t, s, request); status != 200 {
		t.Errorf("status %d after a panic", status)
	}
	s.Close(context.Background())
	if !strings.Contains(log.String(), "broken") {
		t.Errorf("the log does not say it: %s", log.String())
	}
}

// pipes is a listener of connections in memory, whose time can be faked.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return loopback }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

func TestTimeouts(t *testing.T) {
	const get = "GET /livez HTTP/1.1\r\nHost: localhost\r\n"
	rows := []struct {
		name, request string
		answered      bool
		after         time.Duration
	}{
		{"nothing_sent", "", false, headerTimeout},
		{"slow_header", get, false, headerTimeout},
		{"slow_body", get + "Content-Length: 9\r\n\r\n1", true, requestTimeout},
		{"idle", get + "\r\n", true, idleTimeout},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPipes()
				s := serve(p, config())
				defer s.Close(context.Background())
				c := p.dial()
				defer c.Close()
				began := time.Now()
				io.WriteString(c, r.request)
				b, _ := io.ReadAll(c)
				if got := time.Since(began); got != r.after {
					t.Errorf("disconnected after %v, want %v", got, r.after)
				}
				if got := strings.HasPrefix(string(b), "HTTP/1.1 200"); got != r.answered {
					t.Errorf("answer %q", b)
				}
			})
		})
	}
}

// hangUp tells when the server closes a connection.
type hangUp struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (h *hangUp) Close() error {
	h.once.Do(func() { close(h.closed) })
	return h.Conn.Close()
}

// TestAnswerNobodyReads: the client sends a request and takes nothing.
func TestAnswerNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		s := serve(p, config())
		defer s.Close(context.Background())
		client, server := net.Pipe()
		defer client.Close()
		h := &hangUp{Conn: server, closed: make(chan struct{})}
		p.conns <- h
		began := time.Now()
		io.WriteString(client, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
		select {
		case <-h.closed:
		case <-time.After(time.Hour):
		}
		if got := time.Since(began); got != answerTimeout {
			t.Errorf("disconnected after %v, want %v", got, answerTimeout)
		}
	})
}

// TestProfileOutlastsTimeouts asks for a profile that takes longer than any request may.
func TestProfileOutlastsTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.Pprof = true
		p := newPipes()
		s := serve(p, cfg)
		defer s.Close(context.Background())
		c := p.dial()
		defer c.Close()
		began := time.Now()
		io.WriteString(c, "GET /debug/pprof/mutex?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		status, body := answer(t, c)
		// The runtime's own locks may take a little of the bubble's time, too.
		if took := time.Since(began); status != http.StatusOK || took < time.Minute ||
			took > 2*time.Minute {
			t.Errorf("%d after %v: %q", status, took, body)
		}
	})
}
