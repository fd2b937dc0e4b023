// Package gateway is the WebSocket gateway: it composes the event loops, the wire format, the
// worker pool, the rooms and the limits into the life of a session.
package gateway
