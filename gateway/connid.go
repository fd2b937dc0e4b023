package gateway

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strconv"
	"strings"
	"sync/atomic"
)

// connID numbers a connection among those of one gateway. It takes 6 bytes, because that is what a
// session has left within its size class: 2^48 connections are nine years at a million a second.
type connID [6]byte

func newConnID(n uint64) (id connID) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	copy(id[:], b[2:])
	return id
}

func (id connID) number() uint64 {
	var b [8]byte
	copy(b[2:], id[:])
	return binary.BigEndian.Uint64(b[:])
}

// connIDs makes connection ids. Its methods may be called from any goroutine.
type connIDs struct {
	prefix string // tells the connections of two starts apart
	last   atomic.Uint64
}

// start draws the prefix: 25 random bits.
func (c *connIDs) start() {
	var b [5]byte
	rand.Read(b[:]) // never fails
	c.prefix = strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))[:5] + "-"
}

func (c *connIDs) next() connID { return newConnID(c.last.Add(1)) }

// text is how a connection is called in logs, hooks, audit lines and close reasons, like
// "q3kzt-1f": the prefix of this start and the number, in base 36.
func (c *connIDs) text(id connID) string {
	return c.prefix + strconv.FormatUint(id.number(), 36)
}

// name is the connection id of a session as text. It never changes, so any goroutine may call it.
func (s *session) name() string { return s.lane.g.ids.text(s.id) }
