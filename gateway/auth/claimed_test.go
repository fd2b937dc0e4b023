package auth

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"
)

func TestClaimed(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	token := func(head, claims string) Secret {
		return Secret(encode([]byte(head)) + "." + encode([]byte(claims)) + ".c2ln")
	}
	long := `{"sub":"` + strings.Repeat("a", TokenBytesMax) + `"}`
	for name, tt := range map[string]struct {
		token Secret
		want  Identity
	}{
		"all": {token(`{"alg":"none","kid":"k1"}`, `{"iss":"us","sub":"ann","jti":"1","exp":1}`),
			Identity{Issuer: "us", User: "ann", TokenID: "1", KeyID: "k1"}},
		"wrong_types": {token(`{"kid":1}`, `{"iss":["us"],"sub":{},"jti":null}`), Identity{}},
		"no_json":     {token(`x`, `y`), Identity{}},
		"no_base64":   {"%.%.%", Identity{}},
		"opaque":      {"s3cr3t", Identity{}},
		"two_parts":   {"e30.e30", Identity{}},
		"empty":       {"", Identity{}},
		"too_long":    {token(`{}`, long), Identity{}},
	} {
		if got := Claimed(tt.token); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
