package settings

import (
	"regexp"
	"strings"
)

// redacted stands for what nobody should read over somebody's shoulder, or in a ticket.
const redacted = "[redacted]"

// words finds the items of a list, and single values.
var words = regexp.MustCompile(`\S+`)

// secrets finds the parts of a spec that must be files, "@PATH". A secret that is there all the
// same is refused, and the listing that helps to find the mistake must not show it. So secrets
// matches more than a spec may have: blanks around the equals sign, any case, and a value up to
// the next comma, blanks included.
var secrets = regexp.MustCompile(
	`(?i)(^|[\s,])(key|secret|client-secret|password)\s*=\s*(?:(@[^\s,]+)|[^,]*)`)

// redact leaves out of a value what may be secret: in URLs the user and everything from the query
// on, in specs a secret that is no file.
func redact(text string) string {
	text = secrets.ReplaceAllStringFunc(text, func(part string) string {
		match := secrets.FindStringSubmatch(part)
		if match[3] != "" {
			return part
		}
		return match[1] + match[2] + "=" + redacted
	})
	return words.ReplaceAllStringFunc(text, func(word string) string {
		parts := strings.Split(word, ",")
		for i, part := range parts {
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
