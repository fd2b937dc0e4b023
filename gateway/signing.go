package gateway

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/gateway/auth"
	"sluice/gateway/hub"
	"sluice/gateway/signed"
	"sluice/gateway/wire"
)

// strikesMax is how many messages that are not signed well end a session.
const strikesMax = 3

// anyRoom in ChatHMACRooms stands for all rooms.
const anyRoom = "*"

// newSigner returns nil if no room wants signatures.
func newSigner(cfg *Config) (*signed.Signer, error) {
	if cfg.ChatHMACKeyFile == "" {
		return nil, nil
	}
	key, err := auth.LoadSecret("@" + cfg.ChatHMACKeyFile)
	if err != nil {
		return nil, fmt.Errorf("key of chat signatures: %w", err)
	}
	s, err := signed.New([]byte(key), signed.DefaultSkew)
	if err != nil {
		return nil, fmt.Errorf("key of chat signatures, %s: %w", cfg.ChatHMACKeyFile, err)
	}
	return s, nil
}

// wantsSignatures reports whether the messages of a room are signed.
func (g *Gateway) wantsSignatures(room string) bool {
	rooms := g.current.Load().ChatHMACRooms
	return g.signer != nil && (slices.Contains(rooms, anyRoom) || slices.Contains(rooms, room))
}

// startSigning tells the peer its key.
func (s *session) startSigning() {
	s.signed = s.lane.g.signer.Session()
	s.reply(wire.AppendFrame(nil, wire.OpText, false, s.signed.AppendWelcome(nil)))
}

// unsign returns the text of a message that its author has signed. If it is not signed well, tell
// gets the answer for the peer, or the session ends.
func (s *session) unsign(payload []byte, tell func(frame []byte), end func(endReason)) (
	text []byte, ok bool) {
	if s.signed == nil {
		return payload, true
	}
	plain, err := s.signed.Verify(payload, time.Now())
	if err == nil {
		return []byte(plain), true
	}
	s.lane.m.BadSignatures.Inc()
	if s.strikes++; s.strikes >= strikesMax {
		end(endSignature)
		return nil, false
	}
	tell(wire.AppendFrame(nil, wire.OpText, false, signed.AppendError(nil, err)))
	return nil, false
}

// anySize bounds nothing: the frames of a run are the gateway's own.
var anySize = wire.MessageLimits{MessageBytesMax: 1 << 30}

// sign makes a run of the session's own out of one that is for everybody. It costs a signature for
// each message and receiver, which is what signing is about.
func (s *session) sign(r hub.Run) hub.Run {
	var dec wire.Decoder
	dec.Init(&anySize, wire.Client, false)
	own := hub.Run{Messages: r.Messages}
	now := time.Now()
	last := 0
	for frames := r.Frames; len(frames) > 0; {
		ev, n, err := dec.Next(frames)
		if err != nil {
			panic("gateway: a publication is no frame: " + err.Error())
		}
		frames = frames[n:]
		from, text, _ := strings.Cut(string(ev.Payload), chatSeparator)
		last = len(own.Frames)
		s.lane.scratch = s.signed.AppendMessage(s.lane.scratch[:0], from, text, now)
		own.Frames = wire.AppendFrame(own.Frames, wire.OpText, false, s.lane.scratch)
	}
	own.Last = own.Frames[last:]
	return own
}
