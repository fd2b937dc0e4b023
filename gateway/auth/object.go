package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// depthMax bounds how deep JSON may nest.
const depthMax = 16

// ParseFirstMessage takes the credential out of a first text message, {"token":"..."}. Nothing else
// may be in it. The caller has bounded its size by the size of any message; the token has its own
// bound. ReasonRequest is for what is no such message at all: it has no token in it.
func ParseFirstMessage(payload []byte) (Credential, error) {
	if len(payload) > TokenBytesMax+64 {
		return Credential{}, Refuse(ReasonTooLarge)
	}
	object, ok := decodeObject(payload)
	token, isText := object["token"].(string)
	if !ok || !isText || len(object) != 1 {
		return Credential{}, Refuse(ReasonRequest)
	}
	if err := checkToken(token); err != nil {
		if e := (*Error)(nil); errors.As(err, &e) && e.Reason == ReasonRequest {
			return Credential{}, Refuse(ReasonMalformed)
		}
		return Credential{}, err
	}
	return Credential{Token: Secret(token), Kind: KindMessage}, nil
}

// decodeObject decodes a JSON object that means the same to everybody.
func decodeObject(data []byte) (object map[string]any, ok bool) {
	if !unambiguous(data) || json.Unmarshal(data, &object) != nil {
		return nil, false
	}
	return object, object != nil
}

// unambiguous reports whether data is one JSON object without duplicate names at any depth. Which
// of two counts differs between parsers (RFC 8259 section 4), so that one may check what another
// does not use.
func unambiguous(data []byte) bool {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // a number that float64 cannot hold is not this function's business
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	names := make([]map[string]bool, 1, depthMax) // of the open objects; nil for an array
	names[0] = map[string]bool{}
	wantName := true
	for len(names) > 0 {
		t, err := d.Token()
		if err != nil {
			return false
		}
		top := names[len(names)-1]
		switch t := t.(type) {
		case json.Delim:
			switch t {
			case '{':
				names = append(names, map[string]bool{})
			case '[':
				names = append(names, nil)
			default:
				names = names[:len(names)-1]
			}
			if len(names) > depthMax {
				return false
			}
			wantName = len(names) > 0 && names[len(names)-1] != nil
			continue
		case string:
			if wantName {
				if top[t] {
					return false
				}
				top[t] = true
				wantName = false
				continue
			}
		}
		wantName = top != nil
	}
	_, err := d.Token()
	return err == io.EOF
}
