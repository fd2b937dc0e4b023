package tlsio

import (
	"crypto/x509"
	"encoding/asn1"
)

// Identity says which part of a client certificate names its user.
type Identity string

// The parts of a certificate that may name its user.
const (
	IdentityURI        Identity = "uri" // the URI of the subject alternative names
	IdentityDNS        Identity = "dns" // the DNS name among them
	IdentityCommonName Identity = "cn"  // the subject's common name
)

// UserOf returns the user that cert names, empty if it names none there, or more than one: which of
// them counts differs between servers, and SPIFFE forbids a second URI. cert must have been
// verified: it belongs to the VerifiedChains of a connection's state.
func UserOf(cert *x509.Certificate, from Identity) string {
	switch {
	case from == IdentityURI && len(cert.URIs) == 1:
		return cert.URIs[0].String()
	case from == IdentityDNS && len(cert.DNSNames) == 1:
		return cert.DNSNames[0]
	case from == IdentityCommonName && commonNames(cert) < 2:
		return cert.Subject.CommonName
	}
	return ""
}

// commonNames counts the common names of the subject.
func commonNames(cert *x509.Certificate) (n int) {
	oid := asn1.ObjectIdentifier{2, 5, 4, 3}
	for _, name := range cert.Subject.Names {
		if name.Type.Equal(oid) {
			n++
		}
	}
	return n
}
