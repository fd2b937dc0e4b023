package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	revokePath = "/auth/revoke"
	// revokeBytesMax bounds the body of a request.
	revokeBytesMax = 4 << 10
	// revokeForMax bounds how long a request may ask for a revocation to hold.
	revokeForMax = 366 * 24 * time.Hour
)

// ErrUnknown is what Config.Revoke returns if there is nothing that could be revoked.
var ErrUnknown = errors.New("there is no authentication")

// Revocation is a user, or a token by its id, to be taken back.
type Revocation struct {
	User, Token string
	// Issuer is whose they are; empty if the request does not say.
	Issuer string
	// Until is until when it has to be remembered at least; zero if the request does not say.
	Until time.Time
	// Caller is who asks, for the record.
	Caller string
}

// Revoked is what became of a Revocation.
type Revoked struct {
	// Closed is how many connections it has ended.
	Closed int
	// Until is when it will be forgotten; zero for not before the gateway stops.
	Until time.Time
}

// RequestError is what Config.Revoke returns if the request is wrong. Text says why.
type RequestError struct{ Text string }

func (e *RequestError) Error() string { return e.Text }

// revocation is the body of a request.
type revocation struct {
	User   string `json:"user"`
	Token  string `json:"token"`  // its id, the claim jti
	Issuer string `json:"issuer"` // whose they are
	For    string `json:"for"`    // how long to remember it at least, like 24h
}

// revoked is the body of the answer.
type revoked struct {
	Closed int    `json:"closed"`
	Until  string `json:"until"` // RFC 3339, or neverForgotten
}

// neverForgotten stands for a moment that does not come before the gateway stops.
const neverForgotten = "restart"

func (r *Revoked) body() revoked {
	if r.Until.IsZero() {
		return revoked{r.Closed, neverForgotten}
	}
	// Rounded up: it holds until then.
	return revoked{r.Closed, r.Until.Add(time.Second - 1).UTC().Format(time.RFC3339)}
}

// mayChange returns 200 if a request may change something: it has the token of the operators, or
// there is none and it comes from this host. A page of a browser cannot send JSON to another site
// without asking first, which is never answered, so none can make its visitor's browser do it.
//
// Past its guesses a peer gets 429 whatever it shows. Others are not affected.
func (h *handler) mayChange(r *http.Request) (status int) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return http.StatusForbidden
	}
	if h.cfg.Token == "" {
		if h.local {
			return http.StatusOK
		}
		return http.StatusForbidden
	}
	peer, _ := h.peer(r)
	if !h.tries.try(peer, time.Now()) {
		h.limited.Add(1)
		return http.StatusTooManyRequests
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(h.cfg.Token))
	if !ok || subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		h.denied.Add(1)
		if h.cfg.Denied != nil {
			_, name := h.peer(r)
			h.cfg.Denied(name)
		}
		return http.StatusForbidden
	}
	h.tries.right(peer, time.Now())
	return http.StatusOK
}

// peer says whose a request is: by address for the limits, and in full for the record.
func (h *handler) peer(r *http.Request) (peer, name string) {
	if c := connOf(r.Context()); c != nil {
		return c.peer, c.name
	}
	return r.RemoteAddr, r.RemoteAddr
}

// caller is who asks for a change: where it comes from, and what it has shown.
func (h *handler) caller(r *http.Request) string {
	_, name := h.peer(r)
	if h.cfg.Token == "" {
		return name
	}
	return name + " with the admin token"
}

// revoke takes back a user or a token.
func (h *handler) revoke(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeText(w, http.StatusMethodNotAllowed, "only POST\n")
		return
	}
	switch h.mayChange(r) {
	case http.StatusForbidden:
		writeText(w, http.StatusForbidden, "this takes application/json, and the admin token or "+
			"a listener that only this host reaches\n")
		return
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(int(denialEvery.Seconds())))
		writeText(w, http.StatusTooManyRequests, "too many wrong tokens\n")
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
	asked := Revocation{
		User: body.User, Token: body.Token, Issuer: body.Issuer, Caller: h.caller(r),
	}
	if body.For != "" {
		lifetime, err := time.ParseDuration(body.For)
		if err != nil || lifetime <= 0 || lifetime > revokeForMax {
			writeText(w, http.StatusBadRequest, "for must be a duration like 24h\n")
			return
		}
		asked.Until = time.Now().Add(lifetime)
	}
	done, err := h.cfg.Revoke(asked)
	wrong := (*RequestError)(nil)
	switch {
	case errors.As(err, &wrong):
		writeText(w, http.StatusBadRequest, oneLine(wrong.Text)+"\n")
	case errors.Is(err, ErrUnknown):
		writeText(w, http.StatusNotFound, err.Error()+"\n")
	case err != nil:
		writeText(w, http.StatusServiceUnavailable, oneLine(err.Error())+"\n")
	default:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(done.body()) // the error says that the client has gone
	}
}
