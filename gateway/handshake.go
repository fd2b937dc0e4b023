package gateway

import (
	"math/rand/v2"
	"strings"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/hub"
	"sluice/gateway/wire"
)

// Paths of the endpoints.
const (
	pathEcho = "/echo"
	pathChat = "/chat/"
)

// nameMax bounds the names of users and rooms, in bytes.
const nameMax = 64

// handshake is what a session needs until its request has been answered.
type handshake struct {
	parser wire.Handshake
	turned *wire.Refusal // the answer, whatever the request says; nil for an admitted peer
	began  time.Duration
}

func (h *handshake) reset() {
	h.parser.Reset()
	h.turned, h.began = nil, 0
}

// beginHandshake starts the life of a session.
func (s *session) beginHandshake(turned *wire.Refusal) {
	cfg := s.lane.cfg()
	s.hs = s.lane.getHandshake()
	s.hs.turned, s.hs.began = turned, s.lane.loop.Now()
	s.turned = turned != nil
	s.hs.parser.Limits = wire.HandshakeLimits{
		RequestLineBytesMax: cfg.RequestLineBytesMax,
		HeaderBytesMax:      cfg.HeaderBytesMax,
		HeadersMax:          cfg.HeadersMax,
	}
	s.quit = s.lane.tick() + ticks(cfg.HandshakeTimeout)
	s.schedule()
}

// OnSecured implements tlsio.Secured: the time for the request begins when it can be sent. TLS has
// a timeout of its own.
func (s *session) OnSecured() {
	if s.state == stateHandshake {
		s.quit = s.lane.tick() + ticks(s.lane.cfg().HandshakeTimeout)
		s.schedule()
	}
}

// shake goes on with the handshake.
func (s *session) shake(p []byte) {
	n, done, err := s.hs.parser.Feed(p)
	switch {
	case err != nil:
		refusal, ok := err.(*wire.Refusal)
		if !ok {
			refusal = wire.BadRequest
		}
		switch refusal.Reason {
		case wire.ReasonHopByHop, wire.ReasonRepeated: // two servers could take it for two logins
			s.auditRefused(refusal.Reason.String(), claimant{})
		}
		s.refuse(refusal)
	case !done:
	case s.hs.turned != nil:
		s.refuse(s.hs.turned)
	case n < len(p):
		// Whoever talks before our answer takes us for something else (faults H11).
		s.refuse(wire.EarlyData)
	default:
		s.route(s.hs.parser.Request())
	}
}

// route finds the endpoint of a request.
func (s *session) route(r *wire.Request) {
	current := s.lane.g.current.Load()
	cfg := &current.Config
	switch {
	case !s.findClient(r):
	case s.lane.g.drain.closing():
		s.refuse(refusals[tagDraining])
	case current.hosts != nil && !current.hosts.Serves(r.Host):
		s.refuse(otherHost)
	case r.HasOrigin && current.origins != nil && !current.origins.Allows(r.Origin):
		s.refuseOrigin(claimant{})
	case r.Path == pathEcho && cfg.ServesEcho():
		s.echo = true
		s.identify(r, "", "")
	case strings.HasPrefix(r.Path, pathChat) && strings.Count(r.Path, "/") == 2:
		user, ok := s.pathUser(r.Path[len(pathChat):])
		room, fine := roomOf(r, cfg.RoomDefault)
		if !ok || !fine {
			s.refuse(&wire.Refusal{Status: 400, Reason: wire.ReasonBadName})
			return
		}
		s.identify(r, user, room)
	default:
		s.refuse(&wire.Refusal{Status: 404, Reason: wire.ReasonNotFound})
	}
}

var (
	// badOrigin is the answer to pages that may not connect.
	badOrigin = &wire.Refusal{Status: 403, Reason: wire.ReasonOrigin}
	// otherHost is the answer to requests for a host that is not served here.
	otherHost = &wire.Refusal{Status: 421, Reason: wire.ReasonHost}
)

// accept answers 101 and opens the session, in room unless it is an echo or has yet to prove who it
// is.
func (s *session) accept(r *wire.Request, room string) {
	extensions, err := s.negotiate(r)
	if err != nil {
		s.refuse(wire.BadExtensions)
		return
	}
	protocol := ""
	if s.proof != nil {
		protocol = s.proof.protocol
	}
	s.lane.scratch = wire.AppendAccept(s.lane.scratch[:0], r.Key, protocol, extensions)
	s.conn.Write(s.lane.scratch)
	s.lane.m.Handshakes.Inc()
	s.lane.m.HandshakeSeconds.Observe(s.lane.loop.Now() - s.hs.began)
	s.lane.putHandshake(s.hs)
	s.hs = nil

	s.state, s.quit = stateOpen, s.ageDeadline()
	s.dec.Init(&s.lane.g.current.Load().messages, wire.Server, s.comp != nil)
	s.messaged = s.lane.tick()
	s.startHeart()
	s.schedule()
	if s.proof == nil || s.proof.proven {
		s.join(room)
	}
}

// join makes a chat session a member of a room.
func (s *session) join(room string) {
	if s.echo {
		return
	}
	encoding := s.encoding()
	if s.lane.g.wantsSignatures(room) {
		encoding = hub.Plain // sign reads what is delivered
		s.startSigning()
	}
	s.sub = s.lane.g.hub.Subscribe(room, s.lane.loop.Index(), encoding, s)
}

// refuse answers a request that is not served. It is the one way from a handshake to an end that
// the peer gets to see.
func (s *session) refuse(r *wire.Refusal) {
	if r.RetryAfter == 0 && (r.Status == 503 || r.Status == 429) {
		later := *r
		later.RetryAfter = 5 + rand.IntN(26) // spreads those who come back
		r = &later
	}
	s.lane.m.Rejected(uint8(r.Reason)).Inc()
	s.lane.g.logRefused(s, r)
	if r.Status < 500 && r.Status != 429 && r.Status != 426 {
		s.lane.g.door.blame(s)
	}
	s.lane.scratch = wire.AppendRefusal(s.lane.scratch[:0], r)
	s.conn.Write(s.lane.scratch)
	s.linger(endRefused)
}

// handshakeTimeout ends a handshake that took too long: with an answer if a request had begun.
func (s *session) handshakeTimeout() {
	if s.state == stateVerifying {
		s.deny(auth.Refuse(auth.ReasonBusy), claimant{})
		return
	}
	if s.hs.parser.Started() {
		s.refuse(&wire.Refusal{Status: 408, Reason: wire.ReasonTimeout})
		return
	}
	s.lane.m.Rejected(uint8(wire.ReasonTimeout)).Inc()
	s.ended = endHandshakeTimeout
	s.conn.Close(nil)
}

// pathUser is the user that a path names. With authentication it is only compared with the user of
// the credential: it may be any that a credential can have, or empty.
func (s *session) pathUser(raw string) (user string, ok bool) {
	if s.lane.g.authority == nil {
		return name(raw)
	}
	user, ok = unescape(raw, auth.UserBytesMax)
	return user, ok && (user == "" || auth.IsUser(user))
}

// roomOf is the room that a chat request names.
func roomOf(r *wire.Request, byDefault string) (room string, ok bool) {
	raw, found, ok := queryValue(r.RawQuery, "room")
	if !found || !ok {
		return byDefault, ok
	}
	return name(raw)
}

// name decodes and checks the name of a user or room.
func name(raw string) (string, bool) {
	n, ok := unescape(raw, nameMax)
	if !ok || len(n) == 0 {
		return "", false
	}
	for i := range len(n) {
		if !isNameByte(n[i]) {
			return "", false
		}
	}
	return n, true
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '_' || c == '.' || c == '-'
}

// unescape decodes percent-escapes, once, to at most bytesMax. It copies, so that a name does not
// keep the whole request alive.
func unescape(raw string, bytesMax int) (string, bool) {
	if len(raw) > 3*bytesMax {
		return "", false
	}
	b := make([]byte, 0, min(len(raw), bytesMax))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			b = append(b, raw[i])
			continue
		}
		if i+2 >= len(raw) {
			return "", false
		}
		hi, lo := unhex(raw[i+1]), unhex(raw[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), len(b) <= bytesMax
}

// unhex is the value of a hexadecimal digit, negative for any other byte.
func unhex(c byte) int {
	i := strings.IndexByte("0123456789abcdefABCDEF", c)
	if i > 15 {
		i -= 6
	}
	return i
}

// queryValue returns the value of a parameter of a raw query, as sent; found is false without one.
// ok is false if there are two, also if the name of one is written with escapes: which one counts
// differs between servers.
func queryValue(query, name string) (value string, found, ok bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		k, v, _ := strings.Cut(pair, "=")
		if plain, fits := unescape(k, len(name)); !fits || plain != name {
			continue
		}
		if found {
			return "", true, false
		}
		value, found = v, true
	}
	return value, found, true
}
