package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// validator knows as much of JSON Schema as the published one uses.
type validator struct{ defs map[string]any }

// check returns what is wrong with a value at a place, empty if nothing is.
func (v *validator) check(at string, schema map[string]any, value any) string {
	if ref, ok := schema["$ref"].(string); ok {
		return v.check(at, v.defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any), value)
	}
	if list, ok := schema["anyOf"].([]any); ok {
		for _, s := range list {
			if v.check(at, s.(map[string]any), value) == "" {
				return ""
			}
		}
		return at + ": none of the alternatives"
	}
	if !hasType(schema["type"], value) {
		return fmt.Sprintf("%s: %v is no %v", at, value, schema["type"])
	}
	if list, ok := schema["enum"].([]any); ok && !slices.Contains(list, value) {
		return fmt.Sprintf("%s: %v is none of %v", at, value, list)
	}
	if c, ok := schema["const"]; ok && c != value {
		return fmt.Sprintf("%s: %v is not %v", at, value, c)
	}
	switch value := value.(type) {
	case map[string]any:
		return v.checkMembers(at, schema, value)
	case []any:
		for i, item := range value {
			if s, ok := schema["items"].(map[string]any); ok {
				if wrong := v.check(fmt.Sprintf("%s[%d]", at, i), s, item); wrong != "" {
					return wrong
				}
			}
		}
	}
	return ""
}

func (v *validator) checkMembers(at string, schema, value map[string]any) string {
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := value[name.(string)]; !ok {
			return fmt.Sprintf("%s: %v is missing", at, name)
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, member := range value {
		s, ok := properties[name].(map[string]any)
		if !ok {
			if s, ok = schema["additionalProperties"].(map[string]any); !ok {
				return fmt.Sprintf("%s: %s is not in the schema", at, name)
			}
		}
		if wrong := v.check(at+"."+name, s, member); wrong != "" {
			return wrong
		}
	}
	return ""
}

func hasType(types, value any) bool {
	if list, ok := types.([]any); ok {
		return slices.ContainsFunc(list, func(t any) bool { return hasType(t, value) })
	}
	switch value := value.(type) {
	case nil:
		return types == "null"
	case bool:
		return types == "boolean"
	case string:
		return types == "string"
	case float64:
		return types == "number" || types == "integer" && value == float64(int64(value))
	case []any:
		return types == "array"
	}
	return types == "object"
}

func TestResultsMatchTheSchema(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	v := &validator{schema["$defs"].(map[string]any)}
	for _, scenario := range []string{"echo", "idle", "fanout", "storm", "slow", "soak"} {
		plain, full := sample(scenario), sample(scenario)
		plain.Series, plain.Server, plain.Generator.SendLag = nil, nil, nil
		full.Judge()
		c, err := ParseAssertion("p99<1ms")
		if err != nil {
			t.Fatal(err)
		}
		full.Assert([]Check{c})
		for _, r := range []*Result{plain, full} {
			if wrong := v.check("result", schema, decoded(t, r)); wrong != "" {
				t.Errorf("%s: %s", scenario, wrong)
			}
		}
	}
	for name, spoil := range map[string]func(map[string]any){
		"schema":   func(r map[string]any) { r["schema"] = 2.0 },
		"scenario": func(r map[string]any) { r["scenario"] = "attack" },
		"missing":  func(r map[string]any) { delete(r, "plan") },
		"more":     func(r map[string]any) { r["more"] = true },
		"type":     func(r map[string]any) { r["seconds"] = "10" },
	} {
		r := decoded(t, sample("echo"))
		if spoil(r); v.check("result", schema, r) == "" {
			t.Errorf("%s: a wrong result matches", name)
		}
	}
}

// decoded is a result as a reader without our types sees it.
func decoded(t *testing.T, r *Result) (value map[string]any) {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.Bytes(), &value); err != nil {
		t.Fatal(err)
	}
	return value
}
