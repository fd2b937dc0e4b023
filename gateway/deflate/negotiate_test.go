package deflate

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// generous grants everything.
var generous = Policy{ServerTakeover: true, ClientTakeover: true}

func TestNegotiate(t *testing.T) {
	const pmd = "permessage-deflate"
	rows := []struct {
		name, header string
		policy       Policy
		response     string // empty if every offer is declined
	}{
		{"H19_no_header", "", generous, ""},
		{"H19_empty_list", " , ,", generous, ""},
		{"H19_bare", pmd, generous, pmd},
		{"H19_empty_elements", ", " + pmd + " ,", generous, pmd},
		{"H19_unknown_extension", "x-webkit-deflate-frame; no_context_takeover, foo", generous, ""},
		{"H19_unknown_then_known", "foo; a=b; c, " + pmd, generous, pmd},
		{"H19_unknown_parameter", pmd + "; foo", generous, ""},
		{"H19_bad_offer_then_good", pmd + "; foo=1, " + pmd + "; server_max_window_bits=10",
			generous, pmd + "; server_max_window_bits=10"},
		{"H19_first_good_wins", pmd + "; server_max_window_bits=12, " + pmd, generous,
			pmd + "; server_max_window_bits=12"},
		{"H19_duplicate_flag", pmd + "; server_no_context_takeover; server_no_context_takeover",
			generous, ""},
		{"H19_duplicate_bits", pmd + "; server_max_window_bits=9; server_max_window_bits=9",
			generous, ""},
		{"H19_duplicate_client_bits", pmd + "; client_max_window_bits; client_max_window_bits=9",
			generous, ""},
		{"H19_value_on_client_flag", pmd + "; client_no_context_takeover=1", generous, ""},
		{"H19_value_on_server_flag", pmd + `; server_no_context_takeover=""`, generous, ""},
		{"H19_bits_without_value", pmd + "; server_max_window_bits", generous, ""},
		{"H19_bits_7", pmd + "; server_max_window_bits=7", generous, ""},
		{"H19_bits_16", pmd + "; server_max_window_bits=16", generous, ""},
		{"H19_bits_08", pmd + "; server_max_window_bits=08", generous, ""},
		{"H19_bits_plus", pmd + "; server_max_window_bits=+9", generous, ""},
		{"H19_bits_huge", pmd + "; client_max_window_bits=99999999999999999999", generous, ""},
		{"H19_bits_empty_quoted", pmd + `; client_max_window_bits=""`, generous, ""},
		{"H19_bits_quoted", pmd + `; server_max_window_bits="10"`, generous,
			pmd + "; server_max_window_bits=10"},
		{"H19_bits_quoted_escaped", pmd + `; server_max_window_bits="1\0"`, generous,
			pmd + "; server_max_window_bits=10"},
		{"H19_comma_in_quotes", `foo; a="b, ` + pmd + `"`, generous, ""},
		{"H19_name_is_case_sensitive", "Permessage-Deflate", generous, ""},
		{"H19_offer_16", strings.Repeat("foo, ", 15) + pmd, generous, pmd},
		{"H19_offer_17", strings.Repeat("foo, ", 16) + pmd, generous, ""},
		{"H19_500_offers", strings.Repeat(pmd+"; foo, ", 500) + pmd, generous, ""},
		{"H19_malformed_after_16", strings.Repeat("foo, ", 16) + `"`, generous, ""},

		{"D03_at_offer", pmd + "; server_max_window_bits=8", generous,
			pmd + "; server_max_window_bits=8"},
		{"D03_offer_15", pmd + "; server_max_window_bits=15", generous,
			pmd + "; server_max_window_bits=15"},
		{"D03_policy_below_offer", pmd + "; server_max_window_bits=12",
			Policy{ServerTakeover: true, ClientTakeover: true, ServerWindowBits: 9},
			pmd + "; server_max_window_bits=9"},
		{"D03_policy_above_offer", pmd + "; server_max_window_bits=9",
			Policy{ServerTakeover: true, ClientTakeover: true, ServerWindowBits: 12},
			pmd + "; server_max_window_bits=9"},
		{"D03_policy_unasked", pmd,
			Policy{ServerTakeover: true, ClientTakeover: true, ServerWindowBits: 12},
			pmd + "; server_max_window_bits=12"},

		{"D04_not_offered", pmd,
			Policy{ServerTakeover: true, ClientTakeover: true, ClientWindowBits: 9}, pmd},
		{"D04_offered_bare", pmd + "; client_max_window_bits",
			Policy{ServerTakeover: true, ClientTakeover: true, ClientWindowBits: 9},
			pmd + "; client_max_window_bits=9"},
		{"D04_offered_bare_no_limit", pmd + "; client_max_window_bits", generous, pmd},
		{"D04_offered_below_policy", pmd + "; client_max_window_bits=10",
			Policy{ServerTakeover: true, ClientTakeover: true, ClientWindowBits: 12},
			pmd + "; client_max_window_bits=10"},

		{"D05_server_asked", pmd + "; server_no_context_takeover", generous,
			pmd + "; server_no_context_takeover"},
		{"D05_client_hint", pmd + "; client_no_context_takeover", generous,
			pmd + "; client_no_context_takeover"},
		{"D05_policy", pmd, Policy{},
			pmd + "; server_no_context_takeover; client_no_context_takeover"},
		{"D05_policy_server_only", pmd, Policy{ServerTakeover: true},
			pmd + "; client_no_context_takeover"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c := newCodec(t, 1)
			conn, response, ok, err := c.Negotiate(row.header, row.policy)
			if err != nil || ok != (row.response != "") || response != row.response {
				t.Fatalf("got %q, %v, %v; want %q", response, ok, err, row.response)
			}
			conn.Close()
			if n := c.ContextBytes(); n != 0 {
				t.Errorf("%d bytes are reserved after Close", n)
			}
		})
	}
}

func TestH19_malformed(t *testing.T) {
	const pmd = "permessage-deflate"
	for name, header := range map[string]string{
		"no_name":             "; server_no_context_takeover",
		"no_parameter":        pmd + ";",
		"empty_parameter":     pmd + "; ; client_no_context_takeover",
		"no_value":            pmd + "; server_max_window_bits=",
		"no_name_of_value":    pmd + "; =10",
		"spaces_within":       pmd + " foo",
		"space_before_equals": pmd + "; server_max_window_bits =10",
		"space_after_equals":  pmd + "; server_max_window_bits= 10",
		"open_quote":          pmd + `; server_max_window_bits="10`,
		"open_escape":         pmd + `; server_max_window_bits="10\`,
		"after_quote":         pmd + `; server_max_window_bits="1"0`,
		"quoted_name":         `"` + pmd + `"`,
		"control":             pmd + "\x00",
		"control_in_quotes":   pmd + "; a=\"\x01\"",
		"line_feed":           pmd + "\r\nX: y",
		"not_ascii":           "perm\xe9ssage-deflate",
		"slash":               "permessage/deflate",
		"after_a_good_offer":  pmd + ", ;",
		"after_a_bad_offer":   pmd + "; foo, =",
	} {
		c := newCodec(t, 1)
		_, response, ok, err := c.Negotiate(header, generous)
		if !errors.Is(err, ErrMalformed) || ok || response != "" {
			t.Errorf("H19_%s: got %q, %v, %v", name, response, ok, err)
		}
		if n := c.ContextBytes(); n != 0 {
			t.Errorf("H19_%s: %d bytes are reserved", name, n)
		}
		if _, ok, err := ParseResponse(header, Offer{}); err == nil || ok {
			t.Errorf("H19_%s as a response: %v, %v", name, ok, err)
		}
	}
}

// D08: takeover is granted while there is memory, and again when a connection has closed.
func TestD08_budget(t *testing.T) {
	both := historyCost(sentBytesMax) + historyCost(1<<10)
	c, err := NewCodec(Config{Level: 1, ContextBytesMax: 2*both + historyCost(sentBytesMax)})
	if err != nil {
		t.Fatal(err)
	}
	const offer = "permessage-deflate; client_max_window_bits=10"
	var conns []Conn
	for i, want := range []Params{
		{15, 10, false, false},
		{15, 10, false, false},
		{15, 10, false, true},
		{15, 10, true, true},
	} {
		conn, response, _, err := c.Negotiate(offer, generous)
		p, _, errParse := ParseResponse(response, Offer{ClientWindowBits: 10})
		if err != nil || errParse != nil || conn.Params() != want || p != want {
			t.Errorf("connection %d: %+v, %q; want %+v", i, conn.Params(), response, want)
		}
		conns = append(conns, conn)
	}
	if n := c.ContextBytes(); n != c.cfg.ContextBytesMax {
		t.Errorf("%d bytes are reserved of %d", n, c.cfg.ContextBytesMax)
	}
	conns[0].Close()
	conns[0].Close() // must not count twice
	if n := c.ContextBytes(); n != c.cfg.ContextBytesMax-both {
		t.Errorf("%d bytes are reserved after the first Close", n)
	}
	again, response, _, _ := c.Negotiate(offer, generous)
	if strings.Contains(response, "takeover") {
		t.Errorf("%q, with memory to spare", response)
	}
	again.Close()
	for i := range conns {
		conns[i].Close()
	}
	if n := c.ContextBytes(); n != 0 {
		t.Errorf("%d bytes are reserved at the end", n)
	}
}

func TestPolicyValidate(t *testing.T) {
	for bits := range uint8(20) {
		want := bits == 0 || bits >= 8 && bits <= 15
		for _, p := range []Policy{{ServerWindowBits: bits}, {ClientWindowBits: bits}} {
			if err := p.Validate(); (err == nil) != want {
				t.Errorf("%+v: %v", p, err)
			}
		}
	}
}

func TestParseResponse(t *testing.T) {
	const pmd = "permessage-deflate"
	full := Params{ServerWindowBits: 15, ClientWindowBits: 15}
	rows := []struct {
		name, header string
		offered      Offer
		want         Params
		ok           bool
		err          error
	}{
		{"declined", "", Offer{}, Params{}, false, nil},
		{"bare", pmd, Offer{}, full, true, nil},
		{"another_extension", "foo", Offer{}, Params{}, false, ErrResponse},
		{"two_extensions", pmd + ", " + pmd, Offer{}, Params{}, false, ErrResponse},
		{"D03_above_offer", pmd + "; server_max_window_bits=11", Offer{ServerWindowBits: 10},
			Params{}, false, ErrResponse},
		{"D03_ignored", pmd, Offer{ServerWindowBits: 10}, Params{}, false, ErrResponse},
		{"D03_below_offer", pmd + "; server_max_window_bits=9", Offer{ServerWindowBits: 10},
			Params{ServerWindowBits: 9, ClientWindowBits: 15}, true, nil},
		{"D03_unasked", pmd + "; server_max_window_bits=9", Offer{},
			Params{ServerWindowBits: 9, ClientWindowBits: 15}, true, nil},
		{"D03_out_of_range", pmd + "; server_max_window_bits=1000", Offer{}, Params{}, false,
			ErrResponse},
		{"D04_not_offered", pmd + "; client_max_window_bits=10", Offer{}, Params{}, false,
			ErrResponse},
		{"D04_without_value", pmd + "; client_max_window_bits", Offer{ClientWindowBits: 15},
			Params{}, false, ErrResponse},
		{"D04_smaller", pmd + "; client_max_window_bits=10", Offer{ClientWindowBits: 15},
			Params{ServerWindowBits: 15, ClientWindowBits: 10}, true, nil},
		{"D04_larger_than_the_hint", pmd + "; client_max_window_bits=12",
			Offer{ClientWindowBits: 10}, Params{15, 10, false, false}, true, nil},
		{"D05_server_ignored", pmd, Offer{ServerNoTakeover: true}, Params{}, false, ErrResponse},
		{"D05_server", pmd + "; server_no_context_takeover", Offer{ServerNoTakeover: true},
			Params{15, 15, true, false}, true, nil},
		{"D05_client_unasked", pmd + "; client_no_context_takeover", Offer{},
			Params{15, 15, false, true}, true, nil},
		{"D05_client_hint", pmd, Offer{ClientNoTakeover: true}, Params{15, 15, false, true}, true,
			nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p, ok, err := ParseResponse(row.header, row.offered)
			if p != row.want || ok != row.ok || !errors.Is(err, row.err) {
				t.Errorf("got %+v, %v, %v", p, ok, err)
			}
		})
	}
}

func TestD12_broken_user_agents(t *testing.T) {
	const mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 " +
		"(KHTML, like Gecko)"
	for userAgent, want := range map[string]bool{
		mac + " Version/15.0 Safari/605.1.15":              true,
		mac + " Version/15.3 Safari/605.1.15":              true,
		mac + " Version/15.2.1 Safari/605.1.15":            true,
		mac + " Version/15.1 Mobile/15E148 Safari/604.1":   true,
		mac + " Version/15.4 Safari/605.1.15":              false,
		mac + " Version/15.10 Safari/605.1.15":             false,
		mac + " Version/14.1 Safari/605.1.15":              false,
		mac + " Version/16.0 Safari/605.1.15":              false,
		mac + " Chrome/115.0 Safari/537.36":                false,
		mac + " Version/15.0":                              false,
		mac + " Version/15. Safari/605.1.15":               false,
		"Opera/9.80 (Windows NT 6.1) Presto Version/15.00": false,
		"": false,
	} {
		if got := BrokenUserAgent(userAgent); got != want {
			t.Errorf("%q: %v", userAgent, got)
		}
	}
}

// offersOf is a second reading of a header without quotes: its elements as sets of parameters.
// It leaves out every element that repeats a parameter.
func offersOf(header string) (offers []map[string]string) {
	for _, extension := range strings.Split(header, ",") {
		params := map[string]string{}
		parts := strings.Split(extension, ";")
		for _, part := range parts[1:] {
			name, value, _ := strings.Cut(strings.Trim(part, " \t"), "=")
			params[name] = value
		}
		if strings.Trim(parts[0], " \t") == extensionName && len(params) == len(parts)-1 {
			offers = append(offers, params)
		}
	}
	return offers
}

// legal is a second reading of RFC 7692 section 7.1: may a server answer so to that offer?
func legal(offer, response map[string]string) bool {
	bits := map[string]int{}
	for n := 8; n <= 15; n++ {
		bits[strconv.Itoa(n)] = n
	}
	for name, value := range response {
		offered, named := offer[name]
		switch name {
		case "server_no_context_takeover", "client_no_context_takeover":
		case "server_max_window_bits":
			if bits[value] == 0 || named && bits[value] > bits[offered] {
				return false
			}
		case "client_max_window_bits":
			if bits[value] == 0 || !named || offered != "" && bits[value] > bits[offered] {
				return false
			}
		default:
			return false
		}
	}
	for _, name := range []string{"server_no_context_takeover", "server_max_window_bits"} {
		_, offered := offer[name]
		if _, answered := response[name]; offered && !answered {
			return false
		}
	}
	return true
}

func FuzzNegotiate(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits", uint8(3), uint8(0), uint8(0))
	f.Add("permessage-deflate; server_max_window_bits=8, permessage-deflate", uint8(0), uint8(4),
		uint8(7))
	f.Add("foo; a=b, permessage-deflate;server_no_context_takeover;client_no_context_takeover",
		uint8(1), uint8(1), uint8(2))
	f.Add(`permessage-deflate; server_max_window_bits="1\2"`, uint8(2), uint8(8), uint8(1))
	f.Fuzz(func(t *testing.T, extensions string, flags, serverBits, clientBits uint8) {
		policy := Policy{ServerTakeover: flags&1 != 0, ClientTakeover: flags&2 != 0}
		if serverBits %= 9; serverBits != 0 {
			policy.ServerWindowBits = 7 + serverBits
		}
		if clientBits %= 9; clientBits != 0 {
			policy.ClientWindowBits = 7 + clientBits
		}
		c := newCodec(t, 1)
		conn, response, ok, err := c.Negotiate(extensions, policy)
		if ok == (response == "") || ok && err != nil {
			t.Fatalf("%q, %v, %v", response, ok, err)
		}
		if ok && !strings.Contains(extensions, `"`) {
			answered := false
			for _, offer := range offersOf(extensions) {
				answered = answered || legal(offer, offersOf(response)[0])
			}
			if !answered {
				t.Errorf("%q is illegal for every offer", response)
			}
		}
		p := conn.Params()
		if ok && (p.ServerWindowBits < 8 || p.ServerWindowBits > 15 || p.ClientWindowBits < 8 ||
			p.ClientWindowBits > 15) {
			t.Errorf("%+v", p)
		}
		conn.Close()
		if n := c.ContextBytes(); n != 0 {
			t.Errorf("%d bytes are reserved after Close", n)
		}
		_, _, _ = ParseResponse(extensions, Offer{ServerWindowBits: policy.ServerWindowBits})
	})
}

// An offer of ours, the answer to it and what the client makes of that agree with each other.
func TestOfferAndAnswerAgree(t *testing.T) {
	r := newRand()
	bits := func() uint8 {
		if n := uint8(r.IntN(9)); n != 0 {
			return 7 + n
		}
		return 0
	}
	coin := func() bool { return r.IntN(2) == 0 }
	for range 20000 {
		offer := Offer{coin(), coin(), bits(), bits()}
		policy := Policy{coin(), coin(), bits(), bits()}
		c := newCodec(t, 1)
		conn, response, ok, err := c.Negotiate(offer.String(), policy)
		if err != nil || !ok {
			t.Fatalf("%q: %v, %v", offer, ok, err)
		}
		p, ok, err := ParseResponse(response, offer)
		if err != nil || !ok || p != conn.Params() {
			t.Fatalf("%q, %q: %+v is not %+v, %v", offer, response, p, conn.Params(), err)
		}
	}
}
