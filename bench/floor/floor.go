// Package floor is the least that a WebSocket server can do: raw epoll on a thread of its own, one
// recv and one send for every readable event, no checks, no limits, no timers, no metrics. It is
// the physical limit that the gateway's figures are compared with, and no server for anything else:
// it trusts its clients to send well-formed frames, and to read.
//
// A connection to /echo gets its messages back. One to any other path gets those of everybody else
// on its loop: what they have sent in one round of epoll leaves in one send per receiver.
package floor

import "errors"

// ErrUnsupported says that there is no epoll here.
var ErrUnsupported = errors.New("floor: this system has no epoll")
