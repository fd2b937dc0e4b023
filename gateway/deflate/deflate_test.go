package deflate

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func TestNewCodecChecksItsConfig(t *testing.T) {
	for _, cfg := range []Config{
		{Level: 0}, {Level: 10}, {Level: 1, MessageBytesMin: -1}, {Level: 1, ContextBytesMax: -1},
	} {
		if _, err := NewCodec(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

// The empty message is one byte, RFC 7692 section 7.2.3.6, and so it is after others.
func TestD06_empty_message_is_one_byte(t *testing.T) {
	c := newCodec(t, 1)
	for bits := uint8(WindowBitsMin); bits <= WindowBitsMax; bits++ {
		for range 3 {
			if got := c.compress(nil, nil, []byte("before"), bits); !bytes.Equal(got, []byte{0}) {
				t.Errorf("%d bits: got %x", bits, got)
			}
		}
	}
}

func TestD09_not_worth_compressing(t *testing.T) {
	c, err := NewCodec(Config{Level: 1, MessageBytesMin: 256, ContextBytesMax: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name    string
		payload []byte
		ok      bool
	}{
		{"D09_empty", nil, false},
		{"D09_below_minimum", bytes.Repeat([]byte("a"), 255), false},
		{"D09_at_minimum", bytes.Repeat([]byte("a"), 256), true},
		{"D09_incompressible", noise(newRand(), 64<<10), false},
	}
	for _, row := range rows {
		conn := c.Client(Params{ServerWindowBits: 15, ClientWindowBits: 15})
		for name, deflate := range map[string]func([]byte, []byte) ([]byte, bool){
			"Deflate": conn.Deflate,
			"Shared":  func(dst, p []byte) ([]byte, bool) { return c.Shared(dst, p, 15) },
		} {
			got, ok := deflate([]byte("dst"), row.payload)
			if ok != row.ok || !bytes.HasPrefix(got, []byte("dst")) || (len(got) > 3) != row.ok {
				t.Errorf("%s: %s gave %d bytes, %v", row.name, name, len(got), ok)
			}
		}
		conn.Close()
	}
}

func TestD03_stream_stays_in_its_window(t *testing.T) {
	zlib, r := newOracle(t), newRand()
	for _, level := range []int{1, 6, 9} {
		c := newCodec(t, level)
		for bits := uint8(WindowBitsMin); bits <= WindowBitsMax; bits++ {
			// The answer must let the client allocate just that window, and the stream fit in
			// it.
			offer := Offer{ServerWindowBits: bits}
			conn, response, ok, err := c.Negotiate(offer.String(), Policy{ServerTakeover: true})
			if err != nil || !ok {
				t.Fatal(response, ok, err)
			}
			p, ok, err := ParseResponse(response, offer)
			if err != nil || !ok || p.ServerWindowBits > bits || p.ServerNoTakeover {
				t.Fatalf("%q: %+v, %v, %v", response, p, ok, err)
			}
			peer := fmt.Sprintf("%d-%d", level, bits)
			for range 100 {
				message := anyMessage(r, 6000)
				if frame, ok := conn.Deflate(nil, message); ok {
					zlib.inflates(peer, p.ServerWindowBits, frame, message)
				}
			}
			// Farther apart than the window: a match would be illegal.
			apart := append(noise(r, 1<<bits), bytes.Repeat([]byte("z"), 300)...)
			apart = append(apart, apart...)
			if frame, ok := conn.Deflate(nil, apart); ok {
				zlib.inflates(peer, p.ServerWindowBits, frame, apart)
			}
			conn.Close()
		}
	}
}

// The oracle itself must object to a stream that needs a larger window.
func TestD03_oracle_is_strict(t *testing.T) {
	zlib, c := newOracle(t), newCodec(t, 6)
	half := noise(newRand(), 2000)
	message := append(half, half...)
	frame := c.compress(nil, message, nil, 11)
	zlib.inflates("wide", 11, frame, message)
	if _, err := zlib.do("inflate", "narrow", 10, frame); err == nil {
		t.Error("a distance of 2,000 fitted in a window of 1,024")
	}
}

func TestD05_takeover(t *testing.T) {
	for _, serverNo := range []bool{false, true} {
		for _, clientNo := range []bool{false, true} {
			name := fmt.Sprintf("D05_server_no=%v_client_no=%v", serverNo, clientNo)
			t.Run(name, func(t *testing.T) { converse(t, serverNo, clientNo) })
		}
	}
}

// converse sends 1,000 messages each way, some of them uncompressed, between our two ends and
// two of zlib's.
func converse(t *testing.T, serverNo, clientNo bool) {
	zlib, c, r := newOracle(t), newCodec(t, 1), newRand()
	offer := Offer{ServerNoTakeover: serverNo, ClientNoTakeover: clientNo, ClientWindowBits: 12}
	server, response, ok, err := c.Negotiate(offer.String(),
		Policy{ServerTakeover: true, ClientTakeover: true})
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	defer server.Close()
	p, _, err := ParseResponse(response, offer)
	if err != nil || p != server.Params() {
		t.Fatalf("%q: %+v is not %+v, %v", response, p, server.Params(), err)
	}
	client := c.Client(p)
	defer client.Close()

	plain, packed := 0, 0
	for i := range 1000 {
		message := anyMessage(r, 3000)
		if i%5 == 0 {
			message = noise(r, 300)
		}
		frame, ok := server.Deflate(nil, message)
		if ok {
			packed++
			zlib.inflates("server", p.ServerWindowBits, frame, message)
			inflates(t, &client, frame, message)
			if serverNo {
				zlib.do("forget", "server", 0, nil)
			}
		} else {
			plain++
		}
		message = anyMessage(r, 3000)
		if frame, ok := client.Deflate(nil, message); ok {
			inflates(t, &server, frame, message)
		}
	}
	if plain < 100 || packed < 100 {
		t.Errorf("%d messages were sent plain and %d packed", plain, packed)
	}
}

// inflates fails the test unless conn inflates frame to message.
func inflates(t *testing.T, conn *Conn, frame, message []byte) {
	t.Helper()
	got, err := conn.Inflate([]byte("dst"), frame, len(message))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, append([]byte("dst"), message...)) {
		t.Fatalf("got %d other bytes", len(got))
	}
}

// A client of zlib uses the whole window, across messages.
func TestD05_zlib_client(t *testing.T) {
	zlib, c := newOracle(t), newCodec(t, 1)
	for bits := uint8(9); bits <= WindowBitsMax; bits++ {
		r := newRand()
		conn := c.server(Params{ServerWindowBits: 15, ClientWindowBits: bits})
		for range 150 {
			message := anyMessage(r, 3000)
			frame, err := zlib.do("deflate", fmt.Sprint(bits), bits, message)
			if err != nil {
				t.Fatal(err)
			}
			inflates(t, &conn, frame, message)
		}
	}
}

// A message that was sent before makes the next one smaller, but not if it was sent
// uncompressed.
func TestD05_history_is_what_was_sent_compressed(t *testing.T) {
	c, r := newCodec(t, 1), newRand()
	conn := c.Client(Params{ServerWindowBits: 15, ClientWindowBits: 15})
	defer conn.Close()
	message := chat(r, 1000)
	first, _ := conn.Deflate(nil, message)
	again, _ := conn.Deflate(nil, message)
	if len(again) > len(first)/5 {
		t.Errorf("repetition: %d bytes after %d", len(again), len(first))
	}
	conn.ForgetSent()
	if fresh, _ := conn.Deflate(nil, message); !bytes.Equal(fresh, first) {
		t.Errorf("after ForgetSent: %d bytes, %d at first", len(fresh), len(first))
	}
	secret := noise(r, 1000)
	if _, ok := conn.Deflate(nil, secret); ok {
		t.Fatal("noise was compressed")
	}
	if bytes.Contains(conn.sent.bytes(), secret[:64]) {
		t.Error("a message that is sent uncompressed is in the history")
	}
}

// D11: one compression serves every receiver, takeover or not, between messages of its own.
func TestD11_shared_frames(t *testing.T) {
	zlib, c, r := newOracle(t), newCodec(t, 1), newRand()
	type receiver struct {
		name string
		conn Conn
	}
	var receivers []receiver
	for bits := uint8(WindowBitsMin); bits <= WindowBitsMax; bits++ {
		for _, no := range []bool{false, true} {
			p := Params{ServerWindowBits: bits, ClientWindowBits: 15, ServerNoTakeover: no}
			receivers = append(receivers, receiver{fmt.Sprintf("%d-%v", bits, no), c.server(p)})
		}
	}
	kinds := [3]int{}
	for range 1000 {
		rc := &receivers[r.IntN(len(receivers))]
		if r.IntN(3) > 0 {
			rc = &receivers[len(receivers)-2] // 1,000 messages in a row for the widest window
		}
		message := anyMessage(r, 1500)
		p := rc.conn.Params()
		var frame []byte
		var ok bool
		if r.IntN(3) == 0 {
			narrow := WindowBitsMin + uint8(r.IntN(int(p.ServerWindowBits)-WindowBitsMin+1))
			if frame, ok = c.Shared(nil, message, narrow); ok {
				kinds[0]++
				rc.conn.ForgetSent()
			}
		} else if frame, ok = rc.conn.Deflate(nil, message); ok {
			kinds[1]++
		}
		if !ok {
			kinds[2]++
			continue
		}
		zlib.inflates(rc.name, p.ServerWindowBits, frame, message)
	}
	for kind, n := range kinds {
		if n < 50 {
			t.Errorf("only %d messages of kind %d", n, kind)
		}
	}
}

// Without ForgetSent a frame of Deflate would refer to the wrong bytes: what D11 is about.
func TestD11_forgetting_is_needed(t *testing.T) {
	zlib, c, r := newOracle(t), newCodec(t, 1), newRand()
	conn := c.server(Params{ServerWindowBits: 15, ClientWindowBits: 15})
	own := chat(r, 1000)
	frame, _ := conn.Deflate(nil, own)
	zlib.inflates("peer", 15, frame, own)
	between := chat(r, 1000)
	frame, _ = c.Shared(nil, between, 15)
	zlib.inflates("peer", 15, frame, between)
	frame, _ = conn.Deflate(nil, own)
	if got, err := zlib.do("inflate", "peer", 15, frame); err == nil && bytes.Equal(got, own) {
		t.Error("the frame did not refer to what was sent before")
	}
}

func TestShared_same_for_all_windows_that_hold_the_message(t *testing.T) {
	c := newCodec(t, 1)
	message := chat(newRand(), 1<<10)
	want, _ := c.Shared(nil, message, 10)
	for bits := uint8(11); bits <= WindowBitsMax; bits++ {
		if got, _ := c.Shared(nil, message, bits); !bytes.Equal(got, want) {
			t.Errorf("%d bits: another frame", bits)
		}
	}
}

// Constant input broke level 9 once (klauspost/compress 1114).
func TestConstantInputAtEveryLevel(t *testing.T) {
	zlib := newOracle(t)
	for level := 1; level <= 9; level++ {
		c := newCodec(t, level)
		name := fmt.Sprint(level)
		for _, b := range []byte{0, 'a', 0xFF} {
			for _, n := range []int{1, 2, 31, 32, 33, 127, 128, 257, 258, 259, 4095, 4096,
				32767, 32768, 32769, 65534, 65535, 65536, 65537, 200000} {
				message := bytes.Repeat([]byte{b}, n)
				conn := c.server(Params{ServerWindowBits: 15, ClientWindowBits: 15})
				for range 2 {
					frame := c.compress(nil, message, conn.sent.bytes(), 15)
					conn.sent.append(message)
					inflates(t, &conn, frame, message)
				}
				if n < 5000 {
					zlib.inflates(name, 15, c.compress(nil, message, nil, 15), message)
				}
			}
		}
	}
}

// The positions of a compressor that is reset again and again wrap around at 2 GiB; it must
// survive.
func TestPooledCompressorWrapsAround(t *testing.T) {
	c, r := newCodec(t, 1), newRand()
	messages := [][]byte{chat(r, 300), chat(r, 5000), chat(r, 200)}
	z := c.getCompressor(15)
	var frame, got []byte
	var err error
	for i := range 70000 { // each reset is 32 KiB and the message
		message, before := messages[i%len(messages)], messages[1][:i%64]
		frame = z.compress(frame[:0], message, before)
		if i < 62000 && i%100 != 0 {
			continue
		}
		got, err = c.inflate(got[:0], frame, before, len(message))
		if err != nil || !bytes.Equal(got, message) {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

func TestCloseOfZeroConn(t *testing.T) {
	var conn Conn
	conn.Close()
	conn.Close()
}

func TestInflateKeepsDstOnError(t *testing.T) {
	c := newCodec(t, 1)
	conn := c.server(Params{ServerWindowBits: 15, ClientWindowBits: 15})
	frame := c.compress(nil, []byte("message"), nil, 15)
	for want, do := range map[error]func() ([]byte, error){
		ErrTooBig:  func() ([]byte, error) { return conn.Inflate([]byte("dst"), frame, 6) },
		ErrCorrupt: func() ([]byte, error) { return conn.Inflate([]byte("dst"), frame[:3], 9) },
	} {
		if got, err := do(); !errors.Is(err, want) || string(got) != "dst" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}
