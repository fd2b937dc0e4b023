package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestJWTAccepts(t *testing.T) {
	s := testSigners()
	v := verifierOf(t, allKeys(t))
	rows := []struct {
		name, algorithm, id string
		key                 any
	}{
		{"hs256", "HS256", "hs", []byte(testSecret)},
		{"rs256", "RS256", "rs", s.rsa},
		{"ps256", "PS256", "ps", s.rsa},
		{"es256", "ES256", "es", s.p256},
		{"es384", "ES384", "es384", s.p384},
		{"eddsa", "EdDSA", "ed", s.ed},
		{"no_kid_one_key_of_the_algorithm", "ES256", "", s.p256},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			header := map[string]any{}
			if r.id != "" {
				header = kid(r.id)
			}
			claims := with(jwt.MapClaims{"rooms": []string{"a", "b"}, "tier": 3, "other": "x"})
			id, err := verify(v, sign(t, r.algorithm, r.key, header, claims))
			if err != nil {
				t.Fatal(err)
			}
			if id.User != "alice" || id.Issuer != testIssuer || id.TokenID != "t-1" {
				t.Errorf("identity %+v", id)
			}
			if id.Expires.Unix() != claims["exp"] || id.Issued.Unix() != claims["iat"] {
				t.Errorf("issued %v, expires %v", id.Issued, id.Expires)
			}
			if !id.MayJoin("a") || !id.MayJoin("b") || id.MayJoin("c") {
				t.Errorf("rooms %q", id.Rooms)
			}
			if len(id.Claims) != 1 || id.Claims["tier"] != "3" {
				t.Errorf("claims %q", id.Claims)
			}
		})
	}
}

func TestA01_None(t *testing.T) {
	v := verifierOf(t, allKeys(t))
	payload := base64.RawURLEncoding.EncodeToString([]byte(jsonOf(t, goodClaims())))
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "HS255", "hs256", "ES256K"} {
		for _, signature := range []string{"", "AAAA"} {
			t.Run(alg+"_"+signature, func(t *testing.T) {
				header := base64.RawURLEncoding.EncodeToString(
					[]byte(fmt.Sprintf(`{"alg":%q,"kid":"hs"}`, alg)))
				_, err := verify(v, header+"."+payload+"."+signature)
				wantReason(t, err, ReasonAlgorithm)
			})
		}
	}
	t.Run("empty_signature", func(t *testing.T) {
		good := sign(t, "HS256", []byte(testSecret), kid("hs"), goodClaims())
		_, err := verify(v, good[:strings.LastIndexByte(good, '.')+1])
		wantReason(t, err, ReasonSignature)
	})
	t.Run("alg_missing", func(t *testing.T) {
		_, err := verify(v, signRaw(t, `{"kid":"hs"}`, jsonOf(t, goodClaims())))
		wantReason(t, err, ReasonAlgorithm)
	})
}

func TestA02_PublicKeyAsSecret(t *testing.T) {
	s := testSigners()
	public := pemOf(t, s.rsa.Public())
	v := verifierOf(t, allKeys(t))
	for _, id := range []string{"rs", "ps", "es"} {
		t.Run("HS256_for_"+id, func(t *testing.T) {
			_, err := verify(v, sign(t, "HS256", []byte(public), kid(id), goodClaims()))
			wantReason(t, err, ReasonKey)
		})
	}
	rows := []struct {
		name, algorithm string
		key             any
		id              string
		want            Reason
	}{
		{"PS256_for_RS256_key", "PS256", s.rsa, "rs", ReasonKey},
		{"RS256_for_PS256_key", "RS256", s.rsa, "ps", ReasonKey},
		{"RS384_not_configured", "RS384", s.rsa, "rs", ReasonAlgorithm},
		{"ES256_for_ES384_key", "ES256", s.p256, "es384", ReasonKey},
		{"HS256_for_EdDSA_key", "HS256", []byte(s.ed.Public().(ed25519.PublicKey)), "ed",
			ReasonKey},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := verify(v, sign(t, r.algorithm, r.key, kid(r.id), goodClaims()))
			wantReason(t, err, r.want)
		})
	}
}

func TestA03_KeyIDs(t *testing.T) {
	v := verifierOf(t, allKeys(t))
	rows := []struct {
		name string
		id   any
		want Reason
	}{
		{"path", "../../etc/passwd", ReasonKey},
		{"sql", "hs' OR '1'='1", ReasonKey},
		{"url", "http://127.0.0.1/key", ReasonKey},
		{"unknown", "hs2", ReasonKey},
		{"empty_is_named", "", ReasonSignature}, // the only HS256 key, and it did not sign
		{"case", "HS", ReasonKey},
		{"number", 1, ReasonKey},
		{"null", nil, ReasonKey},
		{"65_bytes", strings.Repeat("k", keyIDBytesMax+1), ReasonKey},
		{"A06_1MB", strings.Repeat("k", 1<<20), ReasonTooLarge},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			token := sign(t, "HS256", []byte("another secret of some length.."),
				map[string]any{"kid": r.id}, goodClaims())
			_, err := verify(v, token)
			wantReason(t, err, r.want)
		})
	}
	t.Run("ambiguous_without", func(t *testing.T) {
		v := verifierOf(t, staticKeys(t,
			KeyConfig{ID: "1", Algorithm: "HS256", Source: testSecret},
			KeyConfig{ID: "2", Algorithm: "HS256", Source: testSecret + "2"}))
		_, err := verify(v, sign(t, "HS256", []byte(testSecret), nil, goodClaims()))
		wantReason(t, err, ReasonKey)
	})
	t.Run("nameless_serves_any", func(t *testing.T) {
		v := verifierOf(t, staticKeys(t,
			KeyConfig{ID: "1", Algorithm: "HS256", Source: testSecret + "1"},
			KeyConfig{Algorithm: "HS256", Source: testSecret}))
		_, err := verify(v, sign(t, "HS256", []byte(testSecret), kid("x"), goodClaims()))
		if err != nil {
			t.Error(err)
		}
		_, err = verify(v, sign(t, "HS256", []byte(testSecret), kid("1"), goodClaims()))
		wantReason(t, err, ReasonSignature)
		long := kid(strings.Repeat("k", keyIDBytesMax+1))
		_, err = verify(v, sign(t, "HS256", []byte(testSecret), long, goodClaims()))
		wantReason(t, err, ReasonKey)
	})
}

func TestA04_HeaderAddressesAreIgnored(t *testing.T) {
	var hits atomic.Int64
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		hits.Add(1)
	}))
	defer canary.Close()
	s := testSigners()
	v := verifierOf(t, allKeys(t))
	attacker, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"jku", "x5u", "jwk", "x5c"} {
		t.Run(name, func(t *testing.T) {
			header := map[string]any{"kid": "es", name: canary.URL + "/keys"}
			_, err := verify(v, sign(t, "ES256", attacker, header, goodClaims()))
			wantReason(t, err, ReasonSignature)
			if _, err := verify(v, sign(t, "ES256", s.p256, header, goodClaims())); err != nil {
				t.Errorf("a good token: %v", err)
			}
		})
	}
	t.Run("iss", func(t *testing.T) {
		_, err := verify(v, sign(t, "ES256", s.p256, kid("es"),
			with(jwt.MapClaims{"iss": canary.URL})))
		wantReason(t, err, ReasonIssuer)
	})
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests to an address from a token", n)
	}
}

func TestA05_Claims(t *testing.T) {
	v := verifierOf(t, allKeys(t))
	ahead := time.Now().Add(10 * time.Minute).Unix()
	rows := []struct {
		name    string
		changes jwt.MapClaims
		want    Reason
	}{
		{"exp_past", jwt.MapClaims{"exp": 1e9}, ReasonExpired},
		{"exp_missing", jwt.MapClaims{"exp": nil}, ReasonClaims},
		{"exp_text", jwt.MapClaims{"exp": "9999999999"}, ReasonClaims},
		{"exp_zero", jwt.MapClaims{"exp": 0}, ReasonClaims},
		{"exp_negative", jwt.MapClaims{"exp": -1}, ReasonExpired},
		{"exp_object", jwt.MapClaims{"exp": map[string]any{}}, ReasonClaims},
		{"exp_too_late", jwt.MapClaims{"exp": 1e12}, ReasonClaims},
		{"nbf_future", jwt.MapClaims{"nbf": ahead}, ReasonNotYet},
		{"nbf_text", jwt.MapClaims{"nbf": "1"}, ReasonClaims},
		{"iat_future", jwt.MapClaims{"iat": ahead}, ReasonNotYet},
		{"iat_text", jwt.MapClaims{"iat": "1"}, ReasonClaims},
		{"aud_missing", jwt.MapClaims{"aud": nil}, ReasonClaims},
		{"aud_other", jwt.MapClaims{"aud": "other"}, ReasonAudience},
		{"aud_others", jwt.MapClaims{"aud": []string{"other", "Sluice"}}, ReasonAudience},
		{"aud_empty", jwt.MapClaims{"aud": []string{}}, ReasonClaims},
		{"aud_number", jwt.MapClaims{"aud": 1}, ReasonClaims},
		{"aud_mixed", jwt.MapClaims{"aud": []any{testAudience, 1}}, ReasonClaims},
		{"iss_missing", jwt.MapClaims{"iss": nil}, ReasonClaims},
		{"iss_other", jwt.MapClaims{"iss": testIssuer + "/"}, ReasonIssuer},
		{"iss_list", jwt.MapClaims{"iss": []string{testIssuer}}, ReasonClaims},
		{"sub_missing", jwt.MapClaims{"sub": nil}, ReasonClaims},
		{"sub_empty", jwt.MapClaims{"sub": ""}, ReasonClaims},
		{"sub_number", jwt.MapClaims{"sub": 1}, ReasonClaims},
		{"sub_too_long", jwt.MapClaims{"sub": strings.Repeat("a", UserBytesMax+1)}, ReasonClaims},
		{"sub_newline", jwt.MapClaims{"sub": "a\nb"}, ReasonClaims},
		{"sub_bidi", jwt.MapClaims{"sub": "a\u202eb"}, ReasonClaims},
		{"jti_number", jwt.MapClaims{"jti": 1}, ReasonClaims},
		{"jti_too_long", jwt.MapClaims{"jti": strings.Repeat("a", ClaimBytesMax+1)}, ReasonClaims},
		{"rooms_text", jwt.MapClaims{"rooms": "a"}, ReasonClaims},
		{"rooms_numbers", jwt.MapClaims{"rooms": []int{1}}, ReasonClaims},
		{"rooms_too_many", jwt.MapClaims{"rooms": make([]string, RoomsMax+1)}, ReasonClaims},
		{"claim_object", jwt.MapClaims{"tier": map[string]any{}}, ReasonClaims},
		{"claim_too_long", jwt.MapClaims{"tier": strings.Repeat("a", ClaimBytesMax+1)},
			ReasonClaims},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := verify(v, sign(t, "HS256", []byte(testSecret), kid("hs"), with(r.changes)))
			wantReason(t, err, r.want)
		})
	}
}

func TestA05_ClaimsAccepted(t *testing.T) {
	v := verifierOf(t, allKeys(t))
	good := []struct {
		name    string
		changes jwt.MapClaims
	}{
		{"aud_list", jwt.MapClaims{"aud": []string{"other", testAudience}}},
		{"nbf_missing", jwt.MapClaims{"nbf": nil}},
		{"iat_missing", jwt.MapClaims{"iat": nil}},
		{"jti_missing", jwt.MapClaims{"jti": nil}},
		{"exp_fraction", jwt.MapClaims{"exp": float64(time.Now().Unix()+60) + 0.5}},
		{"sub_longest", jwt.MapClaims{"sub": strings.Repeat("a", UserBytesMax)}},
		{"sub_unicode", jwt.MapClaims{"sub": "Zoë 女"}},
		{"rooms_none", jwt.MapClaims{"rooms": []string{}}},
	}
	for _, r := range good {
		t.Run(r.name, func(t *testing.T) {
			id, err := verify(v, sign(t, "HS256", []byte(testSecret), kid("hs"), with(r.changes)))
			if err != nil {
				t.Fatal(err)
			}
			if r.name == "rooms_none" && (id.Rooms == nil || id.MayJoin("a")) {
				t.Error("no rooms became all rooms")
			}
		})
	}
}

func TestA05_HugeDates(t *testing.T) {
	v := verifierOf(t, allKeys(t))
	for _, claim := range []string{"exp", "nbf", "iat"} {
		for _, value := range []string{"1e308", "-1e308", "1e19", "1e400"} {
			payload := fmt.Sprintf(`{"sub":"alice","iss":%q,"aud":%q,"exp":4e9}`,
				testIssuer, testAudience)
			if claim == "exp" {
				payload = strings.Replace(payload, "4e9", value, 1)
			} else {
				payload = fmt.Sprintf(`{%q:%s,%s`, claim, value, payload[1:])
			}
			_, err := verify(v, signRaw(t, `{"alg":"HS256","kid":"hs"}`, payload))
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s %s: %v", claim, value, err)
			}
		}
	}
}

func TestA05_AudienceForSomebodyElse(t *testing.T) {
	v, err := NewJWT(JWTConfig{Keys: allKeys(t), Fields: DefaultFields()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify(v, sign(t, "HS256", []byte(testSecret), kid("hs"), goodClaims()))
	wantReason(t, err, ReasonAudience)
	if _, err := verify(v, sign(t, "HS256", []byte(testSecret), kid("hs"),
		with(jwt.MapClaims{"aud": nil, "iss": nil}))); err != nil {
		t.Error(err)
	}
}

func TestA05_Leeway(t *testing.T) {
	rows := []struct {
		name, claim string
		offset      time.Duration // of the claim from now
		want        Reason
		ok          bool
	}{
		{"exp_inside", "exp", -DefaultLeeway + time.Second, 0, true},
		{"exp_at", "exp", -DefaultLeeway, ReasonExpired, false},
		{"exp_outside", "exp", -DefaultLeeway - time.Second, ReasonExpired, false},
		{"nbf_inside", "nbf", DefaultLeeway - time.Second, 0, true},
		{"nbf_at", "nbf", DefaultLeeway, 0, true},
		{"nbf_outside", "nbf", DefaultLeeway + time.Second, ReasonNotYet, false},
		{"iat_inside", "iat", DefaultLeeway - time.Second, 0, true},
		{"iat_outside", "iat", DefaultLeeway + time.Second, ReasonNotYet, false},
	}
	keys := allKeys(t)
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := verifierOf(t, keys)
				claims := with(jwt.MapClaims{r.claim: time.Now().Add(r.offset).Unix()})
				_, err := verify(v, sign(t, "HS256", []byte(testSecret), kid("hs"), claims))
				if r.ok && err != nil {
					t.Fatal(err)
				}
				if !r.ok {
					wantReason(t, err, r.want)
				}
			})
		})
	}
}

func TestA06_Form(t *testing.T) {
	v := verifierOf(t, allKeys(t))
	const header = `{"alg":"HS256","kid":"hs"}`
	claims := jsonOf(t, goodClaims())
	good := signRaw(t, header, claims)
	if _, err := verify(v, good); err != nil {
		t.Fatal(err)
	}
	again := `,` + claims[1:] // the members again
	rows := []struct {
		name, token string
		want        Reason
	}{
		{"empty", "", ReasonMissing},
		{"dot", ".", ReasonMalformed},
		{"dots", "..", ReasonMalformed},
		{"no_dots", "abc", ReasonMalformed},
		{"four_parts", good + ".AAAA", ReasonMalformed},
		{"longest_dots", strings.Repeat(".", TokenBytesMax), ReasonMalformed},
		{"million_dots", strings.Repeat(".", 1<<20), ReasonTooLarge},
		{"1MB", strings.Repeat("a", 1<<20), ReasonTooLarge},
		{"space", good + " ", ReasonRequest},
		{"padding", good + "=", ReasonMalformed},
		{"duplicate_claim", signRaw(t, header, `{"sub":"bob"`+again), ReasonMalformed},
		{"duplicate_header", signRaw(t, `{"alg":"none","alg":"HS256","kid":"hs"}`, claims),
			ReasonMalformed},
		{"trailing_claims", signRaw(t, header, claims+"{}"), ReasonMalformed},
		{"trailing_header", signRaw(t, header+"x", claims), ReasonMalformed},
		{"claims_array", signRaw(t, header, `[]`), ReasonMalformed},
		{"claims_null", signRaw(t, header, `null`), ReasonMalformed},
		{"header_null", signRaw(t, `null`, claims), ReasonMalformed},
		{"crit_unknown", signRaw(t, `{"alg":"HS256","kid":"hs","crit":["x"],"x":1}`, claims),
			ReasonMalformed},
		{"crit_empty", signRaw(t, `{"alg":"HS256","kid":"hs","crit":[]}`, claims),
			ReasonMalformed},
		{"crit_null", signRaw(t, `{"alg":"HS256","kid":"hs","crit":null}`, claims),
			ReasonMalformed},
		{"A07_b64_false", signRaw(t, `{"alg":"HS256","kid":"hs","b64":false}`, claims),
			ReasonMalformed},
		{"alg_list", signRaw(t, `{"alg":["HS256"],"kid":"hs"}`, claims), ReasonAlgorithm},
		{"other_case_does_not_count", signRaw(t, header,
			strings.Replace(claims, `"exp"`, `"EXP"`, 1)), ReasonClaims},
		{"jwe", "a.b.c.d.e", ReasonMalformed},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := verify(v, r.token)
			wantReason(t, err, r.want)
		})
	}
	t.Run("base64_not_canonical", func(t *testing.T) {
		// The last character of 32 bytes has bits that nobody uses.
		for c := range len(base64Alphabet) {
			other := good[:len(good)-1] + base64Alphabet[c:c+1]
			if _, err := verify(v, other); (err == nil) != (other == good) {
				t.Errorf("%q at the end: %v", base64Alphabet[c], err)
			}
		}
	})
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func TestA07_Signatures(t *testing.T) {
	s := testSigners()
	v := verifierOf(t, allKeys(t))
	es := sign(t, "ES256", s.p256, kid("es"), goodClaims())
	ed := sign(t, "EdDSA", s.ed, kid("ed"), goodClaims())
	order := elliptic.P256().Params().N
	half := func(i int) *big.Int {
		b := signatureOf(t, es)
		return new(big.Int).SetBytes(b[32*i : 32*i+32])
	}
	pair := func(r, s *big.Int) []byte {
		b := make([]byte, 64)
		return append(r.FillBytes(b[:32:32]), s.FillBytes(b[32:])...)
	}
	edOrder, _ := new(big.Int).SetString(
		"7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	rows := []struct {
		name, token string
		signature   []byte
	}{
		{"es256_zeros", es, make([]byte, 64)},
		{"es256_zero_s", es, pair(half(0), new(big.Int))},
		{"es256_zero_r", es, pair(new(big.Int), half(1))},
		{"es256_r_is_order", es, pair(order, half(1))},
		{"es256_short", es, signatureOf(t, es)[:63]},
		{"es256_long", es, append(signatureOf(t, es), 0)},
		{"es256_empty", es, nil},
		{"eddsa_zeros", ed, make([]byte, 64)},
		{"eddsa_malleable", ed, addOrder(signatureOf(t, ed), edOrder)},
		{"eddsa_flipped", ed, flipped(signatureOf(t, ed))},
		{"es256_flipped", es, flipped(signatureOf(t, es))},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			token := r.token[:strings.LastIndexByte(r.token, '.')+1] +
				base64.RawURLEncoding.EncodeToString(r.signature)
			_, err := verify(v, token)
			wantReason(t, err, ReasonSignature)
		})
	}
	t.Run("es256_twin_is_the_same_identity", func(t *testing.T) {
		// Both (r, s) and (r, n-s) are right in ECDSA, so nothing may go by the text of a token:
		// revocations go by its id.
		twin := es[:strings.LastIndexByte(es, '.')+1] + base64.RawURLEncoding.EncodeToString(
			pair(half(0), new(big.Int).Sub(order, half(1))))
		id, err := verify(v, twin)
		if err != nil {
			t.Fatal(err)
		}
		revoked := NewRevocations(1)
		if err := revoked.RevokeToken(id.Issuer, "t-1", id.Expires); err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{es, twin} {
			_, err := verify(guardedBy(revoked, NewCache(v, DefaultCache())), token)
			wantReason(t, err, ReasonRevoked)
		}
	})
}

func signatureOf(t *testing.T, token string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(token[strings.LastIndexByte(token, '.')+1:])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func flipped(b []byte) []byte {
	b[len(b)/2] ^= 1
	return b
}

// addOrder adds the order of the group to the second half of an Ed25519 signature, which makes
// another one for checkers that do not look (RFC 8032 section 8.4). It is little-endian.
func addOrder(b []byte, order *big.Int) []byte {
	half := b[32:]
	reverse(half)
	new(big.Int).Add(new(big.Int).SetBytes(half), order).FillBytes(half)
	reverse(half)
	return b
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

func TestA10_ErrorsQuoteNothing(t *testing.T) {
	v := verifierOf(t, allKeys(t))
	const word = "hunter2"
	claims := with(jwt.MapClaims{"iss": word, "aud": word, "exp": word})
	rows := []string{
		word, word + "." + word + "." + word,
		signRaw(t, `{"alg":"`+word+`"}`, `{}`),
		signRaw(t, `{"alg":"HS256","kid":"`+word+`"}`, `{}`),
		signRaw(t, `{"alg":"HS256","kid":"hs"}`, jsonOf(t, claims)),
		sign(t, "HS256", []byte("another secret of some length.."), kid("hs"), claims),
	}
	for i, token := range rows {
		_, err := verify(v, token)
		if err == nil || strings.Contains(err.Error(), word) ||
			strings.Contains(err.Error(), token[:4]) {
			t.Errorf("row %d: %v", i, err)
		}
	}
}

// FuzzJWT changes good tokens: no change may survive.
func FuzzJWT(f *testing.F) {
	v := verifierOf(f, staticKeys(f, KeyConfig{ID: "hs", Algorithm: "HS256", Source: testSecret}))
	// Fixed dates: every process that fuzzes must take the same token for good.
	good := sign(f, "HS256", []byte(testSecret), kid("hs"),
		with(jwt.MapClaims{"iat": 1e9, "nbf": 1e9, "exp": 4e9}))
	f.Add(good, -1, byte(0))
	f.Add(good+".", 10, byte('A'))
	f.Fuzz(func(t *testing.T, token string, at int, with byte) {
		if at >= 0 && at < len(token) {
			token = token[:at] + string(with) + token[at+1:]
		}
		if id, err := verify(v, token); err == nil && (token != good || id.User != "alice") {
			t.Fatalf("accepted %q", token)
		}
	})
}
