package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// TokenBytesMax bounds a token. A longer one is refused before anything looks at it.
const TokenBytesMax = 8 << 10

// BearerProtocol is the subprotocol that announces a token as the next one of the list, and the one
// to select in the answer: "Sec-WebSocket-Protocol: bearer, <token>".
const BearerProtocol = "bearer"

// Kind is where a credential comes from.
type Kind uint8

// The kinds.
const (
	// KindHeader is "Authorization: Bearer", RFC 6750 section 2.1.
	KindHeader Kind = iota + 1
	// KindCookie is a cookie. Browsers send it whoever opened the page: it is worth nothing
	// without a check of Origin.
	KindCookie
	// KindQuery is a parameter of the query, RFC 6750 section 2.3. It ends up in the logs of
	// proxies and in histories.
	KindQuery
	// KindSubprotocol is the list of subprotocols, see BearerProtocol. It is the one header that
	// a script in a browser can set.
	KindSubprotocol
	// KindMessage is the first message of the connection, see ParseFirstMessage.
	KindMessage
)

var kindNames = [...]string{"none", "header", "cookie", "query", "subprotocol", "message"}

func (k Kind) String() string { return kindNames[k] }

// Ambient reports whether a browser sends such a credential by itself. Then the handshake must have
// an Origin, and one that is allowed.
func (k Kind) Ambient() bool { return k == KindCookie }

// Source is a place where a credential may be.
type Source struct {
	Kind Kind
	// Name is that of the cookie or the parameter; the other kinds have none.
	Name string
}

// Check returns an error if there can be no such source.
func (s Source) Check() error {
	named := s.Kind == KindCookie || s.Kind == KindQuery
	switch {
	case s.Kind < KindHeader || s.Kind > KindMessage:
		return errors.New("auth: unknown kind of source")
	case named && !isPlain(s.Name):
		return fmt.Errorf("auth: a %s needs a plain name", s.Kind)
	case !named && s.Name != "":
		return fmt.Errorf("auth: a %s has no name", s.Kind)
	}
	return nil
}

// Request is what a handshake says that matters here.
type Request struct {
	// Header returns a header by its name, whatever its case. Several lines of a list header are
	// joined, and so are those of Cookie; others have a single line.
	Header func(name string) (value string, ok bool)
	// Path and RawQuery are the parts of the target as sent.
	Path, RawQuery string
	// Protocols are the subprotocols as offered.
	Protocols []string
	// Remote is the address of the peer.
	Remote netip.Addr
	// Connection is the id of the connection, to find it by in logs. It may be empty.
	Connection string
}

// Credential is what a peer shows.
type Credential struct {
	Token Secret
	Kind  Kind
	// Request is the handshake, for verifiers that look at more than the token. It may be nil.
	Request *Request
}

// Extract takes the credential out of a handshake: the first source of order that has one decides,
// even if it is worth nothing. ok is false if none has; a token in the first message is still to
// come then, if order says so.
func Extract(r *Request, order []Source) (c Credential, ok bool, err error) {
	for _, s := range order {
		raw, err := s.find(r)
		if err != nil {
			return Credential{}, false, err
		}
		if raw == "" {
			continue
		}
		if err := checkToken(raw); err != nil {
			return Credential{}, false, err
		}
		// The handshake's buffer must not live as long as the token does.
		return Credential{Token: Secret(strings.Clone(raw)), Kind: s.Kind, Request: r}, true, nil
	}
	return Credential{}, false, nil
}

// find returns what a source has, empty if nothing.
func (s Source) find(r *Request) (string, error) {
	switch s.Kind {
	case KindHeader:
		value, _ := r.Header("Authorization")
		return bearer(value), nil
	case KindCookie:
		value, _ := r.Header("Cookie")
		return cookie(value, s.Name)
	case KindQuery:
		return parameter(r.RawQuery, s.Name)
	case KindSubprotocol:
		return announced(r.Protocols)
	}
	return "", nil
}

// announced returns the entry of a list of subprotocols behind BearerProtocol, empty without one.
// A second announcement is refused, in whatever case: somebody else may take the other one.
func announced(protocols []string) (token string, err error) {
	count := 0
	for i, p := range protocols {
		if !strings.EqualFold(p, BearerProtocol) {
			continue
		}
		if count++; count > 1 {
			return "", Refuse(ReasonRequest)
		}
		if p == BearerProtocol && i+1 < len(protocols) {
			token = protocols[i+1]
		}
	}
	return token, nil
}

// bearer returns the token of an Authorization header, empty if it has another scheme.
func bearer(value string) string {
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.Trim(token, " ")
}

// cookie returns the value of a cookie, RFC 6265 section 4.2, of all Cookie lines together. Two of
// a name are refused: which one the owner of the site has set cannot be told. Blanks around a name
// do not make another name of it, because to some servers they do not.
func cookie(header, name string) (value string, err error) {
	found := false
	for pair := range strings.SplitSeq(header, ";") {
		n, v, ok := strings.Cut(pair, "=")
		if !ok || strings.Trim(n, " \t") != name {
			continue
		}
		if found {
			return "", Refuse(ReasonRequest)
		}
		found = true
		v = strings.Trim(v, " \t")
		if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
			v = v[1 : len(v)-1]
		}
		value = v
	}
	return value, nil
}

// parameter returns the value of a parameter of a query. Two of a name are refused, also if one
// of them is written with escapes.
func parameter(query, name string) (value string, err error) {
	found := false
	for pair := range strings.SplitSeq(query, "&") {
		n, v, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(n); err != nil || plain != name {
			continue
		}
		if found {
			return "", Refuse(ReasonRequest)
		}
		found = true
		if len(v) > 3*TokenBytesMax {
			return "", Refuse(ReasonTooLarge)
		}
		if value, err = url.QueryUnescape(v); err != nil {
			return "", Refuse(ReasonRequest)
		}
	}
	return value, nil
}

// checkToken checks what every token must be: short, and of the characters that a cookie may have,
// RFC 6265 section 4.1.1. Those of RFC 6750 are among them.
func checkToken(token string) error {
	if len(token) > TokenBytesMax {
		return Refuse(ReasonTooLarge)
	}
	for i := range len(token) {
		c := token[i]
		if c <= ' ' || c >= 0x7F || c == '"' || c == ',' || c == ';' || c == '\\' {
			return Refuse(ReasonRequest)
		}
	}
	if token == "" {
		return Refuse(ReasonMissing)
	}
	return nil
}

// isPlain reports whether s has only letters, digits and "-._~".
func isPlain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '.' || c == '_' || c == '~') {
			return false
		}
	}
	return s != ""
}
