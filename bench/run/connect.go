package run

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"sluice/bench/load"
)

// Connect describes how connections are made.
type Connect struct {
	// Header has lines like "Name: value"; {i} in a value is the number of the connection.
	Header       []string
	Subprotocols []string
	Origin       string
	// Token is sent with every handshake; {i} in it is the number of the connection. JWTSecret
	// makes tokens instead, of JWTClaims and signed with HS256. TokenIn says where a token goes, as
	// load.ParseTokenIn reads it; empty means Authorization.
	Token                string
	JWTSecret, JWTClaims string
	TokenIn              string
	// TLSRoots is a PEM file with the authorities for wss; empty for those of the system. TLSName
	// is whom the server must prove to be, empty for the host of the URL. TLSInsecure believes
	// anybody.
	TLSRoots, TLSName string
	TLSInsecure       bool
	// TLSResume has connections that come back resume their TLS session.
	TLSResume bool
	// Deflate offers permessage-deflate; nil for none.
	Deflate *load.DeflateOffer
}

// configure fills in what a swarm needs to know.
func (c *Connect) configure(cfg *load.Config) (err error) {
	cfg.Subprotocols, cfg.Origin, cfg.Deflate = c.Subprotocols, c.Origin, c.Deflate
	for _, line := range c.Header {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("the header %q is not like \"Name: value\"", name)
		}
		cfg.Header = append(cfg.Header,
			load.HeaderLine{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	if cfg.Request.Token, err = c.token(); err != nil {
		return err
	}
	if c.TokenIn != "" {
		if cfg.TokenIn, err = load.ParseTokenIn(c.TokenIn); err != nil {
			return err
		}
	}
	cfg.Resume = c.TLSResume
	cfg.TLS, err = c.tls()
	return err
}

func (c *Connect) token() (func(int) string, error) {
	switch {
	case c.JWTSecret != "" && c.Token != "":
		return nil, errors.New("a token is either given or made of a secret, not both")
	case c.JWTSecret != "":
		return load.HS256([]byte(c.JWTSecret), c.JWTClaims)
	case c.Token != "":
		return func(i int) string {
			return strings.ReplaceAll(c.Token, "{i}", fmt.Sprint(i))
		}, nil
	}
	return nil, nil
}

func (c *Connect) tls() (*tls.Config, error) {
	cfg := &tls.Config{ServerName: c.TLSName, InsecureSkipVerify: c.TLSInsecure}
	if c.TLSRoots == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(c.TLSRoots)
	if err != nil {
		return nil, fmt.Errorf("authorities for wss: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("authorities for wss: %s has no certificate in PEM", c.TLSRoots)
	}
	return cfg, nil
}
