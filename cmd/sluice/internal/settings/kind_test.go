package settings

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	count, size, rate := countKind(), sizeKind(), rateKind()
	duration, toggle, level := durationKind(), switchKind(), levelKind()
	auto := autoSwitchKind()
	for _, tt := range []struct {
		kind kind
		text string
		want any // nil if it is wrong
		say  string
	}{
		{count, "0", int64(0), ""},
		{count, " 500 ", int64(500), ""},
		{count, "10k", int64(10_000), ""},
		{count, "10K", int64(10_000), ""},
		{count, "1m", int64(1_000_000), ""},
		{count, "1.5m", int64(1_500_000), ""},
		{count, "9007199254740992", int64(1 << 53), ""},
		{count, "9007199254740994", nil, "count"},
		{count, "1.5", nil, "10k"},
		{count, "-1", nil, "count"},
		{count, "1e3", nil, "count"},
		{count, "0x10", nil, "count"},
		{count, "1_000", nil, "count"},
		{count, "inf", nil, "count"},
		{count, "k", nil, "count"},
		{count, "", nil, "count"},
		{count, ".", nil, "count"},

		{size, "512", int64(512), ""},
		{size, "512B", int64(512), ""},
		{size, "64KiB", int64(64 << 10), ""},
		{size, "64 kib", int64(64 << 10), ""},
		{size, "1.5MiB", int64(3 << 19), ""},
		{size, "1MB", int64(1_000_000), ""},
		{size, "2TiB", int64(2 << 40), ""},
		{size, "64k", nil, "64KiB (1024) or 64KB (1000)"},
		{size, "64M", nil, "64MiB (1024) or 64MB (1000)"},
		{size, "0.3KiB", nil, "size"},
		{size, "KiB", nil, "size"},
		{size, "x", nil, "64KiB"},

		{auto, " Auto", "auto", ""},
		{auto, "true", "on", ""},
		{auto, "on", "on", ""},
		{auto, "no", "off", ""},
		{auto, "maybe", nil, "neither true nor false, nor auto"},

		{rate, "50", 50.0, ""},
		{rate, "50/s", 50.0, ""},
		{rate, "0.5/s", 0.5, ""},
		{rate, "10k/s", 10_000.0, ""},
		{rate, "50/m", nil, "per second"},
		{rate, "/s", nil, "per second"},
		{rate, "NaN", nil, "per second"},

		{duration, "0", time.Duration(0), ""},
		{duration, "10s", 10 * time.Second, ""},
		{duration, "1m30s", 90 * time.Second, ""},
		{duration, "250ms", 250 * time.Millisecond, ""},
		{duration, "30", nil, "30s for seconds"},
		{duration, "-1s", nil, "1m30s"},
		{duration, "soon", nil, "duration"},

		{toggle, "true", true, ""},
		{toggle, "On", true, ""},
		{toggle, "no", false, ""},
		{toggle, "0", false, ""},
		{toggle, "maybe", nil, "neither true nor false"},
		{toggle, "", nil, "neither true nor false"},

		{level, "INFO", slog.LevelInfo, ""},
		{level, "trace", nil, "debug, info, warn, error"},
	} {
		got, err := tt.kind.parse(tt.text)
		switch {
		case tt.want == nil && (err == nil || !strings.Contains(err.Error(), tt.say)):
			t.Errorf("%s %q: error %v, want one with %q", tt.kind.name, tt.text, err, tt.say)
		case tt.want != nil && (err != nil || got != tt.want):
			t.Errorf("%s %q: %v, %v; want %v", tt.kind.name, tt.text, got, err, tt.want)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		kind kind
		v    any
		want string
	}{
		{countKind(), 4096, "4096"},
		{countKind(), 1000, "1000"},
		{countKind(), 100_000, "100k"},
		{countKind(), 1_000_000, "1m"},
		{sizeKind(), int64(64 << 10), "64KiB"},
		{sizeKind(), 1000, "1000"},
		{sizeKind(), 0, "0"},
		{rateKind(), 50.0, "50/s"},
		{rateKind(), 0.5, "0.5/s"},
		{rateKind(), 0.0, "0"},
		{durationKind(), time.Minute, "1m"},
		{durationKind(), 2 * time.Hour, "2h"},
		{durationKind(), 90 * time.Second, "1m30s"},
		{durationKind(), 10 * time.Second, "10s"},
		{durationKind(), time.Hour + 10*time.Second, "1h0m10s"},
		{durationKind(), time.Duration(0), "0"},
		{levelKind(), slog.LevelWarn, "warn"},
	} {
		if got := tt.kind.format(tt.v); got != tt.want {
			t.Errorf("%s %v: %q, want %q", tt.kind.name, tt.v, got, tt.want)
		}
	}
}

// FuzzFormatParses holds that what is shown can be written back.
func FuzzFormatParses(f *testing.F) {
	for _, s := range []string{"0", "10k", "1.5m", "64KiB", "0.5/s", "1h0m10s", "true", "debug", "x"} {
		f.Add(s)
	}
	kinds := []kind{
		textKind(), countKind(), sizeKind(), rateKind(), durationKind(), switchKind(), levelKind(),
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, k := range kinds {
			v, err := k.parse(text)
			if err != nil {
				continue
			}
			again, err := k.parse(k.format(v))
			if err != nil || !reflect.DeepEqual(v, again) {
				t.Errorf("%s %q is %v, shown as %q, read as %v, %v", k.name, text, v, k.format(v), again, err)
			}
		}
	})
}

func TestNearest(t *testing.T) {
	keys := keysOf(Table())
	for name, want := range map[string]string{
		"max-mesage-size":   "max-message-size",
		"max_connections":   "max-connections",
		"MAX_CONNECTION":    "max-connections",
		"messgae-rate":      "message-rate",
		"log.level":         "log-level",
		"loop":              "loops",
		"port":              "",
		"completely-absent": "",
		"":                  "",
	} {
		if got := Nearest(name, keys); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
