package settings

import (
	"fmt"
	"strings"
)

// Origin is the kind of place that a value comes from.
type Origin int

// The origins, from the weakest to the strongest.
const (
	BuiltIn Origin = iota
	FromFile
	FromEnv
	FromFlag
)

// Source is where a value comes from. Its zero value is the built-in default.
type Source struct {
	Origin Origin
	// Name is the path of the file, the environment variable, or the flag with its dashes.
	Name string
	Line int // of the file, from 1
}

// String is how people find the place: config.yaml:14, SLUICE_LISTEN, --listen or default.
func (s Source) String() string {
	switch s.Origin {
	case BuiltIn:
		return "default"
	case FromFile:
		return fmt.Sprintf("%s:%d", s.Name, s.Line)
	}
	return s.Name
}

// Error is what is wrong with one value.
type Error struct {
	Key    string // of the table, or as it was written if there is none
	Source Source
	Reason string
}

func (e *Error) Error() string {
	if e.Key == e.Source.Name { // a variable that is no setting
		return fmt.Sprintf("%s: %s", e.Key, e.Reason)
	}
	return fmt.Sprintf("%s (%s): %s", e.Key, e.Source, e.Reason)
}

// raw is a value as written.
type raw struct {
	key    string
	text   string
	source Source
}

// speller turns a key into how a source spells it.
type speller func(key string) string

// unknown reports a name that is not in the table. key is the name as a key, spell writes a key
// like the source does.
func unknown(name string, source Source, key string, keys []string, spell speller) *Error {
	reason := "there is no such setting"
	if near := Nearest(key, keys); near != "" {
		reason += fmt.Sprintf("; did you mean %s?", spell(near))
	}
	return &Error{name, source, reason}
}

// Nearest returns the candidate that is fewest edits away from a name, empty if none is near enough
// to be what was meant. Case, dashes and underscores make no difference.
func Nearest(name string, candidates []string) string {
	best, bestEdits := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		if n := edits(fold(name), fold(c)); n < bestEdits {
			best, bestEdits = c, n
		}
	}
	return best
}

func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(s))
}

// edits counts the insertions, deletions, replacements and swaps of neighbours that turn a into b.
func edits(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
