//go:build !race

// The race detector makes every pool lose some of what is put into it.

package deflate

import "testing"

func TestHotPathsDoNotAllocate(t *testing.T) {
	c, r := newCodec(t, 1), newRand()
	conn := c.server(Params{ServerWindowBits: 15, ClientWindowBits: 15})
	narrow := c.server(Params{ServerWindowBits: 9, ClientWindowBits: 9, ClientNoTakeover: true})
	for _, n := range []int{128, 1 << 10, 16 << 10} {
		message := chat(r, n)
		frame := c.compress(nil, message, nil, 15)
		dst := make([]byte, 0, 2*n)
		for name, do := range map[string]func(){
			"Shared":          func() { c.Shared(dst, message, 15) },
			"Shared_narrow":   func() { c.Shared(dst, message, 9) },
			"Deflate":         func() { conn.Deflate(dst, message) },
			"Deflate_narrow":  func() { narrow.Deflate(dst, message) },
			"Inflate":         func() { _, _ = conn.Inflate(dst, frame, n) },
			"Inflate_nothing": func() { _, _ = narrow.Inflate(dst, frame, n) },
			"ForgetSent":      func() { conn.ForgetSent() },
		} {
			for range 20 { // fills pools and histories
				do()
			}
			if allocs := testing.AllocsPerRun(200, do); allocs != 0 {
				t.Errorf("%s of %d bytes: %v allocations", name, n, allocs)
			}
		}
	}
}
