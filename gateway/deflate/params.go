package deflate

import "strings"

// Names of the extension and of its parameters, RFC 7692 section 7.1.
const (
	extensionName    = "permessage-deflate"
	serverNoTakeover = "server_no_context_takeover"
	clientNoTakeover = "client_no_context_takeover"
	serverWindowBits = "server_max_window_bits"
	clientWindowBits = "client_max_window_bits"
)

// Params is what both ends have agreed on. The window bits are within WindowBitsMin and
// WindowBitsMax.
type Params struct {
	// ServerWindowBits and ClientWindowBits bound how far back the messages of the server and of
	// the client refer: 1<<bits bytes.
	ServerWindowBits, ClientWindowBits uint8
	// ServerNoTakeover and ClientNoTakeover say that these messages do not refer to earlier
	// ones.
	ServerNoTakeover, ClientNoTakeover bool
}

// element is permessage-deflate with its parameters, in a request or in a response.
type element struct {
	serverNoTakeover, clientNoTakeover bool
	serverBits, clientBits             uint8 // 0 if there was no value
	clientBitsNamed                    bool  // client_max_window_bits was there, valued or not
}

// set takes a parameter, or reports that it is unknown, repeated or of an illegal value.
func (e *element) set(p param) bool {
	switch p.name {
	case serverNoTakeover:
		return !p.valued && once(&e.serverNoTakeover)
	case clientNoTakeover:
		return !p.valued && once(&e.clientNoTakeover)
	case serverWindowBits:
		return e.serverBits == 0 && parseBits(p.value, &e.serverBits)
	case clientWindowBits:
		return once(&e.clientBitsNamed) && (!p.valued || parseBits(p.value, &e.clientBits))
	}
	return false
}

func once(seen *bool) bool {
	first := !*seen
	*seen = true
	return first
}

// parseBits reads window bits, 8 to 15 without leading zeros.
func parseBits(s string, bits *uint8) bool {
	switch {
	case len(s) == 1 && '8' <= s[0] && s[0] <= '9':
		*bits = s[0] - '0'
	case len(s) == 2 && s[0] == '1' && '0' <= s[1] && s[1] <= '5':
		*bits = 10 + s[1] - '0'
	default:
		return false
	}
	return true
}

// readElement reads the parameters of the extension that h has come to; ok is false if one of
// them makes it void.
func (h *header) readElement() (e element, ok bool, err error) {
	for ok = true; ; {
		p, more, err := h.param()
		if err != nil || !more {
			return e, ok && err == nil, err
		}
		ok = e.set(p) && ok
	}
}

// String returns e as it stands in a header, the parameters in a fixed order.
func (e element) String() string {
	var b strings.Builder
	b.WriteString(extensionName)
	flag := func(set bool, name string) {
		if set {
			b.WriteString("; " + name)
		}
	}
	bits := func(named bool, name string, v uint8) {
		flag(named, name)
		if v != 0 {
			b.WriteByte('=')
			if v >= 10 {
				b.WriteByte('1')
			}
			b.WriteByte('0' + v%10)
		}
	}
	flag(e.serverNoTakeover, serverNoTakeover)
	flag(e.clientNoTakeover, clientNoTakeover)
	bits(e.serverBits != 0, serverWindowBits, e.serverBits)
	bits(e.clientBitsNamed, clientWindowBits, e.clientBits)
	return b.String()
}
