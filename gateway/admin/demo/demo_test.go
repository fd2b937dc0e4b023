package demo

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	New().ServeHTTP(w, r)
	return w
}

func TestPage(t *testing.T) {
	for _, tt := range []struct {
		name, method, path string
		status             int
		kind               string
	}{
		{"index", "GET", "/", 200, "text/html; charset=utf-8"},
		{"head", "HEAD", "/", 200, "text/html; charset=utf-8"},
		{"signatures", "GET", "/signed.js", 200, "text/javascript; charset=utf-8"},
		{"style", "GET", "/chat.css", 200, "text/css; charset=utf-8"},
		{"script", "GET", "/chat.js", 200, "text/javascript; charset=utf-8"},
		{"module", "GET", "/reconnect.js", 200, "text/javascript; charset=utf-8"},
		{"icon", "GET", "/icon.svg", 200, "image/svg+xml"},
		{"unknown", "GET", "/index.html", 404, ""},
		{"directory", "GET", "/page/", 404, ""},
		{"below_a_file", "GET", "/chat.js/", 404, ""},
		{"double_slash", "GET", "//", 404, ""},
		{"parent", "GET", "/../demo.go", 404, ""},
		{"post", "POST", "/", 405, ""},
		{"options", "OPTIONS", "/chat.js", 405, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := serve(tt.method, tt.path)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d", w.Code, tt.status)
			}
			if kind := w.Header().Get("Content-Type"); tt.kind != "" && kind != tt.kind {
				t.Errorf("type %q, want %q", kind, tt.kind)
			}
			if allow := w.Header().Get("Allow"); (tt.status == 405) != (allow == "GET, HEAD") {
				t.Errorf("Allow %q", allow)
			}
			if (tt.method == "HEAD" || tt.status == 405) && strings.Contains(w.Body.String(), "<") {
				t.Error("there is a body")
			}
		})
	}
}

func TestUnchangedPageIsNotSentAgain(t *testing.T) {
	etag := serve("GET", "/chat.js").Header().Get("ETag")
	if w := serve("GET", "/chat.js", "If-None-Match", etag); w.Code != http.StatusNotModified {
		t.Errorf("status %d for the ETag %q", w.Code, etag)
	}
}

// The page must work without the internet and under a policy that forbids inline scripts.
func TestPageStandsAlone(t *testing.T) {
	entries, err := files.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	outside := regexp.MustCompile(`(https?:)?//[a-z0-9-]+\.[a-z]`)
	inline := regexp.MustCompile(`<style|<script[^>]*>[^<]|\son[a-z]+=|\sstyle=|innerHTML|eval\(`)
	for _, e := range entries {
		content, err := files.ReadFile("page/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(content), "http://www.w3.org/2000/svg", "")
		for _, forbidden := range []*regexp.Regexp{outside, inline} {
			if found := forbidden.FindString(text); found != "" {
				t.Errorf("%s has %q", e.Name(), found)
			}
		}
	}
}
