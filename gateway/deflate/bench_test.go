package deflate

import (
	"fmt"
	"testing"
)

var benchSizes = []int{128, 256, 1 << 10, 16 << 10}

func chats(n int) (messages [64][]byte) {
	r := newRand()
	for i := range messages {
		messages[i] = chat(r, n)
	}
	return messages
}

// wireBytes is what a message of n bytes takes, sent plain if it was not worth compressing.
func wireBytes(frame []byte, ok bool, n int) int {
	if !ok {
		return n
	}
	return len(frame)
}

// BenchmarkShared compresses messages without history.
func BenchmarkShared(b *testing.B) {
	for _, n := range benchSizes {
		for _, bits := range []uint8{15, 10} {
			for _, level := range []int{1, 6} {
				b.Run(fmt.Sprintf("bytes=%d/bits=%d/level=%d", n, bits, level), func(b *testing.B) {
					c, messages := newCodec(b, level), chats(n)
					dst, wire := make([]byte, 0, 2*n), 0
					b.SetBytes(int64(n))
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						frame, ok := c.Shared(dst, messages[i%len(messages)], bits)
						wire += wireBytes(frame, ok, n)
					}
					b.ReportMetric(float64(wire)/float64(b.N), "wire-B/op")
				})
			}
		}
	}
}

// BenchmarkDeflate compresses messages of one connection with takeover.
func BenchmarkDeflate(b *testing.B) {
	for _, n := range benchSizes {
		for _, bits := range []uint8{15, 10} {
			b.Run(fmt.Sprintf("bytes=%d/bits=%d", n, bits), func(b *testing.B) {
				c, messages := newCodec(b, 1), chats(n)
				conn := c.server(Params{ServerWindowBits: bits, ClientWindowBits: 15})
				dst, wire := make([]byte, 0, 2*n), 0
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					frame, ok := conn.Deflate(dst, messages[i%len(messages)])
					wire += wireBytes(frame, ok, n)
				}
				b.ReportMetric(float64(wire)/float64(b.N), "wire-B/op")
			})
		}
	}
}

// BenchmarkInflate inflates messages of one connection, with and without takeover.
func BenchmarkInflate(b *testing.B) {
	for _, n := range benchSizes {
		for _, no := range []bool{true, false} {
			b.Run(fmt.Sprintf("bytes=%d/takeover=%v", n, !no), func(b *testing.B) {
				c := newCodec(b, 1)
				p := Params{ServerWindowBits: 15, ClientWindowBits: 15, ClientNoTakeover: no}
				conn := c.server(p)
				frame := c.compress(nil, chat(newRand(), n), nil, 15)
				dst := make([]byte, 0, n+1)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := conn.Inflate(dst, frame, n); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkBomb is what an attacker makes us do: 64 KiB that inflate to 64 MiB, with a limit of
// 64 KiB.
func BenchmarkBomb(b *testing.B) {
	c := newCodec(b, 9)
	bomb := c.compress(nil, make([]byte, 64<<20), nil, 15)
	conn := c.server(Params{ServerWindowBits: 15, ClientWindowBits: 15})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Inflate(nil, bomb, 64<<10); err != ErrTooBig {
			b.Fatal(err)
		}
	}
}
