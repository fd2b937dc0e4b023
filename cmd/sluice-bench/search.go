package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/bench/run"
	"sluice/bench/units"
)

// searchFlags are those of a search.
type searchFlags struct {
	scenarioFlags
	scenario, over string
	from, to       units.Count
	precision      float64
}

func searchCommand() *cobra.Command {
	f := &searchFlags{from: 100, to: 1_000_000}
	c := &cobra.Command{
		Use:   "search URL",
		Short: "Find the largest rate or number of connections that keeps an assertion.",
		Example: "  sluice-bench search ws://127.0.0.1:8080/echo -c 500 --over rate " +
			"--assert 'p99<20ms'\n" +
			"  sluice-bench search ws://127.0.0.1:8080/echo --over connections " +
			"--scenario idle \\\n" +
			"    --assert 'errors==0'",
		Args: exactlyOneURL,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.search(cmd.Context(), args[0], streamsOf(cmd))
		},
	}
	f.define(c.Flags(), run.Echo)
	f.more(c.Flags())
	return c
}

func (f *searchFlags) more(flags *pflag.FlagSet) {
	roomFlags(&f.scenarioFlags, flags)
	flags.StringVar(&f.scenario, "scenario", run.Echo, "echo, fanout or idle")
	flags.StringVar(&f.over, "over", "rate", "what to look for: rate or connections")
	flags.Var(&f.from, "from", "where to begin")
	flags.Var(&f.to, "to", "where to give up")
	flags.Float64Var(&f.precision, "precision", 0.05, "when to stop, as a share of the answer")
	flags.IntVar(&f.opts.InFlight, "inflight", 64,
		"messages without an answer per connection, of echoes")
	flags.Lookup("duration").Usage = "of each trial"
	_ = flags.Set("duration", "5s") // it parses
	flags.Lookup("duration").DefValue = "5s"
}

// search tries values and says which is the largest that holds.
func (f *searchFlags) search(ctx context.Context, url string, to streams) error {
	outcome, err := f.outcomeFlags.parse()
	switch {
	case err != nil:
		return err
	case len(outcome.checks) == 0:
		return usageError{fmt.Errorf("search needs at least one --assert")}
	case f.over != "rate" && f.over != "connections":
		return usageError{fmt.Errorf("--over %q is not rate or connections", f.over)}
	case f.from < 1 || f.to < f.from || f.precision <= 0:
		return usageError{fmt.Errorf("--from, --to and --precision leave nothing to search")}
	}
	holds := func(v float64) (bool, error) {
		o, err := f.options(url)
		if err != nil {
			return false, err
		}
		o.Scenario = f.scenario
		if o.Scenario == run.Idle {
			o.Rate = 0
		}
		if f.over == "rate" {
			o.Rate = v
		} else {
			o.Connections = int(v)
		}
		return f.try(ctx, o, outcome, to)
	}
	best, err := run.Search(float64(f.from), float64(f.to), f.precision, holds)
	if err != nil {
		return err
	}
	if best == 0 {
		fmt.Fprintf(to.out, "not even %s %s hold\n", f.over, thousands(float64(f.from)))
		return exitError{exitAssertion}
	}
	fmt.Fprintf(to.out, "%s %.0f is the largest that holds, within %.0f %%\n", f.over, best,
		100*f.precision)
	return nil
}

// try makes one trial. What the generator itself cannot do does not hold either.
func (f *searchFlags) try(ctx context.Context, o run.Options, outcome *outcome, to streams) (
	bool, error) {
	parts, err := divide(o, f.processes)
	if err != nil {
		return false, err
	}
	began := time.Now()
	r, err := measure(ctx, parts, nil)
	if r == nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		fmt.Fprintf(to.err, "%-12s %10.0f  fails: %v\n", f.over, f.value(o), err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.Judge()
	r.Assert(outcome.checks)
	holds := r.Verdict() == "VALID"
	word := "holds"
	if !holds {
		word = r.Verdict()
	}
	p99 := 0.0
	if l := r.Latencies["corrected"]; l != nil {
		p99 = l.P99
	}
	fmt.Fprintf(to.err, "%-12s %10.0f  p99 %9.0f us  %6.1f s  %s\n", f.over, f.value(o), p99,
		time.Since(began).Seconds(), word)
	return holds, nil
}

func (f *searchFlags) value(o run.Options) float64 {
	if f.over == "rate" {
		return o.Rate
	}
	return float64(o.Connections)
}
