// Package demo is a page to try a gateway with: a chat in the browser. It is embedded in the binary
// and needs nothing from outside.
package demo

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"time"
)

//go:embed page
var files embed.FS

// file is a part of the page.
type file struct {
	content []byte
	kind    string // of its content
	etag    string
}

// page serves the files by their paths.
type page map[string]file

// New returns a handler for the page at "/" and for what it is made of. It answers 404 to every
// other path and 405 to every method but GET and HEAD. It may be used from any goroutine.
func New() http.Handler {
	p := page{}
	for _, f := range []struct{ at, name, kind string }{
		{"/", "index.html", "text/html; charset=utf-8"},
		{"/chat.css", "chat.css", "text/css; charset=utf-8"},
		{"/chat.js", "chat.js", "text/javascript; charset=utf-8"},
		{"/signed.js", "signed.js", "text/javascript; charset=utf-8"},
		{"/reconnect.js", "reconnect.js", "text/javascript; charset=utf-8"},
		{"/icon.svg", "icon.svg", "image/svg+xml"},
	} {
		content, err := files.ReadFile("page/" + f.name)
		if err != nil {
			panic(err) // a file of the list is not embedded: no test gets past that
		}
		sum := sha256.Sum256(content)
		p[f.at] = file{
			content: content, kind: f.kind, etag: `"` + hex.EncodeToString(sum[:8]) + `"`,
		}
	}
	return p
}

// ServeHTTP implements http.Handler.
func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := p[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.etag)
	// Another version of the gateway may serve another page at any time.
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}
