// Package deflate speaks permessage-deflate, RFC 7692: it negotiates the extension, inflates
// messages under a limit and deflates them, for one receiver or once for many. It knows
// messages, not frames: no sockets, no sessions, no goroutines.
//
// # Memory
//
// Everything large is pooled: a compressor of klauspost/compress takes 0.8 to 1.4 MB depending
// on the level, a decompressor 38 KB. A connection never keeps one. What it keeps with context
// takeover is only the bytes its peer may refer to, and a pooled coder is primed with them for
// each message:
//
//	inflating    1<<ClientWindowBits bytes, 32 KiB unless a smaller window was agreed
//	deflating    4 KiB, or the window if that is smaller
//	no takeover  nothing
//
// Priming with 4 KiB costs about 9 us a message. JSON chat of 256 bytes then takes 98 bytes on the
// wire, 162 without context, and 94 with a compressor of level 1 kept for the connection, in two
// hundred times the memory. A kept one would also forget everything at each message of less than
// 128 bytes (levels 1 to 6), and could not take back a message that was compressed in vain.
package deflate

import (
	"errors"
	"fmt"
	"sync"
)

// Bounds of the LZ77 window, as a power of two: RFC 7692 section 7.1.2.
const (
	WindowBitsMin = 8
	WindowBitsMax = 15
)

// Config configures a Codec.
type Config struct {
	// Level is 1 (fastest) to 9 (smallest). It does not apply to a message that, with its
	// history, exceeds a negotiated window of less than 32 KiB: those take the one level there
	// is for them, close to level 5.
	Level int
	// MessageBytesMin is the size of the smallest message that is compressed.
	MessageBytesMin int
	// ContextBytesMax bounds the memory of all connections that were granted context takeover; 0
	// means that none is.
	ContextBytesMax int64
}

// Codec compresses for all connections that share its pools and its memory budget. Its methods
// may be called from any goroutine.
type Codec struct {
	cfg      Config
	contexts budget
	readers  sync.Pool // of *decompressor
	// writers holds *compressor by window bits less WindowBitsMin. Only the last is at
	// cfg.Level.
	writers [WindowBitsMax - WindowBitsMin + 1]sync.Pool
}

// NewCodec returns a codec, or an error that names what is out of its range in cfg.
func NewCodec(cfg Config) (*Codec, error) {
	switch {
	case cfg.Level < 1 || cfg.Level > 9:
		return nil, fmt.Errorf("deflate: level %d is not within 1 and 9", cfg.Level)
	case cfg.MessageBytesMin < 0:
		return nil, errors.New("deflate: negative MessageBytesMin")
	case cfg.ContextBytesMax < 0:
		return nil, errors.New("deflate: negative ContextBytesMax")
	}
	c := &Codec{cfg: cfg}
	c.contexts.bytesMax = cfg.ContextBytesMax
	return c, nil
}

// ContextBytes is the memory that is set aside for the contexts of open connections, in bytes.
func (c *Codec) ContextBytes() int64 { return c.contexts.bytes.Load() }
