package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestH20_Answers(t *testing.T) {
	rows := []struct {
		reason    Reason
		class     error
		status    int
		challenge string
	}{
		{ReasonMissing, ErrInvalid, 401, `Bearer`},
		{ReasonRequest, ErrInvalid, 400, `Bearer error="invalid_request"`},
		{ReasonTooLarge, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonMalformed, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonAlgorithm, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonKey, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonSignature, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonExpired, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonNotYet, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonIssuer, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonAudience, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonClaims, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonInactive, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonRevoked, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonForbidden, ErrForbidden, 403, `Bearer error="insufficient_scope"`},
		{ReasonLimited, ErrLimited, 429, ``},
		{ReasonBusy, ErrUnavailable, 503, ``},
		{ReasonBreaker, ErrUnavailable, 503, ``},
		{ReasonBackend, ErrUnavailable, 503, ``},
		{ReasonNoKeys, ErrUnavailable, 503, ``},
		{ReasonLifetime, ErrInvalid, 401, `Bearer error="invalid_token"`},
		{ReasonShare, ErrLimited, 429, ``},
		{ReasonWaited, ErrUnavailable, 503, ``},
		{ReasonAudit, ErrUnavailable, 503, ``},
	}
	if len(rows) != int(reasons) {
		t.Errorf("%d rows for %d reasons", len(rows), reasons)
	}
	classes := []error{ErrInvalid, ErrForbidden, ErrLimited, ErrUnavailable}
	for _, r := range rows {
		t.Run(r.reason.String(), func(t *testing.T) {
			e := Refuse(r.reason)
			if e.Status() != r.status || e.Challenge() != r.challenge {
				t.Errorf("%d %q, want %d %q", e.Status(), e.Challenge(), r.status, r.challenge)
			}
			for _, c := range classes {
				if errors.Is(fmt.Errorf("wrapped: %w", e), c) != (c == r.class) {
					t.Errorf("wrong about the class %v", c)
				}
			}
		})
	}
}

func TestReasonNamesAreDistinct(t *testing.T) {
	names := ReasonNames()
	slices.Sort(names)
	if len(slices.Compact(names)) != int(reasons) || slices.Contains(names, "") {
		t.Errorf("names %q", names)
	}
}

func TestA10_SecretNeverShows(t *testing.T) {
	const word = "hunter2"
	c := Credential{Token: word, Kind: KindQuery}
	var text strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&text, verb, c)
		fmt.Fprintf(&text, verb, c.Token)
		fmt.Fprintf(&text, verb, &c)
		fmt.Fprintf(&text, verb, KeyConfig{Source: word})
		fmt.Fprintf(&text, verb, HookConfig{Secret: word})
		fmt.Fprintf(&text, verb, IntrospectionConfig{ClientSecret: word})
	}
	fmt.Fprintln(&text, c.Token, c)
	text.WriteString(jsonOf(t, struct{ Token Secret }{word}))
	var logs bytes.Buffer
	handlers := []slog.Handler{slog.NewJSONHandler(&logs, nil), slog.NewTextHandler(&logs, nil)}
	for _, h := range handlers {
		slog.New(h).Info("x", "token", c.Token, "config", HookConfig{Secret: word})
	}
	text.Write(logs.Bytes())
	for _, s := range []string{word, fmt.Sprintf("%x", word), jsonOf(t, []byte(word))} {
		if strings.Contains(text.String(), strings.Trim(s, `"`)) {
			t.Errorf("%q is in %s", s, text.String())
		}
	}
	if !json.Valid([]byte(jsonOf(t, c.Token))) || string(c.Token) != word {
		t.Error("the secret itself is lost")
	}
}

func TestUnavailableHidesURL(t *testing.T) {
	err := Unavailable(&url.Error{
		Op: "Post", URL: "https://a/?key=hunter2", Err: errors.New("down"),
	})
	if err.Error() != "auth: backend: down" {
		t.Error(err)
	}
	if e := Refuse(ReasonLimited); Unavailable(fmt.Errorf("x: %w", e)) != e {
		t.Error("a refusal did not stay what it is")
	}
}

func TestLoadSecret(t *testing.T) {
	rows := []struct {
		name   string
		source Secret
		want   string
	}{
		{"literal", "abc", "abc"},
		{"file", fileOf(t, "abc\n"), "abc"},
		{"file_keeps_spaces", fileOf(t, " a c \r\n"), " a c "},
		{"file_loses_one_line_end", fileOf(t, "a\n\n"), "a\n"},
		{"file_loses_one_crlf", fileOf(t, "a\r\n\r\n"), "a\r\n"},
		{"file_keeps_cr", fileOf(t, "a\r"), "a\r"},
		{"binary_keeps_lf", fileOf(t, "\x00\xffa\n"), "\x00\xffa\n"},
		{"binary_keeps_crlf", fileOf(t, "\x01a\r\n"), "\x01a\r\n"},
		{"utf8_is_text", fileOf(t, "é\n"), "é"},
		{"empty", "", ""},
		{"empty_file", fileOf(t, "\n"), ""},
		{"no_file", "@/nonexistent/file", ""},
		{"huge_file", fileOf(t, Secret(strings.Repeat("a", fileBytesMax+1))), ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got, err := LoadSecret(string(r.source))
			if string(got) != r.want || (err == nil) != (r.want != "") {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}
