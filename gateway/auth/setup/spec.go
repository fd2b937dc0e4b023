package setup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"sluice/gateway/auth"
)

const (
	// queueMax is how many credentials may wait for a service.
	queueMax = 1024
	// prefixBytesMax bounds what precedes the names of users.
	prefixBytesMax = 32
	// maxLeeway bounds how wrong the clock of an issuer may be.
	maxLeeway = time.Hour
)

// spec is what one setting says of a verifier: "name=value,name=value". A value that is a list has
// its items separated by "+"; no value can have a comma in it.
type spec struct {
	values map[string]string
	errs   []error
}

// parseSpec reads a spec that may have the given names, and must have the required ones.
func parseSpec(text string, names, required []string) *spec {
	s := &spec{values: map[string]string{}}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(pair, "=")
		switch _, twice := s.values[name]; {
		case !ok:
			// What has no name may be a part of a secret.
			s.fail("%d. part is not name=value", len(s.values)+1)
		case !slices.Contains(names, name):
			s.fail("there is no %q; there are %s", name, strings.Join(names, ", "))
		case twice:
			s.fail("%s is given twice", name)
		case value == "":
			s.fail("%s is empty", name)
		default:
			s.values[name] = value
		}
	}
	for _, name := range required {
		if _, ok := s.values[name]; !ok && len(s.errs) == 0 {
			s.fail("%s is missing", name)
		}
	}
	return s
}

func (s *spec) fail(format string, args ...any) {
	s.errs = append(s.errs, fmt.Errorf(format, args...))
}

func (s *spec) err() error { return errors.Join(s.errs...) }

func (s *spec) has(name string) bool { return s.values[name] != "" }

// text is a value, or what it is by default.
func (s *spec) text(name, byDefault string) string {
	if v, ok := s.values[name]; ok {
		return v
	}
	return byDefault
}

// list is a value that is a list; nil by default.
func (s *spec) list(name string) []string {
	if v, ok := s.values[name]; ok {
		return strings.Split(v, "+")
	}
	return nil
}

func (s *spec) duration(name string, byDefault time.Duration) time.Duration {
	v, ok := s.values[name]
	if !ok {
		return byDefault
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		s.fail("%s=%s is not a duration, like 500ms or 2s", name, v)
	}
	return d
}

func (s *spec) count(name string, byDefault int) int {
	v, ok := s.values[name]
	if !ok {
		return byDefault
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 1<<20 {
		s.fail("%s=%s is not a count", name, v)
	}
	return n
}

// is reports whether a value is true; it is not by default.
func (s *spec) is(name string) bool {
	v := s.text(name, "false")
	on, err := strconv.ParseBool(v)
	if err != nil {
		s.fail("%s=%s is neither true nor false", name, v)
	}
	return on
}

// fields are the names of the members that make an identity.
func (s *spec) fields(user string) auth.Fields {
	f := auth.Fields{User: s.text("user", user), Copied: s.list("claims")}
	f.Rooms, f.RoomsOptional = s.rooms()
	return f
}

// rooms is the member with the rooms; with a question mark behind it, it may be missing.
func (s *spec) rooms() (member string, optional bool) {
	member, optional = strings.CutSuffix(s.text("rooms", ""), "?")
	if optional && member == "" {
		s.fail("rooms=? has no name before the question mark")
	}
	return member, optional
}

// realm names the users of a verifier: by its issuer, or by word if it takes those of any. prefix
// is the name of the value that precedes the names of users.
func (s *spec) realm(word, issuer, prefix string) *auth.Realm {
	r := &auth.Realm{Issuer: issuer, Prefix: s.text(prefix, "")}
	if issuer == "" {
		r.Issuer, r.Claimed = word, true
	}
	if len(r.Prefix) > prefixBytesMax || r.Prefix != "" && !auth.IsUser(r.Prefix) ||
		strings.Contains(r.Prefix, " ") {
		s.fail("%s must be at most %d printable characters without a space", prefix,
			prefixBytesMax)
	}
	first, _, _ := strings.Cut(s.text("issuer", ""), ":")
	switch first {
	case auth.IssuerJWT, auth.IssuerIntrospection, auth.IssuerHook, auth.IssuerSessions,
		auth.IssuerCertificate, auth.AnyIssuer:
		s.fail("issuer cannot be %q, which means something else here", first)
	}
	r.Service = word != auth.IssuerJWT
	return r
}

// service bounds what waits for a service. Unless the spec says otherwise, a credential may wait as
// long as a call may take: so one whose turn is next can wait for the slowest call before it.
func (s *spec) service(name string, b auth.BackendConfig) *Service {
	of := &Service{
		Name: name, CallsMax: b.CallsMax, QueueMax: s.count("queue", queueMax),
		WaitMax: s.duration("wait", b.Timeout),
	}
	if of.QueueMax <= 0 || of.WaitMax <= 0 {
		s.fail("wait and queue must be positive")
	}
	return of
}

// backend are the bounds of a remote service.
func (s *spec) backend() auth.BackendConfig {
	b := auth.DefaultBackend()
	b.Timeout = s.duration("timeout", b.Timeout)
	b.CallsMax = s.count("calls", b.CallsMax)
	if err := b.Check(); err != nil {
		s.fail("timeout and calls must be positive")
	}
	return b
}

// file is a value that must be the file of a secret, "@path": a setting is seen by everybody who
// lists processes or reads the configuration.
func (s *spec) file(name string) auth.Secret {
	v := s.values[name]
	if v != "" && !strings.HasPrefix(v, "@") {
		s.fail("%s must be a file: %[1]s=@PATH", name)
	}
	return auth.Secret(v)
}

// secret loads a secret from its file; empty by default.
func (s *spec) secret(name string) auth.Secret {
	if s.file(name); !s.has(name) || s.err() != nil {
		return ""
	}
	secret, err := auth.LoadSecret(s.values[name])
	if err != nil {
		s.fail("%s: %w", name, err)
	}
	if strings.ContainsFunc(string(secret), unicode.IsControl) {
		// It goes into a header, or a protocol of lines. A second line end is the usual cause.
		s.fail("%s: the file has a control character besides one line end", name)
	}
	return secret
}

// ParseSource reads a place where credentials may be: header, cookie:NAME, query:NAME, subprotocol
// or message.
func ParseSource(text string) (auth.Source, error) {
	kind, name, named := strings.Cut(text, ":")
	for _, k := range []auth.Kind{
		auth.KindHeader, auth.KindCookie, auth.KindQuery, auth.KindSubprotocol, auth.KindMessage,
	} {
		if k.String() != kind {
			continue
		}
		s := auth.Source{Kind: k, Name: name}
		if named && name == "" || s.Check() != nil {
			break
		}
		return s, nil
	}
	return auth.Source{}, fmt.Errorf(
		"%q is not header, cookie:NAME, query:NAME, subprotocol or message", text)
}
