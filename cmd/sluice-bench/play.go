package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sluice/bench/crowd"
	"sluice/bench/report"
	"sluice/bench/run"
)

// descriptorsReserve is what a process needs besides its connections.
const descriptorsReserve = 100

// descriptorsTLS is how many a connection of wss needs.
const descriptorsTLS = 3

// play makes a run, by as many processes as it takes, and concludes it.
func (f *scenarioFlags) play(ctx context.Context, url string, to streams) error {
	outcome, err := f.outcomeFlags.parse()
	if err != nil {
		return err
	}
	o, err := f.options(url)
	if err != nil {
		return err
	}
	parts, err := divide(o, f.processes)
	if err != nil {
		return err
	}
	announce(to.err, o, len(parts))
	live, done := f.live(to.err)
	result, err := measure(ctx, parts, live)
	done()
	if result == nil {
		return err
	}
	return outcome.conclude(result, err, to)
}

// divide makes the parts that processes play, after it has looked at the limit of open files.
func divide(o run.Options, processes int) ([]run.Options, error) {
	if err := o.Check(); err != nil {
		return nil, usageError{err}
	}
	if err := raiseDescriptors(); err != nil {
		return nil, err
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return nil, fmt.Errorf("limit of open files: %w", err)
	}
	perProcess := int(min(lim.Cur, 1<<30)) - descriptorsReserve
	if strings.HasPrefix(o.URL, "wss:") {
		perProcess /= descriptorsTLS
	}
	if processes > 0 {
		perProcess = min(perProcess, (o.Connections+processes-1)/processes)
	}
	parts, err := crowd.Split(o, perProcess)
	if err != nil {
		return nil, usageError{err}
	}
	return parts, nil
}

// measure plays the parts: one in this process, more in processes of their own.
func measure(ctx context.Context, parts []run.Options, live func(report.Point)) (
	*report.Result, error) {
	here := thisMachine()
	if len(parts) == 1 {
		r, err := run.Run(ctx, parts[0], run.Observer{Point: live})
		if r != nil {
			r.Command, r.Machine = publicCommand(os.Args), here.Machine
		}
		return r, err
	}
	results, runErr := playApart(ctx, parts, live)
	var there []*report.Result
	for _, r := range results {
		if r != nil {
			there = append(there, r)
		}
	}
	if len(there) == 0 {
		return nil, runErr
	}
	all, err := report.Merge(there)
	if err != nil {
		return nil, err
	}
	return all, runErr
}

// playApart plays each part in a process of its own.
func playApart(ctx context.Context, parts []run.Options, live func(report.Point)) (
	[]*report.Result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	results, runErr := crowd.Run(ctx, []string{self, workerName}, parts, live)
	for _, r := range results {
		if r != nil {
			r.Command, r.Machine = publicCommand(os.Args), thisMachine().Machine
		}
	}
	return results, runErr
}

const workerName = "worker"

// workerCommand is how this program starts itself for a part of a run.
func workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    workerName,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A terminal interrupts all processes; this one waits for the word of the first.
			return crowd.Worker(context.WithoutCancel(cmd.Context()), os.Stdin, os.Stdout)
		},
	}
}

// announce says what is going to happen.
func announce(w io.Writer, o run.Options, processes int) {
	loop := ""
	switch {
	case o.Rate > 0:
		loop = fmt.Sprintf(", %s/s planned ahead", thousands(o.Rate))
	case o.Scenario == run.Echo:
		loop = fmt.Sprintf(", %d in flight each", max(o.InFlight, 1))
	}
	from := ""
	if processes > 1 {
		from = fmt.Sprintf(" from %d processes", processes)
	}
	fmt.Fprintf(w, "%s: %s connections%s%s, %v\n", o.Scenario, thousands(float64(o.Connections)),
		from, loop, o.Duration)
}

// thousands writes a number the short way: 10k.
func thousands(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gm", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%gk", v/1e3)
	}
	return fmt.Sprintf("%g", v)
}
