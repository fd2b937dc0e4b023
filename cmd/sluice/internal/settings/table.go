// Package settings binds every field of gateway.Config to a flag, a key of the YAML file and an
// environment variable, and reads all of them with the same parsers: built-in < file < environment
// < flags.
package settings

import (
	"reflect"
	"strings"

	"sluice/gateway"
)

// Setting is one row of the table: a field of gateway.Config and how people call it.
type Setting struct {
	Key   string // the flag without its dashes and the key in the file
	Field string // the field of gateway.Config
	Group string // the heading that it is listed under
	Arg   string // what stands for the value in help; empty for a switch
	Help  string // what it does, in a few words
	// Zero says what 0, or an empty text, means; empty if it means nothing special.
	Zero string
	// Common settings are shown on the first help screen.
	Common bool

	kind kind
}

// Env is the name of the environment variable of a setting.
func (s *Setting) Env() string { return EnvName(s.Key) }

// Hot reports whether a running gateway takes a new value on reload.
func (s *Setting) Hot() bool { return !gateway.NeedsRestart(s.Field) }

// Switch reports whether the setting is either true or false.
func (s *Setting) Switch() bool { return s.kind.name == "switch" }

// List reports whether the setting may be given several times, each adding to the list.
func (s *Setting) List() bool { return s.kind.name == "list" }

// Kind names how the value is written: text, count, size, rate, duration, switch, level or list.
func (s *Setting) Kind() string { return s.kind.name }

// Format writes a value of the setting such that every source reads the same value back.
func (s *Setting) Format(v any) string { return s.kind.format(v) }

// Text is the value of the setting in a configuration, as Format writes it.
func (s *Setting) Text(cfg gateway.Config) string {
	return s.Format(reflect.ValueOf(cfg).FieldByName(s.Field).Interface())
}

// Show is Text as people read it: 0 with what it means, an empty text in quotes, and without what
// may be secret.
func (s *Setting) Show(cfg gateway.Config) string {
	text := redact(s.Text(cfg))
	if text == "" {
		text = `""`
	} else if text != "0" {
		return text
	}
	if s.Zero == "" {
		return text
	}
	return text + " (" + s.Zero + ")"
}

// EnvName is the environment variable of a key.
func EnvName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// The groups, in the order in which they are listed.
const (
	groupNetwork     = "Network"
	groupConnections = "Connections"
	groupHandshake   = "Handshake"
	groupTLS         = "TLS"
	groupAuth        = "Authentication"
	groupMessages    = "Messages"
	groupSlow        = "Slow consumers"
	groupHeartbeat   = "Heartbeat"
	groupEndpoints   = "Endpoints"
	groupCompression = "Compression"
	groupDrain       = "Drain"
	groupDiagnosis   = "Logs and diagnosis"
)

// Table returns every setting, grouped, in the order in which they are listed.
func Table() []Setting {
	var all []Setting
	for _, group := range [][]Setting{
		listenSettings(), tlsSettings(), authSettings(), messageSettings(), sessionSettings(),
		serviceSettings(),
	} {
		all = append(all, group...)
	}
	return all
}

func listenSettings() []Setting {
	return []Setting{
		{"listen", "Listen", groupNetwork, "addr",
			"where WebSocket clients connect", "", true, textKind()},
		{"admin", "Admin", groupNetwork, "addr|unix:path",
			"probes, metrics, demo", "none", true, textKind()},
		{"admin-token-file", "AdminTokenFile", groupNetwork, "file",
			"token to revoke users and tokens with", "this host only", false, textKind()},
		{"admin-tls-cert", "AdminTLSCert", groupNetwork, "file",
			"certificate of the admin listener, in PEM", "plain HTTP", false, textKind()},
		{"admin-tls-key", "AdminTLSKey", groupNetwork, "file",
			"its private key", "none", false, textKind()},
		{"engine", "Engine", groupNetwork, "name",
			"event engine: epoll, netpoll or auto", "", false, textKind()},
		{"loops", "Loops", groupNetwork, "n",
			"event loops", "one per core", false, countKind()},
		{"workers", "Workers", groupNetwork, "n",
			"workers of the pool", "eight per core", false, countKind()},

		{"max-connections", "ConnectionsMax", groupConnections, "n",
			"how many may be open at once", "as files allow", true, countKind()},
		{"max-connections-per-ip", "ConnectionsPerIPMax", groupConnections, "n",
			"connections of one address", "unlimited", true, countKind()},
		{"max-connection-age", "ConnectionAgeMax", groupConnections, "time",
			"close older ones, for clients to connect again", "never", false, durationKind()},
		{"accept-rate", "AcceptRate", groupConnections, "rate",
			"new connections, all together", "unlimited", false, rateKind()},
		{"accept-burst", "AcceptBurst", groupConnections, "n",
			"how far accept-rate may be exceeded", "", false, countKind()},
		{"accept-rate-per-ip", "AcceptRatePerIP", groupConnections, "rate",
			"new connections of one address", "unlimited", false, rateKind()},
		{"accept-burst-per-ip", "AcceptBurstPerIP", groupConnections, "n",
			"how far accept-rate-per-ip may be exceeded", "", false, countKind()},
		{"bad-handshake-rate", "BadHandshakeRate", groupConnections, "rate",
			"refused handshakes of one address", "unlimited", false, rateKind()},
		{"bad-handshake-burst", "BadHandshakeBurst", groupConnections, "n",
			"how far bad-handshake-rate may be exceeded", "", false, countKind()},
		{"limit-loopback", "LimitLoopback", groupConnections, "",
			"hold loopback to the limits per address", "", false, switchKind()},

		{"trusted-proxies", "TrustedProxies", groupConnections, "list",
			"networks of proxies that say who the client is", "none", false, listKind()},
		{"proxy-protocol", "ProxyProtocol", groupConnections, "",
			"require a PROXY header from trusted proxies", "", false, switchKind()},
		{"client-header", "ClientHeader", groupConnections, "name",
			"header with the client: x-forwarded-for, forwarded or none", "", false, textKind()},

		{"handshake-timeout", "HandshakeTimeout", groupHandshake, "time",
			"from accept, or TLS, to the complete request", "", false, durationKind()},
		{"max-request-line", "RequestLineBytesMax", groupHandshake, "size",
			"longest request line", "", false, sizeKind()},
		{"max-header-size", "HeaderBytesMax", groupHandshake, "size",
			"largest header of a request", "", false, sizeKind()},
		{"max-headers", "HeadersMax", groupHandshake, "n",
			"most header fields of a request", "", false, countKind()},
	}
}

func tlsSettings() []Setting {
	return []Setting{
		{"tls-cert", "TLSCerts", groupTLS, "file",
			"certificate chain in PEM; one per name", "none", true, listKind()},
		{"tls-key", "TLSKeys", groupTLS, "file",
			"its private key, in the same order", "none", false, listKind()},
		{"tls-self-signed", "TLSSelfSigned", groupTLS, "",
			"make a certificate, for trying it out", "", false, switchKind()},
		{"tls-min-version", "TLSMinVersion", groupTLS, "version",
			"1.2 or 1.3", "", false, textKind()},
		{"tls-client-auth", "TLSClientAuth", groupTLS, "policy",
			"certificates of clients: none, request or require", "", false, textKind()},
		{"tls-client-ca", "TLSClientCA", groupTLS, "file",
			"authorities of those certificates, in PEM", "none", false, textKind()},
		{"tls-identity", "TLSIdentity", groupTLS, "part",
			"what of a certificate is the user: uri, dns or cn", "", false, textKind()},
		{"tls-handshakes", "TLSHandshakesMax", groupTLS, "n",
			"TLS handshakes that compute at once", "two per core", false, countKind()},
		{"tls-handshake-timeout", "TLSHandshakeTimeout", groupTLS, "time",
			"from accept to the end of the TLS handshake", "", false, durationKind()},
	}
}

func authSettings() []Setting {
	return []Setting{
		{"allowed-origins", "Origins", groupAuth, "list",
			"pages that may connect, like https://*.example.com",
			"all, or local pages", false, listKind()},
		{"auth-jwt", "AuthJWT", groupAuth, "spec",
			"tokens: issuer=,audience=,jwks=URL or key=@FILE", "none", true, listKind()},
		{"auth-introspection", "AuthIntrospection", groupAuth, "spec",
			"ask OAuth at url=,client-id=,client-secret=@FILE", "none", false, listKind()},
		{"auth-hook", "AuthHook", groupAuth, "spec",
			"ask your service at url=,secret=@FILE,headers=", "none", false, listKind()},
		{"auth-sessions", "AuthSessions", groupAuth, "spec",
			"look into Redis at addr=,prefix=,password=@FILE", "none", false, listKind()},
		{"auth-sources", "AuthSources", groupAuth, "list",
			"header, cookie:NAME, query:NAME, subprotocol, message", "", false, listKind()},
		{"auth-cache", "AuthCacheTTL", groupAuth, "time",
			"how long a good token is not verified again", "off", false, durationKind()},
		{"auth-timeout", "AuthTimeout", groupAuth, "time",
			"for the first message with a token", "", false, durationKind()},
		{"auth-grace", "AuthGrace", groupAuth, "time",
			"how long a connection outlives its token", "", false, durationKind()},
		{"auth-recheck", "AuthRecheck", groupAuth, "time",
			"how often services are asked again about open connections", "never", false,
			durationKind()},
		{"renewal-rate", "RenewalRate", groupAuth, "rate",
			"messages of one connection that renew its token", "unlimited", false, rateKind()},
		{"renewal-burst", "RenewalBurst", groupAuth, "n",
			"how far renewal-rate may be exceeded", "", false, countKind()},
		{"auth-explain", "AuthExplain", groupAuth, "",
			"close with the reason instead of 401, for browsers", "", false, switchKind()},
		{"max-user-connections", "ConnectionsPerUserMax", groupAuth, "n",
			"connections of one user", "unlimited", false, countKind()},
	}
}

func messageSettings() []Setting {
	return []Setting{
		{"max-message-size", "MessageBytesMax", groupMessages, "size",
			"largest message, as sent and as inflated", "", true, sizeKind()},
		{"max-fragments", "FragmentsMax", groupMessages, "n",
			"most frames of a message", "unlimited", false, countKind()},
		{"message-timeout", "MessageTimeout", groupMessages, "time",
			"from the first byte of a message to its last", "", false, durationKind()},
		{"message-rate", "MessageRate", groupMessages, "rate",
			"messages of one connection", "unlimited", true, rateKind()},
		{"message-burst", "MessageBurst", groupMessages, "n",
			"how far message-rate may be exceeded", "", false, countKind()},
		{"byte-rate", "ByteRate", groupMessages, "rate",
			"bytes of one connection", "unlimited", false, rateKind()},
		{"byte-burst", "ByteBurst", groupMessages, "size",
			"how far byte-rate may be exceeded", "", false, sizeKind()},
		{"control-rate", "ControlRate", groupMessages, "rate",
			"pings and pongs of one connection", "unlimited", false, rateKind()},
		{"control-burst", "ControlBurst", groupMessages, "n",
			"how far control-rate may be exceeded", "", false, countKind()},

		{"slow-consumer", "SlowConsumer", groupSlow, "policy",
			"disconnect, drop-oldest, drop-newest or latest", "", true, textKind()},
		{"max-queue-size", "QueueBytesMax", groupSlow, "size",
			"bytes that may wait for one client", "", false, sizeKind()},
		{"max-queue-messages", "QueueMessagesMax", groupSlow, "n",
			"messages that may wait for one client", "", false, countKind()},
		{"max-queue-age", "QueueAgeMax", groupSlow, "time",
			"how long a message may wait", "", false, durationKind()},
		{"write-timeout", "WriteTimeout", groupSlow, "time",
			"how long a client may take no byte", "", false, durationKind()},
		{"close-timeout", "CloseTimeout", groupSlow, "time",
			"for a client to read what was sent before its end", "", false, durationKind()},
		{"send-buffer", "SendBufferBytes", groupSlow, "size",
			"bytes unsent in the kernel for one client", "unlimited", false, sizeKind()},
	}
}

func sessionSettings() []Setting {
	return []Setting{
		{"ping-interval", "PingInterval", groupHeartbeat, "time",
			"time between two pings", "none", true, durationKind()},
		{"pong-timeout", "PongTimeout", groupHeartbeat, "time",
			"how long the answer to a ping may take", "", false, durationKind()},
		{"idle-timeout", "IdleTimeout", groupHeartbeat, "time",
			"close connections that send no message for this long", "never", false, durationKind()},

		{"echo", "Echo", groupEndpoints, "",
			"serve /echo; auto means only on loopback", "", true, autoSwitchKind()},
		{"default-room", "RoomDefault", groupEndpoints, "name",
			"chat room when the URL names none", "", false, textKind()},

		{"chat-hmac-key-file", "ChatHMACKeyFile", groupEndpoints, "file",
			"key to sign chat messages with, 32 bytes or more", "off", false, textKind()},
		{"chat-hmac-rooms", "ChatHMACRooms", groupEndpoints, "list",
			"rooms whose messages are signed; * for all", "", false, listKind()},

		{"compression", "Compression", groupCompression, "",
			"offer permessage-deflate", "", true, switchKind()},
		{"compression-level", "CompressionLevel", groupCompression, "n",
			"1 is fastest, 9 is smallest", "", false, countKind()},
		{"compression-min-size", "CompressionBytesMin", groupCompression, "size",
			"send smaller messages as they are", "", false, sizeKind()},
		{"compression-takeover", "CompressionTakeover", groupCompression, "",
			"keep a compression context per connection", "", false, switchKind()},
		{"compression-memory", "CompressionMemoryMax", groupCompression, "size",
			"for the contexts of all connections", "", false, sizeKind()},
	}
}

func serviceSettings() []Setting {
	return []Setting{
		{"drain-delay", "DrainDelay", groupDrain, "time",
			"keep accepting this long after SIGTERM", "", false, durationKind()},
		{"drain-duration", "DrainDuration", groupDrain, "time",
			"spread the closes of a drain over this long", "", true, durationKind()},
		{"drain-deadline", "DrainDeadline", groupDrain, "time",
			"close what is left after this long", "", false, durationKind()},

		{"log-level", "LogLevel", groupDiagnosis, "level",
			"debug, info, warn or error", "", true, levelKind()},
		{"log-format", "LogFormat", groupDiagnosis, "format",
			"json, text or auto (text on a terminal)", "", false, textKind()},
		{"audit-log", "AuditLog", groupDiagnosis, "file",
			"record every login in this file, or on stderr", "off", false, textKind()},
		{"pprof", "Pprof", groupDiagnosis, "",
			"serve /debug/pprof on the admin listener", "", false, switchKind()},
	}
}
