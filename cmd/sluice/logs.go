package main

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"sluice/cmd/sluice/internal/logsink"
	"sluice/gateway"
)

// logBytesMax bounds the log lines that wait for their reader.
const logBytesMax = 1 << 20

// logs is the log of a running gateway.
type logs struct {
	*slog.Logger
	level  *slog.LevelVar
	writer *logsink.Writer
}

func newLogs(to io.Writer, cfg gateway.Config) *logs {
	l := &logs{level: new(slog.LevelVar)}
	l.level.Set(cfg.LogLevel)
	// Nothing is lost before something is written, so the logger is there when this is called.
	l.writer = logsink.New(to, logBytesMax, func(lines uint64) {
		l.Warn("log lines were lost: the log is not read, or full",
			"event", "log_lost", "lines", lines)
	})
	asJSON := cfg.LogFormat == "json" || cfg.LogFormat == "auto" && !isTerminal(to)
	l.Logger = slog.New(logsink.NewHandler(l.writer, l.level, asJSON))
	return l
}

// close writes what waits, unless nobody reads it.
func (l *logs) close() { l.writer.Close(outputTimeout) }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
