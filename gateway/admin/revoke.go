package admin

import (
	"bytes"
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
	"unicode/utf8"
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
	user   string
	token  string // its id, the claim jti
	issuer string // whose they are
	life   string // member for: how long to remember it at least, like 24h
}

// decodeRevocation reads the body of a request, which must mean the same to everybody: one object,
// each member once, by its exact name and a text. A reader that guesses may take back another user
// than the one who was meant.
func decodeRevocation(body io.Reader) (r revocation, ok bool) {
	text, err := io.ReadAll(io.LimitReader(body, revokeBytesMax+1))
	// Valid wants a single value; Token would accept some that is no JSON.
	if err != nil || len(text) > revokeBytesMax || !json.Valid(text) || !utf8.Valid(text) {
		return r, false
	}
	members := map[string]*string{
		"user": &r.user, "token": &r.token, "issuer": &r.issuer, "for": &r.life,
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return r, false
	}
	for d.More() {
		token, _ := d.Token() // no error can be: it is valid
		name, _ := token.(string)
		token, _ = d.Token()
		value, isText := token.(string)
		member := members[name]
		// Half of a surrogate pair becomes U+FFFD.
		if member == nil || !isText || strings.ContainsRune(value, utf8.RuneError) {
			return r, false
		}
		*member = value
		delete(members, name)
	}
	_, unnamed := members["user"]
	return r, (unnamed || r.user != "") && r.user+r.token != ""
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
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	ok := strings.EqualFold(scheme, "Bearer") // RFC 9110 section 11.1
	token = strings.TrimLeft(token, " ")
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
	body, ok := decodeRevocation(r.Body)
	if !ok {
		writeText(w, http.StatusBadRequest,
			`the body must be like {"user":"ann"} or {"token":"ID","for":"24h"}`+"\n")
		return
	}
	asked := Revocation{
		User: body.user, Token: body.token, Issuer: body.issuer, Caller: h.caller(r),
	}
	if body.life != "" {
		lifetime, err := time.ParseDuration(body.life)
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
