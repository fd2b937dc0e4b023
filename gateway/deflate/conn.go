package deflate

// Conn is the compression of one connection. The zero Conn is a connection without: only Close
// may be called. A Conn must not be copied once it is used.
//
// Inflate may run beside Deflate and ForgetSent; those two must not run beside each other, and
// none beside Close.
type Conn struct {
	codec    *Codec
	received *history // nil if the peer sends without takeover
	sent     *history // nil if we send without takeover
	params   Params
	sendBits uint8
}

// server returns the server's end of a connection. The memory it needs is reserved already.
func (c *Codec) server(p Params) Conn {
	return Conn{
		codec:    c,
		params:   p,
		sendBits: p.ServerWindowBits,
		received: newHistory(receivedBytes(p.ClientWindowBits, p.ClientNoTakeover)),
		sent:     newHistory(sentBytes(p.ServerWindowBits, p.ServerNoTakeover)),
	}
}

// Client returns the client's end of a connection with what ParseResponse returned. Its memory
// counts as the connection's context, but is never refused.
func (c *Codec) Client(p Params) Conn {
	conn := Conn{
		codec:    c,
		params:   p,
		sendBits: p.ClientWindowBits,
		received: newHistory(receivedBytes(p.ServerWindowBits, p.ServerNoTakeover)),
		sent:     newHistory(sentBytes(p.ClientWindowBits, p.ClientNoTakeover)),
	}
	c.contexts.take(conn.received.cost() + conn.sent.cost())
	return conn
}

// receivedBytes is how much must be remembered to inflate: all that the peer may refer to.
func receivedBytes(windowBits uint8, noTakeover bool) int {
	if noTakeover {
		return 0
	}
	return 1 << windowBits
}

// sentBytesMax bounds what is remembered to deflate. Four times as much would save one percent.
const sentBytesMax = 4 << 10

// sentBytes is how much is remembered to deflate: the window, or as much of it as pays.
func sentBytes(windowBits uint8, noTakeover bool) int {
	return min(receivedBytes(windowBits, noTakeover), sentBytesMax)
}

// Params returns what was negotiated.
func (c *Conn) Params() Params { return c.params }

// Inflate appends to dst what the payload of a message with RSV1 inflates to, at most bytesMax
// bytes. An empty payload is an empty message: zlib yields nothing for the second of two.
// Messages must be inflated in the order of their arrival; those without RSV1 do not matter.
// payload is not changed and must not overlap dst. On ErrTooBig and ErrCorrupt dst is returned
// as it was, and the connection must be closed. No more than bytesMax+1 bytes are inflated into
// it, in at most twice the room.
func (c *Conn) Inflate(dst, payload []byte, bytesMax int) ([]byte, error) {
	if len(payload) == 0 {
		return dst, nil
	}
	out, err := c.codec.inflate(dst, payload, c.received.bytes(), max(0, bytesMax))
	if err != nil {
		return dst, err
	}
	c.received.append(out[len(dst):])
	return out, nil
}

// Deflate appends the payload of a frame with RSV1 to dst and reports true, or reports false and
// returns dst as it was if compressing is not worth it (see Codec.Shared): send payload
// uncompressed then, it does not enter the window. dst must not overlap payload.
//
// With context takeover the frames must be sent in the order of the calls of Deflate, with a
// call of ForgetSent wherever a frame of Codec.Shared goes between them.
func (c *Conn) Deflate(dst, payload []byte) (_ []byte, ok bool) {
	out, ok := c.codec.deflate(dst, payload, c.sent.bytes(), c.sendBits)
	if ok {
		c.sent.append(payload)
	}
	return out, ok
}

// ForgetSent makes the next frame of Deflate refer to nothing before it. Call it for a frame of
// Codec.Shared that is sent, whose bytes the peer has in its window and Deflate does not know;
// and for a frame of Deflate that is not sent. It is cheap, and needless without server
// takeover.
func (c *Conn) ForgetSent() { c.sent.forget() }

// Close gives the memory of the contexts back. Nothing but Close may be called after it.
func (c *Conn) Close() {
	if c.codec == nil {
		return
	}
	c.codec.contexts.take(-c.received.cost() - c.sent.cost())
	*c = Conn{}
}
