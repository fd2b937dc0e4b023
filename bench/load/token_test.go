package load

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// decoded returns the parts of a token, whose signature must be right.
func decoded(t *testing.T, token, secret string) (header, claims string) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q has %d parts", token, len(parts))
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			t.Fatal(err)
		}
	}
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprint(mac, parts[0], ".", parts[1])
	if !hmac.Equal(mac.Sum(nil), raw[2]) {
		t.Errorf("the signature of %q is wrong", token)
	}
	return string(raw[0]), string(raw[1])
}

func TestHS256(t *testing.T) {
	const now, later = "946684800", "946688400" // when the clock of a bubble begins, and an hour later
	for _, tt := range []struct{ name, claims, want string }{
		{"empty", `{}`, `{"iat":` + now + `,"exp":` + later + `}`},
		{"blank", " {\n} \n", " {\n" + `"iat":` + now + `,"exp":` + later + `}`},
		{"numbered", `{"sub":"u{i}","n":{i}}`, `{"sub":"u42","n":42,"iat":` + now + `,"exp":` + later + `}`},
		{"issued", `{"iat":1}`, `{"iat":1,"exp":` + later + `}`},
		{"expires", `{"exp":{i}}`, `{"exp":42,"iat":` + now + `}`},
		{"both", `{"exp":2,"iat":1 }`, `{"exp":2,"iat":1 }`},
		{"nested_only", `{"a":{"exp":1,"iat":1}}`,
			`{"a":{"exp":1,"iat":1},"iat":` + now + `,"exp":` + later + `}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				secret := []byte("s3cret")
				maker, err := HS256(secret, tt.claims)
				if err != nil {
					t.Fatal(err)
				}
				clear(secret) // it was copied
				header, claims := decoded(t, maker(42), "s3cret")
				if header != `{"alg":"HS256","typ":"JWT"}` || claims != tt.want {
					t.Errorf("got %s %s, want %s", header, claims, tt.want)
				}
			})
		})
	}
}

func TestSignAsOthersDo(t *testing.T) {
	// Made with Python's hmac and base64 from the same header and claims.
	const want = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.YiUVIgNt-UCyL_oOo88BlU_qcysz56Mze18G9L3oy7s"
	if got := sign([]byte("key"), []byte(`{"sub":"alice"}`)); got != want {
		t.Errorf("got %s", got)
	}
}

func TestHS256Refuses(t *testing.T) {
	for _, tt := range []struct{ name, secret, claims, want string }{
		{"no_secret", "", `{}`, "secret is empty"},
		{"no_claims", "s3cret", ``, "not a JSON object"},
		{"array", "s3cret", `[1]`, "not a JSON object"},
		{"null", "s3cret", `null`, "not a JSON object"},
		{"cut", "s3cret", `{"a":1`, "not a JSON object"},
		{"two_objects", "s3cret", `{}{}`, "not a JSON object"},
		{"leading_zero", "s3cret", `{"a":0{i}}`, "not a JSON object"},
		{"leading_zero_of_first", "s3cret", `{"a":{i}1}`, "not a JSON object"},
		{"unquoted", "s3cret", `{"a":u{i}}`, "not a JSON object"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := HS256([]byte(tt.secret), tt.claims)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v has the secret", err)
			}
		})
	}
}

func TestHS256MakesTokensAtOnce(t *testing.T) {
	maker, err := HS256([]byte("s3cret"), `{"sub":"{i}"}`)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for range 50 {
				if _, claims := decoded(t, maker(i), "s3cret"); !strings.Contains(claims, fmt.Sprintf(`"sub":"%d"`, i)) {
					t.Errorf("got %s for %d", claims, i)
				}
			}
		})
	}
	wait.Wait()
}

func TestParseTokenIn(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want TokenIn
		ok   bool
	}{
		{"header", TokenIn{}, true},
		{"cookie:sid", TokenIn{inCookie, "sid"}, true},
		{"query:token", TokenIn{inQuery, "token"}, true},
		{"query:a b", TokenIn{inQuery, "a+b"}, true},
		{"subprotocol", TokenIn{place: inSubprotocol}, true},
		{"", TokenIn{}, false}, {"Header", TokenIn{}, false}, {"header:X", TokenIn{}, false},
		{"cookie", TokenIn{}, false}, {"cookie:", TokenIn{}, false}, {"cookie:a=b", TokenIn{}, false},
		{"query", TokenIn{}, false}, {"query:", TokenIn{}, false}, {"subprotocol:x", TokenIn{}, false},
		{"elsewhere:x", TokenIn{}, false},
	} {
		if got, err := ParseTokenIn(tt.in); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q gave %+v, %v", tt.in, got, err)
		}
	}
}
