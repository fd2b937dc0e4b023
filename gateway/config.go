package gateway

import (
	"log/slog"
	"time"

	"sluice/gateway/auth/setup"
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

// EchoMode says whether /echo is served.
type EchoMode string

// The modes of Echo.
const (
	// EchoAuto serves it to this machine: only if the listener is on loopback.
	EchoAuto EchoMode = "auto"
	EchoOn   EchoMode = "on"
	EchoOff  EchoMode = "off"
)

// Config is the whole configuration of a gateway. DefaultConfig has every default; Validate says
// what is wrong. Fields marked "hot" may change on reload, the others need a restart.
type Config struct {
	// Listen is the address of the WebSocket listener; Admin that of the admin listener, or
	// "unix:PATH" for a unix socket; empty for none.
	Listen string
	Admin  string
	// AdminTokenFile holds the token, of at least 16 bytes, that the admin listener wants for what
	// changes something; without one only this host may do that, by loopback or a unix socket.
	AdminTokenFile string
	// AdminTLSCert and AdminTLSKey are PEM files of a certificate chain and its key for the admin
	// listener; empty for plain HTTP. They are loaded again when they change, and on reload.
	AdminTLSCert string
	AdminTLSKey  string
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
	// An IPv6 peer counts by its /64; a /56 may do 4 times and a /48 16 times as much, by each
	// limit of an address. Hot.
	ConnectionsPerIPMax int
	AcceptRate          float64
	AcceptBurst         int
	AcceptRatePerIP     float64
	AcceptBurstPerIP    int
	// BadHandshakeRate (per second and address) and BadHandshakeBurst bound the handshakes that are
	// refused for what they ask (400 to 428, 431): past it an address is turned away for a while,
	// so that guessing costs it more than us; 0 means unlimited. Hot.
	BadHandshakeRate  float64
	BadHandshakeBurst int
	// LimitLoopback applies the per-IP limits to loopback peers too. They hold in any case for a
	// connection that a proxy speaks for, whatever the address that it names. Hot.
	LimitLoopback bool

	// TrustedProxies are the networks of proxies that may name the client they forward. With
	// ProxyProtocol only they may connect, and each connection begins with a PROXY header.
	// ClientHeader is the header of the handshake that they write the client into:
	// "x-forwarded-for", "forwarded" or "none". All limits and logs are about that client.
	TrustedProxies []string
	ProxyProtocol  bool
	ClientHeader   string

	// HandshakeTimeout is how long a peer may take from accept, or from the end of the TLS
	// handshake, to its complete request. Hot.
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
	// ByteRate is the sustained rate of payload bytes per second, as sent, with ByteBurst as the
	// bucket; a message may overdraw it. 0 means unlimited. Hot.
	ByteRate     float64
	ByteBurst    int
	ControlRate  float64
	ControlBurst int

	// SendBufferBytes bounds what the kernel takes for a connection and has not sent yet, up to a
	// segment of 64 KiB more; 0 leaves it to the kernel, which is megabytes for each peer that does
	// not read. More than half of QueueBytesMax is that half.
	SendBufferBytes int
	// QueueBytesMax, QueueMessagesMax and QueueAgeMax bound the outbound queue of a connection;
	// while the kernel takes no more, what it has not sent counts into QueueBytesMax. WriteTimeout
	// is how long the peer may take no byte. Hot.
	QueueBytesMax    int
	QueueMessagesMax int
	QueueAgeMax      time.Duration
	WriteTimeout     time.Duration
	// SlowConsumer is the policy when the outbound queue of a chat connection is full. Hot.
	SlowConsumer SlowPolicy
	// CloseTimeout is how long a peer has, when its connection ends with a Close frame, to read
	// that and what was sent before it; then the connection is reset. Hot.
	CloseTimeout time.Duration

	// PingInterval is the time between heartbeat pings (jittered by a fifth, the first one at a
	// random point of it); 0 means none. PongTimeout is how long the answer may take. Hot.
	PingInterval time.Duration
	PongTimeout  time.Duration
	// IdleTimeout closes a connection that sends no message for this long; 0 means never. Hot.
	IdleTimeout time.Duration

	// TLSCerts and TLSKeys are PEM files of certificate chains and their keys, in the same order;
	// with any, or with TLSSelfSigned, clients connect by wss. They, and TLSClientCA, are loaded
	// again when they change, and on reload.
	TLSCerts      []string
	TLSKeys       []string
	TLSSelfSigned bool
	// TLSMinVersion is "1.2" or "1.3".
	TLSMinVersion string
	// TLSClientAuth is "none", "request" or "require": whether clients show certificates of the
	// authorities in the file TLSClientCA. TLSIdentity is what of the certificate is the user:
	// "uri", "dns" or "cn".
	TLSClientAuth string
	TLSClientCA   string
	TLSIdentity   string
	// TLSHandshakesMax bounds the TLS handshakes that compute at once, 0 means two per core;
	// TLSHandshakeTimeout bounds one from the accept on.
	TLSHandshakesMax    int
	TLSHandshakeTimeout time.Duration

	// Origins are the pages that may connect, see package origin; none means all, or without
	// authentication on loopback the pages of this machine, for requests that name it in Host. A
	// client without an Origin is no page, and may connect unless it is a cookie that lets it in.
	// Hot.
	Origins []string

	// AuthJWT, AuthIntrospection, AuthHook and AuthSessions say who verifies credentials, each as
	// "name=value,name=value"; package setup and docs/auth.md list the names. With any of them,
	// every client has to show a credential. AuthSources are where it may be, in order.
	AuthSources       []string
	AuthJWT           []string
	AuthIntrospection []string
	AuthHook          []string
	AuthSessions      []string
	// AuthCacheTTL is how long a verified token is not verified again; 0 means no cache.
	AuthCacheTTL time.Duration
	// AuthTimeout is how long the first message with a token may take. AuthGrace is how long a
	// connection outlives its token. Hot.
	AuthTimeout time.Duration
	AuthGrace   time.Duration
	// AuthRecheck is how often an open connection is verified again whose identity comes from a
	// service (introspection, hook, sessions) and does not end before; 0 means never. If the
	// service refuses, it is closed with 3000; if it does not answer, it stays and the service is
	// asked again within a minute. Hot, for new connections; 0 takes effect at once.
	AuthRecheck time.Duration
	// AuthExplain accepts a handshake that it refuses and closes with the reason, which browsers
	// hide otherwise. Hot.
	AuthExplain bool
	// ConnectionsPerUserMax bounds the connections of a user whose credential was accepted; 0
	// means unlimited. Hot.
	ConnectionsPerUserMax int

	// RenewalRate (per second and connection) and RenewalBurst bound the messages that renew the
	// identity, as verifying one may cost a call of a service: past it the connection is closed
	// with 1008; 0 means unlimited. Hot.
	RenewalRate  float64
	RenewalBurst int
	// ConnectionAgeMax is how old a connection may get, give or take a tenth: then it is closed
	// with 1012, for the client to connect again; 0 means no bound. Hot, for new connections.
	ConnectionAgeMax time.Duration

	// Echo says whether /echo is served, see ServesEcho.
	Echo EchoMode
	// RoomDefault is the chat room of a connection that names none.
	RoomDefault string

	// ChatHMACKeyFile holds the key, of at least 32 bytes, by which the messages of ChatHMACRooms
	// are signed in both directions, see package signed; "*" stands for all rooms. Empty signs
	// none.
	ChatHMACKeyFile string
	ChatHMACRooms   []string

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
	// AuditLog is the file that every login, renewal and revocation is recorded in, or "stderr";
	// empty records none. Nobody is let in while it has no room.
	AuditLog string
	// LogFormat is "json", "text" or "auto" (text on a terminal).
	LogFormat string
}

// auth is what the configuration says of authentication.
func (c *Config) auth() setup.Config {
	return setup.Config{
		Sources: c.AuthSources, JWT: c.AuthJWT, Introspection: c.AuthIntrospection,
		Hook: c.AuthHook, Sessions: c.AuthSessions, CacheTTL: c.AuthCacheTTL,
		Certificates: c.asksCertificates(),
	}
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
		BadHandshakeRate:    4,
		BadHandshakeBurst:   50,

		ClientHeader: "none",

		HandshakeTimeout:    5 * time.Second,
		RequestLineBytesMax: 4 << 10,
		HeaderBytesMax:      8 << 10,
		HeadersMax:          64,

		MessageBytesMax: 64 << 10,
		FragmentsMax:    256,
		MessageTimeout:  30 * time.Second,
		MessageRate:     50,
		MessageBurst:    100,
		ByteBurst:       4 << 20,
		ControlRate:     10,
		ControlBurst:    20,

		SendBufferBytes:  64 << 10,
		QueueBytesMax:    1 << 20,
		QueueMessagesMax: 512,
		QueueAgeMax:      15 * time.Second,
		WriteTimeout:     5 * time.Second,
		SlowConsumer:     SlowDisconnect,
		CloseTimeout:     5 * time.Second,

		PingInterval: 25 * time.Second,
		PongTimeout:  10 * time.Second,

		TLSMinVersion:       "1.2",
		TLSClientAuth:       "none",
		TLSIdentity:         "uri",
		TLSHandshakeTimeout: 3 * time.Second,

		AuthSources:  []string{"header", "subprotocol"},
		AuthCacheTTL: 30 * time.Second,
		AuthTimeout:  5 * time.Second,
		AuthGrace:    5 * time.Second,
		AuthRecheck:  5 * time.Minute,
		RenewalRate:  0.25, RenewalBurst: 4,
		ConnectionsPerUserMax: 16,

		Echo:          EchoAuto,
		RoomDefault:   "lobby",
		ChatHMACRooms: []string{"*"},

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
