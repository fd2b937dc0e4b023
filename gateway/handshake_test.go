package gateway

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// refused is a request and the status that it must be answered with.
type refused struct {
	name, in string
	status   int
}

// with is a good request in which one line was exchanged, or to which lines were added.
func with(old, line string) string {
	return strings.Replace(upgradeRequest("/echo"), old, line, 1)
}

func refusedRequests() []refused {
	const (
		version = "Sec-WebSocket-Version: 13"
		key     = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
		host    = "Host: localhost"
		line    = "GET /echo HTTP/1.1"
	)
	add := func(headers string) string { return upgradeRequest("/echo", headers) }
	return []refused{
		{"H01_version_8", with(version, "Sec-WebSocket-Version: 8"), 426},
		{"H01_version_list", with(version, "Sec-WebSocket-Version: 13, 8"), 426},
		{"H02_version_missing", with(version+"\r\n", ""), 400},
		{"H03_key_missing", with(key+"\r\n", ""), 400},
		{"H03_key_short", with(key, "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="), 400},
		{"H03_key_twice", add(key), 400},
		{"H04_post", with("GET", "POST"), 405},
		{"H04_lower_case", with("GET", "get"), 405},
		{"H05_no_upgrade", with("Upgrade: websocket\r\n", ""), 426},
		{"H06_http_1_0", with(line, "GET /echo HTTP/1.0"), 505},
		{"H06_http_1_less", with(line, "GET /echo HTTP/1.<"), 400},
		{"H06_http_2_preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"H07_host_missing", with(host+"\r\n", ""), 400},
		{"H07_host_twice", add("Host: other"), 400},
		{"H07_host_userinfo", with(host, "Host: a@b"), 400},
		{"H08_absolute", with(line, "GET http://test/echo HTTP/1.1"), 400},
		{"H08_dots", with(line, "GET /chat/../echo HTTP/1.1"), 400},
		{"H08_escaped_slash", with(line, "GET /chat%2falice HTTP/1.1"), 400},
		{"H08_prefix", with(line, "GET /echoes HTTP/1.1"), 404},
		{"H08_slash_behind", with(line, "GET /echo/ HTTP/1.1"), 404},
		{"H09_long_line", with("/echo", "/"+strings.Repeat("a", 4096)), 414},
		{"H09_long_header", add("X: " + strings.Repeat("a", 8192)), 431},
		{"H09_many_headers", add(strings.Repeat("A: b\r\n", 64) + "C: d"), 431},
		{"H12_content_length", add("Content-Length: 5"), 400},
		{"H12_chunked", add("Transfer-Encoding: chunked"), 400},
		{"H13_space_before_colon", add("X : y"), 400},
		{"H13_folded", add("X: y\r\n z"), 400},
		{"H13_nul", add("X: a\x00b"), 400},
		{"H13_bare_lf", strings.ReplaceAll(upgradeRequest("/echo"), "\r\n", "\n"), 400},
		{"H15_client_header", with("Connection: Upgrade", "Connection: Upgrade, X-Forwarded-For"), 400},
		{"H15_host", with("Connection: Upgrade", "Connection: Upgrade, host"), 400},
		{"H16_origin_twice", add("Origin: http://a\r\nOrigin: http://b"), 400},
		{"H20_authorization_twice", add("Authorization: Bearer a\r\nAuthorization: Bearer a"), 400},
		{"room_twice", upgradeRequest("/chat/ann?room=a&room=b"), 400},
		{"room_twice_escaped", upgradeRequest("/chat/ann?%72oom=a&room=b"), 400},
		{"H18_duplicate", add("Sec-WebSocket-Protocol: a, a"), 400},
		{"H19_malformed", add("Sec-WebSocket-Extensions: permessage-deflate; ="), 400},
		{"H21_tls_hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
		{"I01_name_with_line_end", with(line, "GET /chat/a%0d%0aX HTTP/1.1"), 400},
	}
}

// Every refusal is a whole answer that the peer gets to read, and nothing comes behind it.
func TestRefusedHandshakes(t *testing.T) {
	onEachEngine(t, nil, func(t *testing.T, g *Gateway) {
		for _, r := range refusedRequests() {
			for _, mode := range []string{"whole", "byte_by_byte"} {
				t.Run(r.name+"/"+mode, func(t *testing.T) {
					c := dialRaw(t, g)
					step := len(r.in)
					if mode == "byte_by_byte" {
						step = 1
					}
					for i := 0; i < len(r.in); i += step {
						// The gateway may have had enough before the end.
						if _, err := io.WriteString(c, r.in[i:i+step]); err != nil {
							break
						}
					}
					checkRefusal(t, readAll(t, c), r.status)
				})
			}
		}
		settled(t, "empty", func() bool { return g.door.inside.Load() == 0 })
	})
}

func checkRefusal(t *testing.T, out []byte, status int) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(out))
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		t.Errorf("the body: %v", err)
	}
	r.Body.Close()
	if r.StatusCode != status || !r.Close || r.ContentLength < 0 || in.Buffered() > 0 {
		t.Errorf("answered %q, want %d and the end", out, status)
	}
	if status == 426 && r.Header.Get("Upgrade") != "websocket" {
		t.Errorf("426 without Upgrade: %q", out)
	}
}

// A request that was cut anywhere is the same request.
func TestH14_requests_in_two_segments(t *testing.T) {
	in := strings.Replace(upgradeRequest("/echo"), "Connection: Upgrade",
		"Connection: keep-alive, Upgrade", 1)
	onEachEngine(t, nil, func(t *testing.T, g *Gateway) {
		for cut := 1; cut < len(in); cut++ {
			c := dialRaw(t, g)
			io.WriteString(c, in[:cut])
			io.WriteString(c, in[cut:])
			head := make([]byte, 13)
			if _, err := io.ReadFull(c, head); err != nil || string(head) != "HTTP/1.1 101 " {
				t.Fatalf("cut at %d: %q, %v", cut, head, err)
			}
			c.Close()
		}
	})
}
