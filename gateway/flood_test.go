package gateway

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/gateway/wire"
)

// unbounded lets messages of 20 MiB in any number of frames pass, and any number of pings.
func unbounded(cfg *Config) {
	cfg.MessageBytesMax, cfg.FragmentsMax, cfg.ControlRate = 20<<20, 0, 0
}

// sendAsync writes p in pieces of chop bytes, in one go if that is 0, while the test reads.
func (p *peer) sendAsync(b []byte, chop int) (sent chan error) {
	sent = make(chan error, 1)
	if chop == 0 {
		chop = len(b)
	}
	go func() {
		for len(b) > 0 {
			n, err := p.c.Write(b[:min(chop, len(b))])
			if err != nil {
				sent <- fmt.Errorf("%w with %d bytes left", err, len(b))
				return
			}
			b = b[n:]
		}
		sent <- nil
	}()
	return sent
}

// fragmented is a message in frames of size bytes, masked with zeros.
func fragmented(op wire.Opcode, payload []byte, size int) (b []byte) {
	for first := true; first || len(payload) > 0; first = false {
		n := min(size, len(payload))
		head := byte(op)
		if !first {
			head = 0
		}
		if n == len(payload) {
			head |= 0x80
		}
		switch {
		case n < 126:
			b = append(b, head, 0x80|byte(n))
		case n < 1<<16:
			b = binary.BigEndian.AppendUint16(append(b, head, 0x80|126), uint16(n))
		default:
			b = binary.BigEndian.AppendUint64(append(b, head, 0x80|127), uint64(n))
		}
		b = append(append(b, 0, 0, 0, 0), payload[:n]...)
		payload = payload[n:]
	}
	return b
}

// letters returns n bytes of text that do not repeat.
func letters(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	for i := range p {
		p[i] = 'a' + p[i]%26
	}
	return p
}

// TestLargeEchoes sends messages of up to 16 MiB faster than a loop takes them, whole, in fragments
// and in chops, as the cases 9.1 to 9.6 of the Autobahn suite do.
func TestLargeEchoes(t *testing.T) {
	const mib = 1 << 20
	for _, r := range []struct {
		name              string
		op                wire.Opcode
		size, frame, chop int
	}{
		{"text_4_MiB", wire.OpText, 4 * mib, 16 * mib, 0},
		{"text_16_MiB", wire.OpText, 16 * mib, 16 * mib, 0},
		{"binary_8_MiB", wire.OpBinary, 8 * mib, 16 * mib, 0},
		{"binary_16_MiB", wire.OpBinary, 16 * mib, 16 * mib, 0},
		{"text_4_MiB_in_frames_of_64_B", wire.OpText, 4 * mib, 64, 0},
		{"text_4_MiB_in_frames_of_1_KiB", wire.OpText, 4 * mib, 1 << 10, 0},
		{"binary_4_MiB_in_frames_of_64_KiB", wire.OpBinary, 4 * mib, 64 << 10, 0},
		{"text_1_MiB_in_chops_of_64_B", wire.OpText, mib, mib, 64},
		{"binary_1_MiB_in_chops_of_2_KiB", wire.OpBinary, mib, mib, 2 << 10},
		{"binary_20_MiB_in_frames_and_chops", wire.OpBinary, 20 * mib, 3 * mib, 100_000},
	} {
		t.Run(r.name, func(t *testing.T) {
			payload := letters(r.size)
			onEachEngine(t, unbounded, func(t *testing.T, g *Gateway) {
				p := join(t, g, "/echo")
				for range max(1, min(3, 8*mib/r.size)) {
					sent := p.sendAsync(fragmented(r.op, payload, r.frame), r.chop)
					ev := p.next()
					if ev.Kind != wire.KindMessage || ev.Op != r.op {
						t.Fatalf("got %v %d %.100q", ev.Kind, ev.Code, ev.Payload)
					}
					if string(ev.Payload) != string(payload) {
						t.Error("the message changed on the way")
					}
					if err := <-sent; err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

// TestManyEchoesWithPings pipelines small messages with pings between them, to a client that begins
// to read when it can send no more.
func TestManyEchoesWithPings(t *testing.T) {
	const messages = 1500
	for _, size := range []int{5, 200, 20_000} {
		t.Run(fmt.Sprintf("%d_B", size), func(t *testing.T) {
			onEachEngine(t, unbounded, func(t *testing.T, g *Gateway) {
				fill := string(letters(size))
				var b []byte
				for i := range messages {
					b = wire.AppendMaskedFrame(b, wire.OpText, false, [4]byte{1, 2, 3, 4},
						fmt.Append(nil, i, fill))
					b = wire.AppendMaskedFrame(b, wire.OpPing, false, [4]byte{1, 2, 3, 4},
						fmt.Append(nil, i))
				}
				p := join(t, g, "/echo")
				sent := p.sendAsync(b, 0)
				lastPong := ""
				for next := 0; next < messages || lastPong != fmt.Sprint(messages-1); {
					ev := p.next()
					switch {
					case ev.Kind == wire.KindPong:
						lastPong = string(ev.Payload)
					case ev.Kind != wire.KindMessage || string(ev.Payload) != fmt.Sprint(next, fill):
						t.Fatalf("got %v %d %.20q, want message %d", ev.Kind, ev.Code, ev.Payload, next)
					default:
						next++
					}
				}
				if err := <-sent; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestLargeEchoToALateReader is about a client that sends a message and pings, and reads the answer
// only when nothing more can be sent: the answer is larger than the bound of the queue, but it is
// not a slow consumer.
func TestLargeEchoToALateReader(t *testing.T) {
	payload := letters(12 << 20)
	onEachEngine(t, unbounded, func(t *testing.T, g *Gateway) {
		p := join(t, g, "/echo")
		b := fragmented(wire.OpText, payload, len(payload))
		one := b
		for range 2 {
			for range 20 {
				b = wire.AppendMaskedFrame(b, wire.OpPing, false, [4]byte{1, 2, 3, 4}, []byte("x"))
			}
			b = append(b, one...)
		}
		for left := b; ; { // until nothing moves
			p.c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := p.c.Write(left)
			if left = left[n:]; n > 0 && err != nil {
				continue
			}
			if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
				t.Fatalf("the client was not stopped: %v", err)
			}
			b = left
			break
		}
		p.c.SetWriteDeadline(time.Time{})
		sent := p.sendAsync(b, 0)
		for n, pongs := 0, 0; n < 3 || pongs == 0; {
			switch ev := p.next(); {
			case ev.Kind == wire.KindPong:
				pongs++
			case ev.Kind != wire.KindMessage || string(ev.Payload) != string(payload):
				t.Fatalf("got %v %d %.20q", ev.Kind, ev.Code, ev.Payload)
			default:
				n++
			}
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}

// TestPingBehindALargeAnswer pings while an answer, or a message of the room, is under way that is
// larger than the bound of the queue.
func TestPingBehindALargeAnswer(t *testing.T) {
	text := strings.Repeat("x", 40_000)
	rows := []struct {
		name, target string
		speak        func(bob, alice *actor)
	}{
		{"echo", "/echo", func(bob, _ *actor) { bob.say(text) }},
		{"room", "/chat/bob", func(_, alice *actor) { alice.say(text) }},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			cfg := quick()
			cfg.ControlRate = 0
			cfg.QueueBytesMax = 10_000
			s := newStage(t, cfg)
			alice, bob := s.join("/chat/alice"), s.join(r.target)
			bob.AcceptBytes(100)
			r.speak(bob, alice)
			for range 1000 {
				bob.frame(wire.OpPing, "x")
			}
			if q := bob.Queue(); q.Bytes > len(text)+1000 {
				t.Errorf("queue %+v", q)
			}
			bob.AcceptBytes(-1)
			s.fake.RunPosted()
			h := bob.hear()
			if len(h.texts) != 1 || h.pongs == 0 || h.code != 0 || bob.closed() {
				t.Errorf("%d texts, %d pongs, close %d, closed: %v",
					len(h.texts), h.pongs, h.code, bob.closed())
			}
		})
	}
}
