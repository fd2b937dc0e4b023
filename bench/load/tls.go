//go:build unix

package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// tlsTimeout bounds a TLS handshake.
const tlsTimeout = 20 * time.Second

// StartTLS makes the TLS handshake on a connected TCP socket, which belongs to it from the call on:
// when it fails, the socket is closed. It blocks, at most until ctx ends or for tlsTimeout. Unless
// cfg says otherwise, the server must prove that it is cfg.ServerName, or host if that is empty.
// nil means the zero tls.Config; cfg is not changed and may be shared. The error is an *Error that
// says what is wrong with the certificate and what mends it.
func StartTLS(ctx context.Context, fd int, host string, cfg *tls.Config) (*tls.Conn, error) {
	tcp, err := takeSocket(fd, "tcp")
	if err != nil {
		return nil, explainTLS(err)
	}
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	conn := tls.Client(tcp, clientConfig(cfg, host))
	if err := conn.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, explainTLS(err)
	}
	return conn, nil
}

// clientConfig is cfg for a handshake with host.
func clientConfig(cfg *tls.Config, host string) *tls.Config {
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	if cfg.NextProtos == nil {
		cfg.NextProtos = []string{"http/1.1"} // else a server may choose HTTP/2
	}
	return cfg
}

// takeSocket makes a connection of the runtime of a descriptor, which belongs to it from the call
// on.
func takeSocket(fd int, name string) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close() // the connection has a copy
	return net.FileConn(f)
}

// explainTLS names what has failed a TLS handshake, and what mends it.
func explainTLS(err error) error {
	class, mend := classTLS(err)
	return &Error{Class: "tls: " + class, Err: fmt.Errorf("tls handshake: %w%s", err, mend)}
}

func classTLS(err error) (class, mend string) {
	if class, mend = classCertificate(err); class != "" {
		return class, mend
	}
	var alert *net.OpError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &alert) && alert.Op == "remote error": // how crypto/tls shows alerts
		return "refused by the server", ": the server refuses our versions, ciphers or certificate"
	case errors.As(err, &record):
		return "not TLS", ": the server does not speak TLS on that port; try ws://"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timed out", ": no answer in time"
	case errors.Is(err, context.Canceled):
		return "given up", ""
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "cut", ": the server hung up in the middle of it"
	}
	return "failed", ""
}

// classCertificate is classTLS for certificates; the class is empty if err is about something else.
func classCertificate(err error) (class, mend string) {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &authority):
		return "unknown authority", ": trust its authority by --tls-ca, or anybody by --insecure"
	case errors.As(err, &name):
		return "other name", ": say by --tls-name whom to expect, or trust anybody by --insecure"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "expired certificate",
			": renew it, check both clocks, or trust anybody by --insecure"
	case errors.As(err, &invalid):
		return "invalid certificate", ": replace it, or trust anybody by --insecure"
	}
	return "", ""
}
