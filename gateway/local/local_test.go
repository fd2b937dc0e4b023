package local

import "testing"

func TestHostname(t *testing.T) {
	for host, want := range map[string]string{
		"": "", "localhost": "localhost", "LocalHost.:8080": "localhost", "127.0.0.1:1": "127.0.0.1",
		"[::1]": "::1", "[::1]:8080": "::1", "::1": "::1", "a_b.example": "a_b.example", ":8080": "",
	} {
		if got, ok := Hostname(host); got != want || !ok {
			t.Errorf("%q is %q (%v), want %q", host, got, ok, want)
		}
	}
	for _, host := range []string{"a b", "a/b", "a;b", "a@b", "[::1%25lo]", "[::1%lo]:1", "é", "a\r\nb", "*"} {
		if got, ok := Hostname(host); ok {
			t.Errorf("%q is the name %q", host, got)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for name, want := range map[string]bool{
		"localhost": true, "app.localhost": true, "a.b.localhost": true, "127.0.0.1": true,
		"127.255.255.254": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "localhost.example": false, "notlocalhost": false, "localhost.localdomain": false,
		"127.0.0.1.example": false, "128.0.0.1": false, "0.0.0.0": false, "::": false, "::2": false,
		"127.1": false, "2130706433": false, "10.0.0.1": false, "example.com": false,
	} {
		if got := IsLoopback(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestListens(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:0": true, "[::1]:80": true, "127.9.9.9:1": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:80": false, "192.0.2.1:80": false,
		"example.com:80": false, "127.0.0.1": false, "": false,
	} {
		if got := Listens(addr); got != want {
			t.Errorf("%q: %v", addr, got)
		}
	}
}

func TestH07_hosts(t *testing.T) {
	h := NewHosts("127.0.0.1:8080", "devbox:8080", ":80", "")
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "127.0.0.1:1": true, "[::1]:8080": true,
		"app.localhost:8080": true, "DevBox:8080": true, "devbox.": true,
		"": false, "evil.example": false, "evil.example:8080": false, "devbox.example": false,
		"127.0.0.2:8080": false, "[::ffff:127.0.0.1]:8080": false, "127.0.0.1.evil.example": false, "a b": false, "192.0.2.1": false,
	} {
		if got := h.Serves(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}
