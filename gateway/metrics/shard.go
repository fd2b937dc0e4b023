// Package metrics counts what the gateway does and shows it to Prometheus.
//
// Counters are sharded: every event loop has a Shard of its own, so that counting a message costs
// an uncontended add. They are summed when they are scraped. Labels come from fixed sets only.
package metrics

import "sync/atomic"

// Counter only goes up. It is safe for concurrent use.
type Counter struct{ n atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Load returns the count.
func (c *Counter) Load() uint64 { return c.n.Load() }

// Scope is which limit turned something away.
type Scope uint8

// The scopes.
const (
	ScopeMessage Scope = iota
	ScopeControl
	ScopeAccept
	ScopeAcceptIP
	ScopeConnectionsIP
	ScopeConnectionsUser
	ScopeBytes
	ScopeBadHandshakes
	ScopeRenewals
	scopes
)

var scopeNames = [scopes]string{
	ScopeMessage: "message", ScopeControl: "control", ScopeAccept: "accept",
	ScopeAcceptIP: "accept_ip", ScopeConnectionsIP: "connections_ip",
	ScopeConnectionsUser: "connections_user",
	ScopeBytes:           "bytes", ScopeBadHandshakes: "bad_handshakes_ip",
	ScopeRenewals: "renewal",
}

// Sizes of the fixed label sets that a Shard has room for.
const (
	reasonsMax  = 64
	policies    = 4
	slowReasons = 8
)

// Shard holds the counters of one event loop. Any goroutine may use it, but it is cheap as long as
// one does nearly all of the counting. The zero Shard is ready for use; only those of Metrics.Shard
// are shown.
type Shard struct {
	_ [64]byte // keeps the shards out of each other's cache lines

	Handshakes       Counter // answered with 101
	HandshakeSeconds Histogram
	ReceivedText     Counter // messages
	ReceivedBinary   Counter
	ReceivedPings    Counter // control frames, like the next two
	ReceivedPongs    Counter
	ReceivedCloses   Counter
	MessagesSent     Counter
	ControlSent      Counter
	Broadcasts       Counter   // publications by this loop's sessions
	Deliveries       Counter   // of publications to this loop's sessions
	BroadcastSeconds Histogram // from a publication until this loop queued it for its sessions
	Panics           Counter
	BadSignatures    Counter // of messages in rooms whose messages are signed

	// What services said of open connections that were verified again: the user is still welcome,
	// no longer, or it could not be asked.
	Rechecked, RecheckRefused, RecheckPostponed Counter

	CompressionDeclined      Counter // handshakes that offered permessage-deflate in vain
	InflatedFrom, InflatedTo Counter // bytes of messages from peers
	DeflatedFrom, DeflatedTo Counter // bytes of messages to peers, once per encoding

	closed   [reasonsMax]Counter
	rejected [reasonsMax]Counter
	verdicts [reasonsMax]Counter
	limited  [scopes]Counter
	slow     [policies][slowReasons]Counter
}

// Closed counts the connections that ended for a reason, by its place in Config.CloseReasons.
func (s *Shard) Closed(reason uint8) *Counter { return &s.closed[reason] }

// Rejected counts refused handshakes, by the reason's place in Config.RejectReasons.
func (s *Shard) Rejected(reason uint8) *Counter { return &s.rejected[reason] }

// Verdict counts what became of credentials, by the place in Config.AuthVerdicts.
func (s *Shard) Verdict(verdict uint8) *Counter { return &s.verdicts[verdict] }

// RateLimited counts what a limit turned away.
func (s *Shard) RateLimited(scope Scope) *Counter { return &s.limited[scope] }

// SlowConsumer counts what was done about slow consumers: evictions for the policy "disconnect",
// dropped messages for the others; by the places in Config.Policies and Config.SlowReasons.
func (s *Shard) SlowConsumer(policy, reason uint8) *Counter { return &s.slow[policy][reason] }
