package load

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/gateway/wire"
)

const (
	testKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	testAccept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" // RFC 6455 section 1.3
	testStatus = "HTTP/1.1 101 Switching Protocols\r\n"
	testBasics = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
	testAnswer = testStatus + testBasics + testAccept
)

func TestCheckAnswer(t *testing.T) {
	plain := Offered{Key: testKey}
	chat := Offered{Key: testKey, Subprotocols: []string{"chat", "superchat"}}
	extended := Offered{Key: testKey, Extensions: true}
	for _, tt := range []struct {
		name, head string
		offered    Offered
		want       Answer
		err        error
	}{
		{"plain", testAnswer, plain, Answer{}, nil},
		{"any_order_and_case", testStatus + "CONNECTION:keep-alive ,\tupgrade\r\nx: \xff\r\n" +
			"UPGRADE:\tWebSocket \r\n" + testAccept, plain, Answer{}, nil},
		{"connection_in_two_lines", testAnswer + "Connection: close\r\n", plain, Answer{}, nil},
		{"empty_reason", "HTTP/1.1 101 \r\n" + testBasics + testAccept, plain, Answer{}, nil},
		{"subprotocol", testAnswer + "Sec-WebSocket-Protocol: superchat\r\n", chat,
			Answer{Subprotocol: "superchat"}, nil},
		{"no_subprotocol", testAnswer, chat, Answer{}, nil},
		{"extensions", testAnswer + "Sec-WebSocket-Extensions: a; b=1\r\n", extended,
			Answer{Extensions: "a; b=1"}, nil},
		{"extensions_in_two_lines", testAnswer + "Sec-WebSocket-Extensions: a\r\n" +
			"sec-websocket-extensions: b\r\n", extended, Answer{Extensions: "a, b"}, nil},

		{"nothing", "", plain, Answer{}, ErrAnswer},
		{"not_http", "SSH-2.0-OpenSSH_9.2\r\n", plain, Answer{}, ErrAnswer},
		{"http_1_0", "HTTP/1.0 101 OK\r\n" + testBasics + testAccept, plain, Answer{}, ErrAnswer},
		{"http_2", "HTTP/2 101 OK\r\n" + testBasics + testAccept, plain, Answer{}, ErrAnswer},
		{"no_reason", "HTTP/1.1 101\r\n" + testBasics + testAccept, plain, Answer{}, ErrAnswer},
		{"long_status", "HTTP/1.1 1010 OK\r\n" + testBasics + testAccept, plain, Answer{}, ErrAnswer},
		{"status_with_sign", "HTTP/1.1 +11 OK\r\n", plain, Answer{}, ErrAnswer},
		{"status_too_small", "HTTP/1.1 099 OK\r\n", plain, Answer{}, ErrAnswer},
		{"status_line_with_lf", "HTTP/1.1 101 O\nK\r\n" + testBasics + testAccept, plain, Answer{},
			ErrAnswer},
		{"bare_lf", strings.ReplaceAll(testAnswer, "\r\n", "\n"), plain, Answer{}, ErrAnswer},
		{"one_bare_lf", testAnswer + "a: b\nc: d\r\n", plain, Answer{}, ErrAnswer},
		{"bare_cr", testAnswer + "a: b\rc: d\r\n", plain, Answer{}, ErrAnswer},
		{"nul", testAnswer + "a: \x00\r\n", plain, Answer{}, ErrAnswer},
		{"no_line_end", testAnswer + "a: b", plain, Answer{}, ErrAnswer},
		{"no_colon", testAnswer + "ab\r\n", plain, Answer{}, ErrAnswer},
		{"no_name", testAnswer + ": b\r\n", plain, Answer{}, ErrAnswer},
		{"space_before_colon", testAnswer + "a : b\r\n", plain, Answer{}, ErrAnswer},
		{"folded", testAnswer + " b: c\r\n", plain, Answer{}, ErrAnswer},
		{"empty_line", testAnswer + "\r\n", plain, Answer{}, ErrAnswer},

		{"no_accept", testStatus + testBasics, plain, Answer{}, ErrAcceptKey},
		{"other_accept", testAnswer, Offered{Key: "x"}, Answer{}, ErrAcceptKey},
		{"accept_in_lower_case", testStatus + testBasics + strings.ToLower(testAccept), plain,
			Answer{}, ErrAcceptKey},
		{"two_accepts", testAnswer + testAccept, plain, Answer{}, ErrAcceptKey},
		{"no_upgrade", testStatus + "Connection: Upgrade\r\n" + testAccept, plain, Answer{}, ErrUpgrade},
		{"other_upgrade", testStatus + "Connection: Upgrade\r\nUpgrade: h2c\r\n" + testAccept, plain,
			Answer{}, ErrUpgrade},
		{"two_upgrades", testAnswer + "Upgrade: websocket\r\n", plain, Answer{}, ErrUpgrade},
		{"list_of_upgrades", testStatus + "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n" +
			testAccept, plain, Answer{}, ErrUpgrade},
		{"no_connection", testStatus + "Upgrade: websocket\r\n" + testAccept, plain, Answer{},
			ErrConnection},
		{"connection_close", testStatus + "Upgrade: websocket\r\nConnection: close\r\n" + testAccept,
			plain, Answer{}, ErrConnection},
		{"connection_not_quite", testStatus + "Upgrade: websocket\r\nConnection: upgraded\r\n" +
			testAccept, plain, Answer{}, ErrConnection},
		{"subprotocol_unasked", testAnswer + "Sec-WebSocket-Protocol: chat\r\n", plain, Answer{},
			ErrSubprotocol},
		{"subprotocol_not_offered", testAnswer + "Sec-WebSocket-Protocol: other\r\n", chat, Answer{},
			ErrSubprotocol},
		{"subprotocol_other_case", testAnswer + "Sec-WebSocket-Protocol: Chat\r\n", chat, Answer{},
			ErrSubprotocol},
		{"subprotocol_empty", testAnswer + "Sec-WebSocket-Protocol:\r\n", chat, Answer{},
			ErrSubprotocol},
		{"two_subprotocols", testAnswer + "Sec-WebSocket-Protocol: chat, superchat\r\n", chat, Answer{},
			ErrSubprotocol},
		{"subprotocol_twice", testAnswer + strings.Repeat("Sec-WebSocket-Protocol: chat\r\n", 2), chat,
			Answer{}, ErrSubprotocol},
		{"extensions_unasked", testAnswer + "Sec-WebSocket-Extensions: permessage-deflate\r\n", plain,
			Answer{}, ErrExtensions},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := CheckAnswer([]byte(tt.head), tt.offered)
			if !errors.Is(err, tt.err) || got != tt.want {
				t.Errorf("got %+v, %v, want %+v, %v", got, err, tt.want, tt.err)
			}
			if err != nil && !strings.HasPrefix(Class(err), "handshake: bad ") {
				t.Errorf("class %q", Class(err))
			}
		})
	}
}

func TestRefusedByStatus(t *testing.T) {
	for _, tt := range []struct {
		name, head string
		want       StatusError
		class      string
	}{
		{"plain", "HTTP/1.1 404 Not Found\r\n", StatusError{Code: 404, Line: "HTTP/1.1 404 Not Found"},
			"handshake: status 404"},
		{"http_1_0", "HTTP/1.0 502 Bad Gateway\r\n",
			StatusError{Code: 502, Line: "HTTP/1.0 502 Bad Gateway"}, "handshake: status 502"},
		{"interim", "HTTP/1.1 103 Early Hints\r\n",
			StatusError{Code: 103, Line: "HTTP/1.1 103 Early Hints"}, "handshake: status 103"},
		{"upgraded_200", strings.Replace(testAnswer, "101", "200", 1),
			StatusError{Code: 200, Line: "HTTP/1.1 200 Switching Protocols"}, "handshake: status 200"},
		{"retry_seconds", "HTTP/1.1 503 \r\nretry-after: 120\r\n",
			StatusError{Code: 503, Line: "HTTP/1.1 503", RetryAfter: 2 * time.Minute},
			"handshake: status 503"},
		{"retry_date", "HTTP/1.1 429 Slow\r\nRetry-After: Sat, 01 Jan 2000 00:01:30 GMT\r\n",
			StatusError{Code: 429, Line: "HTTP/1.1 429 Slow", RetryAfter: 90 * time.Second},
			"handshake: status 429"},
		{"retry_past", "HTTP/1.1 503 X\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n",
			StatusError{Code: 503, Line: "HTTP/1.1 503 X"}, "handshake: status 503"},
		{"retry_nonsense", "HTTP/1.1 503 X\r\nRetry-After: -5\r\n",
			StatusError{Code: 503, Line: "HTTP/1.1 503 X"}, "handshake: status 503"},
		{"retry_forever", "HTTP/1.1 503 X\r\nRetry-After: 9223372036854775807\r\n",
			StatusError{Code: 503, Line: "HTTP/1.1 503 X", RetryAfter: retryAfterMax},
			"handshake: status 503"},
		{"moved", "HTTP/1.1 301 Moved\r\nLocation: wss://x/\r\n",
			StatusError{Code: 301, Line: "HTTP/1.1 301 Moved", Location: "wss://x/"},
			"handshake: status 301"},
		{"location_without_move", "HTTP/1.1 400 X\r\nLocation: wss://x/\r\n",
			StatusError{Code: 400, Line: "HTTP/1.1 400 X"}, "handshake: status 400"},
		{"bad_headers", "HTTP/1.1 503 X\r\nbad\r\nRetry-After: 1\r\n",
			StatusError{Code: 503, Line: "HTTP/1.1 503 X", RetryAfter: time.Second},
			"handshake: status 503"},
		{"long_reason", "HTTP/1.1 500 " + strings.Repeat("x", 1000) + "\r\n",
			StatusError{Code: 500, Line: "HTTP/1.1 500 " + strings.Repeat("x", 87)},
			"handshake: status 500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // its clock begins with the year 2000
				_, err := CheckAnswer([]byte(tt.head), Offered{Key: testKey})
				var got *StatusError
				if !errors.As(err, &got) || *got != tt.want || Class(err) != tt.class {
					t.Errorf("got %+v as %q, want %+v", got, Class(err), tt.want)
				}
			})
		})
	}
}

func TestStatusErrorSaysWhatToDo(t *testing.T) {
	for want, e := range map[string]StatusError{
		`handshake: the server answered "HTTP/1.1 503 X", to be tried again in 2s`: {
			Code: 503, Line: "HTTP/1.1 503 X", RetryAfter: 2 * time.Second},
		`handshake: the server answered "HTTP/1.1 302 X", moved to "wss://x"`: {
			Code: 302, Line: "HTTP/1.1 302 X", Location: "wss://x"},
	} {
		if e.Error() != want {
			t.Errorf("got %q, want %q", e.Error(), want)
		}
	}
}

// What is accepted is what net/http reads too.
func FuzzCheckAnswer(f *testing.F) {
	f.Add([]byte(testAnswer))
	f.Add([]byte(testAnswer + "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: x, y\r\n"))
	f.Add([]byte("HTTP/1.1 503 X\r\nRetry-After: 3\r\n"))
	f.Add([]byte(testStatus + "connection: a,, upgrade \r\nupgrade: WEBSOCKET\r\n" + testAccept))
	o := Offered{Key: testKey, Subprotocols: []string{"chat"}, Extensions: true}
	f.Fuzz(func(t *testing.T, head []byte) {
		kept := bytes.Clone(head)
		answer, err := CheckAnswer(head, o)
		if !bytes.Equal(kept, head) {
			t.Fatal("the head was changed")
		}
		if err != nil {
			if Class(err) == "other" {
				t.Fatalf("%v has no class", err)
			}
			return
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(append(kept, "\r\n"...))), nil)
		if err != nil {
			if strings.Contains(err.Error(), "Content-Length") ||
				strings.Contains(err.Error(), "transfer encoding") {
				return // of no matter in a 101
			}
			t.Fatalf("%q was accepted: %v", head, err)
		}
		defer r.Body.Close()
		h := r.Header
		if r.StatusCode != 101 || h.Get("Sec-WebSocket-Accept") != wire.AcceptKey(testKey) ||
			!strings.EqualFold(h.Get("Upgrade"), "websocket") ||
			h.Get("Sec-WebSocket-Protocol") != answer.Subprotocol ||
			strings.Join(h.Values("Sec-WebSocket-Extensions"), ", ") != answer.Extensions {
			t.Fatalf("%q was accepted as %+v", head, answer)
		}
	})
}

func BenchmarkCheckAnswer(b *testing.B) {
	head := []byte(testAnswer + "Server: x\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n")
	o := Offered{Key: testKey}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CheckAnswer(head, o); err != nil {
			b.Fatal(err)
		}
	}
}
