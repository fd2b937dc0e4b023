package gateway

// endReason says why a session ended. It is the one place where a cause meets its close code, the
// text on the wire and the label of the metric.
type endReason uint8

const (
	endNone endReason = iota
	endPeerClosed
	endPeerGone
	endRefused
	endHandshakeTimeout
	endProtocol
	endUnsupported
	endInvalidData
	endTooBig
	endFragments
	endMessageTimeout
	endMessageRate
	endControlRate
	endSlowConsumer
	endPongTimeout
	endIdle
	endPanic
	endDrain
	endShutdown
	endError
	endUnauthorized
	endForbidden
	endAuthTimeout
	endAuthUnavailable
	endExpired
	endRevoked
	endUserConnections
	endSignature
	endByteRate
	endWithdrawn
	endAge
	endBadRenewal
	endRenewalRate
	endReasons // how many there are
)

// ending is a row of the table: what a peer and an operator get to see of a reason.
type ending struct {
	code  uint16 // close code; 0 if no Close frame is sent
	text  string // reason on the wire, a fixed text
	label string // value of the metric's label
}

var endings = [endReasons]ending{
	endNone:             {0, "", "none"},
	endPeerClosed:       {1000, "", "peer_closed"}, // the peer's own code is echoed
	endPeerGone:         {0, "", "peer_gone"},
	endRefused:          {0, "", "handshake_refused"},
	endHandshakeTimeout: {0, "", "handshake_timeout"},
	endProtocol:         {1002, "protocol error", "protocol_error"},
	endUnsupported:      {1003, "text messages only", "unsupported_data"},
	endInvalidData:      {1007, "invalid data", "invalid_data"},
	endTooBig:           {1009, "message too big", "message_too_big"},
	endFragments:        {1008, "too many fragments", "too_many_fragments"},
	endMessageTimeout:   {1008, "message took too long", "message_timeout"},
	endMessageRate:      {1008, "message rate exceeded", "message_rate"},
	endControlRate:      {1008, "control frame rate exceeded", "control_rate"},
	endSlowConsumer:     {1008, "slow consumer", "slow_consumer"},
	endPongTimeout:      {1008, "no answer to ping", "pong_timeout"},
	endIdle:             {1000, "idle", "idle"},
	endPanic:            {1011, "internal error", "internal_error"},
	endDrain:            {1012, "service restart", "drain"},
	endShutdown:         {1001, "going away", "shutdown"},
	endError:            {0, "", "socket_error"},
	// 3000 and 3003 are Unauthorized and Forbidden in the registry of close codes.
	endUnauthorized:    {3000, "unauthorized", "unauthorized"},
	endForbidden:       {3003, "forbidden", "forbidden"},
	endAuthTimeout:     {3000, "no token in time", "auth_timeout"},
	endAuthUnavailable: {1013, "try again later", "auth_unavailable"},
	endExpired:         {3000, "token expired", "token_expired"},
	endRevoked:         {3000, "token revoked", "token_revoked"},
	endUserConnections: {1008, "too many connections", "user_connections"},
	endSignature:       {1008, "invalid signatures", "invalid_signatures"},
	endByteRate:        {1008, "byte rate exceeded", "byte_rate"},
	endWithdrawn:       {3000, "authorization withdrawn", "auth_withdrawn"},
	endAge:             {1012, "reconnect", "connection_age"},
	endBadRenewal:      {3000, "not a valid renewal", "bad_renewal"},
	endRenewalRate:     {1008, "renewal rate exceeded", "renewal_rate"},
}

// keepsInput reports whether messages that were received before such an end, but are not looked at
// yet, still count. They do not if it says that the peer has no right to be heard.
func (r endReason) keepsInput() bool {
	return r == endDrain || r == endExpired || r == endAge || r == endSlowConsumer
}

// urgent reports whether the Close frame of such an end does not wait for the answers to what was
// received before it.
func (r endReason) urgent() bool { return r == endSlowConsumer || r == endPanic }

func (r endReason) String() string { return endings[r].label }

// endLabels lists the labels of all reasons, by reason.
func endLabels() []string {
	labels := make([]string, endReasons)
	for r, e := range endings {
		labels[r] = e.label
	}
	return labels
}
