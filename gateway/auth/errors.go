package auth

import (
	"errors"
	"net/http"
	"net/url"
	"time"
)

// The classes of refusals. Every error of this package but those of constructors and loaders is an
// *Error that matches exactly one of them.
var (
	// ErrInvalid is returned when the credential does not prove anything: 401, or 400 when it is
	// not even presented as RFC 6750 section 2 wants it.
	ErrInvalid = errors.New("auth: invalid credential")
	// ErrForbidden is returned when the user is known and not welcome: 403.
	ErrForbidden = errors.New("auth: forbidden")
	// ErrLimited is returned when the peer asks too often: 429.
	ErrLimited = errors.New("auth: too many requests")
	// ErrUnavailable is returned when it cannot be said now: 503.
	ErrUnavailable = errors.New("auth: unavailable")
)

// Reason says why a credential was refused, for metrics and logs. The set is fixed.
type Reason uint8

// The reasons.
const (
	ReasonMissing   Reason = iota // there is no credential
	ReasonRequest                 // it is presented in a wrong or ambiguous way
	ReasonTooLarge                // it is too long to be looked at
	ReasonMalformed               // it is not well formed
	ReasonAlgorithm               // its algorithm is not one of ours
	ReasonKey                     // no key has its key id and algorithm
	ReasonSignature               // the signature is wrong
	ReasonExpired                 // it is over
	ReasonNotYet                  // it begins, or was made, in the future
	ReasonIssuer                  // nobody we trust made it
	ReasonAudience                // it is meant for somebody else
	ReasonLifetime                // it is valid for longer than is allowed here
	ReasonClaims                  // a claim is missing, of the wrong type, or out of bounds
	ReasonInactive                // its authority does not know it, or no longer
	ReasonRevoked                 // it was taken back
	ReasonForbidden               // the user is not welcome
	ReasonLimited                 // the peer asks too often
	ReasonShare                   // its address has the most credentials waiting
	ReasonBusy                    // too many questions are under way
	ReasonWaited                  // it has waited for too long
	ReasonBreaker                 // the service failed so often that it is not asked for now
	ReasonBackend                 // the service failed, or answered nonsense
	ReasonNoKeys                  // the keys of the issuer are not there, or too old
	ReasonAudit                   // the audit log has no room
	reasons
)

// verdicts is what every reason means.
var verdicts = [reasons]struct {
	name  string
	class error
	code  string // of RFC 6750 section 3.1
	text  string // for people who look for the cause
}{
	ReasonMissing: {
		"missing", ErrInvalid, "",
		"there is no credential",
	},
	ReasonRequest: {
		"request", ErrInvalid, "invalid_request",
		"it is presented in a wrong or ambiguous way",
	},
	ReasonTooLarge: {
		"too_large", ErrInvalid, "invalid_token",
		"it is too long",
	},
	ReasonMalformed: {
		"malformed", ErrInvalid, "invalid_token",
		"it is not well formed",
	},
	ReasonAlgorithm: {
		"algorithm", ErrInvalid, "invalid_token",
		"its algorithm is not the key's",
	},
	ReasonKey: {
		"unknown_key", ErrInvalid, "invalid_token",
		"no key has its key id and algorithm",
	},
	ReasonSignature: {
		"signature", ErrInvalid, "invalid_token",
		"the signature is wrong",
	},
	ReasonExpired: {
		"expired", ErrInvalid, "invalid_token",
		"it has expired",
	},
	ReasonNotYet: {
		"not_yet_valid", ErrInvalid, "invalid_token",
		"it begins, or was made, in the future",
	},
	ReasonIssuer: {
		"issuer", ErrInvalid, "invalid_token",
		"nobody who is trusted here made it",
	},
	ReasonAudience: {
		"audience", ErrInvalid, "invalid_token",
		"it is meant for somebody else (aud)",
	},
	ReasonLifetime: {
		"lifetime", ErrInvalid, "invalid_token",
		"it is valid for longer than is allowed here (iat to exp)",
	},
	ReasonClaims: {
		"claims", ErrInvalid, "invalid_token",
		"a claim is missing, of the wrong type or too long",
	},
	ReasonInactive: {
		"inactive", ErrInvalid, "invalid_token",
		"its authority does not know it, or no longer",
	},
	ReasonRevoked: {
		"revoked", ErrInvalid, "invalid_token",
		"it was revoked",
	},
	ReasonForbidden: {
		"forbidden", ErrForbidden, "insufficient_scope",
		"the user may not do that",
	},
	ReasonLimited: {
		"limited", ErrLimited, "",
		"the service is asked too often",
	},
	ReasonShare: {
		"share", ErrLimited, "",
		"its address has the most credentials waiting, and the queue is full",
	},
	ReasonBusy: {
		"busy", ErrUnavailable, "",
		"too many questions are under way",
	},
	ReasonWaited: {
		"waited", ErrUnavailable, "",
		"it waited too long to be verified",
	},
	ReasonBreaker: {
		"breaker", ErrUnavailable, "",
		"the service failed too often and is left alone",
	},
	ReasonBackend: {
		"backend", ErrUnavailable, "",
		"the service failed",
	},
	ReasonNoKeys: {
		"no_keys", ErrUnavailable, "",
		"the keys of the issuer could not be fetched",
	},
	ReasonAudit: {
		"audit", ErrUnavailable, "",
		"the audit log has no room: nobody is let in without a record",
	},
}

func (r Reason) String() string { return verdicts[r].name }

// Explain says what the reason is about, in a sentence for the owner of the token.
func (r Reason) Explain() string { return verdicts[r].text }

// ReasonNames lists the names of all reasons, by reason.
func ReasonNames() []string {
	names := make([]string, reasons)
	for i := range names {
		names[i] = verdicts[i].name
	}
	return names
}

// Error is why a credential was refused. Its text has nothing of the credential, the keys or the
// secrets in it, and may be logged; a peer is told no more than Status, Challenge and RetryAfter.
type Error struct {
	Reason Reason
	// RetryAfter is when to ask again; zero leaves that to the caller.
	RetryAfter time.Duration

	cause error
}

// Refuse returns the error of a reason.
func Refuse(r Reason) *Error { return &Error{Reason: r} }

// Unavailable returns the error of a service that failed: cause says how, and must not contain a
// secret. An *Error comes back as it is.
func Unavailable(cause error) *Error {
	var e *Error
	if errors.As(cause, &e) {
		return e
	}
	return &Error{Reason: ReasonBackend, cause: withoutURL(cause)}
}

// withoutURL is an error without the URL that it is about, which may have a secret in its query.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func (e *Error) Error() string {
	text := "auth: " + e.Reason.String()
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Is reports whether target is the class of the error.
func (e *Error) Is(target error) bool { return target == verdicts[e.Reason].class }

// Unwrap returns why a service failed, nil for all other reasons.
func (e *Error) Unwrap() error { return e.cause }

// Status is the HTTP status of the answer.
func (e *Error) Status() int {
	switch verdicts[e.Reason].class {
	case ErrForbidden:
		return http.StatusForbidden
	case ErrLimited:
		return http.StatusTooManyRequests
	case ErrUnavailable:
		return http.StatusServiceUnavailable
	}
	if e.Reason == ReasonRequest {
		return http.StatusBadRequest
	}
	return http.StatusUnauthorized
}

// Code is the error code of RFC 6750 section 3.1, empty if there is none: a peer without any
// credential is not told of an error.
func (e *Error) Code() string { return verdicts[e.Reason].code }

// Challenge is the value of WWW-Authenticate, empty if the answer has none.
func (e *Error) Challenge() string {
	switch {
	case e.Code() != "":
		return `Bearer error="` + e.Code() + `"`
	case e.Status() == http.StatusUnauthorized:
		return "Bearer"
	}
	return ""
}
