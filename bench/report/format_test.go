package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func TestJSONRoundTrip(t *testing.T) {
	for _, scenario := range []string{"echo", "fanout", "storm"} {
		want := sample(scenario)
		var b bytes.Buffer
		if err := want.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		got, err := ReadJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		for name, l := range want.Latencies {
			h, err := got.Latencies[name].Histogram()
			if err != nil || !h.Equals(l.hist) {
				t.Errorf("%s: %s has changed: %v", scenario, name, err)
			}
			l.hist, got.Latencies[name].hist = nil, nil
		}
		want.Generator.SendLag.hist = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read %+v, want %+v", scenario, got, want)
		}
	}
}

func TestReadJSONRefuses(t *testing.T) {
	for _, text := range []string{"", "{}", "[]", `{"schema":2}`, `{"schema":0}`, `{"schema":"1"}`} {
		if r, err := ReadJSON(strings.NewReader(text)); err == nil {
			t.Errorf("%s was read as %+v", text, r)
		}
	}
	r, err := ReadJSON(strings.NewReader(`{"schema":1,"latencies":{"raw":{"hdr":"garbage"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Latencies["raw"].Histogram(); err == nil {
		t.Error("garbage is a histogram")
	}
	if _, err := Merge([]*Result{r}); err == nil {
		t.Error("garbage was merged")
	}
}

func TestHLogRoundTrip(t *testing.T) {
	r := sample("fanout")
	var b bytes.Buffer
	if err := r.WriteHLog(&b); err != nil {
		t.Fatal(err)
	}
	reader := hdrhistogram.NewHistogramLogReader(&b)
	found := 0
	for {
		h, err := reader.NextIntervalHistogram()
		if err != nil {
			t.Fatal(err)
		}
		if h == nil {
			break
		}
		found++
		want := r.Latencies[h.Tag()]
		if want == nil || h.TotalCount() != int64(want.Count) || h.Max() != int64(want.Max) {
			t.Errorf("%q has %d values, max %d; want %+v", h.Tag(), h.TotalCount(), h.Max(), want)
		}
	}
	if found != len(r.Latencies) {
		t.Errorf("%d distributions, want %d", found, len(r.Latencies))
	}
}

func TestCSV(t *testing.T) {
	r := sample("echo")
	var b bytes.Buffer
	if err := r.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	want := [][]string{
		{"at_s", "connections", "sent", "received", "errors", "p50_us", "p99_us", "max_us"},
		{"1.000", "1000", "5000", "4999", "0", "200", "900", "1000"},
	}
	if err != nil || !reflect.DeepEqual(rows, want) {
		t.Errorf("%v, %v; want %v", rows, err, want)
	}
}

// outside is what would make a browser ask somebody, or another file.
var outside = regexp.MustCompile(`(?i)(https?:)?//[a-z0-9.-]+\.[a-z]{2,}|@import|<link|src\s*=|url\(`)

func TestHTMLNeedsNothingElse(t *testing.T) {
	r := sample("fanout")
	r.Target = `ws://h/"><script>alert(1)</script>`
	r.Notes = []string{"</script><script>alert(2)</script>"}
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(b.String(), "http://www.w3.org/", "")
	for _, found := range outside.FindAllString(page, -1) {
		t.Errorf("the page refers to %q", found)
	}
	for _, injected := range []string{"<script>alert(1)", "<script>alert(2)"} {
		if strings.Contains(page, injected) {
			t.Errorf("the page contains %s", injected)
		}
	}
}

// TestSchema holds the published schema to the types, in both directions.
func TestSchema(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	defs, _ := schema["$defs"].(map[string]any)
	checkObject(t, "result", schema, reflect.TypeFor[Result]())
	for name, typ := range map[string]reflect.Type{
		"machine": reflect.TypeFor[Machine](), "plan": reflect.TypeFor[Plan](),
		"achieved": reflect.TypeFor[Achieved](), "delivery": reflect.TypeFor[Delivery](),
		"server": reflect.TypeFor[Server](), "generator": reflect.TypeFor[Generator](),
		"point": reflect.TypeFor[Point](), "latency": reflect.TypeFor[Latency](),
		"assertion": reflect.TypeFor[Assertion](),
	} {
		def, _ := defs[name].(map[string]any)
		checkObject(t, name, def, typ)
	}
}

// checkObject compares the schema of an object with the fields of a struct.
func checkObject(t *testing.T, name string, schema map[string]any, typ reflect.Type) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	required := map[string]bool{}
	list, _ := schema["required"].([]any)
	for _, r := range list {
		required[r.(string)] = true
	}
	seen := 0
	for i := range typ.NumField() {
		tag, ok := typ.Field(i).Tag.Lookup("json")
		if !ok {
			continue
		}
		seen++
		key, options, _ := strings.Cut(tag, ",")
		p, _ := properties[key].(map[string]any)
		if p == nil {
			t.Errorf("%s.%s is not in the schema", name, key)
			continue
		}
		if required[key] == (options == "omitempty") {
			t.Errorf("%s.%s: required is %v", name, key, required[key])
		}
		if p["$ref"] != nil {
			continue
		}
		want := kindOf(typ.Field(i).Type)
		got := fmt.Sprint(p["type"], p["anyOf"])
		if !strings.Contains(got, want) && !strings.Contains(got, "$defs") {
			t.Errorf("%s.%s is %v, want %v", name, key, got, want)
		}
		if text, _ := p["description"].(string); text == "" {
			t.Errorf("%s.%s is not described", name, key)
		}
	}
	if seen != len(properties) || seen == 0 {
		t.Errorf("%s: %d fields, %d properties", name, seen, len(properties))
	}
}

// kindOf is the type in JSON of a type in Go.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Bool:
		return "boolean"
	case reflect.Slice:
		return "array"
	case reflect.String:
		return "string"
	case reflect.Map, reflect.Pointer:
		return "object"
	}
	if t.String() == "time.Time" {
		return "string"
	}
	return "object"
}
