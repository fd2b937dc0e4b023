package logsink

import (
	"io"
	"log/slog"
	"time"
	"unicode/utf8"
)

// valueBytesMax bounds a text in a line; part of it may have been chosen by a peer.
const valueBytesMax = 256

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// stackKey is the one attribute that may be long.
const stackKey = "stack"

// NewHandler formats lines for w: as JSON, or as text for people to read. Texts of more than 256
// bytes are cut.
func NewHandler(w io.Writer, level slog.Leveler, json bool) slog.Handler {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: tidy}
	if json {
		return slog.NewJSONHandler(w, opts)
	}
	return slog.NewTextHandler(w, opts)
}

func tidy(groups []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindTime:
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.String(a.Key, a.Value.Time().Format(timeFormat))
		}
	case slog.KindDuration:
		return slog.String(a.Key, a.Value.Duration().Round(time.Microsecond).String())
	case slog.KindString:
		if a.Key != stackKey {
			return slog.String(a.Key, cut(a.Value.String()))
		}
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			return slog.String(a.Key, cut(err.Error()))
		}
	}
	return a
}

// cut shortens a text between two characters.
func cut(s string) string {
	if len(s) <= valueBytesMax {
		return s
	}
	end := valueBytesMax
	for end > valueBytesMax-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}
