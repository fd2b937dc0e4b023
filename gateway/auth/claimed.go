package auth

import (
	"encoding/base64"
	"strings"
)

// Claimed is what a JSON Web Token says of itself, for a record of tokens that were refused:
// issuer, subject as the user, token id and key id. Nobody has verified it. What is not there, or
// no text, is empty; so is everything if it is no such token. It has nothing of the signature.
func Claimed(token Secret) (id Identity) {
	head, rest, _ := strings.Cut(string(token), ".")
	payload, _, ok := strings.Cut(rest, ".")
	if !ok || len(token) > TokenBytesMax {
		return id
	}
	read := func(part string) reader {
		b, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			return reader{}
		}
		object, _ := decodeObject(b)
		return reader{claims: object}
	}
	header, claims := read(head), read(payload)
	id.KeyID = header.text("kid")
	id.Issuer, id.User, id.TokenID = claims.text("iss"), claims.text("sub"), claims.text("jti")
	return id
}
