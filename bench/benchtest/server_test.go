package benchtest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask sends a handshake with more header lines and returns the answer.
func ask(t *testing.T, s *Server, more string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "GET /echo?a=b HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", more)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	return r
}

func TestAnswers(t *testing.T) {
	strict := func(h Handshake) int {
		switch {
		case h.Host != "h" || h.Target != "/echo?a=b":
			return 400
		case h.Header.Get("Authorization") != "Bearer x" &&
			h.Header.Get("Sec-WebSocket-Protocol") != "bearer, x":
			return 401
		}
		return 0
	}
	const protocol = "Sec-WebSocket-Protocol: bearer, x\r\n"
	for _, tt := range []struct {
		name   string
		f      Faults
		more   string
		status int
		header string // of the answer, with the value after a colon
	}{
		{"plain", Faults{}, "", 101, "Upgrade:websocket"},
		{"status", Faults{Status: 418}, "", 418, "Retry-After:"},
		{"retry_after", Faults{Status: 503, RetryAfter: "7"}, "", 503, "Retry-After:7"},
		{"no_token", Faults{Check: strict}, "", 401, ""},
		{"token_in_header", Faults{Check: strict}, "Authorization: Bearer x\r\n", 101, ""},
		{"token_in_subprotocol", Faults{Check: strict, Subprotocol: "bearer"}, protocol, 101,
			"Sec-WebSocket-Protocol:bearer"},
		{"subprotocol_ignored", Faults{}, protocol, 101, "Sec-WebSocket-Protocol:"},
		{"subprotocol_not_offered", Faults{Subprotocol: "no"}, protocol, 101, "Sec-WebSocket-Protocol:no"},
		{"extensions", Faults{Extensions: "a; b=c"}, "", 101, "Sec-WebSocket-Extensions:a; b=c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := ask(t, New(t, tt.f), tt.more)
			name, value, _ := strings.Cut(tt.header, ":")
			if r.StatusCode != tt.status || r.Header.Get(name) != value {
				t.Errorf("got %d, %v", r.StatusCode, r.Header)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	for _, tt := range []struct {
		name, host string
		id         Identity
		wrong      string
	}{
		{"good", "127.0.0.1", Identity{}, ""},
		{"named", "example.com", Identity{Name: "example.com"}, ""},
		{"other_name", "127.0.0.1", Identity{Name: "example.com"}, "doesn't contain any IP SANs"},
		{"expired", "127.0.0.1", Identity{Expired: true}, "expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New(t, Faults{TLS: &tt.id})
			cfg := &tls.Config{RootCAs: s.Roots(), ServerName: tt.host}
			d := ws.Dialer{TLSConfig: cfg}
			c, _, _, err := d.Dial(t.Context(), s.URL("/echo"))
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("got %v, want %q", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := wsutil.WriteClientText(c, []byte("hi")); err != nil {
				t.Fatal(err)
			}
			if got, err := wsutil.ReadServerText(c); string(got) != "hi" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
