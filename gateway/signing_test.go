package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/gateway/wire"
)

// signedRoom is a configuration whose room "signed" wants signatures.
func signedRoom(t *testing.T) func(*Config) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(strings.Repeat("k", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(cfg *Config) {
		cfg.ChatHMACKeyFile, cfg.ChatHMACRooms = path, []string{"signed"}
	}
}

// member of a signed room is a client that computes signatures by the documentation alone.
type signingPeer struct {
	*peer
	id       string
	key      []byte
	up, down uint64
}

func joinSigned(t *testing.T, p *peer) *signingPeer {
	t.Helper()
	var welcome struct{ Type, Connection, Key string }
	if err := json.Unmarshal(p.next().Payload, &welcome); err != nil || welcome.Type != "welcome" {
		t.Fatalf("%+v, %v", welcome, err)
	}
	key, err := base64.RawURLEncoding.DecodeString(welcome.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &signingPeer{peer: p, id: welcome.Connection, key: key}
}

func (p *signingPeer) mac(direction, from, text string, seq, ts uint64) string {
	sized := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	b := sized([]byte("SLC1"+direction), p.id)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint64(b, ts)
	h := hmac.New(sha256.New, p.key)
	h.Write(sized(sized(b, from), text))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// envelope signs a text as the next one.
func (p *signingPeer) envelope(text string) string {
	p.up++
	ts := uint64(time.Now().UnixMilli())
	return fmt.Sprintf(`{"text":%q,"seq":%d,"ts":%d,"mac":"%s"}`, text, p.up, ts,
		p.mac("U", "", text, p.up, ts))
}

// wantSigned reads a message and checks its signature and number.
func (p *signingPeer) wantSigned(from, text string) {
	p.t.Helper()
	var m struct {
		From, Text, MAC string
		Seq, TS         uint64
	}
	payload := p.next().Payload
	if err := json.Unmarshal(payload, &m); err != nil {
		p.t.Fatalf("%q: %v", payload, err)
	}
	p.down++
	if m.From != from || m.Text != text || m.Seq != p.down ||
		m.MAC != p.mac("D", from, text, m.Seq, m.TS) {
		p.t.Errorf("received %s, want %s: %s", payload, from, text)
	}
}

func TestSignedRoom(t *testing.T) {
	onEachEngine(t, signedRoom(t), func(t *testing.T, g *Gateway) {
		ann := joinSigned(t, join(t, g, "/chat/ann?room=signed"))
		bob := joinSigned(t, join(t, g, "/chat/bob?room=signed"))
		packed := joinPacked(t, g, "/chat/zip?room=signed", "permessage-deflate")
		zip := joinSigned(t, packed.peer)
		for i := range 20 {
			ann.send(wire.OpText, ann.envelope(fmt.Sprint("message: ", i)))
		}
		for i := range 20 {
			bob.wantSigned("ann", fmt.Sprint("message: ", i))
			zip.wantSigned("ann", fmt.Sprint("message: ", i))
		}
		packed.sendPacked(zip.envelope("compressed going up"))
		ann.wantSigned("zip", "compressed going up")
		// Other rooms are as ever.
		carl, dora := join(t, g, "/chat/carl"), join(t, g, "/chat/dora")
		carl.send(wire.OpText, "hello")
		dora.wantMessage("carl: hello")
	})
}

func TestA11_three_strikes(t *testing.T) {
	onEachEngine(t, signedRoom(t), func(t *testing.T, g *Gateway) {
		bob := joinSigned(t, join(t, g, "/chat/bob?room=signed"))
		for _, compressed := range []bool{false, true} {
			var ann *signingPeer
			send := func(text string) { ann.send(wire.OpText, text) }
			if compressed {
				packed := joinPacked(t, g, "/chat/ann?room=signed", "permessage-deflate")
				ann, send = joinSigned(t, packed.peer), packed.sendPacked
			} else {
				ann = joinSigned(t, join(t, g, "/chat/ann?room=signed"))
			}
			first := ann.envelope("good")
			send(first)
			bob.wantSigned("ann", "good")
			send(first) // a replay
			ann.wantMessage(`{"type":"error","error":"sequence"}`)
			send("not signed at all")
			ann.wantMessage(`{"type":"error","error":"envelope"}`)
			send(ann.envelope("still good"))
			bob.wantSigned("ann", "still good")
			send(bob.envelope("of another connection"))
			ann.wantClose(1008)
		}
	})
}
