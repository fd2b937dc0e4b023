package tlsio

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"reflect"
	"sync"
	"unsafe"
)

const (
	// rawBytes is twice the largest record and what crypto/tls asks for beside it, so that it never
	// has to make a larger buffer.
	rawBytes = 2 * (recordBytesMax + bytes.MinRead)
	// plainBytes is the most plaintext that one OnData gets.
	plainBytes = 32 << 10
)

// buffers lends connections what they need while they read.
//
// crypto/tls keeps the buffer in which it received the largest record so far, and the one in which
// it assembled the handshake, for as long as the connection lives: 4 KiB after an ordinary
// handshake, 17 KiB and more after one large message (TestIdleConnectionIsSmall: 22 KB an idle
// connection, against 3.4 KB with what is done here). There is no way to let go of them but to
// reach for its unexported fields. That is done here, behind a check of their names and types. A
// crypto/tls that is made otherwise is lent nothing: that costs memory, and a test tells.
type buffers struct {
	raw   sync.Pool // *[]byte, of rawBytes
	plain sync.Pool // *[]byte, of plainBytes

	known          bool // the fields were found
	rawInput, hand uintptr
}

func newBuffers() *buffers {
	b := new(buffers)
	b.raw.New = func() any { return newBuffer(rawBytes) }
	b.plain.New = func() any { return newBuffer(plainBytes) }
	rawInput, okRaw := offset("rawInput")
	hand, okHand := offset("hand")
	if okRaw && okHand {
		b.known, b.rawInput, b.hand = true, rawInput, hand
	}
	return b
}

func newBuffer(size int) *[]byte {
	b := make([]byte, size)
	return &b
}

// offset finds a field of tls.Conn that is a bytes.Buffer.
func offset(name string) (uintptr, bool) {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	return f.Offset, ok && f.Type == reflect.TypeFor[bytes.Buffer]()
}

func buffer(t *tls.Conn, offset uintptr) *bytes.Buffer {
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(t), offset))
}

// lend gives t a buffer to receive records in, takeBack takes it back. It returns nil if t has to
// do with its own, because it is not known or, after a handshake with much to say, too full.
func (b *buffers) lend(t *tls.Conn) (lent *[]byte) {
	if !b.known || buffer(t, b.rawInput).Len() > rawBytes {
		return nil
	}
	lent = b.raw.Get().(*[]byte)
	b.fill(t, lent, nil)
	return lent
}

// fill moves the beginning of in to what t has received, into the buffer that it was lent, and
// returns its length. So crypto/tls finds it there and does not make a reader to ask for it, two
// allocations a message. No plaintext may be left unread in t, unless lent is new to it.
func (b *buffers) fill(t *tls.Conn, lent *[]byte, in []byte) int {
	if lent == nil {
		return 0
	}
	raw := buffer(t, b.rawInput)
	n := copy(*lent, raw.Bytes())
	m := copy((*lent)[n:], in)
	*raw = *bytes.NewBuffer((*lent)[:n+m])
	return m
}

// ready reports whether t has received a whole record. Without a buffer lent it has to ask itself.
func (b *buffers) ready(t *tls.Conn, lent *[]byte) bool {
	if lent == nil {
		return true
	}
	p := buffer(t, b.rawInput).Bytes()
	return len(p) >= recordHeaderBytes &&
		len(p) >= recordHeaderBytes+int(binary.BigEndian.Uint16(p[3:]))
}

// takeBack leaves t just what it has of an unfinished record. No plaintext may be left unread in t.
func (b *buffers) takeBack(t *tls.Conn, lent *[]byte) {
	if !b.known {
		return
	}
	raw := buffer(t, b.rawInput)
	var rest []byte
	if raw.Len() > 0 {
		rest = bytes.Clone(raw.Bytes())
	}
	*raw = *bytes.NewBuffer(rest)
	if hand := buffer(t, b.hand); hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
	if lent != nil {
		b.raw.Put(lent)
	}
}
