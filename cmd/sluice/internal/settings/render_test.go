package settings

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/gateway"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares a text with a file that somebody has looked at, and holds it to Width columns.
func golden(t *testing.T, name, got string) {
	t.Helper()
	for line := range strings.Lines(got) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > Width {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has changed; look at it and run the test with -update:\n%s", path, got)
	}
}

func loaded(t *testing.T) *Values {
	t.Helper()
	v, err := Load(Sources{
		File:    writeFile(t, "max-connections: 200k\nadmin: \"\"\nslow-consumer: drop-oldest\n"),
		Environ: []string{"SLUICE_MAX_CONNECTIONS_PER_IP=0", "SLUICE_DRAIN_DEADLINE=90s"},
		Flags:   map[string]string{"listen": "[2001:db8:ffff:ffff::1]:8080"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWriteTable(t *testing.T) {
	v := loaded(t)
	for key, s := range v.sources {
		if s.Origin == FromFile {
			s.Name = "/etc/a-very-long-directory/sluice/config.yaml"
			v.sources[key] = s
		}
	}
	var out strings.Builder
	if err := v.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.golden", out.String())
}

func TestWriteYAML(t *testing.T) {
	v := loaded(t)
	var out strings.Builder
	if err := v.WriteYAML(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "yaml.golden", out.String())

	uncommented := regexp.MustCompile(`(?m)^# ([a-z-]+: )`).ReplaceAllString(out.String(), "$1")
	for name, content := range map[string]string{"as_is": out.String(), "uncommented": uncommented} {
		again, err := Load(Sources{File: writeFile(t, content)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(again.Config, v.Config) {
			t.Errorf("%s reads as %+v, want %+v", name, again.Config, v.Config)
		}
		if n := again.Count(FromFile); name == "uncommented" && n != len(Table()) {
			t.Errorf("%d settings are in the file, want all %d", n, len(Table()))
		}
	}
}

// FuzzQuote holds that every text comes back from a file as it was.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{
		"", "lobby", "yes", "null", "~", "# x", "a # b", "a: b", "[a",
		"{", "*x", "&x y", "!t v", "'", `"`,
		"two\nlines", " space ", "\t", "ü", "😀", "\u2028", "\x7f", "0x10", "- a",
		"? a", "|", ">", "%", "@",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // YAML cannot hold it
		}
		doc, err := parseYAML("f", []byte("k: "+quote(text)+"\n"))
		if err != nil {
			t.Fatalf("%q as %s: %v", text, quote(text), err)
		}
		if got, err := scalar(doc.Content[0].Content[1]); err != nil || got != text {
			t.Errorf("%q as %s is read as %q, %v", text, quote(text), got, err)
		}
	})
}

func TestShowSaysWhatZeroMeans(t *testing.T) {
	cfg := gateway.DefaultConfig()
	cfg.Admin = ""
	want := map[string]string{
		"admin": `"" (none)`, "loops": "0 (one per core)", "drain-delay": "0", "max-fragments": "256",
	}
	for _, s := range Table() {
		if w, ok := want[s.Key]; ok && s.Show(cfg) != w {
			t.Errorf("%s is shown as %s, want %s", s.Key, s.Show(cfg), w)
		}
	}
}
