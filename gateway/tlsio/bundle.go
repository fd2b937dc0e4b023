package tlsio

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
)

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
	pemType  = "CERTIFICATE"
)

// readBundle returns the certificates in a PEM file, at least one. It reads the file as a whole or
// not at all: what is broken may have been the one certificate that mattered, and a reader that
// skips it would tell nobody. Text before a block explains it, RFC 7468 section 5.2; behind the
// last one only comments, which begin with #, may follow. others says whether blocks that are no
// certificates, like the key of a chain, are left out or refused. Errors name the file, and the
// block by its number from 1.
func readBundle(path string, others bool) (list []*x509.Certificate, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err // names the file
	}
	for n := 1; ; n++ {
		var block *pem.Block
		if block, text, err = nextBlock(text); err == nil && block == nil {
			break
		}
		var cert *x509.Certificate
		switch {
		case err != nil:
		case block.Type == pemType:
			cert, err = x509.ParseCertificate(block.Bytes)
			list = append(list, cert)
		case !others:
			err = fmt.Errorf("it is no certificate but a %s", block.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: PEM block %d: %w", path, n, err)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no certificate in it", path)
	}
	return list, nil
}

// nextBlock decodes the first block of text, which pem.Decode would pass over if it were broken. It
// returns nil if there is none.
func nextBlock(text []byte) (block *pem.Block, rest []byte, err error) {
	begin := bytes.Index(text, []byte(pemBegin))
	end := bytes.Index(text, []byte(pemEnd))
	switch {
	case begin < 0 && end < 0:
		return nil, nil, checkTail(text)
	case begin < 0 || end >= 0 && end < begin:
		return nil, nil, errors.New("its BEGIN line is missing")
	case end < 0:
		return nil, nil, errors.New("its END line is missing")
	}
	block, rest = pem.Decode(text[begin:])
	used := text[begin : len(text)-len(rest)]
	if block == nil || bytes.Count(used, []byte(pemBegin)) != 1 {
		return nil, nil, errors.New("it is no valid PEM")
	}
	return block, rest, nil
}

// checkTail judges what follows the last block.
func checkTail(text []byte) error {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return errors.New("there is none, but text that is no comment")
		}
	}
	return nil
}

// newPool makes a pool of authorities.
func newPool(list []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range list {
		pool.AddCert(cert)
	}
	return pool
}
