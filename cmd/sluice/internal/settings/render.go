package settings

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Width is the number of columns that every table fits in.
const Width = 80

// WriteTable lists every setting with its value and where the value comes from, in Width columns.
func (v *Values) WriteTable(w io.Writer) error {
	const keyWidth, valueWidth = 24, 26
	var out strings.Builder
	fmt.Fprintf(&out, "%-*s%-*s%s\n", keyWidth, "SETTING", valueWidth, "VALUE", "FROM")
	for _, s := range Table() {
		value := s.Show(v.Config)
		from := v.sources[s.Key].String()
		room := Width - keyWidth - max(valueWidth, utf8.RuneCountInString(value)+1)
		fmt.Fprintf(&out, "%-*s%-*s %s\n", keyWidth, s.Key, valueWidth-1, value, tail(from, room))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// tail is the end of a text that is too wide: of a path, that is the part that tells.
func tail(s string, width int) string {
	n := utf8.RuneCountInString(s)
	if n <= width {
		return s
	}
	return "..." + string([]rune(s)[n-max(width, 8)+3:])
}

// WriteYAML writes a configuration file that is equal to the values, but for what may be secret:
// that is left out, and Load refuses the file until somebody has written it. Settings that have
// their default are comments, so that a later version may improve it.
func (v *Values) WriteYAML(w io.Writer) error {
	var out strings.Builder
	out.WriteString("# Sluice. Lines with # show defaults. Each key is also a flag (--listen)\n" +
		"# and a variable (SLUICE_LISTEN); flags win over variables, these over the file.\n")
	group := ""
	for _, s := range Table() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&out, "\n# --- %s ---\n", group)
		}
		fmt.Fprintf(&out, "\n# %s\n", s.comment())
		mark := "# "
		if v.sources[s.Key].Origin != BuiltIn {
			mark = ""
		}
		fmt.Fprintf(&out, "%s%s: %s\n", mark, s.Key, quote(redact(s.Text(v.Config))))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// comment is the sentence above a setting in the file.
func (s *Setting) comment() string {
	text := strings.ToUpper(s.Help[:1]) + s.Help[1:]
	if s.Zero != "" {
		empty := "0"
		if s.Kind() == "text" || s.List() {
			empty = `""`
		}
		text += "; " + empty + " = " + s.Zero
	}
	if !s.Hot() {
		text += " (needs a restart)"
	}
	return text + "."
}

// quote writes a value such that YAML reads the same text. Numbers and words go without quotes.
func quote(text string) string {
	var doc yaml.Node
	if yaml.Unmarshal([]byte("k: "+text), &doc) != nil || len(doc.Content) != 1 {
		return strconv.Quote(text)
	}
	if pair := doc.Content[0].Content; len(pair) == 2 {
		if got, err := scalar(pair[1]); err == nil && got == text {
			return text
		}
	}
	return strconv.Quote(text)
}
