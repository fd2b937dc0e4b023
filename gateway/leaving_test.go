package gateway

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/gateway/wire"
)

// panics counts the panics of all loops and workers.
func (g *Gateway) panics() (n uint64) {
	for i := range g.lanes {
		n += g.metrics.Shard(i).Panics.Load()
	}
	return n
}

// bare is a session that does without rates, so that any number of messages may come at once.
func bare(cfg *Config) {
	cfg.MessageRate, cfg.ByteRate, cfg.ControlRate = 0, 0, 0
	cfg.QueueMessagesMax, cfg.QueueBytesMax = 100_000, 64<<20
}

// TestF14_compressed_messages_right_before_FIN: all that came before the FIN reaches the room.
func TestF14_compressed_messages_right_before_FIN(t *testing.T) {
	const clients, each = 400, 5
	onEachEngine(t, bare, func(t *testing.T, g *Gateway) {
		room := join(t, g, "/chat/observer")
		padding := strings.Repeat("lorem ipsum ", 700/12)
		var leaving sync.WaitGroup
		var next atomic.Int32
		for range 8 {
			leaving.Go(func() {
				for i := next.Add(1); i <= clients; i = next.Add(1) {
					p := joinPacked(t, g, fmt.Sprintf("/chat/c%d", i), "permessage-deflate")
					var out []byte
					for n := range each {
						out = p.appendPacked(out, fmt.Sprint(n, " ", padding))
					}
					p.c.Write(out)
					p.c.(*net.TCPConn).CloseWrite()
				}
			})
		}
		got := map[string][]string{}
		for range clients * each {
			from, text, _ := strings.Cut(string(room.next().Payload), chatSeparator)
			n, _, _ := strings.Cut(text, " ")
			got[from] = append(got[from], n)
		}
		for from, numbers := range got {
			if !slices.Equal(numbers, []string{"0", "1", "2", "3", "4"}) {
				t.Errorf("%s said %v", from, numbers)
			}
		}
		leaving.Wait()
		settled(t, "all have left", func() bool { return g.door.inside.Load() == 1 })
		if n := g.panics(); n != 0 {
			t.Errorf("%d panics", n)
		}
	})
}

// appendPacked appends the frame of a compressed text.
func (p *packed) appendPacked(dst []byte, text string) []byte {
	mask := [4]byte{1, 2, 3, 4}
	payload, ok := p.conn.Deflate(nil, []byte(text))
	if !ok {
		payload = []byte(text)
	}
	return wire.AppendMaskedFrame(dst, wire.OpText, ok, mask, payload)
}
