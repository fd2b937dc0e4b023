package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"sluice/bench/benchtest"
	"sluice/gateway/wire"
)

// connectWith is recorder.connect with more to say.
func (r *recorder) connectWith(t *testing.T, url string, n int, cfg Config) (*Swarm, error) {
	t.Helper()
	target, err := ParseTarget(url, 10)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Target, cfg.Script, cfg.Loops, cfg.Dialers = target, r, 2, 8
	s, err := NewSwarm(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s, s.Connect(ctx, n)
}

func TestSwarmSpeaksTLS(t *testing.T) {
	server := benchtest.New(t, benchtest.Faults{TLS: &benchtest.Identity{}})
	r := newRecorder()
	s, err := r.connectWith(t, server.URL("/echo"), 10,
		Config{TLS: &tls.Config{RootCAs: server.Roots()}})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 100_000)
	s.Each(func(c *Client) { c.Send(wire.OpText, fmt.Append(nil, text, c.Index)) })
	got := map[string]bool{}
	for range 10 {
		got[<-r.messages] = true
	}
	for i := range 10 {
		if !got[fmt.Sprint(text, i)] {
			t.Errorf("the message of client %d did not come back", i)
		}
	}
	if n := s.Phases().TLS.TotalCount(); n != 10 {
		t.Errorf("%d handshakes of TLS were timed", n)
	}
	s.Each(func(c *Client) { c.Cut() })
	for range 10 {
		<-r.closed
	}
}

// Without a word to the contrary, a server has to prove who it is.
// TestR05_swarm_resumes_sessions: those that come back do not pay for a whole handshake again.
func TestR05_swarm_resumes_sessions(t *testing.T) {
	for _, resume := range []bool{true, false} {
		server := benchtest.New(t, benchtest.Faults{TLS: &benchtest.Identity{}})
		r := newRecorder()
		s, err := r.connectWith(t, server.URL("/echo"), 10,
			Config{TLS: &tls.Config{RootCAs: server.Roots()}, Resume: resume})
		if err != nil {
			t.Fatal(err)
		}
		s.Each(func(c *Client) { c.Send(wire.OpText, []byte("x")) })
		for range 10 {
			<-r.messages // the tickets have come before
		}
		if n := s.Resumed(); n != 0 {
			t.Errorf("%d have resumed what has not begun", n)
		}
		s.Each(func(c *Client) { c.Cut() })
		for range 10 {
			<-r.closed
		}
		if err := s.Connect(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		want := uint64(0)
		if resume {
			want = 10
		}
		if n := s.Resumed(); n != want {
			t.Errorf("%d of 10 have resumed, want %d", n, want)
		}
	}
}

func TestSwarmVerifiesCertificates(t *testing.T) {
	server := benchtest.New(t, benchtest.Faults{TLS: &benchtest.Identity{}})
	s, err := newRecorder().connectWith(t, server.URL("/echo"), 3,
		Config{TLS: &tls.Config{RootCAs: x509.NewCertPool()}})
	if err == nil || s.Open() != 0 || s.Failures()["tls: unknown authority"] != 3 {
		t.Errorf("%v, %d open, %v", err, s.Open(), s.Failures())
	}
}

func TestSwarmSendsItsToken(t *testing.T) {
	server := benchtest.New(t, benchtest.Faults{Check: func(h benchtest.Handshake) int {
		if h.Header.Get("Authorization") == "" || h.Header.Get("X-Number") == "" {
			return 401
		}
		return 0
	}})
	token, err := HS256([]byte("a secret"), `{"sub":"user-{i}"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		request Request
		open    int
	}{
		{"with", Request{Token: token, Header: []HeaderLine{{"X-Number", "{i}"}}}, 4},
		{"without_a_header", Request{Token: token}, 0},
		{"without_a_token", Request{Header: []HeaderLine{{"X-Number", "{i}"}}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newRecorder().connectWith(t, server.URL("/echo"), 4, Config{Request: tt.request})
			if s.Open() != tt.open || s.Failures()["handshake: status 401"] != uint64(4-tt.open) {
				t.Errorf("%d open, %v", s.Open(), s.Failures())
			}
		})
	}
}

// What the server grants without having been asked fails the handshake.
func TestSwarmRefusesIllegalDeflate(t *testing.T) {
	for _, tt := range []struct{ name, answer string }{
		{"window_that_was_not_offered", "permessage-deflate; client_max_window_bits=10"},
		{"another_extension", "x-unheard-of"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := benchtest.New(t, benchtest.Faults{Extensions: tt.answer})
			s, err := newRecorder().connectWith(t, server.URL("/echo"), 1,
				Config{Deflate: &DeflateOffer{}})
			if err == nil || s.Open() != 0 {
				t.Errorf("%v, %d open", err, s.Open())
			}
		})
	}
}
