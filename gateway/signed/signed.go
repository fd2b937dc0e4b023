// Package signed signs chat messages with HMAC-SHA256, for rooms whose members want proof that a
// message came from this gateway, was written on its author's own connection, and that none is
// missing, whatever stands between them.
//
// A connection has an id and a key of its own:
//
//	key = HKDF-SHA256(secret = master key, salt = id, info = "sluice chat v1", 32 bytes)
//
// The gateway tells both in a welcome message, so the signatures are worth as much as the channel
// that the welcome came over, and no more than TLS from end to end. They notice what happens behind
// it: a proxy, an agent or a script of the page that replays, drops, reorders or changes messages
// without having seen the welcome.
//
// A message is a JSON object with exactly these members, in any order:
//
//	up:   {"text":"…","seq":1,"ts":1767225600000,"mac":"…"}
//	down: {"from":"…","text":"…","seq":1,"ts":1767225600000,"mac":"…"}
//
// seq counts the messages of a direction from 1; up it must only grow, down it grows by one, so
// that a gap is a loss. ts is in milliseconds since 1970. mac is the base64url without padding of
//
//	HMAC-SHA256(key, "SLC1" | direction | len(id) | id | seq | ts |
//	                 len(from) | from | len(text) | text)
//
// where direction is the byte "U" or "D", lengths are 4 bytes, seq and ts 8 bytes, all big endian,
// and texts are the bytes of the UTF-8 that the JSON strings stand for. from is empty going up.
package signed

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// MasterBytesMin is the least length of a master key.
const MasterBytesMin = 32

// DefaultSkew is how wrong the clocks of clients may be.
const DefaultSkew = time.Minute

const (
	keyInfo = "sluice chat v1"
	idBytes = 16
	// numberMax is the largest integer that every reader of JSON knows exactly.
	numberMax = 1<<53 - 1
)

// Errors of Session.Verify. Their texts may be told to the peer.
var (
	ErrEnvelope = errors.New("envelope")         // it is not an object like above
	ErrMAC      = errors.New("signature")        // it was signed by another key, or changed
	ErrSequence = errors.New("sequence")         // it came before: a replay, or out of order
	ErrSkew     = errors.New("clock difference") // its time is too far from ours
)

// Signer makes sessions. It is safe for concurrent use.
type Signer struct {
	master []byte
	skew   time.Duration
}

// New returns a signer. skew is how far the time of a message may be from ours, both ways.
func New(master []byte, skew time.Duration) (*Signer, error) {
	if len(master) < MasterBytesMin {
		return nil, fmt.Errorf("signed: the key has %d bytes, need %d", len(master), MasterBytesMin)
	}
	if skew <= 0 {
		return nil, errors.New("signed: the clock difference must be positive")
	}
	return &Signer{master: bytes.Clone(master), skew: skew}, nil
}

// Session is the signed side of one connection. Verify and AppendMessage each belong to one
// goroutine at a time, which need not be the same.
type Session struct {
	id   string
	key  [sha256.Size]byte
	skew time.Duration
	up   uint64 // of the last message that was good
	down uint64 // of the last message that was signed
}

// Session returns a session with a new id.
func (s *Signer) Session() *Session {
	var id [idBytes]byte
	rand.Read(id[:])
	return s.session(base64.RawURLEncoding.EncodeToString(id[:]))
}

func (s *Signer) session(id string) *Session {
	key, err := hkdf.Key(sha256.New, s.master, []byte(id), keyInfo, sha256.Size)
	if err != nil {
		panic(err) // the length is no more than HKDF can give
	}
	session := &Session{id: id, skew: s.skew}
	copy(session.key[:], key)
	return session
}

// AppendWelcome appends the message that tells the peer its id and key.
func (s *Session) AppendWelcome(dst []byte) []byte {
	dst = append(dst, `{"type":"welcome","v":1,"connection":"`...)
	dst = append(dst, s.id...)
	dst = append(dst, `","key":"`...)
	dst = base64.RawURLEncoding.AppendEncode(dst, s.key[:])
	return append(dst, `"}`...)
}

// AppendError appends the message that tells the peer that one of its messages was not good.
func AppendError(dst []byte, err error) []byte {
	dst = append(dst, `{"type":"error","error":"`...)
	dst = append(dst, err.Error()...)
	return append(dst, `"}`...)
}

// Verify returns the text of a message of the peer, or why it is not good: then nothing has
// changed.
func (s *Session) Verify(payload []byte, now time.Time) (text string, err error) {
	e, err := parse(payload)
	if err != nil {
		return "", err
	}
	mac, err := base64.RawURLEncoding.Strict().DecodeString(e.mac)
	if err != nil || !hmac.Equal(mac, s.sum('U', "", e.text, e.seq, e.ts)) {
		return "", ErrMAC
	}
	if e.seq <= s.up {
		return "", ErrSequence
	}
	// Only what is signed has a time that means something.
	if d := now.Sub(time.UnixMilli(int64(e.ts))); d > s.skew || d < -s.skew {
		return "", ErrSkew
	}
	s.up = e.seq
	return e.text, nil
}

// AppendMessage appends a message for the peer, signed.
func (s *Session) AppendMessage(dst []byte, from, text string, now time.Time) []byte {
	s.down++
	ts := uint64(now.UnixMilli())
	dst = append(dst, `{"from":`...)
	dst = appendString(dst, from)
	dst = append(dst, `,"text":`...)
	dst = appendString(dst, text)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendUint(dst, s.down, 10)
	dst = append(dst, `,"ts":`...)
	dst = strconv.AppendUint(dst, ts, 10)
	dst = append(dst, `,"mac":"`...)
	dst = base64.RawURLEncoding.AppendEncode(dst, s.sum('D', from, text, s.down, ts))
	return append(dst, `"}`...)
}

// sum is the MAC of a message.
func (s *Session) sum(direction byte, from, text string, seq, ts uint64) []byte {
	b := make([]byte, 0, 33+len(s.id)+len(from)+len(text))
	b = append(b, "SLC1"...)
	b = append(b, direction)
	b = appendSized(b, s.id)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint64(b, ts)
	b = appendSized(b, from)
	b = appendSized(b, text)
	h := hmac.New(sha256.New, s.key[:])
	h.Write(b)
	return h.Sum(nil)
}

func appendSized(b []byte, text string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	return append(b, text...)
}

// appendString appends a text as JSON. A text of a message is valid UTF-8.
func appendString(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// envelope is a message of the peer.
type envelope struct {
	text, mac string
	seq, ts   uint64
}

// parse reads an envelope that means the same to everybody: no member twice, none that is unknown
// or missing, nothing behind it.
func parse(payload []byte) (e envelope, err error) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return e, ErrEnvelope
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		name, _ := key.(string)
		if err != nil || seen[name] || !e.read(d, name) {
			return e, ErrEnvelope
		}
		seen[name] = true
	}
	if t, err := d.Token(); err != nil || t != json.Delim('}') || len(seen) != 4 {
		return e, ErrEnvelope
	}
	if _, err := d.Token(); err != io.EOF {
		return e, ErrEnvelope
	}
	return e, nil
}

// read reads the value of a member.
func (e *envelope) read(d *json.Decoder, name string) (ok bool) {
	value, err := d.Token()
	if err != nil {
		return false
	}
	switch name {
	case "text":
		e.text, ok = value.(string)
	case "mac":
		e.mac, ok = value.(string)
	case "seq":
		e.seq, ok = integer(value)
	case "ts":
		e.ts, ok = integer(value)
	}
	return ok
}

// integer reads a positive integer without sign, fraction or exponent.
func integer(value json.Token) (uint64, bool) {
	number, ok := value.(json.Number)
	n, err := strconv.ParseUint(string(number), 10, 64)
	return n, ok && err == nil && n > 0 && n <= numberMax
}
