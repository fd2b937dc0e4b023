package settings

import (
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// kind is how the values of a setting are written. There is one parser per kind, whatever source a
// value comes from.
type kind struct {
	name string
	// parse reads a value; its error says what is right. format writes a value such that parse
	// reads the same.
	parse  func(text string) (any, error)
	format func(v any) string
}

// The kinds. The value that they parse is converted to the type of the field.
func textKind() kind {
	parse := func(s string) (any, error) { return s, nil }
	return kind{"text", parse, func(v any) string { return fmt.Sprint(v) }}
}
func countKind() kind    { return kind{"count", parseCount, formatCount} }
func sizeKind() kind     { return kind{"size", parseSize, formatSize} }
func rateKind() kind     { return kind{"rate", parseRate, formatRate} }
func durationKind() kind { return kind{"duration", parseDuration, formatDuration} }
func switchKind() kind   { return kind{"switch", parseSwitch, formatSwitch} }
func autoSwitchKind() kind {
	return kind{"switch", parseAutoSwitch, func(v any) string { return fmt.Sprint(v) }}
}
func levelKind() kind { return kind{"level", parseLevel, formatLevel} }
func listKind() kind  { return kind{"list", parseList, formatList} }

// set puts a parsed value into a field. It fails if the type of the field has no room for it.
func set(field reflect.Value, v any) error {
	rv := reflect.ValueOf(v)
	if field.CanInt() && rv.CanInt() && field.OverflowInt(rv.Int()) {
		return fmt.Errorf("%d is too large", v)
	}
	field.Set(rv.Convert(field.Type()))
	return nil
}

// unit is a suffix of a number and what it multiplies by.
type unit struct {
	suffix string
	factor float64
}

// parseNumber reads a number that is not negative, with one of the units. Units are looked for in
// their order.
func parseNumber(s string, units []unit) (float64, bool) {
	s = strings.TrimSpace(s)
	factor := 1.0
	for _, u := range units {
		if n := len(s) - len(u.suffix); n > 0 && strings.EqualFold(s[n:], u.suffix) {
			s, factor = strings.TrimSpace(s[:n]), u.factor
			break
		}
	}
	// ParseFloat would take hexadecimal, exponents, underscores and infinity, too.
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f * factor, err == nil
}

// whole converts a number that has to be an integer. Above 2^53 not every integer is a float64, so
// what is larger is refused.
func whole(f float64) (int64, bool) {
	return int64(f), f <= 1<<53 && f == math.Trunc(f)
}

func parseCount(s string) (any, error) {
	f, ok := parseNumber(s, []unit{{"k", 1e3}, {"m", 1e6}, {"g", 1e9}})
	if n, isWhole := whole(f); ok && isWhole {
		return n, nil
	}
	return nil, fmt.Errorf("%q is not a count; write it like 500, 10k or 1m", s)
}

func formatCount(v any) string {
	n := reflect.ValueOf(v).Int()
	for _, u := range []struct {
		suffix string
		factor int64
	}{{"m", 1e6}, {"k", 1e3}} {
		if n >= 10*1e3 && n%u.factor == 0 {
			return strconv.FormatInt(n/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

func parseSize(s string) (any, error) {
	f, ok := parseNumber(s, []unit{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
		{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
	})
	if n, isWhole := whole(f); ok && isWhole {
		return n, nil
	}
	if _, short := parseNumber(s, []unit{{"k", 1}, {"m", 1}, {"g", 1}, {"t", 1}}); short {
		n := strings.TrimSpace(s)
		n, u := n[:len(n)-1], strings.ToUpper(n[len(n)-1:])
		return nil, fmt.Errorf("%q may mean two sizes; write %s%siB (1024) or %[2]s%[3]sB (1000)",
			s, n, u)
	}
	return nil, fmt.Errorf("%q is not a size; write it like 512, 64KiB or 1MiB", s)
}

func formatSize(v any) string {
	n := reflect.ValueOf(v).Int()
	for _, u := range []struct {
		suffix string
		shift  uint
	}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n != 0 && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

func parseRate(s string) (any, error) {
	number := strings.TrimSpace(s)
	number = strings.TrimSuffix(number, "/s")
	f, ok := parseNumber(number, []unit{{"k", 1e3}, {"m", 1e6}})
	if !ok {
		return nil, fmt.Errorf("%q is not a rate; write how many per second, like 50 or 50/s", s)
	}
	return f, nil
}

func formatRate(v any) string {
	f := v.(float64)
	if f == 0 {
		return "0"
	}
	if n, ok := whole(f); ok {
		return formatCount(n) + "/s"
	}
	return strconv.FormatFloat(f, 'f', -1, 64) + "/s"
}

func parseDuration(s string) (any, error) {
	text := strings.TrimSpace(s)
	if _, bare := parseNumber(text, nil); bare && strings.Trim(text, "0.") != "" {
		return nil, fmt.Errorf("%q has no unit; write %ss for seconds or %sms for milliseconds",
			s, text, text)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return nil, fmt.Errorf("%q is not a duration; write it like 500ms, 10s or 1m30s", s)
	}
	return d, nil
}

// formatDuration leaves out the zeros that time.Duration shows: 1m, not 1m0s.
func formatDuration(v any) string {
	s := v.(time.Duration).String()
	if s == "0s" {
		return "0"
	}
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseSwitch(s string) (any, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return nil, fmt.Errorf("%q is neither true nor false", s)
}

// parseAutoSwitch reads a switch that is on, off or auto.
func parseAutoSwitch(s string) (any, error) {
	if strings.EqualFold(strings.TrimSpace(s), "auto") {
		return "auto", nil
	}
	switch on, err := parseSwitch(s); {
	case err != nil:
		return nil, fmt.Errorf("%w, nor auto", err)
	case on.(bool):
		return "on", nil
	}
	return "off", nil
}

func formatSwitch(v any) string { return strconv.FormatBool(v.(bool)) }

// parseList reads items with white space between them: so they are written in one text, and several
// flags or the items of a YAML sequence are joined like this.
func parseList(s string) (any, error) {
	if items := strings.Fields(s); len(items) > 0 {
		return items, nil
	}
	return []string(nil), nil
}

func formatList(v any) string { return strings.Join(v.([]string), " ") }

func parseLevel(s string) (any, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return nil, fmt.Errorf("%q is not one of debug, info, warn, error", s)
}

func formatLevel(v any) string { return strings.ToLower(v.(slog.Level).String()) }
