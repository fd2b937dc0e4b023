package wire

import "strings"

// Header returns the value of a header, whatever the case of its name; ok is false without one.
// Several lines of a list header are joined, RFC 9110 section 5.3, and so are those of Cookie,
// which proxies split (RFC 9113 section 8.2.3). Of any other header it is the first line:
// CheckSingle says whether there are more. It hides the headers that the request calls hop-by-hop
// by naming them in Connection: a proxy would have removed them, so nothing may depend on them.
func (r *Request) Header(name string) (value string, ok bool) {
	if hasToken(r.connection, name) {
		return "", false
	}
	separator, list := listHeader(name)
	for n, v := range headerLines(r.lines) {
		switch {
		case !strings.EqualFold(n, name):
		case !ok:
			value, ok = v, true
		case list:
			value += separator + v
		}
	}
	return value, ok
}

// Headers returns the lines of a header in their order. It hides what Header hides.
func (r *Request) Headers(name string) (values []string) {
	if hasToken(r.connection, name) {
		return nil
	}
	for n, v := range headerLines(r.lines) {
		if strings.EqualFold(n, name) {
			values = append(values, v)
		}
	}
	return values
}

// Has reports whether there is a line of a header, hidden or not.
func (r *Request) Has(name string) bool {
	for n := range headerLines(r.lines) {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// CheckSingle refuses a request that names one of the given headers in Connection, or has two lines
// of one that is no list: two servers could take a different one of them. It returns nil if there
// is nothing to refuse. The parser has checked the headers that the gateway itself depends on.
func (r *Request) CheckSingle(names []string) *Refusal {
	for _, name := range names {
		if hasToken(r.connection, name) {
			return hopByHop
		}
		if _, list := listHeader(name); !list && len(r.Headers(name)) > 1 {
			return repeatedHeader
		}
	}
	return nil
}

// listHeader reports whether several lines of a header mean one list, and what joins them.
func listHeader(name string) (separator string, ok bool) {
	switch strings.ToLower(name) {
	case "cookie":
		return "; ", true
	case "forwarded", "x-forwarded-for", "via", "connection", "upgrade",
		"sec-websocket-protocol", "sec-websocket-extensions":
		return ", ", true
	}
	return "", false
}

// checkConnection judges the options of Connection, RFC 9110 section 7.6.1. A client that names a
// header there makes the proxies on the way remove it. For a header that the gateway acts upon,
// like the one in which a proxy writes the client's address, that would undo what the proxy said.
func checkConnection(options string) error {
	upgrade := false
	for option := range strings.SplitSeq(options, ",") {
		option = strings.Trim(option, " \t")
		switch {
		case option == "": // an empty element, RFC 9110 section 5.6.1.2
		case !isTokenString(option):
			return badConnection
		case endToEnd(strings.ToLower(option)):
			return hopByHop
		case strings.EqualFold(option, "upgrade"):
			upgrade = true
		}
	}
	if !upgrade {
		return badConnection
	}
	return nil
}

// endToEnd reports whether the gateway acts upon a header, by its name in lower case, so that no
// hop may remove it.
func endToEnd(name string) bool {
	switch name {
	case "host", "origin", "cookie", "authorization", "forwarded", "user-agent", "content-length",
		"transfer-encoding":
		return true
	}
	return strings.HasPrefix(name, "sec-") || strings.HasPrefix(name, "x-forwarded-")
}

// headerLines iterates over the names and trimmed values of header lines that are known to be well
// formed.
func headerLines(lines string) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for lines != "" {
			var line string
			line, lines, _ = strings.Cut(lines, "\r\n")
			name, value, ok := strings.Cut(line, ":")
			if ok && !yield(name, strings.Trim(value, " \t")) {
				return
			}
		}
	}
}

// joinList joins the values of a list header that comes more than once, RFC 9110 section 5.3.
func joinList(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", " + b
}

// hasToken reports whether a comma-separated list has a token, whatever its case.
func hasToken(list, token string) bool {
	for e := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(e, " \t"), token) {
			return true
		}
	}
	return false
}
