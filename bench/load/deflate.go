package load

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"sluice/gateway/deflate"
	"sluice/gateway/wire"
)

// DeflateOffer is an offer of permessage-deflate, RFC 7692. The zero DeflateOffer is a bare one.
type DeflateOffer struct {
	// ServerNoTakeover asks the server to do without context takeover. ClientNoTakeover says that
	// we do without.
	ServerNoTakeover, ClientNoTakeover bool
	// ServerBits asks the server to keep to a window of 1<<ServerBits bytes. ClientBits says that
	// we keep to one, or to a smaller one if we are told to. Both are 8 to 15; 0 means not to say
	// so.
	ServerBits, ClientBits int
}

// Why DeflateOffer.Accept refuses an answer.
var (
	// ErrDeflateSyntax is returned when the answer is not a list of extensions at all.
	ErrDeflateSyntax = illegalDeflate("it is malformed")
	// ErrDeflateOther is returned when the answer has another extension, or two.
	ErrDeflateOther = illegalDeflate("it is not permessage-deflate alone")
	// ErrDeflateParam is returned when a parameter is unknown, or a flag has a value.
	ErrDeflateParam = illegalDeflate("there is no such parameter")
	// ErrDeflateRepeated is returned when a parameter comes twice.
	ErrDeflateRepeated = illegalDeflate("a parameter comes twice")
	// ErrDeflateBits is returned when a window is not within 8 and 15.
	ErrDeflateBits = illegalDeflate("a window is not within 8 and 15")
	// ErrDeflateServerTakeover is returned when the server was asked to do without takeover and
	// does not say that it will.
	ErrDeflateServerTakeover = illegalDeflate("server_no_context_takeover was asked for")
	// ErrDeflateServerBits is returned when the server does not say that it keeps to the window
	// that it was asked for.
	ErrDeflateServerBits = illegalDeflate("server_max_window_bits was asked for")
	// ErrDeflateClientBits is returned when the server sets our window and that was not offered.
	ErrDeflateClientBits = illegalDeflate("client_max_window_bits was not offered")
)

func illegalDeflate(text string) error {
	return badAnswer("illegal permessage-deflate", "illegal permessage-deflate: "+text)
}

// Validate reports windows that are out of range.
func (o DeflateOffer) Validate() error {
	for _, bits := range [...]int{o.ServerBits, o.ClientBits} {
		if bits != 0 && (bits < deflate.WindowBitsMin || bits > deflate.WindowBitsMax) {
			return fmt.Errorf("deflate: window bits %d are not within %d and %d",
				bits, deflate.WindowBitsMin, deflate.WindowBitsMax)
		}
	}
	return nil
}

// offer is o as the codec knows it. o must be valid.
func (o DeflateOffer) offer() deflate.Offer {
	return deflate.Offer{
		ServerNoTakeover: o.ServerNoTakeover, ClientNoTakeover: o.ClientNoTakeover,
		ServerWindowBits: uint8(o.ServerBits), ClientWindowBits: uint8(o.ClientBits),
	}
}

// String returns the Sec-WebSocket-Extensions of the request. o must be valid.
func (o DeflateOffer) String() string { return o.offer().String() }

// Accept reads Answer.Extensions, the answer to o alone: ok is false if the server declined. An
// answer that is not legal for the offer is an error, one of the above with more words around it;
// the connection must be failed then, RFC 7692 section 5.1. o must be valid.
func (o DeflateOffer) Accept(answer string) (p deflate.Params, ok bool, err error) {
	p, ok, err = deflate.ParseResponse(answer, o.offer())
	switch {
	case errors.Is(err, deflate.ErrMalformed):
		err = because(ErrDeflateSyntax, []byte(answer))
	case err != nil:
		err = because(o.fault(answer), []byte(answer))
	}
	return p, ok, err
}

// fault names what is illegal in an answer that is well-formed. Nothing depends on it but words.
func (o DeflateOffer) fault(answer string) error {
	elements := strings.Split(strings.Trim(answer, ", \t"), ";")
	if strings.TrimSpace(elements[0]) != "permessage-deflate" || strings.Contains(answer, ",") {
		return ErrDeflateOther
	}
	seen := map[string]bool{}
	for _, element := range elements[1:] {
		name, value, valued := strings.Cut(strings.TrimSpace(element), "=")
		if seen[name] {
			return ErrDeflateRepeated
		}
		seen[name] = true
		if err := o.paramFault(name, strings.Trim(value, `"`), valued); err != nil {
			return err
		}
	}
	if o.ServerNoTakeover && !seen["server_no_context_takeover"] {
		return ErrDeflateServerTakeover
	}
	return ErrDeflateServerBits
}

// paramFault names what is illegal in a parameter by itself, if anything.
func (o DeflateOffer) paramFault(name, value string, valued bool) error {
	switch name {
	case "server_no_context_takeover", "client_no_context_takeover":
		if valued {
			return ErrDeflateParam
		}
	case "client_max_window_bits":
		if o.ClientBits == 0 {
			return ErrDeflateClientBits
		}
		return bitsFault(value)
	case "server_max_window_bits":
		return bitsFault(value)
	default:
		return ErrDeflateParam
	}
	return nil
}

func bitsFault(value string) error {
	if !strings.Contains(" 8 9 10 11 12 13 14 15 ", " "+value+" ") {
		return ErrDeflateBits
	}
	return nil
}

const (
	// clientLevel is that of what clients send: what counts is what the server can do.
	clientLevel = 1
	// clientContexts bounds the memory of the contexts of all clients.
	clientContexts = 4 << 30
)

// newCodec makes what the connections of an offer share.
func newCodec(o *DeflateOffer) (*deflate.Codec, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return deflate.NewCodec(deflate.Config{Level: clientLevel, ContextBytesMax: clientContexts})
}

// Compression is the permessage-deflate of one connection. It belongs to the connection's loop.
type Compression struct{ conn deflate.Conn }

// NewCompression returns the compression of a connection on which p was agreed. What the
// connections share is in codec. Close must follow.
func NewCompression(codec *deflate.Codec, p deflate.Params) *Compression {
	return &Compression{codec.Client(p)}
}

// Inflate appends what a message says to dst: the payload itself, inflated if it is compressed. A
// message that is too big, corrupt, or text that is not UTF-8 (which only shows now) is an error:
// dst is returned as it was, and the connection must be failed. Every compressed message of a
// connection must be inflated, in order.
func (c *Compression) Inflate(dst []byte, ev wire.Event) ([]byte, error) {
	if !ev.Compressed {
		return append(dst, ev.Payload...), nil
	}
	out, err := c.conn.Inflate(dst, ev.Payload, messageBytesMax)
	if err != nil {
		return dst, &Error{Class: "closed: by us, bad compression", Err: err}
	}
	if ev.Op == wire.OpText && !utf8.Valid(out[len(dst):]) {
		return dst, errInflatedText
	}
	return out, nil
}

var errInflatedText error = &Error{
	Class: "closed: by us, text is not UTF-8",
	Err:   errors.New("deflate: an inflated text is not UTF-8"),
}

// AppendFrame appends a masked frame with the message to dst, compressed if that makes it smaller.
// The mask must be random. Frames must be sent in the order in which they were made. payload is not
// changed and must not overlap dst.
func (c *Compression) AppendFrame(dst []byte, op wire.Opcode, mask [4]byte, payload []byte) []byte {
	from := len(dst)
	dst, ok := c.conn.Deflate(dst, payload)
	if !ok {
		return wire.AppendMaskedFrame(dst, op, false, mask, payload)
	}
	// The frame is longer than what is in it: it is made behind it and moved over it.
	end := len(dst)
	dst = wire.AppendMaskedFrame(dst, op, true, mask, dst[from:end])
	return dst[:from+copy(dst[from:], dst[end:])]
}

// Close gives the memory of the connection's contexts back. Nothing but Close may be called after.
func (c *Compression) Close() { c.conn.Close() }
