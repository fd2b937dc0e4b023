package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const livez = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"

// dial opens a connection from an address of this host.
func dial(t *testing.T, s *Server, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// probes asks once over a new connection.
func probes(t *testing.T, s *Server, from string) {
	t.Helper()
	c := dial(t, s, from)
	defer c.Close()
	io.WriteString(c, livez)
	if status, body := answer(t, c); status != http.StatusOK {
		t.Fatalf("the probe of %s gets %d %q", from, status, body)
	}
}

// TestI04_probes_get_through: whatever others hold open, from the same address or from many, a
// probe is answered, and the connections stay within their bound.
func TestI04_probes_get_through(t *testing.T) {
	for name, flood := range map[string]struct {
		sends string
		reads bool
	}{
		"silent":       {"", false},
		"half_request": {"GET /livez HTTP/1.1\r\nHost: local", false},
		"idle":         {livez, true},
		"no_reader":    {livez + livez + livez, false},
		"slow_body":    {"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1", false},
	} {
		for _, addresses := range []int{1, 3, 100} {
			t.Run(fmt.Sprintf("%s_from_%d", name, addresses), func(t *testing.T) {
				s := start(t, config())
				for i := range 200 {
					c := dial(t, s, fmt.Sprintf("127.0.0.%d", 1+i%addresses))
					io.WriteString(c, flood.sends)
					if flood.reads {
						answer(t, c)
					}
					if i%20 == 0 {
						probes(t, s, "127.0.0.1")
						probes(t, s, "127.0.1.1")
					}
				}
				probes(t, s, "127.0.0.1")
				probes(t, s, "127.0.1.1")
				stats := s.Stats()
				if stats.Conns > connsMax || stats.Evicted < 100 {
					t.Errorf("%+v", stats)
				}
			})
		}
	}
}

// TestI04_share_of_an_address: one that holds many gives way to itself, not others to it.
func TestI04_share_of_an_address(t *testing.T) {
	s := start(t, config())
	kept := dial(t, s, "127.0.0.2")
	io.WriteString(kept, livez)
	r := bufio.NewReader(kept)
	read := func() {
		t.Helper()
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	read()
	for range 2 * connsMax {
		dial(t, s, "127.0.0.1")
	}
	probes(t, s, "127.0.0.3") // accepted after all of them
	io.WriteString(kept, livez)
	read()
	if stats := s.Stats(); stats.Conns > connsPerPeerMax+2 {
		t.Errorf("%+v", stats)
	}
}

// TestIdleMakesRoomFirst: a request that is being answered is not cut for a new connection as long
// as there is one without any, be it the youngest.
func TestIdleMakesRoomFirst(t *testing.T) {
	s, entered := busyServer(t)
	busy := make([]net.Conn, connsPerPeerMax-1)
	for i := range busy {
		busy[i] = dial(t, s, "127.0.0.1")
		io.WriteString(busy[i], "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-entered
	}
	idle := dial(t, s, "127.0.0.1")
	io.WriteString(idle, livez)
	answer(t, idle)
	probes(t, s, "127.0.0.1")
	if _, err := idle.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the idle one is still connected: %v", err)
	}
	if n := s.Stats().Evicted; n != 1 {
		t.Errorf("%d were evicted", n)
	}
	cutServer(s)
}

// busyServer is one whose /metrics answers nothing until its client has gone.
func busyServer(t *testing.T) (s *Server, entered chan struct{}) {
	entered = make(chan struct{}, connsMax)
	cfg := config()
	cfg.Metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})
	return start(t, cfg), entered
}

// cutServer closes a server without waiting for its answers.
func cutServer(s *Server) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Close(ctx)
}

// TestBusyMakesRoomLast: even if a request is being answered on every connection, a new one is let
// in: the one that takes longest has to go.
func TestBusyMakesRoomLast(t *testing.T) {
	s, entered := busyServer(t)
	for range connsPerPeerMax {
		c := dial(t, s, "127.0.0.1")
		io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-entered
	}
	probes(t, s, "127.0.0.1")
	if n := s.Stats().Evicted; n != 1 {
		t.Errorf("%d were evicted", n)
	}
	cutServer(s)
}

func TestIdentify(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:1": "192.0.2.1", "[::ffff:192.0.2.1]:1": "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::/64", "[fe80::1%lo]:1": "fe80::/64",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		peer, name := identify(remoteAt{addr: tcp})
		if peer != want || name != tcp.String() {
			t.Errorf("%s counts as %s, is called %s", addr, peer, name)
		}
	}
}

// remoteAt is a connection from an address.
type remoteAt struct {
	net.Conn
	addr net.Addr
}

func (r remoteAt) RemoteAddr() net.Addr { return r.addr }

// socketIn is the address of a unix socket for a test.
func socketIn(t *testing.T) (addr, path string) {
	path = filepath.Join(t.TempDir(), "admin.sock")
	return UnixPrefix + path, path
}
