package deflate

import "fmt"

// offersMax bounds how many extensions of a request are looked at.
const offersMax = 16

// Policy is what a server is willing to grant. The zero Policy is the thriftiest one.
type Policy struct {
	// ServerTakeover lets our messages refer to earlier ones. It is worthless on a connection
	// that gets nothing but frames of Codec.Shared.
	ServerTakeover bool
	// ClientTakeover lets the client do so. It costs the client's window in memory.
	ClientTakeover bool
	// ServerWindowBits and ClientWindowBits bound the windows, within WindowBitsMin and
	// WindowBitsMax; 0 means WindowBitsMax. A client is told to keep to a smaller window only if
	// its offer allows that. Do not tell it 8: zlib cannot deflate with it.
	ServerWindowBits, ClientWindowBits uint8
}

// Validate reports window bits that are out of range.
func (p Policy) Validate() error {
	for _, bits := range [...]uint8{p.ServerWindowBits, p.ClientWindowBits} {
		if bits != 0 && (bits < WindowBitsMin || bits > WindowBitsMax) {
			return fmt.Errorf("deflate: window bits %d are not within 8 and 15", bits)
		}
	}
	return nil
}

// Negotiate takes the first acceptable offer of a request: extensions is its
// Sec-WebSocket-Extensions header, the lines joined by commas, and p is valid. ok is false if
// there is none; offers that are unknown or illegal count as declined, and only the first 16 are
// looked at. response is the header of the answer. The error is ErrMalformed (answer 400).
//
// Context takeover is granted only as far as Config.ContextBytesMax allows. The memory is
// reserved until Conn.Close, which must follow even if the handshake fails.
func (c *Codec) Negotiate(extensions string, p Policy) (_ Conn, response string, ok bool, _ error) {
	offer, ok, err := firstOffer(extensions)
	if err != nil || !ok {
		return Conn{}, "", false, err
	}
	params := p.grant(offer)
	c.reserve(&params)
	return c.server(params), answer(offer, params).String(), true, nil
}

// firstOffer returns the first legal offer of permessage-deflate.
func firstOffer(extensions string) (first element, found bool, _ error) {
	h := header{extensions}
	for range offersMax {
		name, more, err := h.extension()
		if err != nil {
			return element{}, false, err
		}
		if !more {
			break
		}
		offer, legal, err := h.readElement()
		if err != nil {
			return element{}, false, err
		}
		if legal && name == extensionName && !found {
			first, found = offer, true
		}
	}
	return first, found, nil
}

// grant is what p makes of an offer.
func (p Policy) grant(offer element) Params {
	params := Params{
		ServerWindowBits: least(offer.serverBits, p.ServerWindowBits),
		ClientWindowBits: WindowBitsMax,
		ServerNoTakeover: offer.serverNoTakeover || !p.ServerTakeover,
		ClientNoTakeover: offer.clientNoTakeover || !p.ClientTakeover,
	}
	if offer.clientBitsNamed {
		params.ClientWindowBits = least(offer.clientBits, p.ClientWindowBits)
	}
	return params
}

// least is the smallest of the window bits that are given, WindowBitsMax if none is.
func least(a, b uint8) uint8 {
	bits := uint8(WindowBitsMax)
	if a != 0 {
		bits = min(bits, a)
	}
	if b != 0 {
		bits = min(bits, b)
	}
	return bits
}

// reserve takes the memory for the contexts, and the takeover back for which there is none.
func (c *Codec) reserve(p *Params) {
	sent := historyCost(sentBytes(p.ServerWindowBits, p.ServerNoTakeover))
	if !c.contexts.reserve(sent) {
		p.ServerNoTakeover = true
	}
	received := historyCost(receivedBytes(p.ClientWindowBits, p.ClientNoTakeover))
	if !c.contexts.reserve(received) {
		p.ClientNoTakeover = true
	}
}

// answer says p in reply to an offer. RFC 7692 allows the parameters of the server unasked
// (sections 7.1.1.1 and 7.1.2.1) and client_no_context_takeover too (7.1.1.2), but not
// client_max_window_bits (7.1.2.2).
func answer(offer element, p Params) element {
	e := element{serverNoTakeover: p.ServerNoTakeover, clientNoTakeover: p.ClientNoTakeover}
	if offer.serverBits != 0 || p.ServerWindowBits < WindowBitsMax {
		e.serverBits = p.ServerWindowBits
	}
	if offer.clientBits != 0 || p.ClientWindowBits < WindowBitsMax {
		e.clientBitsNamed, e.clientBits = true, p.ClientWindowBits
	}
	return e
}
