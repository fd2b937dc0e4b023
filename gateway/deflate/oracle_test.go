package deflate

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// oracleScript is zlib as the peer. A decoder hands out one byte a call: only what a call has
// not put out itself is looked up in the window, so that a distance beyond the window is an
// error.
const oracleScript = `
import sys, zlib
coders = {}
for line in sys.stdin:
    op, name, bits, data = line.rstrip("\n").split(" ")
    data = bytes.fromhex(data)
    try:
        if op == "inflate":
            d = coders.setdefault(name, zlib.decompressobj(-int(bits)))
            out, left = bytearray(), data + b"\x00\x00\xff\xff"
            while True:
                b = d.decompress(left, 1)
                left = d.unconsumed_tail
                out += b
                if not b:
                    break
            if left or d.unused_data or d.eof:
                raise zlib.error("junk")
        elif op == "deflate":
            c = coders.setdefault(name, zlib.compressobj(6, zlib.DEFLATED, -int(bits)))
            out = c.compress(data) + c.flush(zlib.Z_SYNC_FLUSH)
            out = out[:-4]
        else:
            out = b""
            coders.pop(name, None)
        print("ok", out.hex(), flush=True)
    except zlib.error as e:
        print("error", str(e).encode().hex(), flush=True)
`

// oracle is a running oracleScript.
type oracle struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

func newOracle(t *testing.T) *oracle {
	t.Helper()
	cmd := exec.Command("python3", "-c", oracleScript)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("oracle: %v\n%s", err, &stderr)
		}
	})
	return &oracle{t: t, in: in, out: bufio.NewReader(out)}
}

// do runs one operation on the coder of that name, which is made when it is first named.
func (o *oracle) do(op, name string, bits uint8, data []byte) ([]byte, error) {
	o.t.Helper()
	if _, err := fmt.Fprintf(o.in, "%s %s %d %x\n", op, name, bits, data); err != nil {
		o.t.Fatal(err)
	}
	line, err := o.out.ReadString('\n')
	if err != nil {
		o.t.Fatal(err)
	}
	verdict, text, _ := strings.Cut(strings.TrimSpace(line), " ")
	b, err := hex.DecodeString(text)
	if err != nil {
		o.t.Fatal(err)
	}
	if verdict != "ok" {
		return nil, fmt.Errorf("zlib: %s", b)
	}
	return b, nil
}

// inflates fails the test unless the named peer inflates frame to message.
func (o *oracle) inflates(name string, bits uint8, frame, message []byte) {
	o.t.Helper()
	got, err := o.do("inflate", name, bits, frame)
	if err != nil {
		o.t.Fatalf("peer %s, window of %d bits: %v", name, bits, err)
	}
	if !bytes.Equal(got, message) {
		o.t.Fatalf("peer %s, window of %d bits: got %d other bytes", name, bits, len(got))
	}
}

func newCodec(t testing.TB, level int) *Codec {
	t.Helper()
	c, err := NewCodec(Config{Level: level, ContextBytesMax: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(7, 692)) }

var words = strings.Fields(`hello the room is online everyone message thanks could you please review
	deployment tomorrow status latency gateway lunch okay why server restart because maybe there
	other never always ticket user`)

// chat returns n bytes that look like messages of a chat in JSON.
func chat(r *rand.Rand, n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, `{"id":"%08x","ts":%d,"user":"user%d","room":"lobby","text":"`,
			r.Uint32(), 1790000000000+r.Int64N(1e9), r.IntN(500))
		for range 3 + r.IntN(10) {
			b.WriteString(words[r.IntN(len(words))] + " ")
		}
		b.WriteString(`"}`)
	}
	return b.Bytes()[:n]
}

// noise returns n bytes that cannot be compressed.
func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// anyMessage returns a message of any of the kinds there are: chat, noise, repetition, nothing.
func anyMessage(r *rand.Rand, bytesMax int) []byte {
	n := r.IntN(bytesMax)
	if r.IntN(2) == 0 {
		n = r.IntN(min(bytesMax, 1000))
	}
	switch r.IntN(8) {
	case 0:
		return noise(r, n)
	case 1:
		return bytes.Repeat([]byte{byte(n)}, n)
	case 2:
		half := noise(r, n/2)
		return append(half, half...)
	case 3:
		return nil
	}
	return chat(r, n)
}
