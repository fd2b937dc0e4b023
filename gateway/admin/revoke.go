package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

const (
	revokePath = "/auth/revoke"
	// revokeBytesMax bounds the body of a request.
	revokeBytesMax = 4 << 10
	// revokeFor is how long a revocation holds if the request does not say: longer than most tokens
	// live.
	revokeFor = 24 * time.Hour
	// revokeForMax bounds it.
	revokeForMax = 366 * 24 * time.Hour
)

// ErrUnknown is what Config.Revoke returns if there is nothing that could be revoked.
var ErrUnknown = errors.New("there is no authentication")

// revocation is the body of a request.
type revocation struct {
	User  string `json:"user"`
	Token string `json:"token"` // its id, the claim jti
	For   string `json:"for"`   // how long to remember it, like 24h
}

// mayChange reports whether a request may change something: it has the token of the operators, or
// there is none and it comes from this host. A page of a browser cannot send JSON to another site
// without asking first, which is never answered, so none can make its visitor's browser do it.
func (h *handler) mayChange(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return false
	}
	if h.cfg.Token == "" {
		return h.local
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(h.cfg.Token))
	return ok && subtle.ConstantTimeCompare(given[:], want[:]) == 1
}

// caller is who asks for a change: where it comes from, and what it has shown.
func (h *handler) caller(r *http.Request) string {
	if h.cfg.Token == "" {
		return r.RemoteAddr
	}
	return r.RemoteAddr + " with the admin token"
}

// revoke takes back a user or a token.
func (h *handler) revoke(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeText(w, http.StatusMethodNotAllowed, "only POST\n")
		return
	}
	if !h.mayChange(r) {
		writeText(w, http.StatusForbidden, "this takes application/json, and the admin token or a "+
			"listener on loopback\n")
		return
	}
	var body revocation
	d := json.NewDecoder(io.LimitReader(r.Body, revokeBytesMax))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil || body.User == "" && body.Token == "" {
		writeText(w, http.StatusBadRequest,
			`the body must be like {"user":"ann"} or {"token":"ID","for":"24h"}`+"\n")
		return
	}
	lifetime := revokeFor
	if body.For != "" {
		var err error
		lifetime, err = time.ParseDuration(body.For)
		if err != nil || lifetime <= 0 || lifetime > revokeForMax {
			writeText(w, http.StatusBadRequest, "for must be a duration like 24h\n")
			return
		}
	}
	closed, err := h.cfg.Revoke(body.User, body.Token, time.Now().Add(lifetime), h.caller(r))
	switch {
	case errors.Is(err, ErrUnknown):
		writeText(w, http.StatusNotFound, err.Error()+"\n")
	case err != nil:
		writeText(w, http.StatusServiceUnavailable, oneLine(err.Error())+"\n")
	default:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(struct { // the error says that the client has gone
			Closed int `json:"closed"`
		}{closed})
	}
}
