package deflate

import "strings"

// BrokenUserAgent reports whether the client of that User-Agent header is known to fail
// connections with permessage-deflate: Safari 15.0 to 15.3, and whatever else is built on its
// WebKit.
func BrokenUserAgent(userAgent string) bool {
	_, version, found := strings.Cut(userAgent, " Version/15.")
	minor, after, _ := strings.Cut(version, " ")
	minor, _, _ = strings.Cut(minor, ".")
	return found && len(minor) == 1 && '0' <= minor[0] && minor[0] <= '3' &&
		strings.Contains(" "+after, " Safari/")
}
