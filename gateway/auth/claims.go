package auth

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// dateMax bounds dates, in seconds since 1970: it is in the year 10680. Far beyond, time.Time
// would overflow.
const dateMax = 1 << 38

// Fields says which members of a JSON object make an identity.
type Fields struct {
	// User is the member with the name of the user; it must be there.
	User string
	// Rooms is the member with the rooms that the user may join, a list of names. Empty means that
	// every user may join all. An object that lacks the member is refused: who forgets it must not
	// be let in everywhere. With RoomsOptional its user may join all.
	Rooms         string
	RoomsOptional bool
	// Copied are members that the identity keeps as Claims, if the object has them: texts,
	// numbers and booleans.
	Copied []string
}

// DefaultFields are the registered claims: the user is the subject.
func DefaultFields() Fields { return Fields{User: "sub"} }

// Decode makes an identity of a JSON object. Besides the fields it reads the registered claims iss,
// jti, iat and exp; whether the identity has begun and not yet ended is the caller's to check. Any
// fault of the object is a Refuse(ReasonClaims), but missing rooms are a Refuse(ReasonForbidden).
func (f *Fields) Decode(data []byte) (Identity, error) {
	object, ok := decodeObject(data)
	if !ok {
		return Identity{}, Refuse(ReasonClaims)
	}
	return f.identity(object)
}

// identity makes an identity of claims.
func (f *Fields) identity(claims map[string]any) (Identity, error) {
	r := reader{claims: claims}
	id := Identity{
		User:    r.text(f.User),
		Issuer:  r.text("iss"),
		TokenID: r.text("jti"),
		Issued:  r.date("iat"),
		Expires: r.date("exp"),
	}
	// Who compares nbf may have been fooled: a float64 of 1e308 becomes a time in the past.
	r.date("nbf")
	if f.Rooms != "" {
		id.Rooms = r.texts(f.Rooms)
	}
	for _, name := range f.Copied {
		if _, ok := claims[name]; !ok {
			continue
		}
		if id.Claims == nil {
			id.Claims = make(map[string]string, len(f.Copied))
		}
		id.Claims[name] = r.scalar(name)
	}
	if r.failed || !id.check() {
		return Identity{}, Refuse(ReasonClaims)
	}
	if f.Rooms != "" && id.Rooms == nil && !f.RoomsOptional {
		return Identity{}, Refuse(ReasonForbidden)
	}
	return id, nil
}

// reader reads claims and notes if one is not of the type that it should be.
type reader struct {
	claims map[string]any
	failed bool
}

func (r *reader) text(name string) string {
	v, ok := r.claims[name]
	s, isText := v.(string)
	r.failed = r.failed || ok && !isText
	return s
}

// date reads a NumericDate, RFC 7519 section 2. Zero is no date, as for everybody else.
func (r *reader) date(name string) time.Time {
	v, ok := r.claims[name]
	if !ok {
		return time.Time{}
	}
	seconds, isNumber := v.(float64)
	if !isNumber || !(seconds >= 0 && seconds <= dateMax) {
		r.failed = true
		return time.Time{}
	}
	if seconds == 0 {
		return time.Time{}
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9))
}

// texts reads a list of texts: nil if there is none, never nil if there is.
func (r *reader) texts(name string) []string {
	v, ok := r.claims[name]
	if !ok {
		return nil
	}
	list, isList := v.([]any)
	r.failed = r.failed || !isList
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, isText := e.(string)
		r.failed = r.failed || !isText
		out = append(out, s)
	}
	return slices.Clip(out)
}

// scalar reads a text, number or boolean as text.
func (r *reader) scalar(name string) string {
	switch v := r.claims[name].(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	r.failed = true
	return ""
}
