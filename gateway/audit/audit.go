// Package audit keeps the record of who was let in and who was not: one line of JSON per event, in
// a file or on the standard error. No event is sampled, and none is dropped while the process runs:
// if the sink is behind, Full says so, and it is for the caller to let nobody in until it is not.
package audit

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// The kinds of events.
const (
	EventLogin      = "login"      // a client was let in, or not
	EventRenewal    = "renewal"    // a connection got another token, or not
	EventEnd        = "end"        // a connection was closed because its identity ended
	EventRevocation = "revocation" // an operator took a user or a token back
)

// The verdicts of logins, renewals and revocations.
const (
	Accepted = "accepted"
	Refused  = "refused"
)

// UntilRestart is until when a revocation holds that is remembered for as long as the process runs.
const UntilRestart = "restart"

// textBytesMax bounds every text of an event: part of it may have been chosen by a peer.
const textBytesMax = 256

// Event is something that happened. Fields that are empty are left out of the line. It must have no
// secret: no token, no cookie, no key.
type Event struct {
	// Time is when it happened. It is written in UTC with milliseconds, RFC 3339.
	Time time.Time `json:"time"`
	// Event is one of the kinds, Verdict one of the verdicts, Reason says why in one word.
	Event   string `json:"event"`
	Verdict string `json:"verdict,omitempty"`
	Reason  string `json:"reason,omitempty"`

	// Issuer, Subject, TokenID and KeyID are what the credential says: claim iss, the user, claim
	// jti, and the key id of the header. Unverified says that nobody has vouched for them.
	Issuer     string `json:"issuer,omitempty"`
	Subject    string `json:"subject,omitempty"`
	TokenID    string `json:"token_id,omitempty"`
	KeyID      string `json:"key_id,omitempty"`
	Unverified bool   `json:"unverified,omitempty"`
	// Source is where the credential was.
	Source string `json:"source,omitempty"`
	// Until is when the identity ends, or how long a revocation holds.
	Until time.Time `json:"until,omitzero"`
	// ToRestart says that until is UntilRestart, whatever Until is.
	ToRestart bool `json:"-"`

	// Connection is the id of the connection, Remote the address of the client.
	Connection string `json:"connection,omitempty"`
	Remote     string `json:"remote,omitempty"`

	// Caller is who asked for a revocation, Closed how many connections that closed.
	Caller string `json:"caller,omitempty"`
	Closed *int   `json:"closed,omitempty"`
}

// appendLine appends the line of an event, whatever its texts contain.
func appendLine(dst []byte, e *Event) []byte {
	e.Time = e.Time.UTC().Truncate(time.Millisecond)
	if !e.Until.IsZero() {
		e.Until = e.Until.UTC().Truncate(time.Millisecond)
	}
	for _, text := range []*string{
		&e.Event, &e.Verdict, &e.Reason, &e.Issuer, &e.Subject, &e.TokenID, &e.KeyID, &e.Source,
		&e.Connection, &e.Remote, &e.Caller,
	} {
		*text = cut(*text)
	}
	line, err := marshal(e)
	if err != nil { // only a year past 9999 cannot be written
		e.Until = time.Time{}
		if line, err = marshal(e); err != nil {
			panic("audit: " + err.Error())
		}
	}
	return append(append(dst, line...), '\n')
}

func marshal(e *Event) ([]byte, error) {
	if !e.ToRestart {
		return json.Marshal(e)
	}
	return json.Marshal(struct {
		*Event
		Until string `json:"until"` // hides that of the event
	}{e, UntilRestart})
}

// cut shortens a text between two characters.
func cut(s string) string {
	if len(s) <= textBytesMax {
		return s
	}
	end := textBytesMax
	for end > textBytesMax-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}
