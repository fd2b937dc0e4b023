package load

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sluice/gateway/wire"
)

func mustTarget(tb testing.TB, path string) *Target {
	tb.Helper()
	target, err := ParseTarget("ws://127.0.0.1:1"+path, 10)
	if err != nil {
		tb.Fatal(err)
	}
	return target
}

func mustTokenIn(tb testing.TB, s string) TokenIn {
	tb.Helper()
	in, err := ParseTokenIn(s)
	if err != nil {
		tb.Fatal(err)
	}
	return in
}

func tokenOf(i int) string { return fmt.Sprintf("tok%d", i) }

func TestRequestAppends(t *testing.T) {
	const basics = "Host: 127.0.0.1:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: KEY\r\n"
	for _, tt := range []struct {
		name, path, in, extensions string
		r                          Request
		want                       string
	}{
		{"bare", "/", "", "", Request{}, "GET / HTTP/1.1\r\n" + basics + "\r\n"},
		{"numbered", "/u{i}?r={room}", "", "", Request{Header: []HeaderLine{
			{"X-User", "{i}/{i}"}, {"X-Empty", ""}, {"X-User", "{j}"}}},
			"GET /u25?r=2 HTTP/1.1\r\n" + basics +
				"X-User: 25/25\r\nX-Empty: \r\nX-User: {j}\r\n\r\n"},
		{"all_that_is_offered", "/", "", "e; f", Request{Origin: "https://a.b",
			Subprotocols: []string{"x", "y"}}, "GET / HTTP/1.1\r\n" + basics +
			"Sec-WebSocket-Extensions: e; f\r\nOrigin: https://a.b\r\n" +
			"Sec-WebSocket-Protocol: x, y\r\n\r\n"},
		{"token_in_header", "/", "header", "", Request{Token: tokenOf},
			"GET / HTTP/1.1\r\n" + basics + "Authorization: Bearer tok25\r\n\r\n"},
		{"token_in_cookie", "/", "cookie:sid", "", Request{Token: tokenOf},
			"GET / HTTP/1.1\r\n" + basics + "Cookie: sid=tok25\r\n\r\n"},
		{"token_in_query", "/a", "query:k", "", Request{Token: tokenOf},
			"GET /a?k=tok25 HTTP/1.1\r\n" + basics + "\r\n"},
		{"token_in_longer_query", "/a?b=c", "query:k y", "", Request{
			Token: func(int) string { return "a b&\r\n" }},
			"GET /a?b=c&k+y=a+b%26%0D%0A HTTP/1.1\r\n" + basics + "\r\n"},
		{"token_in_subprotocol", "/", "subprotocol", "", Request{Token: tokenOf},
			"GET / HTTP/1.1\r\n" + basics + "Sec-WebSocket-Protocol: bearer, tok25\r\n\r\n"},
		{"token_after_subprotocols", "/", "subprotocol", "", Request{Token: tokenOf,
			Subprotocols: []string{"x", "y"}}, "GET / HTTP/1.1\r\n" + basics +
			"Sec-WebSocket-Protocol: x, y, bearer, tok25\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.Target = mustTarget(t, tt.path)
			if tt.in != "" {
				tt.r.TokenIn = mustTokenIn(t, tt.in)
			}
			if err := tt.r.Validate(); err != nil {
				t.Fatal(err)
			}
			got, err := tt.r.AppendTo([]byte("dst"), 25, "KEY", tt.extensions)
			if err != nil || string(got) != "dst"+tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			if _, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(got[3:]))); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRequestRefuses(t *testing.T) {
	header := func(name, value string) Request { return Request{Header: []HeaderLine{{name, value}}} }
	token := func(token string) func(int) string { return func(int) string { return token } }
	for _, tt := range []struct {
		name, path, in string
		r              Request
		want           string
	}{
		{"header_crlf", "/", "", header("A", "b\r\nC: d"), "line break"},
		{"header_lf", "/", "", header("A", "b\n"), "line break"},
		{"header_nul", "/", "", header("A", "\x00"), "control character"},
		{"header_name_crlf", "/", "", header("A\r\nB", "c"), "not a token"},
		{"header_name_empty", "/", "", header("", "c"), "not a token"},
		{"header_name_colon", "/", "", header("A:", "c"), "not a token"},
		{"header_host", "/", "", header("host", "c"), "belongs to the handshake"},
		{"header_key", "/", "", header("SEC-WEBSOCKET-KEY", "c"), "belongs to the handshake"},
		{"header_body", "/", "", header("Content-Length", "5"), "belongs to the handshake"},
		{"header_subprotocol", "/", "", header("Sec-WebSocket-Protocol", "c"), "set the subprotocols"},
		{"two_origins", "/", "", Request{Origin: "a", Header: []HeaderLine{{"origin", "b"}}},
			"set twice"},
		{"two_tokens", "/", "header", Request{Token: token("a"),
			Header: []HeaderLine{{"authorization", "b"}}}, "holds the token already"},
		{"two_cookies", "/", "cookie:a", Request{Token: token("a"),
			Header: []HeaderLine{{"cookie", "b"}}}, "holds the token already"},
		{"origin_crlf", "/", "", Request{Origin: "a\r\nb: c"}, "origin"},
		{"subprotocol_comma", "/", "", Request{Subprotocols: []string{"a,b"}}, "not a token"},
		{"subprotocol_empty", "/", "", Request{Subprotocols: []string{""}}, "not a token"},
		{"subprotocol_twice", "/", "", Request{Subprotocols: []string{"a", "b", "a"}}, "offered twice"},
		{"subprotocol_bearer", "/", "subprotocol", Request{Token: token("a"),
			Subprotocols: []string{"bearer"}}, "is the token's"},
		{"path_with_space", "/a b", "", Request{}, "percent-encoded"},
		{"path_not_ascii", "/ä", "", Request{}, "percent-encoded"},
		{"path_with_fragment", "/a#b", "", Request{}, "fragment"},
		{"no_token", "/", "header", Request{Token: token("")}, "a header cannot carry"},
		{"token_crlf", "/", "header", Request{Token: token("a\r\nb")}, "a header cannot carry"},
		{"token_blank", "/", "header", Request{Token: token("a b")}, "a header cannot carry"},
		{"token_semicolon", "/", "cookie:a", Request{Token: token("a;b")}, "a cookie cannot carry"},
		{"token_slash", "/", "subprotocol", Request{Token: token("a/b")}, "a subprotocol cannot carry"},
		{"token_comma", "/", "subprotocol", Request{Token: token("a,b")}, "a subprotocol cannot carry"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.Target = mustTarget(t, tt.path)
			if tt.in != "" {
				tt.r.TokenIn = mustTokenIn(t, tt.in)
			}
			err := tt.r.Validate()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := new(Request).Validate(); err == nil {
		t.Error("a request without a target is valid")
	}
}

func TestRequestNamesEveryFault(t *testing.T) {
	r := Request{
		Target: mustTarget(t, "/a b"), Header: []HeaderLine{{"Host", "x"}, {"Upgrade", "y"}},
		Subprotocols: []string{"a b"}, Origin: "a b", Token: func(int) string { return "" },
	}
	err := r.Validate()
	if got := len(strings.Split(err.Error(), "\n")); got != 6 {
		t.Errorf("%d faults, want 6: %v", got, err)
	}
}

// A token that is unfit for its place must not break out of it, whichever connection has it.
func TestUnfitTokensAreNotSent(t *testing.T) {
	r := Request{Target: mustTarget(t, "/"), Token: func(i int) string {
		if i == 7 {
			return "secret\r\nX: y"
		}
		return "good"
	}}
	if err := r.Validate(); err != nil {
		t.Fatal(err)
	}
	got, err := r.AppendTo([]byte("dst"), 7, "KEY", "")
	if err == nil || string(got) != "dst" || Class(err) != "token: unfit" ||
		!strings.Contains(err.Error(), "connection 7") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOffered(t *testing.T) {
	subprotocols := append(make([]string, 0, 8), "a", "b")
	r := Request{Subprotocols: subprotocols, Token: tokenOf, TokenIn: mustTokenIn(t, "subprotocol")}
	o := r.Offered("KEY", "x")
	if o.Key != "KEY" || !o.Extensions || fmt.Sprint(o.Subprotocols) != "[a b bearer]" {
		t.Errorf("got %+v", o)
	}
	if subprotocols[:3][2] != "" {
		t.Error("the caller's slice was written to")
	}
	r.Token = nil
	if o := r.Offered("KEY", ""); o.Extensions || fmt.Sprint(o.Subprotocols) != "[a b]" {
		t.Errorf("got %+v", o)
	}
}

// A request of ours is answered by the gateway's parser.
func TestRequestsAreHandshakes(t *testing.T) {
	r := Request{Target: mustTarget(t, "/a"), Token: tokenOf, TokenIn: mustTokenIn(t, "subprotocol"),
		Origin: "http://a", Header: []HeaderLine{{"X-A", "b"}}}
	request, err := r.AppendTo(nil, 3, newKey(), "permessage-deflate")
	if err != nil {
		t.Fatal(err)
	}
	h := wire.Handshake{Limits: wire.HandshakeLimits{
		RequestLineBytesMax: 4096, HeaderBytesMax: 4096, HeadersMax: 32}}
	n, done, err := h.Feed(request)
	if err != nil || !done || n != len(request) {
		t.Errorf("%d of %d bytes, %v, %v", n, len(request), done, err)
	}
}

func BenchmarkRequest(b *testing.B) {
	token, err := HS256([]byte("secret"), `{"sub":"user{i}"}`)
	if err != nil {
		b.Fatal(err)
	}
	for name, r := range map[string]Request{
		"bare":  {Target: mustTarget(b, "/")},
		"token": {Target: mustTarget(b, "/"), Token: token},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 2048)
			for i := 0; b.Loop(); i++ {
				if _, err := r.AppendTo(dst, i, "dGhlIHNhbXBsZSBub25jZQ==", ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
