// Package units has numbers as people write them: 10k, 50k/s, 16KiB. They are flags, and values in
// YAML and other text.
package units

import (
	"fmt"
	"strconv"
	"strings"
)

// parse parses a number of at most 1e15 with a unit behind it.
func parse(text string, units map[string]float64) (float64, bool) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	v, err := strconv.ParseFloat(digits, 64)
	unit, known := units[text[len(digits):]]
	v *= unit
	return v, err == nil && known && v >= 0 && v <= 1e15
}

var thousands = map[string]float64{"": 1, "k": 1e3, "K": 1e3, "m": 1e6, "M": 1e6}

// Count is a number like 100, 10k or 1m.
type Count int

// Set implements pflag.Value.
func (c *Count) Set(text string) error {
	v, ok := parse(text, thousands)
	if !ok || v != float64(int(v)) {
		return fmt.Errorf("%q is not a count like 100, 10k or 1m", text)
	}
	*c = Count(v)
	return nil
}

// String implements pflag.Value.
func (c *Count) String() string { return strconv.Itoa(int(*c)) }

// Type implements pflag.Value.
func (*Count) Type() string { return "n" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Count) UnmarshalText(text []byte) error { return c.Set(string(text)) }

// Rate is a number a second like 500, 50k or 50k/s.
type Rate float64

// Set implements pflag.Value.
func (r *Rate) Set(text string) error {
	v, ok := parse(strings.TrimSuffix(text, "/s"), thousands)
	if !ok {
		return fmt.Errorf("%q is not a rate like 500, 50k or 50k/s", text)
	}
	*r = Rate(v)
	return nil
}

// String implements pflag.Value.
func (r *Rate) String() string { return strconv.FormatFloat(float64(*r), 'f', -1, 64) }

// Type implements pflag.Value.
func (*Rate) Type() string { return "rate" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error { return r.Set(string(text)) }

// Size is a number of bytes like 128, 16KiB or 1MB.
type Size int

// Set implements pflag.Value.
func (s *Size) Set(text string) error {
	v, ok := parse(text, map[string]float64{
		"": 1, "B": 1, "k": 1e3, "kB": 1e3, "KB": 1e3, "MB": 1e6,
		"K": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20,
	})
	if !ok || v != float64(int(v)) {
		return fmt.Errorf("%q is not a size like 128, 16KiB or 1MB", text)
	}
	*s = Size(v)
	return nil
}

// String implements pflag.Value.
func (s *Size) String() string { return strconv.Itoa(int(*s)) }

// Type implements pflag.Value.
func (*Size) Type() string { return "size" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error { return s.Set(string(text)) }
