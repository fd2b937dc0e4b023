package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sluice/bench/report"
)

func compareCommand() *cobra.Command {
	var failOn []string
	c := &cobra.Command{
		Use:     "compare BASE.json OTHER.json",
		Short:   "Put two results side by side, and fail on what got worse.",
		Example: "  sluice-bench compare old.json new.json --fail-on 'p99>+5%'",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var regressions []report.Regression
			for _, text := range failOn {
				r, err := report.ParseRegression(text)
				if err != nil {
					return usageError{err}
				}
				regressions = append(regressions, r)
			}
			results, err := readResults(args)
			if err != nil {
				return err
			}
			c := report.Compare(results[0], results[1])
			if err := c.WriteText(cmd.OutOrStdout()); err != nil {
				return err
			}
			failed := c.Failed(regressions)
			for _, f := range failed {
				fmt.Fprintln(cmd.OutOrStdout(), "FAILED:", f)
			}
			if len(failed) > 0 {
				return exitError{exitAssertion}
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&failOn, "fail-on", nil,
		"change that is not to happen, like 'p99>+5%' or 'rate<-10%'; repeatable")
	return c
}

func mergeCommand() *cobra.Command {
	f := &outcomeFlags{}
	c := &cobra.Command{
		Use:     "merge RESULT.json...",
		Short:   "Make one result of several generators that loaded a server together.",
		Example: "  sluice-bench merge a.json b.json --out html=all.html --assert 'p99<20ms'",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			outcome, err := f.parse()
			if err != nil {
				return err
			}
			results, err := readResults(args)
			if err != nil {
				return err
			}
			all, err := report.Merge(results)
			if err != nil {
				return err
			}
			return outcome.conclude(all, nil, streamsOf(cmd))
		},
	}
	f.define(c.Flags())
	c.Flags().MarkHidden("ui") // there is nothing to watch
	return c
}

func readResults(paths []string) (results []*report.Result, err error) {
	for _, path := range paths {
		r, err := readResult(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		results = append(results, r)
	}
	return results, nil
}

func readResult(path string) (*report.Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return report.ReadJSON(f)
}
