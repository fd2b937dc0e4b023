package metrics

import "time"

// Snapshot is the state that the collector does not count itself, as of one scrape. What is
// switched off (compression, say) stays zero.
type Snapshot struct {
	Loops             []Loop // in the order of the loops
	Accept            Accept
	Workers           Workers
	Broadcasts        Broadcasts
	Auth              Auth
	TLS               TLS
	Proxied           Proxied
	CompressionMemory int64 // bytes set aside for the compression contexts of connections
	Audit             Audit
	Admin             Admin
	LogDropped        uint64 // log lines lost since the start because the log could not keep up
	Drain             DrainState
	MemoryState       MemoryState
	MemoryLimit       uint64 // of the Go runtime in bytes; 0 if there is none
	Reload            Reload
}

// Loop describes an event loop. The counters count since the start.
type Loop struct {
	Conns             int   // open connections
	Queued            int64 // bytes in their outbound queues
	Unsent            int64 // bytes that the kernel holds unsent for those that are blocked
	Turns, Events     uint64
	Reads, Writes     uint64        // system calls
	BytesIn, BytesOut uint64        // on the wire
	LastTurn          time.Duration // since the loop last began a turn
}

// Accept counts what the listeners have done since the start.
type Accept struct {
	Accepted uint64 // given to a loop
	Turned   uint64 // disconnected before that
	Failed   uint64 // accept(2) failures of all kinds
	Starved  uint64 // those for want of descriptors
}

// Workers describes the worker pool.
type Workers struct {
	Running  int    // goroutines at work
	Ready    int    // sessions that wait for one
	Queued   int    // tasks not finished
	Executed uint64 // tasks finished since the start
	Panics   uint64 // since the start
}

// Broadcasts describes the fan-out.
type Broadcasts struct {
	Channels int // that have a subscriber
	Waiting  int // bytes of publications that no loop has delivered yet
}

// Auth describes the verification of credentials.
type Auth struct {
	Users       int    // with a proven connection
	Verifying   int    // credentials whose verification has not finished
	CacheHits   uint64 // since the start
	CacheMisses uint64 // since the start
	Revocations int    // that are remembered
	Queues      []AuthQueue
}

// AuthQueue describes the credentials of one service, or of those that need none.
type AuthQueue struct {
	Service string
	Waiting int    // for a worker
	Running int    // workers at work
	Dropped uint64 // since the start: the queue was full, or they waited too long
}

// TLS describes the TLS handshakes and the certificates.
type TLS struct {
	Outcomes         []uint64  // of handshakes since the start, in the order of Config.TLSOutcomes
	Resumed          uint64    // since the start
	Begun            uint64    // handshakes for which something was computed, since the start
	Pending          int       // handshakes under way
	Waiting          int       // handshakes that wait to be begun
	Expires          time.Time // the first of the certificates; zero without TLS
	Reloaded, Failed uint64    // attempts to load certificates again
}

// Audit describes the audit log.
type Audit struct {
	Written uint64 // events that were written since the start
	Waiting int    // events that were not yet
	Failed  uint64 // writes and openings that failed since the start
}

// Admin describes the admin listener.
type Admin struct {
	Conns   int    // open connections
	Evicted uint64 // connections closed to make room for another one, since the start
	Denied  uint64 // requests refused for their token, since the start
	Limited uint64 // requests refused for the tokens before them, since the start
}

// Proxied counts connections by their PROXY header since the start.
type Proxied struct{ Announced, Untrusted, Invalid uint64 }

// DrainState is how far a gateway has been taken out of service.
type DrainState uint8

// The states of a drain.
const (
	DrainServing   DrainState = iota // no drain
	DrainAnnounced                   // reports not ready, still accepts
	DrainClosing                     // accepts no more, closes what there is
)

// MemoryState is how near the process is to its memory limit.
type MemoryState uint32

// The states of memory.
const (
	MemoryFine MemoryState = iota
	MemorySoft             // nothing new is taken on
	MemoryHard             // what is there is given up
)

func (s MemoryState) String() string { return [...]string{"fine", "soft", "hard"}[s] }

// Reload describes the configuration. Starting counts as the first successful reload.
type Reload struct {
	Failed bool      // the last reload was refused
	Loaded time.Time // when the configuration in force was loaded; zero means unknown
}
