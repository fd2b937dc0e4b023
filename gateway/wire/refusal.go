package wire

import (
	"net/http"
	"strconv"
)

// Reason says why a handshake was refused, for metrics and logs. The set is fixed.
type Reason uint8

// The reasons.
const (
	ReasonMalformed Reason = iota
	ReasonMethod
	ReasonHTTPVersion
	ReasonTarget
	ReasonHost
	ReasonTooLarge
	ReasonBody
	ReasonNotWebSocket
	ReasonVersion
	ReasonKey
	ReasonProtocols
	ReasonExtensions
	ReasonEarlyData
	ReasonNotFound
	ReasonBadName
	ReasonOrigin
	ReasonUnauthorized
	ReasonForbidden
	ReasonAuthUnavailable
	ReasonCapacity
	ReasonRateLimited
	ReasonDraining
	ReasonTimeout
	ReasonHopByHop
	ReasonRepeated
	reasons
)

var reasonNames = [reasons]string{
	ReasonMalformed: "malformed", ReasonMethod: "method", ReasonHTTPVersion: "http_version",
	ReasonTarget: "target", ReasonHost: "host", ReasonTooLarge: "too_large", ReasonBody: "body",
	ReasonNotWebSocket: "not_websocket", ReasonVersion: "websocket_version", ReasonKey: "key",
	ReasonProtocols: "subprotocols", ReasonExtensions: "extensions",
	ReasonEarlyData: "early_data", ReasonNotFound: "not_found", ReasonBadName: "bad_name",
	ReasonOrigin: "origin", ReasonUnauthorized: "unauthorized", ReasonForbidden: "forbidden",
	ReasonAuthUnavailable: "auth_unavailable",
	ReasonCapacity:        "capacity", ReasonRateLimited: "rate_limited",
	ReasonDraining: "draining", ReasonTimeout: "timeout",
	ReasonHopByHop: "hop_by_hop", ReasonRepeated: "repeated_header",
}

func (r Reason) String() string { return reasonNames[r] }

// ReasonNames lists the names of all reasons, by reason.
func ReasonNames() []string { return append([]string(nil), reasonNames[:]...) }

// Refusal is the answer to a request that does not become a WebSocket. It is an error; refusals
// shared as variables must not be changed.
type Refusal struct {
	Status int
	Reason Reason
	// Challenge is the value of WWW-Authenticate, a text of the server's own; empty for none. A 401
	// must have one, RFC 9110 section 15.5.2.
	Challenge string
	// RetryAfter asks the peer to come back after so many seconds; 0 says nothing.
	RetryAfter int
}

func (r *Refusal) Error() string {
	return "handshake refused: " + strconv.Itoa(r.Status) + " " + r.Reason.String()
}

// Refusals that a request earns by itself.
var (
	BadRequest    = &Refusal{Status: http.StatusBadRequest, Reason: ReasonMalformed}
	BadExtensions = &Refusal{Status: http.StatusBadRequest, Reason: ReasonExtensions}
	// EarlyData is for bytes behind the request, which must be neither dropped nor taken for
	// frames: the peer could mean them for another server behind this one.
	EarlyData = &Refusal{Status: http.StatusBadRequest, Reason: ReasonEarlyData}

	badMethod     = &Refusal{Status: http.StatusMethodNotAllowed, Reason: ReasonMethod}
	badHTTP       = &Refusal{Status: http.StatusHTTPVersionNotSupported, Reason: ReasonHTTPVersion}
	badTarget     = &Refusal{Status: http.StatusBadRequest, Reason: ReasonTarget}
	badHost       = &Refusal{Status: http.StatusBadRequest, Reason: ReasonHost}
	lineTooLong   = &Refusal{Status: http.StatusRequestURITooLong, Reason: ReasonTooLarge}
	headTooLarge  = &Refusal{Status: http.StatusRequestHeaderFieldsTooLarge, Reason: ReasonTooLarge}
	hasBody       = &Refusal{Status: http.StatusBadRequest, Reason: ReasonBody}
	notWebSocket  = &Refusal{Status: http.StatusUpgradeRequired, Reason: ReasonNotWebSocket}
	badConnection = &Refusal{Status: http.StatusBadRequest, Reason: ReasonNotWebSocket}
	noVersion     = &Refusal{Status: http.StatusBadRequest, Reason: ReasonVersion}
	otherVersion  = &Refusal{Status: http.StatusUpgradeRequired, Reason: ReasonVersion}
	badKey        = &Refusal{Status: http.StatusBadRequest, Reason: ReasonKey}
	badProtocols  = &Refusal{Status: http.StatusBadRequest, Reason: ReasonProtocols}
	twoOrigins    = &Refusal{Status: http.StatusBadRequest, Reason: ReasonOrigin}
	// hopByHop is for a header that the gateway acts upon and that Connection names.
	hopByHop = &Refusal{Status: http.StatusBadRequest, Reason: ReasonHopByHop}
	// repeatedHeader is for a second line of a header that has one value.
	repeatedHeader = &Refusal{Status: http.StatusBadRequest, Reason: ReasonRepeated}
)

// AppendRefusal appends a complete HTTP/1.1 response that ends the connection. It contains nothing
// of the request.
func AppendRefusal(dst []byte, r *Refusal) []byte {
	body := http.StatusText(r.Status)
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, body...)
	dst = append(dst, "\r\nConnection: close"...)
	switch r.Status {
	case http.StatusUpgradeRequired:
		// RFC 9110 section 15.5.22 wants Upgrade, section 7.8 that Connection names it.
		dst = append(dst, ", Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"...)
	case http.StatusMethodNotAllowed:
		dst = append(dst, "\r\nAllow: GET"...)
	}
	if r.Challenge != "" {
		dst = append(dst, "\r\nWWW-Authenticate: "...)
		dst = append(dst, r.Challenge...)
	}
	if r.RetryAfter > 0 {
		dst = append(dst, "\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, int64(r.RetryAfter), 10)
	}
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)+1), 10)
	dst = append(dst, "\r\n\r\n"...)
	dst = append(dst, body...)
	return append(dst, '\n')
}
