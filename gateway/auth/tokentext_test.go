package auth

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestHasToken(t *testing.T) {
	long := strings.Repeat("x", 2*TokenBytesMax)
	for _, r := range []struct {
		name, text string
		want       bool
	}{
		{"plain", `{"token":"x"}`, true},
		{"white_space", " \t\r\n{ \n\"token\"\t: \"x\"}", true},
		{"byte_order_mark", "\uFEFF{\"token\":1}", true},
		{"byte_order_mark_in_spaces", " \uFEFF {\"token\":1}", true},
		{"other_member_before", `{"type":"refresh","token":"x"}`, true},
		{"other_member_behind", `{"token":"x","id":1}`, true},
		{"twice", `{"token":"x","token":"y"}`, true},
		{"too_long", `{"token":"` + long + `"}`, true},
		{"behind_much", `{"a":"` + long + `","token":"x"}`, true},
		{"escaped", `{"\u0074oken":"x"}`, true},
		{"all_escaped", `{"\u0074\u006f\u006B\u0065\u006E":"x"}`, true},
		{"upper_case", `{"TOKEN":"x"}`, true},
		{"Kelvin_sign", `{"to` + "\u212A" + `en":"x"}`, true},
		{"no_text", `{"token":{"a":1}}`, true},
		{"behind_objects", `{"a":{"b":[{"c":"}"}]},"token":"x"}`, true},
		{"behind_escaped_quotes", `{"a":"\"","b":"\\","c":"\\\"","token":"x"}`, true},
		{"cut_off", `{"token":"x`, true},
		{"cut_off_behind_the_name", `{"token":`, true},
		{"broken_behind", `{"token":"x"}}}`, true},
		{"broken_before", `{"a":tru,,"token":"x"}`, true},
		{"no_comma", `{"a":1 "token":"x"}`, true},
		{"brackets_do_not_match", `{"a":1]]]"token":"x"}`, true},
		{"second_object", `{"a":1}` + "\n" + `{"token":"x"}`, true},

		{"empty", ``, false},
		{"spaces", `   `, false},
		{"text", `my "token": x`, false},
		{"empty_object", `{}`, false},
		{"value", `{"a":"token","b":["token"]}`, false},
		{"value_that_looks_like_it", `{"a":"{\"token\":\"x\"}"}`, false},
		{"deeper", `{"a":{"token":"x"}}`, false},
		{"in_a_list", `[{"token":"x"}]`, false},
		{"longer_name", `{"tokens":1,"a token":2,"token ":3}`, false},
		{"escape_of_another_name", `{"\u0075oken":"x"}`, false},
		{"name_alone", `{"token"`, false},
		{"within_the_name", `{"tok`, false},
		{"bad_escape", `{"\token":"x"}`, false},
		{"backslash_at_the_end", `{"a\`, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			if got := HasToken([]byte(r.text)); got != r.want {
				t.Errorf("HasToken(%.100q) = %v", r.text, got)
			}
		})
	}
}

// hasToken is HasToken by encoding/json: valid says whether the text is one JSON value.
func hasToken(data []byte) (found, valid bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal(data, &object) == nil {
		for name := range object {
			found = found || strings.EqualFold(name, "token")
		}
		return found, true
	}
	// Not valid as a whole; what comes before the fault still counts.
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false, json.Valid(data)
	}
	for d.More() {
		name, err := d.Token()
		if text, ok := name.(string); err != nil || !ok {
			return false, false
		} else if strings.EqualFold(text, "token") {
			return beforeColon(data[d.InputOffset():]), false
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return false, false
		}
	}
	return false, false
}

// No object with a member "token" passes, and no valid text without one is refused.
func FuzzHasToken(f *testing.F) {
	for _, s := range []string{
		`{"token":"x"}`, ` {"a":{"token":1},"\u0074oken":"x"}`, `{"a":"\\\"","token":[`, `[]`, `{`,
		`{"a":1}{"token":2}`, `{"token" :`, `{"a":"\ud800","TOKEN":{}}`, `{"":"","tOKEN":0,"b":}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := HasToken(text)
		want, valid := hasToken(text)
		if want && !got {
			t.Errorf("%q passes", text)
		}
		if valid && !want && got {
			t.Errorf("%q is refused", text)
		}
	})
}

func BenchmarkHasToken(b *testing.B) {
	for _, r := range []struct{ name, text string }{
		{"text", strings.Repeat("hello, ", 20)},
		{"object", `{"type":"message","id":12345,"body":"` + strings.Repeat("hello, ", 20) + `"}`},
	} {
		b.Run(r.name, func(b *testing.B) {
			text := []byte(r.text)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				HasToken(text)
			}
		})
	}
}
