package proxy

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"

	"sluice/poller"
)

func trust(t testing.TB, items ...string) *Trust {
	t.Helper()
	list, err := ParseTrust(items)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestTrust(t *testing.T) {
	list := trust(t, "10.0.0.0/8", "192.0.2.7", "2001:db8::/32")
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "11.0.0.1": false, "192.0.2.7": true, "192.0.2.8": false,
		"::ffff:10.0.0.1": true, "2001:db8::1": true, "2001:db9::1": false, "fe80::1%eth0": false,
	} {
		if got := list.Contains(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is trusted: %v", addr, got)
		}
	}
	for _, item := range []string{"", "10.0.0.0/33", "proxy", "fe80::1%eth0", "::ffff:10.0.0.0/104"} {
		if _, err := ParseTrust([]string{item}); err == nil {
			t.Errorf("%q was taken", item)
		}
	}
	if new(Trust).Contains(netip.MustParseAddr("127.0.0.1")) {
		t.Error("the zero set trusts somebody")
	}
}

func TestClient(t *testing.T) {
	const proxy = "10.0.0.1"
	hundred := strings.Repeat("10.0.0.9, ", 100) + "10.0.0.9"
	rows := []struct {
		name, remote string
		header       Header
		values       []string
		want         string
	}{
		{"none", proxy, XForwardedFor, nil, proxy},
		{"one", proxy, XForwardedFor, []string{"198.51.100.1"}, "198.51.100.1"},
		{"X01_untrusted_peer", "203.0.113.1", XForwardedFor, []string{"198.51.100.1"}, "203.0.113.1"},
		{"X01_forged_left", proxy, XForwardedFor, []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1"},
		{"X01_two_proxies", proxy, XForwardedFor, []string{"198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"X01_all_trusted", proxy, XForwardedFor, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"X03_two_lines", proxy, XForwardedFor, []string{"1.1.1.1", "198.51.100.1, 10.0.0.2"},
			"198.51.100.1"},
		{"X01_garbage", proxy, XForwardedFor, []string{"198.51.100.1, <script>"}, proxy},
		{"X01_garbage_behind_trusted", proxy, XForwardedFor, []string{"x, 10.0.0.2"}, "10.0.0.2"},
		{"X01_empty_entry", proxy, XForwardedFor, []string{"198.51.100.1,"}, proxy},
		{"X01_hundred_hops", proxy, XForwardedFor, []string{"198.51.100.1, " + hundred}, "10.0.0.9"},
		{"X01_port", proxy, XForwardedFor, []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"X01_ipv6", proxy, XForwardedFor, []string{"2001:db8::1"}, "2001:db8::1"},
		{"X01_ipv6_port", proxy, XForwardedFor, []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"X01_ipv6_brackets", proxy, XForwardedFor, []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"X01_ipv6_zone", proxy, XForwardedFor, []string{"fe80::1%eth0"}, "fe80::1"},
		{"X01_mapped", "::ffff:10.0.0.1", XForwardedFor, []string{"::ffff:198.51.100.1"},
			"198.51.100.1"},
		{"forwarded", proxy, Forwarded, []string{"for=198.51.100.1;proto=https;by=10.0.0.1"},
			"198.51.100.1"},
		{"forwarded_case", proxy, Forwarded, []string{`proto=http; For="[2001:db8::1]:4711"`},
			"2001:db8::1"},
		{"forwarded_comma_in_quotes", proxy, Forwarded,
			[]string{`for=198.51.100.1;host="a,b", for=10.0.0.2`}, "198.51.100.1"},
		{"forwarded_hidden", proxy, Forwarded, []string{"for=198.51.100.1, for=_hidden"}, proxy},
		{"forwarded_unknown", proxy, Forwarded, []string{"for=unknown"}, proxy},
		{"forwarded_open_quote", proxy, Forwarded, []string{`for="198.51.100.1`}, proxy},
		{"X03_forwarded_two_nodes", proxy, Forwarded, []string{"for=198.51.100.1;FOR=198.51.100.2"},
			proxy},
		{"forwarded_without_for", proxy, Forwarded, []string{"proto=https"}, proxy},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got := trust(t, "10.0.0.0/8").Client(netip.MustParseAddr(r.remote), r.header, r.values)
			if got.String() != r.want {
				t.Errorf("the client is %v, want %s", got, r.want)
			}
		})
	}
}

// FuzzClient holds that nobody but trusted hops can name the client.
func FuzzClient(f *testing.F) {
	f.Add("1.2.3.4, 10.0.0.2", true)
	f.Add(`for="[::1]:1";a=b, for=10.0.0.1`, false)
	list := trust(f, "10.0.0.0/8")
	f.Fuzz(func(t *testing.T, value string, x bool) {
		header := Forwarded
		if x {
			header = XForwardedFor
		}
		client := list.Client(netip.MustParseAddr("10.0.0.1"), header, []string{value})
		if !client.IsValid() || client.Is4In6() || client.Zone() != "" {
			t.Errorf("the client is %v", client)
		}
		stranger := netip.MustParseAddr("203.0.113.1")
		if got := list.Client(stranger, header, []string{value}); got != stranger {
			t.Errorf("a stranger is %v", got)
		}
	})
}

// header makes a binary header.
func header(command, family byte, body string) string {
	b := []byte(string(binarySignature) + string([]byte{command, family, 0, 0}) + body)
	binary.BigEndian.PutUint16(b[14:], uint16(len(body)))
	return string(b)
}

// summed adds a checksum.
func summed(command, family byte, body string, spoil uint32) string {
	b := []byte(header(command, family, body+"\x03\x00\x04\x00\x00\x00\x00"))
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[len(b)-4:], sum+spoil)
	return string(b)
}

func TestParseHeader(t *testing.T) {
	v4 := "\xc6\x33\x64\x01\x0a\x00\x00\x01\x12\x67\x01\xbb" // 198.51.100.1:4711
	v6 := strings.Repeat("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", 2) +
		"\x12\x67\x01\xbb"
	rows := []struct {
		name, in string
		want     string // the client; "-" for none, empty for an error
	}{
		{"v1", "PROXY TCP4 198.51.100.1 10.0.0.1 4711 443\r\n", "198.51.100.1:4711"},
		{"v1_ipv6", "PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", "[2001:db8::1]:4711"},
		{"v1_unknown", "PROXY UNKNOWN\r\n", "-"},
		{"v1_unknown_more", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "-"},
		{"v2", header(0x21, 0x11, v4), "198.51.100.1:4711"},
		{"v2_ipv6", header(0x21, 0x21, v6), "[2001:db8::1]:4711"},
		{"X02_local", header(0x20, 0, ""), "-"},
		{"X02_local_with_addresses", header(0x20, 0x11, "\x04\x00\x00"), "-"},
		{"X02_unspec", header(0x21, 0, ""), "-"},
		{"X02_unix", header(0x21, 0x31, strings.Repeat("x", 216)), "-"},
		{"v2_extensions", header(0x21, 0x11, v4+"\x01\x00\x02h2\x04\x00\x00"), "198.51.100.1:4711"},
		{"v2_checksum", summed(0x21, 0x11, v4, 0), "198.51.100.1:4711"},
		{"X02_wrong_checksum", summed(0x21, 0x11, v4, 1), ""},
		{"X02_bad_extension", header(0x21, 0x11, v4+"\x01\x00"), ""},
		{"X02_extension_too_long", header(0x21, 0x11, v4+"\x01\x00\x09x"), ""},
		{"X02_v2_64KiB", header(0x21, 0x11, strings.Repeat("x", 65535)), ""},
		{"X02_v2_too_few_addresses", header(0x21, 0x11, v4[:11]), ""},
		{"X02_v2_udp", header(0x21, 0x12, v4), ""},
		{"X02_v2_version", header(0x11, 0x11, v4), ""},
		{"X02_v2_command", header(0x22, 0x11, v4), ""},
		{"X02_v2_family", header(0x21, 0x41, v4), ""},
		{"X02_http", "GET / HTTP/1.1\r\n", ""},
		{"X02_v1_108_bytes", "PROXY TCP4 " + strings.Repeat("1", 97), ""},
		{"X02_v1_lower_case", "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", ""},
		{"X02_v1_mixed_family", "PROXY TCP4 2001:db8::1 10.0.0.1 1 2\r\n", ""},
		{"X02_v1_family", "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", ""},
		{"X02_v1_port", "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n", ""},
		{"X02_v1_port_zeros", "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", ""},
		{"X02_v1_port_sign", "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", ""},
		{"X02_v1_no_port", "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", ""},
		{"X02_v1_two_spaces", "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", ""},
		{"X02_v1_zone", "PROXY TCP6 fe80::1%x fe80::2 1 2\r\n", ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			client, n, err := ParseHeader([]byte(r.in + "GET /"))
			switch {
			case r.want == "":
				if err != ErrHeader {
					t.Fatalf("got %v, %v", client, err)
				}
				return
			case err != nil || n != len(r.in):
				t.Fatalf("%d of %d bytes, %v", n, len(r.in), err)
			case r.want == "-" && client.IsValid(), r.want != "-" && client.String() != r.want:
				t.Errorf("the client is %v, want %s", client, r.want)
			}
			for i := range len(r.in) {
				if _, _, err := ParseHeader([]byte(r.in[:i])); err != ErrShort {
					t.Fatalf("%d bytes of it are %v", i, err)
				}
			}
		})
	}
}

// FuzzParseHeader holds that a header is bounded, and that what follows it makes no difference.
func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 198.51.100.1 10.0.0.1 4711 443\r\nGET"))
	f.Add([]byte(header(0x21, 0x11, "abcdefghijkl")))
	f.Add([]byte(summed(0x21, 0x11, "abcdefghijkl", 0)))
	f.Fuzz(func(t *testing.T, data []byte) {
		client, n, err := ParseHeader(data)
		switch err {
		case nil:
			again, m, err := ParseHeader(data[:n])
			if again != client || m != n || err != nil || n > binaryBytesMax {
				t.Errorf("%v, %d; without the rest %v, %d, %v", client, n, again, m, err)
			}
		case ErrShort:
			if len(data) >= binaryBytesMax {
				t.Errorf("%d bytes are not enough", len(data))
			}
		case ErrHeader:
			if _, _, err := ParseHeader(append(data, 'x')); err != ErrHeader {
				t.Errorf("one byte more makes it %v", err)
			}
		}
	})
}

// room is an acceptor with room for some.
type room struct {
	poller.Acceptor
	n int
}

func (r room) Room() int { return r.n }

// TestH10_silent_proxies_are_bounded: connections without a header count by no other limit.
func TestH10_silent_proxies_are_bounded(t *testing.T) {
	p := NewProxied(trust(t, "192.0.2.0/24"))
	for _, c := range []struct {
		pending int64
		next    poller.Acceptor
		want    int
	}{
		{0, nil, pendingMax},
		{pendingMax - 1, nil, 1},
		{pendingMax, nil, 0},
		{0, room{n: 7}, 7},
		{pendingMax - 3, room{n: 7}, 3},
		{0, room{n: -1}, -1},
	} {
		p.pending.Store(c.pending)
		if got := p.Wrap(c.next).(poller.Throttle).Room(); got != c.want {
			t.Errorf("%+v: room for %d", c, got)
		}
	}
}
