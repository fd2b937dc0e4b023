package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sluice/bench/crowd"
)

// soakExample is a profile that the help shows.
const soakExample = `  sluice-bench soak profile.yaml -d 1h --out html=soak.html

  # profile.yaml
  url: ws://127.0.0.1:8080
  duration: 10m
  parts:
    - {name: lurkers, scenario: idle, path: "/chat/u{i}?room=r{room}", connections: 1k,
       churn: 20/s}
    - {name: chat, scenario: fanout, path: "/chat/u{i}?room=c{room}", connections: 500,
       rooms: 10, rate: 100/s, size: 256}
    - {name: echo, scenario: echo, path: /echo, connections: 100, rate: 1k/s, size: 1KiB}`

func soakCommand() *cobra.Command {
	f := &outcomeFlags{}
	var duration time.Duration
	c := &cobra.Command{
		Use:     "soak PROFILE.yaml",
		Short:   "Play a mix of loads with connections that come and go.",
		Example: soakExample,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			profile, err := readProfile(args[0])
			if err != nil {
				return usageError{err}
			}
			if duration > 0 {
				profile.Duration = duration
			}
			return f.soak(cmd.Context(), profile, streamsOf(cmd))
		},
	}
	c.Flags().DurationVarP(&duration, "duration", "d", 0, "instead of the profile's")
	f.define(c.Flags())
	return c
}

func readProfile(path string) (*crowd.Profile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return crowd.ReadProfile(f)
}

// soak plays a profile, each part in a process of its own.
func (f *outcomeFlags) soak(ctx context.Context, p *crowd.Profile, to streams) error {
	var names []string
	for _, part := range p.Parts {
		names = append(names, part.Name)
	}
	outcome, err := f.parse(names...)
	if err != nil {
		return err
	}
	parts := p.Options()
	for i, o := range parts {
		if err := o.Check(); err != nil {
			return usageError{fmt.Errorf("part %s: %w", p.Parts[i].Name, err)}
		}
	}
	if err := raiseDescriptors(); err != nil {
		return err
	}
	for _, o := range parts {
		announce(to.err, o, 1)
	}
	live, done := f.live(to.err)
	results, runErr := playApart(ctx, parts, live)
	done()
	all, err := p.Merge(results)
	if err != nil {
		return fmt.Errorf("%w: %w", err, runErr)
	}
	return outcome.conclude(all, runErr, to)
}
