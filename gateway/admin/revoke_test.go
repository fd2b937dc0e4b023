package admin

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRevoke(t *testing.T) {
	const body = `{"user":"ann","issuer":"us","for":"2h"}`
	forgotten := map[string]time.Time{"us": time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)}
	answers := map[bool]string{
		true:  `{"closed":3,"until":"2030-01-02T03:04:06Z"}` + "\n",
		false: `{"closed":3,"until":"restart"}` + "\n",
	}
	rows := []struct {
		name, method, kind, authorization, body, token string
		at                                             net.Addr
		status                                         int
	}{
		{"ok", "POST", "application/json", "", body, "", loopback, 200},
		{"ok_charset", "POST", "application/json; charset=utf-8", "", body, "", loopback, 200},
		{"ok_token", "POST", "application/json", "Bearer secret", body, "secret", public, 200},
		{"scheme_in_small_letters", "POST", "application/json", "bearer secret", body, "secret",
			public, 200},
		{"scheme_only", "POST", "application/json", "Bearer", body, "secret", public, 403},
		{"scheme_of_another_name", "POST", "application/json", "Bearers secret", body, "secret",
			public, 403},
		{"token_in_other_case", "POST", "application/json", "bearer Secret", body, "secret",
			public, 403},
		{"no_token", "POST", "application/json", "", body, "secret", public, 403},
		{"no_token_on_loopback", "POST", "application/json", "", body, "secret", loopback, 403},
		{"wrong_token", "POST", "application/json", "Bearer secrets", body, "secret", public, 403},
		{"basic", "POST", "application/json", "Basic secret", body, "secret", public, 403},
		{"public_without_token", "POST", "application/json", "", body, "", public, 403},
		{"I04_form_of_a_page", "POST", "text/plain", "", body, "", loopback, 403},
		{"I04_no_kind", "POST", "", "", body, "", loopback, 403},
		{"get", "GET", "application/json", "", "", "", loopback, 405},
		{"delete", "DELETE", "application/json", "", body, "", loopback, 405},
		{"empty", "POST", "application/json", "", "", "", loopback, 400},
		{"nobody", "POST", "application/json", "", "{}", "", loopback, 400},
		{"unknown_member", "POST", "application/json", "", `{"usr":"a"}`, "", loopback, 400},
		{"name_in_other_case", "POST", "application/json", "", `{"User":"a"}`, "", loopback, 400},
		{"duplicate", "POST", "application/json", "", `{"user":"a","user":"b"}`, "", loopback, 400},
		{"duplicate_escaped", "POST", "application/json", "",
			`{"user":"a","us\u0065r":"b"}`, "", loopback, 400},
		{"two_values", "POST", "application/json", "", body + body, "", loopback, 400},
		{"junk_behind", "POST", "application/json", "", body + "x", "", loopback, 400},
		{"line_end_behind", "POST", "application/json", "", body + "\n", "", loopback, 200},
		{"space_too_large", "POST", "application/json", "",
			body + strings.Repeat(" ", 5000), "", loopback, 400},
		{"no_colon", "POST", "application/json", "", `{"user" "a"}`, "", loopback, 400},
		{"number", "POST", "application/json", "", `{"user":1}`, "", loopback, 400},
		{"null", "POST", "application/json", "", `{"user":"a","token":null}`, "", loopback, 400},
		{"nested", "POST", "application/json", "", `{"user":{"user":"a"}}`, "", loopback, 400},
		{"list", "POST", "application/json", "", `["user","a"]`, "", loopback, 400},
		{"empty_user", "POST", "application/json", "",
			`{"user":"","token":"t"}`, "", loopback, 400},
		{"invalid_utf8", "POST", "application/json", "",
			"{\"user\":\"a\xff\"}", "", loopback, 400},
		{"half_a_pair", "POST", "application/json", "", `{"token":"\ud800"}`, "", loopback, 400},
		{"for", "POST", "application/json", "", `{"user":"a","for":"1"}`, "", loopback, 400},
		{"for_negative", "POST", "application/json", "", `{"user":"a","for":"-1h"}`, "", loopback, 400},
		{"too_large", "POST", "application/json", "",
			`{"user":"` + strings.Repeat("a", 5000) + `"}`, "", loopback, 400},
		{"B10_issuer_is_missing", "POST", "application/json", "", `{"user":"whose"}`, "", loopback, 400},
		{"B13_never_forgotten", "POST", "application/json", "", `{"token":"t"}`, "", loopback, 200},
		{"unavailable", "POST", "application/json", "", `{"user":"full"}`, "", loopback, 503},
		{"unknown", "POST", "application/json", "", `{"user":"off"}`, "", loopback, 404},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			cfg := config()
			cfg.Token = r.token
			revoked := 0
			cfg.Revoke = func(asked Revocation) (Revoked, error) {
				if !strings.HasPrefix(asked.Caller, "192.0.2.1:") ||
					strings.HasSuffix(asked.Caller, " with the admin token") != (r.token != "") {
					t.Errorf("caller %q", asked.Caller)
				}
				switch asked.User {
				case "full":
					return Revoked{}, errors.New("full")
				case "off":
					return Revoked{}, ErrUnknown
				case "whose":
					return Revoked{}, &RequestError{Text: "whose?"}
				}
				revoked++
				if left := time.Until(asked.Until); asked.Issuer == "us" &&
					(left < time.Hour || left > 2*time.Hour) {
					t.Errorf("revoked for %v", left)
				}
				return Revoked{Closed: 3, Until: forgotten[asked.Issuer]}, nil
			}
			request := httptest.NewRequest(r.method, revokePath, strings.NewReader(r.body))
			request.Host = "localhost:9090"
			request.Header.Set("Content-Type", r.kind)
			request.Header.Set("Authorization", r.authorization)
			w := httptest.NewRecorder()
			New(cfg, r.at).ServeHTTP(w, request)
			if w.Code != r.status || (revoked == 1) != (r.status == 200) {
				t.Errorf("%d %s, revoked %d times", w.Code, w.Body, revoked)
			}
			want := answers[strings.HasPrefix(r.body, body)]
			if r.status == http.StatusOK && w.Body.String() != want {
				t.Errorf("body %q", w.Body)
			}
		})
	}
	if w := get(New(config(), loopback), revokePath); w.Code != http.StatusNotFound &&
		w.Code != http.StatusMethodNotAllowed {
		t.Errorf("without authentication: %d", w.Code)
	}
}
