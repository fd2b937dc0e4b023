// Command sluice is a WebSocket edge gateway.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"sluice/cmd/sluice/internal/logsink"
	"sluice/cmd/sluice/internal/settings"
)

// The exit codes.
const (
	exitOK    = 0
	exitRun   = 1 // it could not do what was asked
	exitUsage = 2 // what was asked is wrong: command, flags or configuration
)

const (
	// outputBytesMax and outputTimeout bound what is said to a terminal or pipe that nobody reads.
	outputBytesMax = 1 << 20
	outputTimeout  = time.Second
)

func main() {
	a := &app{stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), root: "/"}
	os.Exit(a.execute(os.Args[1:]))
}

// app is the command line with the world that it acts on.
type app struct {
	stdout, stderr io.Writer
	environ        []string
	root           string // where /proc and /sys are
}

// failure is an error with the exit code that it ends in.
type failure struct {
	code int
	err  error // nil if everything has been said
}

func (f *failure) Error() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// usage makes an error of somebody who wrote something wrong.
func usage(format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...)}
}

// execute runs a command line and returns the exit code.
func (a *app) execute(args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	code := exitRun
	if f := (*failure)(nil); errors.As(err, &f) {
		code = f.code
	}
	if text := report(err); text != "" {
		say(a.stderr, text)
	}
	return code
}

// report is what people read about an error: a line, or a list if there are several.
func report(err error) string {
	if f := (*failure)(nil); errors.As(err, &f) {
		err = f.err
	}
	switch list := settings.List(err); len(list) {
	case 0:
		return ""
	case 1:
		return "sluice: " + list[0].Error() + "\n"
	default:
		var b strings.Builder
		fmt.Fprintf(&b, "sluice: %d things are wrong in the configuration:\n", len(list))
		for _, e := range list {
			b.WriteString("  " + e.Error() + "\n")
		}
		return b.String()
	}
}

// say writes a text, but gives up on who does not read it.
func say(to io.Writer, text string) {
	w := logsink.New(to, outputBytesMax, nil)
	io.WriteString(w, text) // never fails
	w.Close(outputTimeout)
}
