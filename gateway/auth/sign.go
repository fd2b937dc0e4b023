package auth

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Sign makes a JSON Web Token, for tests and for trying out: an edge verifies tokens, it does not
// make them. key is "@path" of a secret, for HS256, or of a private key in PEM (PKCS #8, or what
// openssl calls traditional), for the algorithm that it is for. algorithm may be empty. kid is the
// key id in the header; empty for none.
func Sign(key Secret, algorithm, kid string, claims map[string]any) (token string, err error) {
	secret, err := LoadSecret(string(key))
	if err != nil {
		return "", err
	}
	var private any = []byte(secret)
	public := private
	if strings.HasPrefix(strings.TrimSpace(string(secret)), "-----BEGIN") {
		if private, public, err = parsePrivate([]byte(secret)); err != nil {
			return "", err
		}
	} else if algorithm == "" {
		algorithm = "HS256"
	}
	if algorithm == "" {
		algorithm = firstFit(public, DefaultAlgorithms())
	}
	if err := fits(public, algorithm); err != nil {
		return "", err
	}
	t := jwt.NewWithClaims(jwt.GetSigningMethod(algorithm), jwt.MapClaims(claims))
	if kid != "" {
		t.Header["kid"] = kid
	}
	return t.SignedString(private)
}

// parsePrivate reads a private key.
func parsePrivate(data []byte) (private, public any, err error) {
	block, _ := pem.Decode([]byte(strings.TrimSpace(string(data))))
	if block == nil {
		return nil, nil, errors.New("auth: the key file is not valid PEM")
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		err = fmt.Errorf("auth: need a private key, not a %s", block.Type)
	}
	if err != nil {
		return nil, nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, errors.New("auth: the key cannot sign")
	}
	return key, signer.Public(), nil
}
