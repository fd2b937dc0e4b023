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
		{"vertical_tab", "\v{\"token\":\"x\"}", true},
		{"form_feed", "\f{\"token\":\"x\"}", true},
		{"zero_byte", "\x00{\"token\":\"x\"}", true},
		{"delete", "\x7F{\"token\":\"x\"}", true},
		{"no-break_space", "\u00A0{\"token\":\"x\"}", true},
		{"line_separator", "\u2028{\"token\":\"x\"}", true},
		{"zero_width_space", "\u200B{\"token\":\"x\"}", true},
		{"two_byte_order_marks", "\uFEFF\uFEFF{\"token\":\"x\"}", true},
		{"comment", `/**/{"token":"x"}`, true},
		{"comments", "/* a */ // b\n/***/{\"token\":\"x\"}", true},
		{"no_quotes", `{token:"x"}`, true},
		{"no_quotes_no_colon", `{token "x"}`, true},
		{"single_quotes", `{'token':'x'}`, true},
		{"printed_quotes", `{“token”:“x”}`, true},
		{"escaped_quotes", `{\"token\":\"x\"}`, true},
		{"comment_behind_the_name", `{"token"/**/:"x"}`, true},
		{"line_comment_behind_the_name", "{\"token\"//\n:\"x\"}", true},
		{"equals_sign", `{"token"="x"}`, true},
		{"no_colon", `{"token" "x"}`, true},
		{"line_feed_in_the_name", "{\"token\n\":\"x\"}", true},
		{"escaped_line_feed_in_the_name", `{"token\n":"x"}`, true},
		{"control_before_the_name", `{"\u0000token":"x"}`, true},
		{"needless_escape", `{"to\ken":"x"}`, true},
		{"list_is_open", `{"a":[[,"token":"x"}`, true},
		{"object_is_open", `{"a":{,"token":"x"}`, true},
		{"string_is_open", `{"a":"x\","token":"x"}`, true},
		{"escaped_in_broken", `{,"\u0054oke\u006e":"x"}`, true},
		{"Kelvin_sign_in_broken", `{,to` + "\u212A" + `en:"x"}`, true},
		{"in_a_list", `[{"token":"x"}]`, true},
		{"later_in_a_list", `[1,[],{"a":{}},{"a":1,"token":"x"}]`, true},
		{"in_a_broken_list", `[{"token":"x"}`, true},
		{"in_a_broken_string", `{"a":"my token: x`, true},

		{"empty", ``, false},
		{"spaces", `   `, false},
		{"text", `my "token": x`, false},
		{"text_in_brackets", `[ann] token: x`, false},
		{"empty_object", `{}`, false},
		{"value", `{"a":"token","b":["token"]}`, false},
		{"value_that_looks_like_it", `{"a":"{\"token\":\"x\"}"}`, false},
		{"deeper", `{"a":{"token":"x"}}`, false},
		{"deeper_behind_a_mark", "\uFEFF" + `{"a":{"token":"x"}}`, false},
		{"deeper_in_a_list", `[{"a":{"token":"x"}},[{"token":1}],"token"]`, false},
		{"in_a_value", `{"msg":"my token: x"}`, false},
		{"list_of_words", `["token"]`, false},
		{"other_words_in_broken", `{tokens:1,access_token:2,atoken:3,token2:4,tok en:5`, false},
		{"other_use_in_broken", `{"a":"token","b":1`, false},
		{"no_JSON", `[ann] my token has expired`, false},
		{"comment_without_end", `/*{"token":"x"}`, false},
		{"path", `/etc/token: x`, false},
		{"comment_alone", `// {"token":"x"}`, false},
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
	type object = map[string]json.RawMessage
	objects := make([]object, 1)
	var list []json.RawMessage
	if json.Unmarshal(data, &list) == nil {
		objects = make([]object, len(list))
		for i, item := range list {
			json.Unmarshal(item, &objects[i]) // stays nil if it is no object
		}
	} else if json.Unmarshal(data, &objects[0]) != nil {
		return brokenHasToken(data), json.Valid(data)
	}
	for _, o := range objects {
		for name := range o {
			found = found || foldsToToken(name)
		}
	}
	return found, true
}

// brokenHasToken is hasToken for what is before the fault of an object.
func brokenHasToken(data []byte) bool {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	for d.More() {
		name, err := d.Token()
		if text, ok := name.(string); err != nil || !ok {
			return false
		} else if strings.EqualFold(text, "token") {
			return beforeColon(data[d.InputOffset():])
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return false
		}
	}
	return false
}

// No object with a member "token" passes, whatever is skipped before it, and no valid text without
// one is refused.
func FuzzHasToken(f *testing.F) {
	for _, s := range []string{
		`{"token":"x"}`, ` {"a":{"token":1},"\u0074oken":"x"}`, `{"a":"\\\"","token":[`, `[]`, `{`,
		`{"a":1}{"token":2}`, `{"token" :`, `{"a":"\ud800","TOKEN":{}}`, `{"":"","tOKEN":0,"b":}`,
		`[{"token":1}]`, `[[{"token":1}],{"a":"token:"}]`, `{"token\n":1}`, `/**/{token:1}`,
		`{"a":"x\","token":1}`, `{"a":"\\\\","\u0054o` + "\u212A" + `en"` + "\t\n:1}",
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
		for _, before := range []string{
			"\v", "\x00", "\u00A0\u2028", "\uFEFF\uFEFF", "/*{*/", "//\n",
		} {
			if want && !HasToken(append([]byte(before), text...)) {
				t.Errorf("%q passes behind %q", text, before)
			}
		}
	})
}

func BenchmarkHasToken(b *testing.B) {
	for _, r := range []struct{ name, text string }{
		{"text", strings.Repeat("hello, ", 20)},
		{"object", `{"type":"message","id":12345,"body":"` + strings.Repeat("hello, ", 20) + `"}`},
		{"other_letters", strings.Repeat("привет, ", 20)},
		{"words", "[" + strings.Repeat("token /", 10000)},
		{"comments", strings.Repeat("/**/", 10000) + "{" + strings.Repeat("token\\", 10000)},
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
