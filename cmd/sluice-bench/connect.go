package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"sluice/bench/load"
	"sluice/bench/run"
)

// connectFlags say how connections are made.
type connectFlags struct {
	connect run.Connect
	deflate string
}

// bareOffer is what --deflate stands for without parameters.
const bareOffer = "permessage-deflate"

func (f *connectFlags) define(flags *pflag.FlagSet) {
	c := &f.connect
	flags.StringArrayVarP(&c.Header, "header", "H", nil,
		"header line, like 'X-Number: {i}'; repeatable")
	flags.StringSliceVar(&c.Subprotocols, "subprotocol", nil, "subprotocols to offer")
	flags.StringVar(&c.Origin, "origin", "", "origin to send, like a page's")
	flags.StringVar(&c.Token, "token", "", "token of each connection, like 't-{i}', or @FILE")
	flags.StringVar(&c.JWTSecret, "jwt-hs256", "", "secret to make JWTs with, or @FILE")
	flags.StringVar(&c.JWTClaims, "jwt-claims", `{"sub":"user-{i}"}`,
		"their claims; iat and exp are added")
	flags.StringVar(&c.TokenIn, "token-in", "header",
		"header (Authorization), cookie:NAME, query:NAME or subprotocol")
	flags.StringVar(&c.TLSRoots, "tls-ca", "",
		"authorities for wss, a PEM file; the system's if empty")
	flags.StringVar(&c.TLSName, "tls-name", "",
		"whom the server must prove to be; the URL's host if empty")
	flags.BoolVar(&c.TLSInsecure, "insecure", false, "believe any certificate")
	flags.BoolVar(&c.TLSResume, "tls-resume", false,
		"resume the TLS sessions of those that come back")
	flags.StringVar(&f.deflate, "deflate", "",
		"offer permessage-deflate, with parameters like\n"+
			"'server_no_context_takeover; client_max_window_bits=10'")
	flags.Lookup("deflate").NoOptDefVal = bareOffer
}

// parse returns what the flags say, with the secrets read from their files.
func (f *connectFlags) parse() (c run.Connect, err error) {
	c = f.connect
	if c.Token, err = secret(c.Token); err != nil {
		return c, usageError{fmt.Errorf("--token: %w", err)}
	}
	if c.JWTSecret, err = secret(c.JWTSecret); err != nil {
		return c, usageError{fmt.Errorf("--jwt-hs256: %w", err)}
	}
	if f.deflate != "" {
		if c.Deflate, err = parseOffer(f.deflate); err != nil {
			return c, usageError{err}
		}
	}
	return c, nil
}

// secret reads a value that may be in a file.
func secret(value string) (string, error) {
	path, ok := strings.CutPrefix(value, "@")
	if !ok {
		return value, nil
	}
	text, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(text))) == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	return strings.TrimSpace(string(text)), err
}

// parseOffer reads the parameters of an offer, as they stand in a handshake.
func parseOffer(text string) (*load.DeflateOffer, error) {
	o := &load.DeflateOffer{}
	for _, part := range strings.Split(text, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		var bits *int
		switch {
		case name == "" || name == bareOffer:
			continue
		case name == "server_no_context_takeover" && value == "":
			o.ServerNoTakeover = true
			continue
		case name == "client_no_context_takeover" && value == "":
			o.ClientNoTakeover = true
			continue
		case name == "server_max_window_bits":
			bits = &o.ServerBits
		case name == "client_max_window_bits":
			bits = &o.ClientBits
		default:
			return nil, fmt.Errorf("--deflate: there is no parameter %q", strings.TrimSpace(part))
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, fmt.Errorf("--deflate: %s needs a number from 8 to 15", name)
		}
		*bits = n
	}
	return o, o.Validate()
}

// publicCommand is the command line without what may be a secret.
func publicCommand(args []string) []string {
	const hidden = "..."
	public := make([]string, len(args))
	hide := false
	for i, a := range args {
		name, _, valued := strings.Cut(a, "=")
		secret := name == "--token" || name == "--jwt-hs256" || name == "--header" || name == "-H"
		base, _, query := strings.Cut(a, "?")
		switch {
		case hide:
			public[i] = hidden
		case secret && valued:
			public[i] = name + "=" + hidden
		case query && strings.Contains(base, "://"):
			public[i] = base
		case strings.HasPrefix(a, "-H"):
			public[i] = a[:2]
		default:
			public[i] = a
		}
		hide = secret && !valued
	}
	return public
}
