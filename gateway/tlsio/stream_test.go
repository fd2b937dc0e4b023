package tlsio

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// Content types of RFC 8446 section 5.1.
const (
	typeAlert           = 21
	typeApplicationData = 23
)

var (
	keyUpdate          = []byte{24, 0, 0, 1, 0} // RFC 8446 section 4.6.3
	keyUpdateRequested = []byte{24, 0, 0, 1, 1}
	closeNotify        = []byte{1, 0}
)

// sealer makes and opens the records of one direction of a TLS 1.3 connection with
// TLS_AES_128_GCM_SHA256, so that a test can send what crypto/tls never would.
type sealer struct {
	t      testing.TB
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func newSealer(t testing.TB, secret []byte) *sealer {
	t.Helper()
	s := &sealer{t: t, secret: secret}
	s.rekey()
	return s
}

// expand is HKDF-Expand-Label, RFC 8446 section 7.1.
func (s *sealer) expand(label string, n int) []byte {
	label = "tls13 " + label
	info := []byte{byte(n >> 8), byte(n), byte(len(label))}
	info = append(append(info, label...), 0)
	out, err := hkdf.Expand(sha256.New, s.secret, string(info), n)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *sealer) rekey() {
	block, err := aes.NewCipher(s.expand("key", 16))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		s.t.Fatal(err)
	}
	s.iv, s.seq = s.expand("iv", 12), 0
}

// update goes on to the next traffic secret, RFC 8446 section 7.2.
func (s *sealer) update() {
	s.secret = s.expand("traffic upd", sha256.Size)
	s.rekey()
}

func (s *sealer) nonce() []byte {
	nonce := bytes.Clone(s.iv)
	last := nonce[len(nonce)-8:]
	binary.BigEndian.PutUint64(last, binary.BigEndian.Uint64(last)^s.seq)
	s.seq++
	return nonce
}

func (s *sealer) seal(contentType byte, p []byte) []byte {
	header := []byte{typeApplicationData, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(p)+1+s.aead.Overhead()))
	inner := append(bytes.Clone(p), contentType)
	return s.aead.Seal(header, s.nonce(), inner, header)
}

// open takes the first record of b.
func (s *sealer) open(b []byte) (contentType byte, p, rest []byte) {
	s.t.Helper()
	n := recordHeaderBytes + int(binary.BigEndian.Uint16(b[3:]))
	inner, err := s.aead.Open(nil, s.nonce(), b[recordHeaderBytes:n], b[:recordHeaderBytes])
	if err != nil {
		s.t.Fatalf("open record: %v", err)
	}
	return inner[len(inner)-1], inner[:len(inner)-1], b[n:]
}

// secrets makes a handshake and returns both directions after it.
func (r *rig) secrets() (toServer, toClient *sealer) {
	r.t.Helper()
	var log bytes.Buffer
	cfg := clientConfig()
	cfg.KeyLogWriter, cfg.CurvePreferences = &log, []tls.CurveID{tls.X25519}
	client := r.mustShake(cfg)
	if s := client.ConnectionState().CipherSuite; s != tls.TLS_AES_128_GCM_SHA256 {
		r.t.Fatalf("suite %s", tls.CipherSuiteName(s))
	}
	byLabel := map[string]*sealer{}
	for line := range strings.Lines(log.String()) {
		var label, random, secret string
		if _, err := fmt.Sscan(line, &label, &random, &secret); err != nil {
			r.t.Fatal(err)
		}
		raw, err := hex.DecodeString(secret)
		if err != nil {
			r.t.Fatal(err)
		}
		byLabel[label] = newSealer(r.t, raw)
	}
	return byLabel["CLIENT_TRAFFIC_SECRET_0"], byLabel["SERVER_TRAFFIC_SECRET_0"]
}

// script is what the client of a stream test sends, and what it must be understood as.
func script(s *sealer) (ciphertext []byte, plaintext string) {
	data := func(text string) {
		ciphertext = append(ciphertext, s.seal(typeApplicationData, []byte(text))...)
		plaintext += text
	}
	data("one")
	data(strings.Repeat("two", 50))
	ciphertext = append(ciphertext, s.seal(typeHandshake, keyUpdateRequested)...)
	s.update()
	data("three")
	data("") // an empty record is none of the application's business
	for _, part := range [][]byte{keyUpdate[:2], keyUpdate[2:]} {
		ciphertext = append(ciphertext, s.seal(typeHandshake, part)...)
	}
	s.update()
	data("four")
	ciphertext = append(ciphertext, s.seal(typeAlert, closeNotify)...)
	return ciphertext, plaintext
}

// checkStream sends the script in the chunks that cut makes of it.
func checkStream(t *testing.T, cut func(ciphertext []byte) [][]byte) {
	t.Helper()
	checkStreamOf(t, newRig(t, Config{}, &app{onData: echo}, false), cut)
}

func checkStreamOf(t *testing.T, r *rig, cut func(ciphertext []byte) [][]byte) {
	t.Helper()
	defer r.end()
	toServer, toClient := r.secrets()
	ciphertext, want := script(toServer)
	for _, chunk := range cut(ciphertext) {
		r.peer.Deliver(chunk)
		r.fake.RunPosted()
	}
	if string(r.app.got) != want {
		t.Fatalf("got %q, want %q", r.app.got, want)
	}
	if !r.app.closed || r.app.err != io.EOF {
		t.Fatalf("closed %t with %v, want io.EOF", r.app.closed, r.app.err)
	}
	r.checkEcho(toClient, want)
}

// checkEcho reads what the server has sent since the handshake: a session ticket, the echoes, the
// answer to the key update and, at the very end, close_notify.
func (r *rig) checkEcho(s *sealer, want string) {
	r.t.Helper()
	out := append(r.spare, r.peer.TakeOutput()...)
	var got []byte
	updates, notified := 0, false
	for len(out) > 0 {
		if notified {
			r.t.Fatal("a record follows close_notify")
		}
		var contentType byte
		var p []byte
		contentType, p, out = s.open(out)
		switch {
		case contentType == typeApplicationData:
			got = append(got, p...)
		case contentType == typeHandshake && bytes.Equal(p, keyUpdate):
			updates++
			s.update()
		case contentType == typeAlert && bytes.Equal(p, closeNotify):
			notified = true
		}
	}
	if string(got) != want || updates != 1 || !notified {
		r.t.Fatalf("echo %q, %d key updates, close_notify %t", got, updates, notified)
	}
}

func (r *rig) scriptBytes() int {
	toServer, _ := r.secrets()
	ciphertext, _ := script(toServer)
	return len(ciphertext)
}

func TestEverySplitOfTheStreamMeansTheSame(t *testing.T) {
	r := newRig(t, Config{}, new(app), false)
	n := r.scriptBytes()
	r.end()
	for i := range n + 1 {
		checkStream(t, func(c []byte) [][]byte { return [][]byte{c[:i], c[i:]} })
	}
}

// equal returns what cuts a stream in pieces of one size.
func equal(size int) func(c []byte) [][]byte {
	return func(c []byte) [][]byte { return slices.Collect(slices.Chunk(c, size)) }
}

var pieces = []int{1, 2, 3, 5, 7, 16, 22, 100, 1 << 10}

func TestStreamInEqualPieces(t *testing.T) {
	for _, size := range pieces {
		checkStream(t, equal(size))
	}
}

// All goes well with a crypto/tls that the package does not know its way about.
func TestStreamWithoutLentBuffers(t *testing.T) {
	for _, size := range pieces {
		r := newRig(t, Config{}, &app{onData: echo}, false)
		r.server.buffers.known = false
		checkStreamOf(t, r, equal(size))
	}
}

// A handshake may leave crypto/tls with more than a lent buffer holds.
func TestStreamWithMoreReceivedThanIsLent(t *testing.T) {
	r := newRig(t, Config{}, new(app), false)
	defer r.end()
	toServer, _ := r.secrets()
	var records []byte
	want := make([]byte, 0, 2*rawBytes)
	for i := 0; len(records) < 2*rawBytes; i++ {
		p := bytes.Repeat([]byte{byte(i)}, 1000)
		want = append(want, p...)
		records = append(records, toServer.seal(typeApplicationData, p)...)
	}
	raw := buffer(r.app.conn.(*conn).tls, r.server.buffers.rawInput)
	raw.Write(records[:rawBytes+100])
	r.peer.Deliver(records[rawBytes+100:])
	if !bytes.Equal(r.app.got, want) || raw.Cap() > 0 {
		t.Errorf("got %d bytes of %d, %d are kept", len(r.app.got), len(want), raw.Cap())
	}
}

// Without the fields of crypto/tls idle connections are larger than they need to be.
func TestFieldsOfCryptoTLSAreKnown(t *testing.T) {
	if !newBuffers().known {
		t.Error("the buffers of tls.Conn are not where they were: see buffers")
	}
}

func FuzzSplits(f *testing.F) {
	f.Add([]byte{1})
	f.Add([]byte{5, 0, 20, 200, 3})
	f.Fuzz(func(t *testing.T, sizes []byte) {
		checkStream(t, func(c []byte) (chunks [][]byte) {
			for _, s := range sizes {
				n := min(int(s), len(c))
				chunks = append(chunks, c[:n])
				c = c[n:]
			}
			return append(chunks, c)
		})
	})
}

// An attacker owns the ciphertext: whatever it is, the connection ends or waits, and what the
// application gets is nothing but what was sealed for it.
func FuzzCiphertext(f *testing.F) {
	f.Add(uint16(0), byte(1))
	f.Add(uint16(30), byte(0x80))
	f.Fuzz(func(t *testing.T, at uint16, flip byte) {
		r := newRig(t, Config{}, new(app), false)
		defer r.end()
		toServer, _ := r.secrets()
		ciphertext, want := script(toServer)
		i := int(at) % len(ciphertext)
		ciphertext[i] ^= flip
		r.peer.Deliver(ciphertext)
		r.fake.RunPosted()
		if !strings.HasPrefix(want, string(r.app.got)) {
			t.Fatalf("got %q of %q", r.app.got, want)
		}
		if flip != 0 && r.app.closed && errors.Is(r.app.err, io.EOF) {
			t.Fatal("a forged stream ended as if it were whole")
		}
	})
}
