package tlsio

import "crypto/x509"

// Identity says which part of a client certificate names its user.
type Identity string

// The parts of a certificate that may name its user.
const (
	IdentityURI        Identity = "uri" // the first URI of the subject alternative names
	IdentityDNS        Identity = "dns" // the first DNS name among them
	IdentityCommonName Identity = "cn"  // the subject's common name
)

// UserOf returns the user that cert names, empty if it names none there. cert must have been
// verified: it belongs to the VerifiedChains of a connection's state.
func UserOf(cert *x509.Certificate, from Identity) string {
	switch {
	case from == IdentityURI && len(cert.URIs) > 0:
		return cert.URIs[0].String()
	case from == IdentityDNS && len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	case from == IdentityCommonName:
		return cert.Subject.CommonName
	}
	return ""
}
