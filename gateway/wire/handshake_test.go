package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

var testLimits = HandshakeLimits{RequestLineBytesMax: 4096, HeaderBytesMax: 8192, HeadersMax: 64}

// request is a good request with edits: a header of the given name is replaced, or removed if the new
// line is empty; other lines are added at the end.
func request(edits ...string) string {
	lines := []string{
		"GET /chat/alice HTTP/1.1", "Host: example.org", "Upgrade: websocket",
		"Connection: Upgrade", "Sec-WebSocket-Key: " + sampleKey, "Sec-WebSocket-Version: 13",
	}
	for _, e := range edits {
		name, line, _ := strings.Cut(e, "=")
		found := false
		for i, l := range lines {
			if strings.HasPrefix(l, name) {
				lines[i] = line
				found = true
			}
		}
		if !found {
			lines = append(lines, line)
		}
	}
	var b strings.Builder
	for _, l := range lines {
		if l != "" {
			b.WriteString(l + "\r\n")
		}
	}
	return b.String() + "\r\n"
}

// add makes an edit that adds a line.
func add(line string) string { return "\x00=" + line }

// replace makes an edit that replaces the line which begins with old; an empty line removes it.
func replace(old, line string) string { return old + "=" + line }

// feed gives a parser its input in the given pieces.
func feed(h *Handshake, pieces ...[]byte) (n int, done bool, err error) {
	for _, p := range pieces {
		used, d, e := h.Feed(p)
		n += used
		if d || e != nil {
			return n, d, e
		}
	}
	return n, false, nil
}

func split(s string) [][]byte {
	pieces := make([][]byte, len(s))
	for i := range pieces {
		pieces[i] = []byte{s[i]}
	}
	return pieces
}

func TestHandshakeRefusals(t *testing.T) {
	rows := []struct {
		name   string
		in     string
		status int
		reason Reason
	}{
		{"H01_version_8", request(replace("Sec-WebSocket-V", "Sec-WebSocket-Version: 8")), 426, ReasonVersion},
		{"H01_version_0", request(replace("Sec-WebSocket-V", "Sec-WebSocket-Version: 0")), 426, ReasonVersion},
		{"H01_version_256", request(replace("Sec-WebSocket-V", "Sec-WebSocket-Version: 256")), 426, ReasonVersion},
		{"H01_version_013", request(replace("Sec-WebSocket-V", "Sec-WebSocket-Version: 013")), 426, ReasonVersion},
		{"H01_version_list", request(replace("Sec-WebSocket-V", "Sec-WebSocket-Version: 13, 8")), 426, ReasonVersion},
		{"H02_version_missing", request(replace("Sec-WebSocket-V", "")), 400, ReasonVersion},
		{"H02_version_twice", request(add("Sec-WebSocket-Version: 13")), 400, ReasonVersion},
		{"H03_key_missing", request(replace("Sec-WebSocket-K", "")), 400, ReasonKey},
		{"H03_key_empty", request(replace("Sec-WebSocket-K", "Sec-WebSocket-Key:")), 400, ReasonKey},
		{"H03_key_23", request(replace("Sec-WebSocket-K", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=")), 400, ReasonKey},
		{"H03_key_25", request(replace("Sec-WebSocket-K", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ===")), 400, ReasonKey},
		{"H03_key_not_base64", request(replace("Sec-WebSocket-K", "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==")), 400, ReasonKey},
		{"H03_key_not_16_bytes", request(replace("Sec-WebSocket-K", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA")), 400, ReasonKey},
		{"H03_key_loose_bits", request(replace("Sec-WebSocket-K", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==")), 400, ReasonKey},
		{"H03_key_twice", request(add("Sec-WebSocket-Key: " + sampleKey)), 400, ReasonKey},
		{"H04_post", request(replace("GET", "POST /chat/alice HTTP/1.1")), 405, ReasonMethod},
		{"H04_head", request(replace("GET", "HEAD /chat/alice HTTP/1.1")), 405, ReasonMethod},
		{"H04_connect", request(replace("GET", "CONNECT a:1 HTTP/1.1")), 405, ReasonMethod},
		{"H04_lower_case", request(replace("GET", "get /chat/alice HTTP/1.1")), 405, ReasonMethod},
		{"H04_unknown", request(replace("GET", "BREW /pot HTTP/1.1")), 405, ReasonMethod},
		{"H05_no_upgrade", request(replace("Upgrade", "")), 426, ReasonNotWebSocket},
		{"H05_other_upgrade", request(replace("Upgrade", "Upgrade: h2c")), 426, ReasonNotWebSocket},
		{"H05_no_connection", request(replace("Connection", "")), 400, ReasonNotWebSocket},
		{"H14_connection_no_token", request(replace("Connection", `Connection: Upgrade, "X-Y"`)), 400, ReasonNotWebSocket},
		{"H14_connection_not_a_list", request(replace("Connection", "Connection: Upgrade, X Y")), 400, ReasonNotWebSocket},
		{"H06_http_1_0", request(replace("GET", "GET / HTTP/1.0")), 505, ReasonHTTPVersion},
		{"H06_http_0_9", "GET /\r\n\r\n", 400, ReasonMalformed},
		{"H06_http_1_less", request(replace("GET", "GET / HTTP/1.<")), 400, ReasonMalformed},
		{"H06_http_long", request(replace("GET", "GET / HTTP/1.99999999999999999999")), 400, ReasonMalformed},
		{"H06_http_2_preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, ReasonHTTPVersion},
		{"H07_host_missing", request(replace("Host", "")), 400, ReasonHost},
		{"H07_host_twice", request(add("Host: example.org")), 400, ReasonHost},
		{"H07_host_empty", request(replace("Host", "Host:")), 400, ReasonHost},
		{"H07_host_userinfo", request(replace("Host", "Host: a@b")), 400, ReasonHost},
		{"H07_host_space", request(replace("Host", "Host: a b")), 400, ReasonHost},
		{"H07_host_nul", request(replace("Host", "Host: a\x00b")), 400, ReasonMalformed},
		{"H07_host_port_text", request(replace("Host", "Host: a:http")), 400, ReasonHost},
		{"H07_host_port_big", request(replace("Host", "Host: a:65536")), 400, ReasonHost},
		{"H07_host_port_empty", request(replace("Host", "Host: a:")), 400, ReasonHost},
		{"H07_host_v6_open", request(replace("Host", "Host: [::1")), 400, ReasonHost},
		{"H08_absolute", request(replace("GET", "GET http://a/ HTTP/1.1")), 400, ReasonTarget},
		{"H08_authority", request(replace("GET", "GET a:80 HTTP/1.1")), 400, ReasonTarget},
		{"H08_asterisk", request(replace("GET", "GET * HTTP/1.1")), 400, ReasonTarget},
		{"H08_double_slash", request(replace("GET", "GET //chat HTTP/1.1")), 400, ReasonTarget},
		{"H08_dots", request(replace("GET", "GET /chat/../x HTTP/1.1")), 400, ReasonTarget},
		{"H08_escaped_dots", request(replace("GET", "GET /%2e%2E/x HTTP/1.1")), 400, ReasonTarget},
		{"H08_escaped_slash", request(replace("GET", "GET /chat%2fx HTTP/1.1")), 400, ReasonTarget},
		{"H08_escaped_nul", request(replace("GET", "GET /chat/%00 HTTP/1.1")), 400, ReasonTarget},
		{"H08_bad_escape", request(replace("GET", "GET /chat/%zz HTTP/1.1")), 400, ReasonTarget},
		{"H08_short_escape", request(replace("GET", "GET /chat/%2 HTTP/1.1")), 400, ReasonTarget},
		{"H08_semicolon", request(replace("GET", "GET /chat;x HTTP/1.1")), 400, ReasonTarget},
		{"H08_fragment", request(replace("GET", "GET /chat#x HTTP/1.1")), 400, ReasonTarget},
		{"H08_not_ascii", request(replace("GET", "GET /chat/\xc3\xa9 HTTP/1.1")), 400, ReasonTarget},
		{"H08_space", request(replace("GET", "GET /chat /x HTTP/1.1")), 400, ReasonMalformed},
		{"H09_line_too_long", request(replace("GET", "GET /"+strings.Repeat("a", 4096)+" HTTP/1.1")), 414, ReasonTooLarge},
		{"H09_header_too_long", request(add("X: " + strings.Repeat("a", 8192))), 431, ReasonTooLarge},
		{"H09_too_many_headers", request(add(strings.Repeat("A: b\r\n", 64) + "C: d")), 431, ReasonTooLarge},
		{"H12_content_length", request(add("Content-Length: 5")), 400, ReasonBody},
		{"H12_chunked", request(add("Transfer-Encoding: chunked")), 400, ReasonBody},
		{"H13_space_before_colon", request(add("X : y")), 400, ReasonMalformed},
		{"H13_folded", request(add(" folded")), 400, ReasonMalformed},
		{"H13_no_name", request(add(": x")), 400, ReasonMalformed},
		{"H13_no_colon", request(add("x")), 400, ReasonMalformed},
		{"H13_control", request(add("X: a\x01b")), 400, ReasonMalformed},
		{"H13_nul", request(add("X: a\x00b")), 400, ReasonMalformed},
		{"H13_bare_cr", request(add("X: a\rb")), 400, ReasonMalformed},
		{"H13_del", request(add("X: a\x7fb")), 400, ReasonMalformed},
		{"H13_name_not_token", request(add("X(y): z")), 400, ReasonMalformed},
		{"H13_bare_lf", strings.ReplaceAll(request(), "\r\n", "\n"), 400, ReasonMalformed},
		{"H13_leading_space", " " + request(), 400, ReasonMalformed},
		{"H13_leading_blank_line", "\r\n" + request(), 400, ReasonMalformed},
		{"H12_length_twice", request(add("Content-Length: 0\r\nContent-Length: 0")), 400, ReasonRepeated},
		{"H16_origin_twice", request(add("Origin: http://a\r\nOrigin: http://b")), 400, ReasonOrigin},
		{"H16_origin_twice_the_same", request(add("Origin: http://a\r\nORIGIN: http://a")), 400, ReasonOrigin},
		{"H20_authorization_twice", request(add("Authorization: Bearer a\r\nauthorization: Basic b")), 400, ReasonRepeated},
		{"D12_user_agent_twice", request(add("User-Agent: a\r\nUser-Agent: b")), 400, ReasonRepeated},
		{"H18_many_protocols", request(add("Sec-WebSocket-Protocol: " + manyProtocols(17))), 400, ReasonProtocols},
		{"H18_duplicate", request(add("Sec-WebSocket-Protocol: a, a")), 400, ReasonProtocols},
		{"H18_not_token", request(add("Sec-WebSocket-Protocol: a b")), 400, ReasonProtocols},
		{"H18_empty_entry", request(add("Sec-WebSocket-Protocol: a,,b")), 400, ReasonProtocols},
		{"H21_tls_hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, ReasonMalformed},
	}
	for _, r := range rows {
		modes := map[string][][]byte{
			"whole":        {[]byte(r.in)},
			"byte by byte": split(r.in),
			"coalesced":    {[]byte(r.in + request())},
		}
		for mode, pieces := range modes {
			t.Run(r.name+"/"+mode, func(t *testing.T) {
				h := Handshake{Limits: testLimits}
				_, done, err := feed(&h, pieces...)
				var refusal *Refusal
				if done || !errors.As(err, &refusal) {
					t.Fatalf("done %v, error %v", done, err)
				}
				if refusal.Status != r.status || refusal.Reason != r.reason {
					t.Errorf("refused with %d %v, want %d %v",
						refusal.Status, refusal.Reason, r.status, r.reason)
				}
			})
		}
	}
}

func manyProtocols(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprint("p", i))
	}
	return strings.Join(list, ", ")
}

func TestHandshakeAccepts(t *testing.T) {
	rows := []struct {
		name  string
		in    string
		check func(r *Request) bool
	}{
		{"plain", request(), func(r *Request) bool {
			return r.Path == "/chat/alice" && r.RawQuery == "" && r.Host == "example.org" &&
				r.Key == sampleKey && !r.HasOrigin
		}},
		{"query", request(replace("GET", "GET /chat/a%20b?room=x&y=%00 HTTP/1.1")), func(r *Request) bool {
			return r.Path == "/chat/a%20b" && r.RawQuery == "room=x&y=%00"
		}},
		{"H12_zero_length", request(add("Content-Length: 0")), nil},
		{"H14_keep_alive", request(replace("Connection", "Connection: keep-alive, Upgrade")), nil},
		{"H14_connection_twice", request(replace("Connection", "Connection: keep-alive"), add("Connection: upgrade")), nil},
		{"H14_case", request(replace("Upgrade", "upgrade: WebSocket")), nil},
		{"H14_upgrade_list", request(replace("Upgrade", "Upgrade: websocket, h2c")), nil},
		{"H07_port", request(replace("Host", "Host: a:8080")), nil},
		{"H07_v6", request(replace("Host", "Host: [::1]:8080")), nil},
		{"H09_line_at_limit", request(replace("GET", "GET /"+strings.Repeat("a", 4096-len("GET / HTTP/1.1"))+" HTTP/1.1")), nil},
		{"H09_headers_at_limit", request(add(strings.Repeat("A: b\r\n", 58) + "C: d")), nil},
		{"H14_empty_options", request(replace("Connection", "Connection: , Upgrade,, keep-alive ,")), nil},
		{"H15_hop_by_hop", request(replace("Connection", "Connection: Upgrade, X-Real-IP"), add("X-Real-IP: 1.2.3.4\r\nX-Other: o")),
			func(r *Request) bool {
				_, hidden := r.Header("x-real-ip")
				other, ok := r.Header("x-OTHER")
				return !hidden && ok && other == "o"
			}},
		{"H18_protocols", request(add("Sec-WebSocket-Protocol: bearer, abc.def\r\nSec-WebSocket-Protocol: chat")),
			func(r *Request) bool { return strings.Join(r.Protocols, "|") == "bearer|abc.def|chat" }},
		{"extensions", request(add("Sec-WebSocket-Extensions: a; b=1\r\nSec-WebSocket-Extensions: c")),
			func(r *Request) bool { return r.Extensions == "a; b=1, c" }},
	}
	for _, r := range rows {
		for mode, pieces := range map[string][][]byte{"whole": {[]byte(r.in)}, "byte by byte": split(r.in)} {
			t.Run(r.name+"/"+mode, func(t *testing.T) {
				h := Handshake{Limits: testLimits}
				n, done, err := feed(&h, pieces...)
				if !done || err != nil || n != len(r.in) {
					t.Fatalf("%d of %d bytes, done %v, error %v", n, len(r.in), done, err)
				}
				if r.check != nil && !r.check(h.Request()) {
					t.Errorf("request %+v", h.Request())
				}
			})
		}
	}
}

// Whatever the gateway acts upon cannot be made hop-by-hop, in no spelling.
func TestH15_connection_names_what_counts(t *testing.T) {
	for _, name := range []string{
		"Host", "Origin", "Cookie", "Authorization", "Forwarded", "User-Agent", "Content-Length",
		"Transfer-Encoding", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
		"X-Forwarded-Anything", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol",
		"Sec-WebSocket-Extensions", "Sec-Fetch-Site",
	} {
		for _, in := range []string{
			request(replace("Connection", "Connection: Upgrade, "+name)),
			request(replace("Connection", "Connection: "+strings.ToLower(name)+" ,\tupgrade")),
			request(replace("Connection", "Connection: keep-alive,"+strings.ToUpper(name)), add("Connection: Upgrade")),
			request(add("connection: "+name), add(name+": x")),
		} {
			if name == "Content-Length" || name == "Transfer-Encoding" {
				in = strings.Replace(in, name+": x\r\n", "", 1) // refused for its body
			}
			for mode, pieces := range map[string][][]byte{"whole": {[]byte(in)}, "byte by byte": split(in)} {
				h := Handshake{Limits: testLimits}
				_, done, err := feed(&h, pieces...)
				if done || err != hopByHop && !(name == "Host" && err == badHost) {
					t.Errorf("%s, %s: done %v, %v", name, mode, done, err)
				}
			}
		}
	}
}

func TestHeader(t *testing.T) {
	const lines = "Cookie: a=1; b=2\r\nX-One: 1\r\ncookie: c=3\r\nX-Forwarded-For: 1.1.1.1\r\n" +
		"X-Forwarded-For: 2.2.2.2\r\nX-Two: 1\r\nX-Two: 2\r\nX-Hidden: 1\r\nForwarded: for=a\r\nForwarded: for=b"
	h := Handshake{Limits: testLimits}
	if _, done, err := feed(&h, []byte(request(replace("Connection", "Connection: Upgrade, X-Hidden"), add(lines)))); !done {
		t.Fatal(err)
	}
	r := h.Request()
	for _, row := range []struct {
		name, want string
		single     *Refusal
	}{
		{"COOKIE", "a=1; b=2; c=3", nil},
		{"X-Forwarded-For", "1.1.1.1, 2.2.2.2", nil},
		{"forwarded", "for=a, for=b", nil},
		{"x-one", "1", nil},
		{"X-Two", "1", repeatedHeader},
		{"X-Hidden", "", hopByHop},
		{"X-None", "", nil},
	} {
		if got, ok := r.Header(row.name); got != row.want || ok != (row.want != "") {
			t.Errorf("%s is %q (%v), want %q", row.name, got, ok, row.want)
		}
		if got := r.CheckSingle([]string{"X-One", row.name}); got != row.single {
			t.Errorf("%s: %v, want %v", row.name, got, row.single)
		}
		if got := r.Has(row.name); got != (row.name != "X-None") {
			t.Errorf("there is %s: %v", row.name, got)
		}
	}
}

func TestH09EndlessHeaderIsRefusedAtTheLimit(t *testing.T) {
	h := Handshake{Limits: testLimits}
	h.Feed([]byte("GET / HTTP/1.1\r\nX: "))
	chunk := bytes.Repeat([]byte("a"), 1000)
	for range 100 {
		if _, _, err := h.Feed(chunk); err != nil {
			if err != headTooLarge {
				t.Fatalf("refused with %v", err)
			}
			if kept := cap(h.head); kept > 2*testLimits.HeaderBytesMax {
				t.Fatalf("keeps %d bytes", kept)
			}
			return
		}
	}
	t.Fatal("100 KB of header were taken")
}

func TestH11EarlyDataIsNotConsumed(t *testing.T) {
	h := Handshake{Limits: testLimits}
	in := request()
	n, done, err := h.Feed([]byte(in + "\x81\x85frame"))
	if n != len(in) || !done || err != nil {
		t.Fatalf("%d of %d bytes, done %v, error %v", n, len(in), done, err)
	}
}

func TestRefusalIsACompleteResponse(t *testing.T) {
	for _, r := range []*Refusal{
		BadRequest, otherVersion, badMethod, headTooLarge, badHTTP,
		{Status: 401, Reason: ReasonUnauthorized, Challenge: "Bearer"}, {Status: 429, Reason: ReasonRateLimited, RetryAfter: 7},
		{Status: 503, Reason: ReasonCapacity, RetryAfter: 30},
	} {
		raw := AppendRefusal(nil, r)
		resp, err := http.ReadResponse(newReader(raw), nil)
		if err != nil {
			t.Fatalf("%d: %v", r.Status, err)
		}
		var body bytes.Buffer
		body.ReadFrom(resp.Body)
		if resp.StatusCode != r.Status || !resp.Close || int64(body.Len()) != resp.ContentLength {
			t.Errorf("%d: got %+v with %q", r.Status, resp, body.String())
		}
		want := map[string]string{}
		switch r.Status {
		case 426:
			want["Upgrade"], want["Sec-Websocket-Version"] = "websocket", "13"
		case 405:
			want["Allow"] = "GET"
		case 401:
			want["Www-Authenticate"] = r.Challenge
		case 429, 503:
			want["Retry-After"] = fmt.Sprint(r.RetryAfter)
		}
		for k, v := range want {
			if resp.Header.Get(k) != v {
				t.Errorf("%d: %s is %q, want %q", r.Status, k, resp.Header.Get(k), v)
			}
		}
	}
}

func TestAcceptAnswersTheKey(t *testing.T) {
	raw := AppendAccept(nil, sampleKey, "chat", "permessage-deflate")
	resp, err := http.ReadResponse(newReader(raw), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Accept") != sampleAccept ||
		resp.Header.Get("Sec-Websocket-Protocol") != "chat" ||
		resp.Header.Get("Sec-Websocket-Extensions") != "permessage-deflate" {
		t.Errorf("got %+v", resp)
	}
}

func TestI01ControlCharactersNeverLeave(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a line end in a response header was let through")
		}
	}()
	AppendAccept(nil, sampleKey, "a\r\nSet-Cookie: x", "")
}

func FuzzHandshake(f *testing.F) {
	f.Add([]byte(request()), uint(7))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\n"), uint(1))
	limits := HandshakeLimits{RequestLineBytesMax: 64, HeaderBytesMax: 512, HeadersMax: 10}
	f.Fuzz(func(t *testing.T, in []byte, cut uint) {
		whole, pieces := Handshake{Limits: limits}, Handshake{Limits: limits}
		n1, done1, err1 := feed(&whole, in)
		at := int(cut % uint(len(in)+1))
		n2, done2, err2 := feed(&pieces, in[:at], in[at:])
		if done1 != done2 || (err1 == nil) != (err2 == nil) || done1 && n1 != n2 {
			t.Fatalf("whole: %d %v %v, cut at %d: %d %v %v", n1, done1, err1, at, n2, done2, err2)
		}
		if len(whole.head) > limits.RequestLineBytesMax+limits.HeaderBytesMax+16 {
			t.Fatalf("keeps %d bytes", len(whole.head))
		}
		if done1 && !strings.HasPrefix(whole.Request().Path, "/") {
			t.Fatalf("path %q", whole.Request().Path)
		}
	})
}

func BenchmarkHandshake(b *testing.B) {
	in := []byte(request(add("User-Agent: Mozilla/5.0 (X11; Linux x86_64)"), add("Origin: http://example.org"),
		add("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")))
	h := Handshake{Limits: testLimits}
	b.ReportAllocs()
	for b.Loop() {
		h.Reset()
		if _, done, err := h.Feed(in); !done {
			b.Fatal(err)
		}
	}
}
