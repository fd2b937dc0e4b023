package deflate

import "errors"

// ErrResponse is returned when a server's answer is not legal for the offer; the client must
// fail the connection, RFC 7692 section 5.1.
var ErrResponse = errors.New("deflate: illegal response")

// Offer is what a client asks for. The zero Offer is a bare permessage-deflate.
type Offer struct {
	// ServerNoTakeover asks the server to do without context takeover. ClientNoTakeover says
	// that the client does without.
	ServerNoTakeover, ClientNoTakeover bool
	// ServerWindowBits asks the server to keep to a window, within WindowBitsMin and
	// WindowBitsMax; 0 means not to ask.
	ServerWindowBits uint8
	// ClientWindowBits says that the client can keep to a smaller window when it is told to, and
	// keeps to this one anyway, within WindowBitsMin and WindowBitsMax (which is sent as no
	// value); 0 means not to say so.
	ClientWindowBits uint8
}

// String returns the Sec-WebSocket-Extensions header of the request.
func (o Offer) String() string {
	e := element{
		serverNoTakeover: o.ServerNoTakeover,
		clientNoTakeover: o.ClientNoTakeover,
		serverBits:       o.ServerWindowBits,
		clientBitsNamed:  o.ClientWindowBits != 0,
	}
	if o.ClientWindowBits < WindowBitsMax {
		e.clientBits = o.ClientWindowBits
	}
	return e.String()
}

// ParseResponse reads the Sec-WebSocket-Extensions header of the response to an offer. ok is
// false if the server declined. The error is ErrMalformed or ErrResponse.
func ParseResponse(extensions string, offered Offer) (p Params, ok bool, err error) {
	h := header{extensions}
	name, ok, err := h.extension()
	if err != nil || !ok {
		return Params{}, false, err
	}
	e, legal, err := h.readElement()
	if err != nil {
		return Params{}, false, err
	}
	_, more, err := h.extension()
	switch {
	case err != nil:
		return Params{}, false, err
	case more, name != extensionName, !legal, !offered.allows(e):
		return Params{}, false, ErrResponse
	}
	return Params{
		ServerWindowBits: least(e.serverBits, 0),
		ClientWindowBits: least(e.clientBits, offered.ClientWindowBits),
		ServerNoTakeover: e.serverNoTakeover,
		ClientNoTakeover: e.clientNoTakeover || offered.ClientNoTakeover,
	}, true, nil
}

// allows reports whether e is a legal answer, RFC 7692 sections 7.1.1 and 7.1.2.
func (o Offer) allows(e element) bool {
	switch {
	case o.ServerNoTakeover && !e.serverNoTakeover:
		return false
	case o.ServerWindowBits != 0 && (e.serverBits == 0 || e.serverBits > o.ServerWindowBits):
		return false
	case e.clientBitsNamed && (o.ClientWindowBits == 0 || e.clientBits == 0):
		return false
	}
	return true
}
