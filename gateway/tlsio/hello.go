package tlsio

import "bytes"

const (
	recordHeaderBytes = 5
	// recordBytesMax is the largest record of RFC 8446 section 5.2 and RFC 5246 section 6.2.3.
	recordBytesMax = recordHeaderBytes + 16<<10 + 2<<10
	// helloBytesMax bounds what is kept of a ClientHello that does not come to its end.
	helloBytesMax = 16 << 10

	typeHandshake = 22 // ContentType, RFC 8446 section 5.1
)

// helloReady reports whether crypto/tls can judge b, the first bytes of a connection, without
// waiting for more: it holds a whole ClientHello, or something that does not begin one.
func helloReady(b []byte) bool {
	if len(b) >= helloBytesMax {
		return true
	}
	var header [4]byte // of the handshake message: its type and a length of three bytes
	have := 0
	for len(b) > 0 {
		if b[0] != typeHandshake || len(b) > 1 && b[1] != 3 {
			return true
		}
		if len(b) < recordHeaderBytes {
			return false
		}
		n := int(b[3])<<8 | int(b[4])
		if n == 0 || recordHeaderBytes+n > recordBytesMax {
			return true
		}
		b = b[recordHeaderBytes:]
		part := b[:min(n, len(b))]
		if have < len(header) {
			copy(header[have:], part)
		}
		have += len(part)
		length := int(header[1])<<16 | int(header[2])<<8 | int(header[3])
		if have >= len(header) && have >= len(header)+length {
			return true
		}
		b = b[len(part):]
	}
	return false
}

// looksLikeHTTP reports whether a connection that does not begin with TLS begins with the method
// of an HTTP/1 request.
func looksLikeHTTP(b []byte) bool {
	word, _, _ := bytes.Cut(b, []byte(" "))
	for _, method := range []string{"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH",
		"CONNECT", "TRACE"} {
		if len(word) >= 3 && len(word) <= len(method) && string(word) == method[:len(word)] {
			return true
		}
	}
	return false
}

// plainAnswer is what a peer gets that speaks HTTP to the TLS port.
const plainAnswer = "HTTP/1.1 400 Bad Request\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"Content-Length: 46\r\n" +
	"Connection: close\r\n\r\n" +
	"This port speaks TLS: use https:// or wss://.\n"
