package origin

import (
	"net/url"
	"strings"
	"testing"
)

func list(t testing.TB, items ...string) *List {
	t.Helper()
	l, err := Parse(items)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAllows(t *testing.T) {
	rows := []struct {
		name, item, origin string
		allowed            bool
	}{
		{"same", "https://good.com", "https://good.com", true},
		{"H16_case", "https://Good.com", "HTTPS://gOOD.COM", true},
		{"H16_default_port", "https://good.com", "https://good.com:443", true},
		{"H16_default_port_given", "https://good.com:443", "https://good.com", true},
		{"H16_other_port", "https://good.com", "https://good.com:8443", false},
		{"H16_port", "https://good.com:8443", "https://good.com:8443", true},
		{"H16_scheme", "https://good.com", "http://good.com", false},
		{"H16_scheme_port", "https://good.com", "http://good.com:443", false},
		{"H16_suffix", "https://good.com", "https://good.com.evil", false},
		{"H16_prefix", "https://good.com", "https://evilgood.com", false},
		{"H16_userinfo", "https://good.com", "https://good.com@evil", false},
		{"H16_userinfo_before", "https://good.com", "https://evil@good.com", false},
		{"H16_path", "https://good.com", "https://good.com/", false},
		{"H16_two", "https://good.com", "https://good.com https://good.com", false},
		{"H16_two_comma", "https://good.com", "https://good.com, https://evil", false},
		{"H16_null", "https://good.com", "null", false},
		{"H16_null_allowed", "null", "null", true},
		{"H16_empty", "https://good.com", "", false},
		{"H16_trailing_dot", "https://good.com", "https://good.com.", false},
		{"H16_nul", "https://good.com", "https://good.com\x00.evil", false},
		{"H16_unicode", "https://good.com", "https://g\u043e\u043ed.com", false},
		{"below", "https://*.good.com", "https://a.good.com", true},
		{"below_deep", "https://*.good.com", "https://a.b.good.com", true},
		{"below_not_itself", "https://*.good.com", "https://good.com", false},
		{"below_no_name", "https://*.good.com", "https://.good.com", false},
		{"below_other", "https://*.good.com", "https://evilgood.com", false},
		{"below_port", "https://*.good.com:8443", "https://a.good.com:8443", true},
		{"below_port_other", "https://*.good.com:8443", "https://a.good.com", false},
		{"punycode", "https://xn--bcher-kva.de", "https://XN--bcher-kva.de", true},
		{"ipv6", "http://[::1]:3000", "http://[::1]:3000", true},
		{"ipv6_other", "http://[::1]", "http://[::2]", false},
		{"ipv4", "http://127.0.0.1:3000", "http://127.0.0.1:3000", true},
		{"any", "*", "https://evil", true},
		{"any_null", "*", "null", true},
		{"other_scheme", "https://good.com", "chrome-extension://good.com", false},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if got := list(t, r.item).Allows(r.origin); got != r.allowed {
				t.Errorf("%s allows %q: %v", r.item, r.origin, got)
			}
		})
	}
	if new(List).Allows("https://good.com") || new(List).Allows("null") {
		t.Error("the zero list allows something")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, item := range []string{
		"", "good.com", "https://", "https://good.com/", "https://good.com/path",
		"https://u:p@good.com", "https://good.com:", "https://good.com:0", "https://good.com:99999",
		"https://good.com:080", "https://a*.good.com", "https://*", "https://*.", "https://*.*.com",
		"ftp://good.com", "wss://good.com", "https://[::1", "https://*.[::1]", "https://bücher.de",
		"https://good..com",
	} {
		if l, err := Parse([]string{"https://fine.com", item}); err == nil {
			t.Errorf("%q was taken: %+v", item, l)
		} else if !strings.Contains(err.Error(), item) {
			t.Errorf("%q: %v does not name it", item, err)
		}
	}
}

func TestAllowsAllocatesNothing(t *testing.T) {
	l := list(t, "https://a.com", "https://*.good.com")
	if n := testing.AllocsPerRun(100, func() { l.Allows("https://www.good.com") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzAllows holds that an origin is only allowed if its parts, as net/url sees them, are those of
// the list.
func FuzzAllows(f *testing.F) {
	for _, s := range []string{
		"https://good.com", "https://a.good.com:443", "https://good.com@evil", "http://[::1]:80", "null",
	} {
		f.Add(s)
	}
	l := list(f, "https://good.com", "https://*.good.com:8443", "http://[::1]:80")
	f.Fuzz(func(t *testing.T, origin string) {
		if !l.Allows(origin) {
			return
		}
		u, err := url.Parse(origin)
		if err != nil || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q is allowed, but %v, %+v", origin, err, u)
		}
		host, port := strings.ToLower(u.Hostname()), u.Port()
		switch {
		case u.Scheme == "https" && host == "good.com" && (port == "" || port == "443"):
		case u.Scheme == "https" && strings.HasSuffix(host, ".good.com") && port == "8443":
		case u.Scheme == "http" && host == "::1" && (port == "" || port == "80"):
		default:
			t.Errorf("%q is allowed", origin)
		}
	})
}

func TestH16_pages_of_this_machine(t *testing.T) {
	l := Loopback()
	for origin, want := range map[string]bool{
		"http://localhost": true, "https://localhost": true, "http://localhost:3000": true,
		"HTTP://LOCALHOST:1": true, "http://app.localhost:8080": true, "http://127.0.0.1:9090": true,
		"https://127.9.9.9": true, "http://[::1]:9090": true,
		"null": false, "": false, "http://localhost.evil.example": false,
		"http://evil.example": false, "http://evil.example:9090": false, "http://localhost@evil.example": false,
		"http://127.0.0.1.evil.example": false, "http://evil-localhost": false, "http://0.0.0.0:9090": false,
		"http://[::2]": false, "http://10.0.0.1": false, "http://localhost/": false,
		"http://localhost:0": false, "chrome-extension://localhost": false, "file://localhost": false,
		"http://localhost http://evil.example": false,
	} {
		if got := l.Allows(origin); got != want {
			t.Errorf("%q: %v", origin, got)
		}
	}
}
