package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// SlowPolicy says what happens to a connection whose outbound queue is full.
type SlowPolicy string

// The slow consumer policies.
const (
	// SlowDisconnect closes the connection with 1008.
	SlowDisconnect SlowPolicy = "disconnect"
	// SlowDropOldest drops the oldest undelivered broadcasts to make room.
	SlowDropOldest SlowPolicy = "drop-oldest"
	// SlowDropNewest drops the broadcast that does not fit.
	SlowDropNewest SlowPolicy = "drop-newest"
	// SlowLatest drops every undelivered broadcast but the newest.
	SlowLatest SlowPolicy = "latest"
)

// Config is the whole configuration of a gateway. DefaultConfig has every default; Validate says
// what is wrong. Fields marked "hot" may change on reload, the others need a restart.
type Config struct {
	// Listen is the address of the WebSocket listener; Admin that of the admin listener, empty
	// for none.
	Listen string
	Admin  string
	// Engine is "epoll", "netpoll" or "auto" (epoll on Linux, netpoll elsewhere).
	Engine string
	// Loops is the number of event loops, Workers that of pool workers; 0 means one loop per
	// core, and eight workers per core.
	Loops   int
	Workers int

	// ConnectionsMax bounds the open connections; 0 means what the descriptor limit allows, less
	// a reserve. Past it a handshake is answered 503.
	ConnectionsMax int
	// ConnectionsPerIPMax, AcceptRate (per second, all peers together) and AcceptRatePerIP bound
	// who may connect; 0 means unlimited. AcceptBurst and AcceptBurstPerIP are the bucket sizes.
	// An IPv6 peer counts by its /64. Hot.
	ConnectionsPerIPMax int
	AcceptRate          float64
	AcceptBurst         int
	AcceptRatePerIP     float64
	AcceptBurstPerIP    int
	// LimitLoopback applies the per-IP limits to loopback peers too. Hot.
	LimitLoopback bool

	// HandshakeTimeout is how long a peer may take from accept to its complete request. Hot.
	HandshakeTimeout time.Duration
	// RequestLineBytesMax, HeaderBytesMax and HeadersMax bound the handshake request.
	RequestLineBytesMax int
	HeaderBytesMax      int
	HeadersMax          int

	// MessageBytesMax bounds a message, as sent and as inflated. FragmentsMax bounds its frames;
	// 0 means unlimited. MessageTimeout bounds the time from its first byte to its last. Hot, for
	// new connections.
	MessageBytesMax int
	FragmentsMax    int
	MessageTimeout  time.Duration
	// MessageRate is the sustained rate of messages per second a connection may send, with
	// MessageBurst as the bucket; 0 means unlimited. ControlRate and ControlBurst are the same for
	// ping and pong frames. Hot.
	MessageRate  float64
	MessageBurst int
	ControlRate  float64
	ControlBurst int

	// QueueBytesMax, QueueMessagesMax and QueueAgeMax bound the outbound queue of a connection;
	// WriteTimeout is how long it may go without the kernel taking a byte. Hot.
	QueueBytesMax    int
	QueueMessagesMax int
	QueueAgeMax      time.Duration
	WriteTimeout     time.Duration
	// SlowConsumer is the policy when the outbound queue of a chat connection is full. Hot.
	SlowConsumer SlowPolicy

	// PingInterval is the time between heartbeat pings (jittered by a fifth, the first one at a
	// random point of it); 0 means none. PongTimeout is how long the answer may take. Hot.
	PingInterval time.Duration
	PongTimeout  time.Duration
	// IdleTimeout closes a connection that sent no message for so long; 0 means never. Hot.
	IdleTimeout time.Duration

	// Echo serves /echo.
	Echo bool
	// RoomDefault is the chat room of a connection that names none.
	RoomDefault string

	// Compression offers permessage-deflate. CompressionLevel is 1 (fastest) to 9;
	// CompressionBytesMin is the smallest message worth compressing; CompressionTakeover allows
	// context takeover, as long as the contexts of all connections stay below
	// CompressionMemoryMax bytes.
	Compression          bool
	CompressionLevel     int
	CompressionBytesMin  int
	CompressionTakeover  bool
	CompressionMemoryMax int64

	// DrainDelay is how long the gateway goes on accepting after it has become not ready,
	// DrainDuration how long the closes are spread, DrainDeadline when whatever is left is cut.
	// Hot.
	DrainDelay    time.Duration
	DrainDuration time.Duration
	DrainDeadline time.Duration

	// Pprof serves /debug/pprof on the admin listener.
	Pprof bool
	// LogLevel is the least severe level that is logged. Hot.
	LogLevel slog.Level
	// LogFormat is "json", "text" or "auto" (text on a terminal).
	LogFormat string
}

// DefaultConfig returns the defaults: safe on a laptop and sane in production.
func DefaultConfig() Config {
	return Config{
		Listen: "127.0.0.1:8080",
		Admin:  "127.0.0.1:9090",
		Engine: "auto",

		ConnectionsPerIPMax: 256,
		AcceptRate:          0,
		AcceptBurst:         4096,
		AcceptRatePerIP:     20,
		AcceptBurstPerIP:    100,

		HandshakeTimeout:    5 * time.Second,
		RequestLineBytesMax: 4 << 10,
		HeaderBytesMax:      8 << 10,
		HeadersMax:          64,

		MessageBytesMax: 64 << 10,
		FragmentsMax:    256,
		MessageTimeout:  30 * time.Second,
		MessageRate:     50,
		MessageBurst:    100,
		ControlRate:     10,
		ControlBurst:    20,

		QueueBytesMax:    256 << 10,
		QueueMessagesMax: 512,
		QueueAgeMax:      15 * time.Second,
		WriteTimeout:     5 * time.Second,
		SlowConsumer:     SlowDisconnect,

		PingInterval: 25 * time.Second,
		PongTimeout:  10 * time.Second,

		Echo:        true,
		RoomDefault: "lobby",

		Compression:          true,
		CompressionLevel:     1,
		CompressionBytesMin:  256,
		CompressionTakeover:  true,
		CompressionMemoryMax: 64 << 20,

		DrainDelay:    0,
		DrainDuration: 30 * time.Second,
		DrainDeadline: 60 * time.Second,

		LogLevel:  slog.LevelInfo,
		LogFormat: "auto",
	}
}

// FieldError is what Validate reports of one field.
type FieldError struct {
	Field  string // name of the field of Config
	Reason string // what is wrong with its value, without the name
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// Validate reports every value that is out of its range, each as a *FieldError, joined.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, field, format string, args ...any) {
		if !ok {
			errs = append(errs, &FieldError{field, fmt.Sprintf(format, args...)})
		}
	}
	addr := func(field, a string) {
		_, _, err := net.SplitHostPort(a)
		check(err == nil, field, "%q is not host:port", a)
	}
	addr("Listen", c.Listen)
	if c.Admin != "" {
		addr("Admin", c.Admin)
	}
	check(c.Engine == "auto" || c.Engine == "epoll" || c.Engine == "netpoll", "Engine",
		"%q is not one of auto, epoll, netpoll", c.Engine)
	switch c.SlowConsumer {
	case SlowDisconnect, SlowDropOldest, SlowDropNewest, SlowLatest:
	default:
		check(false, "SlowConsumer",
			"%q is not one of disconnect, drop-oldest, drop-newest, latest", c.SlowConsumer)
	}
	check(c.LogFormat == "auto" || c.LogFormat == "json" || c.LogFormat == "text", "LogFormat",
		"%q is not one of auto, json, text", c.LogFormat)

	ints := []struct {
		field        string
		v, low, high int64
	}{
		{"Loops", int64(c.Loops), 0, 1024},
		{"Workers", int64(c.Workers), 0, 65536},
		{"ConnectionsMax", int64(c.ConnectionsMax), 0, 16 << 20},
		{"ConnectionsPerIPMax", int64(c.ConnectionsPerIPMax), 0, 16 << 20},
		{"AcceptBurst", int64(c.AcceptBurst), 1, 1 << 20},
		{"AcceptBurstPerIP", int64(c.AcceptBurstPerIP), 1, 1 << 20},
		{"RequestLineBytesMax", int64(c.RequestLineBytesMax), 64, 64 << 10},
		{"HeaderBytesMax", int64(c.HeaderBytesMax), 256, 1 << 20},
		{"HeadersMax", int64(c.HeadersMax), 4, 1000},
		{"MessageBytesMax", int64(c.MessageBytesMax), 1, 1 << 30},
		{"FragmentsMax", int64(c.FragmentsMax), 0, 1 << 30},
		{"MessageBurst", int64(c.MessageBurst), 1, 1 << 20},
		{"ControlBurst", int64(c.ControlBurst), 1, 1 << 20},
		{"QueueBytesMax", int64(c.QueueBytesMax), 1 << 10, 1 << 30},
		{"QueueMessagesMax", int64(c.QueueMessagesMax), 1, 1 << 20},
		{"CompressionLevel", int64(c.CompressionLevel), 1, 9},
		{"CompressionBytesMin", int64(c.CompressionBytesMin), 0, 1 << 30},
		{"CompressionMemoryMax", c.CompressionMemoryMax, 0, 1 << 50},
	}
	for _, r := range ints {
		check(r.v >= r.low && r.v <= r.high, r.field, "%d is not within %d and %d", r.v, r.low, r.high)
	}
	rates := []struct {
		field string
		v     float64
	}{
		{"AcceptRate", c.AcceptRate}, {"AcceptRatePerIP", c.AcceptRatePerIP},
		{"MessageRate", c.MessageRate}, {"ControlRate", c.ControlRate},
	}
	for _, r := range rates {
		check(r.v >= 0 && r.v <= 1e9, r.field, "%v is not within 0 and 1e9", r.v)
	}
	times := []struct {
		field string
		v     time.Duration
		zero  bool // 0 is allowed
	}{
		{"HandshakeTimeout", c.HandshakeTimeout, false},
		{"MessageTimeout", c.MessageTimeout, false},
		{"QueueAgeMax", c.QueueAgeMax, false},
		{"WriteTimeout", c.WriteTimeout, false},
		{"PingInterval", c.PingInterval, true},
		{"PongTimeout", c.PongTimeout, false},
		{"IdleTimeout", c.IdleTimeout, true},
		{"DrainDelay", c.DrainDelay, true},
		{"DrainDuration", c.DrainDuration, true},
		{"DrainDeadline", c.DrainDeadline, false},
	}
	for _, r := range times {
		ok := r.v >= 100*time.Millisecond && r.v <= 24*time.Hour || r.zero && r.v == 0
		check(ok, r.field, "%v is not within 100ms and 24h", r.v)
	}
	check(c.DrainDeadline >= c.DrainDelay+c.DrainDuration, "DrainDeadline",
		"%v is before the end of the drain (delay %v and duration %v)",
		c.DrainDeadline, c.DrainDelay, c.DrainDuration)
	return errors.Join(errs...)
}
