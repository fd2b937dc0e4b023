package auth

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// service is a local HTTP server that does what a test wants.
type service struct {
	*httptest.Server
	handler atomic.Pointer[http.HandlerFunc]
	hits    atomic.Int64
}

func newService(t *testing.T, handler http.HandlerFunc) *service {
	s := &service{}
	s.handler.Store(&handler)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		(*s.handler.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) answer(handler http.HandlerFunc) { s.handler.Store(&handler) }

// says answers with a status and a body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// silent answers nothing until the client gives up.
func silent(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body) // or the server does not notice
	<-r.Context().Done()
}

// endless answers with white space, for as long as anybody reads.
func endless(w http.ResponseWriter, r *http.Request) {
	spaces := make([]byte, 32<<10)
	for i := range spaces {
		spaces[i] = ' '
	}
	for r.Context().Err() == nil {
		if _, err := w.Write(spaces); err != nil {
			return
		}
	}
}

func TestR10_connections_to_a_service_are_few(t *testing.T) {
	const most = 4
	var opened atomic.Int64
	s := &httptest.Server{Config: &http.Server{Handler: says(200, "{}")}}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	var err error
	if s.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Close()
	client := newHTTPClient(nil, most)
	defer client.CloseIdleConnections()
	var calls sync.WaitGroup
	for range 16 {
		calls.Go(func() {
			for range 50 {
				r, err := http.NewRequest(http.MethodGet, s.URL, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if a, err := ask(t.Context(), client, r); err != nil || a.status != 200 {
					t.Errorf("%d, %v", a.status, err)
				}
			}
		})
	}
	calls.Wait()
	if n := opened.Load(); n > most {
		t.Errorf("800 calls took %d connections, want at most %d", n, most)
	}
}

// cut breaks the connection in the middle of an answer.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	io.WriteString(w, `{"user":"alice",`)
	panic(http.ErrAbortHandler)
}

// remoteFaults are answers that say nothing about a token.
func remoteFaults(elsewhere string) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"A13_500":      says(500, `{"user":"alice","active":true,"sub":"alice"}`),
		"A13_html":     says(200, `<html>`),
		"A13_empty":    says(200, ``),
		"A13_array":    says(200, `[]`),
		"A13_slow":     silent,
		"A13_endless":  endless,
		"A13_cut":      cut,
		"A13_201":      says(201, `{"user":"alice","active":true,"sub":"alice"}`),
		"A13_404":      says(404, ``),
		"A04_redirect": http.RedirectHandler(elsewhere, http.StatusTemporaryRedirect).ServeHTTP,
		"A06_duplicate": says(200, `{"user":"bob","user":"alice","active":true,"sub":"bob",`+
			`"sub":"alice"}`),
	}
}

func TestA04_CheckURL(t *testing.T) {
	rows := []struct {
		url  string
		want bool
	}{
		{"https://issuer.test/keys?x=y", true},
		{"http://127.0.0.1:1234/keys", true},
		{"http://127.9.9.9/keys", true},
		{"http://[::1]/keys", true},
		{"http://localhost:80/", true},
		{"http://issuer.test/keys", false},
		{"http://127.0.0.1.issuer.test/", false},
		{"http://localhost.issuer.test/", false},
		{"http://10.0.0.1/", false},
		{"http://[::ffff:10.0.0.1]/", false},
		{"http://0.0.0.0/", false},
		{"ftp://127.0.0.1/", false},
		{"file:///etc/passwd", false},
		{"https://user:pass@issuer.test/", false},
		{"https://issuer.test/#x", false},
		{"https:///keys", false},
		{"//issuer.test/keys", false},
		{"issuer.test", false},
		{"", false},
		{"https://a b/", false},
	}
	for _, r := range rows {
		if err := checkURL(r.url); (err == nil) != r.want {
			t.Errorf("%q: %v", r.url, err)
		}
	}
}

// callN asks for n tokens and wants the same refusal for each.
func callN(t *testing.T, v Verifier, n int, want Reason) {
	t.Helper()
	for range n {
		_, err := v.Verify(context.Background(), Credential{Token: "abc", Kind: KindHeader})
		wantReason(t, err, want)
	}
}

// TestA10_no_URL_in_errors: the query of a URL may have a secret in it, and errors are logged.
func TestA10_no_URL_in_errors(t *testing.T) {
	const url = "http://127.0.0.1:1/path?key=s3cret"
	failed := make(chan error, 1)
	jwks := DefaultJWKS()
	jwks.URL = url
	jwks.OnRefresh = func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	keys, err := NewJWKS(jwks)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	hook, err := NewHook(HookConfig{URL: url, Rooms: "rooms", Backend: DefaultBackend()})
	if err != nil {
		t.Fatal(err)
	}
	defer hook.Close()
	_, hookErr := hook.Verify(t.Context(), Credential{Token: "abc"})
	introspection, err := NewIntrospection(IntrospectionConfig{
		URL: url, Fields: DefaultFields(), Backend: DefaultBackend(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer introspection.Close()
	_, introspectionErr := introspection.Verify(t.Context(), Credential{Token: "abc"})
	for name, err := range map[string]error{
		"jwks": <-failed, "hook": hookErr, "introspection": introspectionErr,
	} {
		if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "path") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
