package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"sluice/bench/report"
)

// outcomeFlags say what is to be made of a result.
type outcomeFlags struct {
	asserts      []string
	requireValid bool
	out          []string
	ui           string
}

func (f *outcomeFlags) define(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.asserts, "assert", nil,
		"condition, like 'p99<20ms', 'errors<1%' or 'lost==0'; repeatable")
	flags.BoolVar(&f.requireValid, "require-valid", false, "exit with 3 if the run is SUSPECT")
	flags.StringSliceVar(&f.out, "out", nil,
		"files, like json=run.json,html=run.html,csv=run.csv,hlog=run.hlog")
	flags.StringVar(&f.ui, "ui", "auto", "line of every second: auto, plain or none")
}

// outcome is what to make of a result, understood.
type outcome struct {
	checks       []report.Check
	files        map[string]string // by format
	requireValid bool
}

// parse reports what is wrong before anything is measured. latencies are the names of distributions
// that only this run has.
func (f *outcomeFlags) parse(latencies ...string) (*outcome, error) {
	o := &outcome{files: map[string]string{}, requireValid: f.requireValid}
	for _, text := range f.asserts {
		c, err := report.ParseAssertion(text, latencies...)
		if err != nil {
			return nil, usageError{err}
		}
		o.checks = append(o.checks, c)
	}
	for _, item := range f.out {
		format, path, ok := strings.Cut(item, "=")
		if _, known := writers()[format]; !ok || !known || path == "" {
			return nil, usageError{fmt.Errorf(
				"--out %q is not json=, html=, csv= or hlog= and a file", item)}
		}
		o.files[format] = path
	}
	switch f.ui {
	case "auto", "plain", "none":
		return o, nil
	}
	return nil, usageError{fmt.Errorf("--ui %q is not auto, plain or none", f.ui)}
}

func writers() map[string]func(*report.Result, io.Writer) error {
	return map[string]func(*report.Result, io.Writer) error{
		"json": (*report.Result).WriteJSON, "html": (*report.Result).WriteHTML,
		"csv": (*report.Result).WriteCSV, "hlog": (*report.Result).WriteHLog,
	}
}

// conclude judges a result, shows it, writes the files and returns an error that carries the exit
// code. runErr is what ended the run early, if anything did.
func (o *outcome) conclude(r *report.Result, runErr error, to streams) error {
	r.Judge()
	r.Assert(o.checks)
	err := r.WriteText(to.out)
	for format, path := range o.files {
		err = errors.Join(err, writeFile(path, r, writers()[format]))
	}
	if err != nil {
		return err
	}
	for _, a := range r.Assertions {
		if !a.Passed {
			return exitError{exitAssertion}
		}
	}
	switch {
	case o.requireValid && len(r.Suspicions) > 0:
		return exitError{exitInvalid}
	case errors.Is(runErr, context.Canceled):
		return exitError{exitInterrupted}
	}
	return runErr
}

func writeFile(path string, r *report.Result, write func(*report.Result, io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(r, f), f.Close())
}

// streams are where a command speaks to: the result on out, what goes on on err.
type streams struct{ out, err io.Writer }

func streamsOf(cmd *cobra.Command) streams {
	return streams{cmd.OutOrStdout(), cmd.ErrOrStderr()}
}

// live shows a line every second: over the last one on a terminal, below it elsewhere. done takes
// the last one away again.
func (f *outcomeFlags) live(w io.Writer) (show func(report.Point), done func()) {
	const clear = "\r\x1b[K"
	file, ok := w.(*os.File)
	switch {
	case f.ui == "none":
		return nil, func() {}
	case ok && f.ui == "auto" && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb":
		return func(p report.Point) { fmt.Fprint(w, clear+p.Line(true)) },
			func() { fmt.Fprint(w, clear) }
	}
	return func(p report.Point) { fmt.Fprintln(w, p.Line(false)) }, func() {}
}
