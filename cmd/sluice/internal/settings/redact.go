package settings

import (
	"regexp"
	"slices"
	"strings"
)

// redacted stands for what nobody should read over somebody's shoulder, or in a ticket.
const redacted = "[redacted]"

// words finds the items of a list, and single values.
var words = regexp.MustCompile(`\S+`)

// secretNames are the parts of a spec that must be files, "@PATH". A secret that is there all the
// same is refused, and must not be shown by whoever looks for the mistake.
var secretNames = []string{"key", "secret", "client-secret", "password"}

// redact leaves out of a value what may be secret: in URLs the user and everything from the query
// on, in specs a secret that is no file.
func redact(text string) string {
	return words.ReplaceAllStringFunc(text, func(word string) string {
		parts := strings.Split(word, ",")
		for i, part := range parts {
			name, value, ok := strings.Cut(part, "=")
			if ok && slices.Contains(secretNames, name) && !strings.HasPrefix(value, "@") {
				parts[i] = name + "=" + redacted
				continue
			}
			scheme, rest, ok := strings.Cut(part, "://")
			if !ok {
				continue
			}
			if at := strings.LastIndexByte(rest, '@'); at >= 0 {
				rest = redacted + rest[at:]
			}
			if end := strings.IndexAny(rest, "?#"); end >= 0 {
				// A comma may be a part of the query: nothing behind it can be trusted.
				parts = append(parts[:i], scheme+"://"+rest[:end+1]+redacted)
				break
			}
			parts[i] = scheme + "://" + rest
		}
		return strings.Join(parts, ",")
	})
}
