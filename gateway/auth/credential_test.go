package auth

import (
	"strings"
	"testing"
)

// requestOf is a handshake with headers.
func requestOf(headers map[string]string) *Request {
	return &Request{Header: func(name string) (string, bool) {
		v, ok := headers[name]
		return v, ok
	}}
}

var everySource = []Source{
	{Kind: KindHeader}, {Kind: KindSubprotocol}, {Kind: KindCookie, Name: "session"},
	{Kind: KindQuery, Name: "token"}, {Kind: KindMessage},
}

func TestExtract(t *testing.T) {
	long := strings.Repeat("a", TokenBytesMax)
	rows := []struct {
		name                  string
		header, cookie, query string
		protocols             []string
		order                 []Source
		want                  string
		kind                  Kind
	}{
		{name: "H20_none", order: everySource},
		{name: "bearer", header: "Bearer abc", order: everySource, want: "abc", kind: KindHeader},
		{name: "bearer_case", header: "bEARER  abc", order: everySource, want: "abc",
			kind: KindHeader},
		{name: "basic_is_not_ours", header: "Basic YTpi", order: everySource},
		{name: "bearer_empty", header: "Bearer ", order: everySource},
		{name: "bearer_longest", header: "Bearer " + long, order: everySource, want: long,
			kind: KindHeader},
		{name: "cookie", cookie: "a=b; session=abc; c=d", order: everySource, want: "abc",
			kind: KindCookie},
		{name: "cookie_quoted", cookie: `session="abc"`, order: everySource, want: "abc",
			kind: KindCookie},
		{name: "cookie_other_case", cookie: "Session=abc", order: everySource},
		{name: "cookie_suffix", cookie: "xsession=abc", order: everySource},
		{name: "cookie_blanks", cookie: "a=b;\tsession = abc ;c=d", order: everySource, want: "abc",
			kind: KindCookie},
		{name: "A10_query", query: "a=b&token=a%2Bc", order: everySource, want: "a+c",
			kind: KindQuery},
		{name: "A10_query_not_configured", query: "token=abc", order: everySource[:3]},
		{name: "H18_subprotocol", protocols: []string{"chat", "bearer", "abc"},
			order: everySource, want: "abc", kind: KindSubprotocol},
		{name: "H18_subprotocol_alone", protocols: []string{"bearer"}, order: everySource},
		{name: "order_decides", header: "Bearer abc", query: "token=def",
			order: []Source{{Kind: KindQuery, Name: "token"}, {Kind: KindHeader}},
			want:  "def", kind: KindQuery},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			req := requestOf(map[string]string{"Authorization": r.header, "Cookie": r.cookie})
			req.RawQuery, req.Protocols = r.query, r.protocols
			c, ok, err := Extract(req, r.order)
			if err != nil {
				t.Fatal(err)
			}
			if ok != (r.want != "") || string(c.Token) != r.want || c.Kind != r.kind {
				t.Errorf("%q from %v (%v), want %q from %v", string(c.Token), c.Kind, ok,
					r.want, r.kind)
			}
			if ok && c.Request != req {
				t.Error("the credential does not know its handshake")
			}
		})
	}
}

func TestExtractRefuses(t *testing.T) {
	rows := []struct {
		name                  string
		header, cookie, query string
		protocols             []string
		want                  Reason
	}{
		{name: "A06_header_too_long", want: ReasonTooLarge,
			header: "Bearer " + strings.Repeat("a", TokenBytesMax+1)},
		{name: "A06_cookie_too_long", want: ReasonTooLarge,
			cookie: "session=" + strings.Repeat("a", TokenBytesMax+1)},
		{name: "A06_query_too_long", want: ReasonTooLarge,
			query: "token=" + strings.Repeat("a", 3*TokenBytesMax+1)},
		{name: "A06_query_too_long_decoded", want: ReasonTooLarge,
			query: "token=" + strings.Repeat("a", TokenBytesMax+1)},
		{name: "A06_subprotocol_too_long", want: ReasonTooLarge,
			protocols: []string{"bearer", strings.Repeat("a", TokenBytesMax+1)}},
		{name: "header_two_tokens", header: "Bearer abc def", want: ReasonRequest},
		{name: "header_list", header: "Bearer abc, Bearer def", want: ReasonRequest},
		{name: "header_control", header: "Bearer abc\x00", want: ReasonRequest},
		{name: "header_not_ascii", header: "Bearer ab\xc3\xa7", want: ReasonRequest},
		{name: "cookie_twice", cookie: "session=abc; session=def", want: ReasonRequest},
		{name: "cookie_twice_blanks", cookie: "session=abc; session =def", want: ReasonRequest},
		{name: "cookie_twice_quoted", cookie: `session="abc; session=def"`, want: ReasonRequest},
		{name: "cookie_twice_empty", cookie: "session=; session=def", want: ReasonRequest},
		{name: "query_twice_escaped", query: "token=abc&%74oken=def", want: ReasonRequest},
		{name: "query_twice_empty", query: "token&token=def", want: ReasonRequest},
		{name: "H18_bearer_twice", protocols: []string{"bearer", "abc", "bearer", "def"},
			want: ReasonRequest},
		{name: "H18_bearer_twice_case", protocols: []string{"Bearer", "abc", "bearer", "def"},
			want: ReasonRequest},
		{name: "query_twice", query: "token=abc&token=abc", want: ReasonRequest},
		{name: "query_bad_escape", query: "token=%zz", want: ReasonRequest},
		{name: "query_newline", query: "token=a%0Ab", want: ReasonRequest},
		// What is worth nothing does not make way for the next source.
		{name: "no_fallback", header: "Bearer a b", cookie: "session=abc", want: ReasonRequest},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			req := requestOf(map[string]string{"Authorization": r.header, "Cookie": r.cookie})
			req.RawQuery, req.Protocols = r.query, r.protocols
			_, ok, err := Extract(req, everySource)
			wantReason(t, err, r.want)
			if ok {
				t.Error("refused, and there nevertheless")
			}
		})
	}
}

func TestParseFirstMessage(t *testing.T) {
	c, err := ParseFirstMessage([]byte(` {"token": "abc"} `))
	if err != nil || c.Token != "abc" || c.Kind != KindMessage {
		t.Fatalf("%q, %v", string(c.Token), err)
	}
	rows := []struct {
		name, payload string
		want          Reason
	}{
		{"empty", ``, ReasonRequest},
		{"not_json", `abc`, ReasonRequest},
		{"array", `["abc"]`, ReasonRequest},
		{"null", `null`, ReasonRequest},
		{"number", `{"token":1}`, ReasonRequest},
		{"other_name", `{"Token":"abc"}`, ReasonRequest},
		{"more", `{"token":"abc","x":1}`, ReasonRequest},
		{"A06_duplicate", `{"token":"abc","token":"def"}`, ReasonRequest},
		{"A06_trailing", `{"token":"abc"}{}`, ReasonRequest},
		{"missing", `{"token":""}`, ReasonMissing},
		{"space", `{"token":"a b"}`, ReasonMalformed},
		{"A06_too_long", `{"token":"` + strings.Repeat("a", TokenBytesMax+1) + `"}`,
			ReasonTooLarge},
		{"A06_1MB", strings.Repeat(" ", 1<<20), ReasonTooLarge},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := ParseFirstMessage([]byte(r.payload))
			wantReason(t, err, r.want)
		})
	}
}

func TestSourceCheck(t *testing.T) {
	rows := []struct {
		source Source
		want   bool
	}{
		{Source{Kind: KindHeader}, true},
		{Source{Kind: KindCookie, Name: "session"}, true},
		{Source{Kind: KindMessage}, true},
		{Source{}, false},
		{Source{Kind: KindMessage + 1}, false},
		{Source{Kind: KindCookie}, false},
		{Source{Kind: KindQuery, Name: "a=b"}, false},
		{Source{Kind: KindHeader, Name: "X-Token"}, false},
	}
	for _, r := range rows {
		if err := r.source.Check(); (err == nil) != r.want {
			t.Errorf("%+v: %v", r.source, err)
		}
	}
}

func TestH17_OnlyCookiesAreAmbient(t *testing.T) {
	for k := KindHeader; k <= KindMessage; k++ {
		if k.Ambient() != (k == KindCookie) {
			t.Errorf("%v: %v", k, k.Ambient())
		}
	}
}

// FuzzExtract checks that whatever comes out keeps the bounds.
func FuzzExtract(f *testing.F) {
	f.Add("Bearer abc", "session=abc", "token=abc", "bearer,abc")
	f.Add("", `session="a;b"`, "token=%41&x", "")
	f.Fuzz(func(t *testing.T, header, cookie, query, protocols string) {
		req := requestOf(map[string]string{"Authorization": header, "Cookie": cookie})
		req.RawQuery, req.Protocols = query, strings.Split(protocols, ",")
		c, ok, err := Extract(req, everySource)
		if ok && err != nil || ok != (c.Token != "") {
			t.Fatalf("ok %v, err %v, %d bytes", ok, err, len(c.Token))
		}
		token := string(c.Token)
		if len(token) > TokenBytesMax || strings.ContainsAny(token, " \r\n;,\"") {
			t.Fatalf("a token of %d bytes: %q", len(token), token)
		}
	})
}
