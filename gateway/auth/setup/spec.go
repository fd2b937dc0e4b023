package setup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/gateway/auth"
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
	return auth.Fields{
		User: s.text("user", user), Rooms: s.text("rooms", ""), Copied: s.list("claims"),
	}
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
