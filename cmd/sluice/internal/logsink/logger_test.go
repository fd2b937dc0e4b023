package logsink

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestI02_hostile_values: whatever a peer sends, a line stays one line of valid JSON.
func TestI02_hostile_values(t *testing.T) {
	for name, hostile := range map[string]string{
		"newline": "a\n{\"level\":\"ERROR\"}", "escape": "\x1b[31mred", "nul": "a\x00b",
		"invalid_utf8": "\xff\xfe", "quote": `","x":"y`, "long": strings.Repeat("é", 1<<20),
		"long_invalid": strings.Repeat("\x80", 1<<10),
	} {
		for _, asJSON := range []bool{true, false} {
			var out bytes.Buffer
			log := slog.New(NewHandler(&out, slog.LevelInfo, asJSON))
			log.Info("refused", "user", hostile, "error", errors.New(hostile))
			line := strings.TrimSuffix(out.String(), "\n")
			if strings.ContainsAny(line, "\n\x1b\x00") || len(line) > 4<<10 {
				t.Errorf("%s: %d bytes: %.300q", name, len(line), line)
			}
			if asJSON && !json.Valid([]byte(line)) {
				t.Errorf("%s: no valid JSON: %.300q", name, line)
			}
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int // bytes kept
	}{
		{strings.Repeat("x", 256), 256},
		{strings.Repeat("x", 257), 256},
		{strings.Repeat("x", 255) + "é", 255},
		{strings.Repeat("x", 254) + "é", 256},
		{strings.Repeat("x", 253) + "😀", 253},
	} {
		got := cut(tt.in)
		kept := strings.TrimSuffix(got, "...")
		if len(kept) != tt.want || !utf8.ValidString(got) {
			t.Errorf("%d bytes are cut to %d, want %d", len(tt.in), len(kept), tt.want)
		}
	}
}

func TestFormats(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := slog.New(NewHandler(&out, level, true))
	log.Debug("hidden")
	level.Set(slog.LevelDebug)
	log.Debug("shown", "took", 1500*time.Microsecond, "stack", strings.Repeat("s", 1000))
	var line struct {
		Time              time.Time
		Msg, Level, Stack string
		Took              string
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if line.Msg != "shown" || line.Level != "DEBUG" || line.Took != "1.5ms" ||
		len(line.Stack) != 1000 {
		t.Errorf("got %+v", line)
	}
	if line.Time.Nanosecond()%int(time.Millisecond) != 0 {
		t.Errorf("the time %v is finer than a millisecond", line.Time)
	}
}
