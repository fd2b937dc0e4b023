package tlsio

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
)

// Outcome classifies how a handshake ended.
type Outcome uint8

// The outcomes.
const (
	OutcomeEstablished    Outcome = iota
	OutcomePlainHTTP              // HTTP without TLS
	OutcomeNotTLS                 // neither TLS nor HTTP
	OutcomeVersion                // no version in common
	OutcomeCipher                 // no cipher suite in common
	OutcomeProtocol               // no application protocol (ALPN) in common
	OutcomeNoCertificate          // the client must show a certificate and did not
	OutcomeUnknownCA              // the client's certificate is of an authority not trusted here
	OutcomeBadCertificate         // the client's certificate is expired or otherwise not valid
	OutcomePeerAlert              // the client refused, with an alert: it may not trust us
	OutcomePeerGone               // the connection ended first
	OutcomeTimeout
	OutcomeEvicted // the client kept its handshake waiting while others wanted its place
	OutcomeBusy    // was not begun: there were too many
	OutcomeServerClosed
	OutcomeOther // a breach of the protocol
	Outcomes     // how many there are
)

var outcomeNames = [Outcomes]string{
	OutcomeEstablished:    "established",
	OutcomePlainHTTP:      "plain_http",
	OutcomeNotTLS:         "not_tls",
	OutcomeVersion:        "version",
	OutcomeCipher:         "cipher",
	OutcomeProtocol:       "protocol",
	OutcomeNoCertificate:  "no_certificate",
	OutcomeUnknownCA:      "unknown_ca",
	OutcomeBadCertificate: "bad_certificate",
	OutcomePeerAlert:      "peer_alert",
	OutcomePeerGone:       "peer_gone",
	OutcomeTimeout:        "timeout",
	OutcomeEvicted:        "evicted",
	OutcomeBusy:           "busy",
	OutcomeServerClosed:   "server_closed",
	OutcomeOther:          "other",
}

// String returns the name for a metric's label.
func (o Outcome) String() string { return outcomeNames[o] }

// HandshakeError is given to OnClose when peer and server did not come to terms, or the peer did
// not answer in time.
type HandshakeError struct {
	Outcome Outcome
	Err     error // of crypto/tls, ErrPlainHTTP or ErrTimeout
}

// Error implements error.
func (e *HandshakeError) Error() string { return e.Err.Error() }

// Unwrap returns what crypto/tls said.
func (e *HandshakeError) Unwrap() error { return e.Err }

// ByPeer reports whether the peer is to blame. It is not if it does not like what we are.
func (e *HandshakeError) ByPeer() bool { return e.Outcome != OutcomePeerAlert }

// errPanicked is the error of a handshake that panicked.
var errPanicked = errors.New("tlsio: handshake panicked")

// errGone ends the handshake of a connection that has closed.
var errGone = errors.New("tlsio: connection closed during the handshake")

// outcomeTexts tells the errors of crypto/tls apart that have no type. A test holds it to the texts
// of the Go release in use.
var outcomeTexts = []struct {
	part    string
	outcome Outcome
}{
	{"unsupported versions", OutcomeVersion},
	{"TLS version older than", OutcomeVersion},
	{"unsupported SSLv2", OutcomeVersion},
	{"no cipher suite supported", OutcomeCipher},
	{"no key exchanges supported", OutcomeCipher},
	{"unsupported application protocols", OutcomeProtocol},
	{"didn't provide a certificate", OutcomeNoCertificate},
}

// classify gives the error of a handshake its outcome.
func classify(err error) Outcome {
	if e, ok := errors.AsType[*HandshakeError](err); ok {
		return e.Outcome
	}
	switch {
	case err == nil:
		return OutcomeEstablished
	case errors.Is(err, ErrTimeout):
		return OutcomeTimeout
	case errors.Is(err, ErrEvicted):
		return OutcomeEvicted
	case errors.Is(err, ErrBusy):
		return OutcomeBusy
	case errors.Is(err, ErrServerClosed):
		return OutcomeServerClosed
	case errors.Is(err, errGone), errors.Is(err, io.EOF):
		return OutcomePeerGone
	}
	return classifyTLS(err)
}

// classifyTLS does it for the errors of crypto/tls.
func classifyTLS(err error) Outcome {
	text := err.Error()
	for _, t := range outcomeTexts {
		if strings.Contains(text, t.part) {
			return t.outcome
		}
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok && e.Conn != nil { // the first record
		return OutcomeNotTLS
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return OutcomeUnknownCA
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return OutcomeBadCertificate
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" {
		return OutcomePeerAlert
	}
	return OutcomeOther
}
