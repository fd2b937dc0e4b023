package deflate

import (
	"runtime"
	"testing"
	"unsafe"
)

// D08: what a connection costs, and that it is what was reserved for it.
func TestD08_memory_of_a_connection(t *testing.T) {
	const conns = 256
	rows := []struct {
		name   string
		policy Policy
		offer  Offer
		max    int64 // bytes on the heap per connection
	}{
		{"D08_no_takeover", Policy{}, Offer{}, 0},
		{"D08_server_takeover", Policy{ServerTakeover: true}, Offer{}, 4<<10 + 32},
		{"D08_client_takeover", Policy{ClientTakeover: true}, Offer{}, 32<<10 + 32},
		{"D08_client_takeover_12_bits", Policy{ClientTakeover: true, ClientWindowBits: 12},
			Offer{ClientWindowBits: 15}, 4<<10 + 32},
		{"D08_both", Policy{ServerTakeover: true, ClientTakeover: true}, Offer{}, 36<<10 + 64},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			c, message := newCodec(t, 1), chat(newRand(), 40<<10)
			frame := c.compress(nil, message, nil, 15)
			out, in := make([]byte, 0, 64<<10), make([]byte, 0, 64<<10)
			all := make([]Conn, conns)
			before := heap()
			for i := range all {
				conn, _, _, err := c.Negotiate(row.offer.String(), row.policy)
				if err != nil {
					t.Fatal(err)
				}
				all[i] = conn
				if _, err := all[i].Inflate(in, frame, 64<<10); err != nil {
					t.Fatal(err)
				}
				all[i].Deflate(out, message)
			}
			each := (heap() - before) / conns
			if got := c.ContextBytes() / conns; got != row.max {
				t.Errorf("%d bytes are reserved a connection, not %d", got, row.max)
			}
			// Pooled coders may have come or gone meanwhile: less than 1 MB in all.
			if each > row.max+4000 || each < row.max-4000 {
				t.Errorf("%d bytes are used a connection, not %d", each, row.max)
			}
			for i := range all {
				all[i].Close()
			}
			if after := heap() - before; after > 3<<20 {
				t.Errorf("%d bytes are left behind", after)
			}
		})
	}
	if n := unsafe.Sizeof(Conn{}); n > 32 {
		t.Errorf("a Conn has %d bytes", n)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The history grows with what it holds, and never past its bound.
func TestHistory(t *testing.T) {
	r := newRand()
	for _, bytesMax := range []int{256, 512, 4096, 32768} {
		h := newHistory(bytesMax)
		var all []byte
		for range 300 {
			n := r.IntN(bytesMax / 8)
			if r.IntN(20) == 0 {
				n = r.IntN(2 * bytesMax)
			}
			p := noise(r, n)
			all = append(all, p...)
			h.append(p)
			want := all[max(0, len(all)-bytesMax):]
			if string(h.bytes()) != string(want) {
				t.Fatalf("bound %d: the history of %d bytes is wrong", bytesMax, len(want))
			}
			room := min(bytesMax, max(historyBytesFirst, 2*len(want)))
			if c := cap(h.buf); c > room {
				t.Fatalf("bound %d: room for %d bytes for %d", bytesMax, c, len(want))
			}
		}
		h.forget()
		if len(h.bytes()) != 0 {
			t.Fatal("it does not forget")
		}
	}
	if newHistory(0) != nil {
		t.Error("no history is a history")
	}
}

func TestPooledCodersKeepNoLargeInput(t *testing.T) {
	c := newCodec(t, 1)
	d := c.getDecompressor()
	d.buf = make([]byte, inputBytesKept+1)
	c.putDecompressor(d)
	if d.buf != nil {
		t.Errorf("%d bytes are kept", cap(d.buf))
	}
}
