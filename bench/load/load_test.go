package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"sluice/bench/benchtest"
	"sluice/gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds a failure, nothing else.
const patience = 30 * time.Second

// recorder is a script that passes on what it sees.
type recorder struct {
	opened   atomic.Int64
	messages chan string
	closed   chan error
}

func newRecorder() *recorder {
	return &recorder{messages: make(chan string, 1000), closed: make(chan error, 1000)}
}

func (r *recorder) Open(*Client)                     { r.opened.Add(1) }
func (r *recorder) Message(_ *Client, ev wire.Event) { r.messages <- string(ev.Payload) }
func (r *recorder) Closed(_ *Client, err error)      { r.closed <- err }
func (r *recorder) connect(t *testing.T, url string, n int) (*Swarm, error) {
	t.Helper()
	target, err := ParseTarget(url, 10)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSwarm(Config{Request: Request{Target: target}, Script: r, Loops: 2, Dialers: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s, s.Connect(ctx, n)
}

func TestParseTarget(t *testing.T) {
	for _, tt := range []struct{ name, url, host, path, wrong string }{
		{"plain", "ws://127.0.0.1:8080/echo", "127.0.0.1:8080", "/echo", ""},
		{"default_port", "ws://127.0.0.1/echo", "127.0.0.1", "/echo", ""},
		{"no_path", "ws://127.0.0.1:8080", "127.0.0.1:8080", "/", ""},
		{"query_only", "ws://127.0.0.1:8080?x=1", "127.0.0.1:8080", "/?x=1", ""},
		{"numbered", "ws://127.0.0.1:1/chat/u{i}?room=r{room}", "127.0.0.1:1", "/chat/u25?room=r2", ""},
		{"ipv6", "ws://[::1]:80/echo", "[::1]:80", "/echo", ""},
		{"other_scheme", "http://127.0.0.1/", "", "", "not a ws:// or wss:// URL"},
		{"no_host", "ws:///echo", "", "", "not a ws:// or wss:// URL"},
		{"nonsense", "ws://[", "", "", "missing ']'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target, err := ParseTarget(tt.url, 10)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Fatalf("error %v, want %q", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if target.path(25) != tt.path || target.host != tt.host {
				t.Errorf("%s at %s, want %s at %s", target.path(25), target.host, tt.path, tt.host)
			}
		})
	}
}

func TestSwarmSendsAndReceives(t *testing.T) {
	r := newRecorder()
	s, err := r.connect(t, benchtest.New(t, benchtest.Faults{}).URL("/echo"), 40)
	if err != nil {
		t.Fatal(err)
	}
	if s.Open() != 40 || r.opened.Load() != 40 || s.Handshakes().TotalCount() != 40 {
		t.Errorf("%d open, %d opened, %d timed", s.Open(), r.opened.Load(), s.Handshakes().TotalCount())
	}
	want := map[string]bool{}
	for i := range 40 {
		want[fmt.Sprint("client ", i)] = true
	}
	s.Each(func(c *Client) { c.Send(wire.OpText, fmt.Append(nil, "client ", c.Index)) })
	for range 40 {
		select {
		case text := <-r.messages:
			if !want[text] {
				t.Errorf("got %q, again or out of nowhere", text)
			}
			delete(want, text)
		case <-time.After(patience):
			t.Fatalf("these did not come back: %v", want)
		}
	}
	s.Each(func(c *Client) { c.Close(1000) })
	for range 40 {
		select {
		case <-r.closed:
		case <-time.After(patience):
			t.Fatal("a connection did not end")
		}
	}
	if s.Open() != 0 {
		t.Errorf("%d clients left", s.Open())
	}
}

func TestRefusedHandshakesAreNamed(t *testing.T) {
	r := newRecorder()
	_, err := r.connect(t, benchtest.New(t, benchtest.Faults{Status: 503}).URL("/echo"), 7)
	if err == nil || !strings.Contains(err.Error(), "7 of 7 connections failed") ||
		!strings.Contains(err.Error(), "503") {
		t.Errorf("got %v", err)
	}
	if r.opened.Load() != 0 {
		t.Error("a refused client was opened")
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "ws://" + ln.Addr().String()
	ln.Close()
	if _, err := newRecorder().connect(t, url, 2); err == nil ||
		!strings.Contains(err.Error(), "nobody listens there") {
		t.Errorf("got %v", err)
	}
}

func TestWrongAnswersFailTheHandshake(t *testing.T) {
	for _, tt := range []struct{ name, answer, want string }{
		{"wrong_key", "HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: eA==\r\n\r\n", "Accept is wrong"},
		{"no_key", "HTTP/1.1 101 OK\r\n\r\n", "Accept is wrong"},
		{"not_http", "SSH-2.0-OpenSSH\r\n\r\n", "the server answered"},
		{"endless", strings.Repeat("x", responseBytesMax+1), "too long"},
		{"hangs_up", "", "EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			served := make(chan struct{})
			go func() {
				defer close(served)
				c, err := ln.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				c.Read(make([]byte, 4096))
				c.Write([]byte(tt.answer))
			}()
			_, err = newRecorder().connect(t, "ws://"+ln.Addr().String(), 1)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			<-served
		})
	}
}

func TestErrorsSayWhatMendsThem(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"own_descriptors", unix.EMFILE, "out of descriptors; raise ulimit -n"},
		{"descriptors_of_the_system", unix.ENFILE, "out of descriptors"},
		{"ports", unix.EADDRNOTAVAIL, "out of ports; widen net.ipv4.ip_local_port_range"},
		{"refused", unix.ECONNREFUSED, "nobody listens there"},
		{"silence", unix.ETIMEDOUT, "no answer within 20s"},
		{"another", unix.EHOSTUNREACH, "connect: no route to host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := explain("connect", tt.err); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want %q", err, tt.want)
			}
		})
	}
}

// Every connection of a block has a port of its own; the next block leaves from the next address.
func TestSourcesSpread(t *testing.T) {
	server := benchtest.New(t, benchtest.Faults{})
	target, err := ParseTarget(server.URL("/echo"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int][4]byte{
		0:                    {127, 0, 0, 2},
		portsPerSource - 1:   {127, 0, 0, 2},
		portsPerSource:       {127, 0, 0, 3},
		254 * portsPerSource: {127, 0, 1, 0},
	} {
		fd, err := dial(target, i, 0)
		if err != nil {
			t.Fatal(err)
		}
		from, err := unix.Getsockname(fd)
		unix.Close(fd)
		if err != nil || from.(*unix.SockaddrInet4).Addr != want {
			t.Errorf("connection %d leaves from %v, %v, want %v", i, from, err, want)
		}
	}
}

func TestErrorsHaveClasses(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"own_descriptors", explain("socket", unix.EMFILE), "connect: out of descriptors here"},
		{"own_ports", explain("connect", unix.EADDRNOTAVAIL), "connect: out of ports here"},
		{"refused", explain("connect", unix.ECONNREFUSED), "connect: refused"},
		{"another", explain("connect", unix.EHOSTUNREACH), "connect: no route to host"},
		{"server_closed", &wire.CloseError{Code: 1008}, "closed: code 1008"},
		{"reset", unix.ECONNRESET, "closed: reset"},
		{"end", io.EOF, "closed: by the server, without a code"},
		{"unknown", errors.New("x"), "other"},
	} {
		if got := Class(tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The numbers of clients that have ended are given again: rooms and tokens depend on them.
func TestNumbersAreReused(t *testing.T) {
	r := newRecorder()
	s, err := r.connect(t, benchtest.New(t, benchtest.Faults{}).URL("/echo"), 5)
	if err != nil {
		t.Fatal(err)
	}
	s.Each(func(c *Client) {
		if c.Index == 1 || c.Index == 3 {
			c.Cut()
		}
	})
	for range 2 {
		if err := <-r.closed; Class(err) != "closed: cut by us" {
			t.Errorf("ended with %v", err)
		}
	}
	if err := s.Connect(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	got := map[int]bool{}
	s.Each(func(c *Client) {
		mu.Lock()
		defer mu.Unlock()
		got[c.Index] = true
	})
	for i := range 6 {
		if !got[i] {
			t.Errorf("no client has the number %d", i)
		}
	}
}

func TestPhasesAreTimed(t *testing.T) {
	r := newRecorder()
	s, err := r.connect(t, benchtest.New(t, benchtest.Faults{}).URL("/echo"), 5)
	if err != nil {
		t.Fatal(err)
	}
	s.Each(func(c *Client) { c.Send(wire.OpText, []byte("hi")) })
	for range 5 {
		<-r.messages
	}
	p := s.Phases()
	if p.Connect.TotalCount() != 5 || p.Upgrade.TotalCount() != 5 || p.First.TotalCount() != 5 {
		t.Errorf("%d connects, %d upgrades, %d first messages", p.Connect.TotalCount(),
			p.Upgrade.TotalCount(), p.First.TotalCount())
	}
}

// A client that reads 1,000 B/s has to pause after what it has read; a fast one of the same swarm
// does not.
func TestThrottledReader(t *testing.T) {
	r := newRecorder()
	s, err := r.connect(t, benchtest.New(t, benchtest.Faults{}).URL("/echo"), 2)
	if err != nil {
		t.Fatal(err)
	}
	s.Each(func(c *Client) {
		if c.Index == 1 {
			c.ReadAtMost(1000)
		}
	})
	const rounds = 5
	began := time.Now()
	for range rounds {
		s.Each(func(c *Client) { c.Send(wire.OpText, fmt.Append(nil, c.Index, strings.Repeat("x", 98))) })
		for slow, fast := false, false; !slow || !fast; {
			switch text := <-r.messages; text[0] {
			case '0':
				fast = true
			case '1':
				slow = true
			}
		}
	}
	// After each of the first four, it has to wait for 0.1 s; timers are never early.
	if took := time.Since(began); took < (rounds-1)*100*time.Millisecond {
		t.Errorf("%d bytes took %v", rounds*101, took)
	}
}

func TestConnectsArePaced(t *testing.T) {
	r := newRecorder()
	target, err := ParseTarget(benchtest.New(t, benchtest.Faults{}).URL("/echo"), 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSwarm(Config{Request: Request{Target: target}, Script: r, Rate: 100, FirstIndex: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	began := time.Now()
	if err := s.Connect(t.Context(), 21); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("21 connects at 100/s took %v", took)
	}
	var low atomic.Int64
	low.Store(1 << 30)
	s.Each(func(c *Client) {
		low.Store(min(low.Load(), int64(c.Index)))
	})
	if low.Load() != 7 {
		t.Errorf("the first number is %d", low.Load())
	}
}
