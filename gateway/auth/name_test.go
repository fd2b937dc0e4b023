package auth

import (
	"strings"
	"testing"
	"time"
)

func TestI01_users(t *testing.T) {
	for name, ok := range map[string]bool{
		"ann": true, "ann b": true, "a": true, "ann@example.com": true, "spiffe://a/b": true,
		"Zoë": true, "Zoe\u0308": true, "山田太郎": true, "😀": true, "ann.b-c_d": true,
		strings.Repeat("a", UserBytesMax):   true,
		"":                                  false,
		strings.Repeat("a", UserBytesMax+1): false,
		" ann":                              false,
		"ann ":                              false,
		" ":                                 false,
		"\tann":                             false,
		"ann\n":                             false,
		"an\tn":                             false,
		"an\x00n":                           false,
		"an\x7fn":                           false,
		"an\u0085n":                         false, // next line
		"ann\u00a0":                         false, // no-break space
		"an\u00a0n":                         false,
		"an\u2003n":                         false, // em space
		"an\u3000n":                         false, // ideographic space
		"an\u2028n":                         false, // line separator
		"an\u200bn":                         false, // zero-width space
		"an\u200dn":                         false, // zero-width joiner
		"\ufeffann":                         false, // byte order mark
		"an\u00adn":                         false, // soft hyphen
		"an\u202en":                         false, // right-to-left override
		"an\u2066n":                         false, // left-to-right isolate
		"an\u200fn":                         false, // right-to-left mark
		"an\u034fn":                         false, // combining grapheme joiner
		"an\u115fn":                         false, // hangul filler
		"\u3164":                            false, // hangul filler
		"an\uffa0n":                         false, // hangul filler
		"an\u2800n":                         false, // braille blank
		"ann\ufe0f":                         false, // variation selector
		"ann\U000e0100":                     false, // variation selector
		"an\U000e0041n":                     false, // tag
		"\u0301ann":                         false, // a mark without a letter
		"an\ufffdn":                         false, // lost bytes
		"an\ue000n":                         false, // private use
		"an\xffn":                           false, // not UTF-8
		"an\xed\xa0\x80n":                   false, // a surrogate
	} {
		if got := IsUser(name); got != ok {
			t.Errorf("%q: %v", name, got)
		}
		id := Identity{User: name, Expires: time.Time{}}
		if got := id.check(); got != ok {
			t.Errorf("an identity of %q: %v", name, got)
		}
	}
}

// No decoder trims, replaces or normalises what a service or token says.
func TestI01_users_of_every_source(t *testing.T) {
	fields := DefaultFields()
	for _, user := range []string{` ann`, `ann `, `ann\u00a0`, `a\u200bnn`, `a\u202enn`, `a\ud800nn`, "ann\xff"} {
		if id, err := fields.Decode([]byte(`{"sub":"` + user + `"}`)); err == nil {
			t.Errorf("claims with %q are of %q", user, id.User)
		}
		if id, err := new(Hook).decode([]byte(`{"user":"`+user+`"}`), time.Now()); err == nil {
			t.Errorf("a hook that says %q lets in %q", user, id.User)
		}
	}
}
