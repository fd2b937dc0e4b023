package auth

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestA06_Unambiguous(t *testing.T) {
	rows := []struct {
		name, data string
		want       bool
	}{
		{"empty_object", `{}`, true},
		{"nested", `{"a":{"b":[{"c":1},{"c":2}]},"b":1}`, true},
		{"same_name_elsewhere", `{"a":{"a":1},"b":[{"a":1}]}`, true},
		{"name_as_value", `{"a":"a","b":["a","a"]}`, true},
		{"duplicate", `{"a":1,"a":2}`, false},
		{"duplicate_escaped", `{"a":1,"\u0061":2}`, false},
		{"duplicate_deep", `{"x":[{"a":1,"a":2}]}`, false},
		{"duplicate_after_nested", `{"a":{"b":1},"a":2}`, false},
		{"duplicate_after_array", `{"a":[1,{}],"a":2}`, false},
		{"trailing", `{} {}`, false},
		{"trailing_garbage", `{}x`, false},
		{"array", `[]`, false},
		{"text", `"a"`, false},
		{"cut", `{"a":1`, false},
		{"nothing", ``, false},
		{"deepest", strings.Repeat(`{"a":`, depthMax) + `1` + strings.Repeat(`}`, depthMax), true},
		{"too_deep", strings.Repeat(`{"a":`, depthMax+1) + `1` +
			strings.Repeat(`}`, depthMax+1), false},
		{"too_deep_array", `{"a":` + strings.Repeat(`[`, 4000), false},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if got := unambiguous([]byte(r.data)); got != r.want {
				t.Errorf("%v, want %v", got, r.want)
			}
		})
	}
}

// FuzzUnambiguous checks against encoding/json: what is unambiguous is an object, and encoding it
// again loses nothing but white space and the form of numbers and texts.
func FuzzUnambiguous(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"a":[1,2,{"c":null}]}}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !unambiguous(data) {
			return
		}
		var object map[string]any
		d := json.NewDecoder(strings.NewReader(string(data)))
		d.UseNumber()
		if err := d.Decode(&object); err != nil {
			t.Fatalf("unambiguous, and no object: %v", err)
		}
		if got, want := members(object), strings.Count(tokens(t, data), ":"); got != want {
			t.Fatalf("%d members in the map, %d in the text", got, want)
		}
	})
}

// members counts the members of all objects of a value.
func members(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			n += 1 + members(e)
		}
	case []any:
		for _, e := range v {
			n += members(e)
		}
	}
	return n
}

// tokens is JSON without the content of its texts.
func tokens(t *testing.T, data []byte) string {
	t.Helper()
	var b strings.Builder
	quoted := false
	for i := 0; i < len(data); i++ {
		switch {
		case data[i] == '"':
			quoted = !quoted
		case quoted && data[i] == '\\':
			i++
		case !quoted:
			b.WriteByte(data[i])
		}
	}
	return b.String()
}
