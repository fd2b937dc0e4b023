package tlsio

import (
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"
)

// ClientAuth says what is asked of clients in the way of certificates.
type ClientAuth string

// The kinds of client authentication.
const (
	// ClientAuthNone asks for nothing; it is also what the zero value means.
	ClientAuthNone ClientAuth = "none"
	// ClientAuthRequest verifies a certificate if the client has one.
	ClientAuthRequest ClientAuth = "request"
	// ClientAuthRequire admits only clients with a valid certificate.
	ClientAuthRequire ClientAuth = "require"
)

// NewTLSConfig returns a configuration for Config.TLS: TLS 1.2 and 1.3, forward secrecy and
// authenticated encryption only (RFC 9325), HTTP/1.1 as the only application protocol, and session
// tickets, whose keys crypto/tls rotates every day. clientCAs are the authorities trusted for
// client certificates; nil, where certificates are asked for, means those of the system.
//
// certificate is asked in each handshake that is not resumed, so it may change its mind; the method
// Certificate of a Store fits.
func NewTLSConfig(
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error),
	auth ClientAuth, clientCAs *x509.CertPool,
) *tls.Config {
	kinds := map[ClientAuth]tls.ClientAuthType{
		ClientAuthRequest: tls.VerifyClientCertIfGiven,
		ClientAuthRequire: tls.RequireAndVerifyClientCert,
	}
	return &tls.Config{
		GetCertificate: certificate,
		MinVersion:     tls.VersionTLS12,
		// Those of TLS 1.3 are not configurable, and are all good.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos: []string{"http/1.1"},
		ClientAuth: kinds[auth],
		ClientCAs:  clientCAs,
		// Small records let a browser begin with a page before it has the whole. Nobody can begin
		// with half a message: large records cost less.
		DynamicRecordSizingDisabled: true,
	}
}

// FollowAuthorities makes each handshake with cfg be judged by the authorities that current returns
// at that time; the method of a Store fits. Sessions that are resumed are judged by them as well:
// crypto/tls resumes one only if the chain that it was begun with is still valid and its root among
// the authorities, and makes a full handshake otherwise, which verifies the certificate anew. The
// keys of the tickets stay those of cfg, so all others are resumed.
//
// It is called before the first handshake, and cfg is not changed after that.
func FollowAuthorities(cfg *tls.Config, current func() *x509.CertPool) {
	var latest atomic.Pointer[tls.Config]
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool := current()
		if c := latest.Load(); c != nil && c.ClientCAs == pool {
			return c, nil
		}
		c := cfg.Clone()
		c.GetConfigForClient, c.ClientCAs = nil, pool
		latest.Store(c)
		return c, nil
	}
}
