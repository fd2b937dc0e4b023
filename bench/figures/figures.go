// Package figures measures servers beside each other: the same work, one server after the other, in
// several rounds, and the medians as a table with the ratio to a reference.
package figures

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sluice/bench/child"
)

// ErrUnknown says that there is no such measurement.
var ErrUnknown = errors.New("unknown measurement")

// Server is a server to be measured. Command starts it; it must say "ws://host:port", or wss, on
// its standard output and end on SIGINT.
type Server struct {
	Name      string   `json:"name"`
	Command   []string `json:"command"`
	Compress  bool     `json:"compress"`       // it knows permessage-deflate
	Reference bool     `json:"reference"`      // the others are compared with it; one of them
	Only      []string `json:"only,omitempty"` // measurements that it is for; all if empty
	// Peer marks somebody else's server: that it cannot be had, or fails, is a finding and no
	// error.
	Peer bool `json:"peer,omitempty"`
}

// Scale says how much work there is.
type Scale struct {
	Rounds      int           `json:"rounds"`
	Duration    time.Duration `json:"duration_ns"` // of one run under load
	Connections int           `json:"connections"` // of the idle measurement
	// Settle is how long memory gets to come to rest, Arrivals how long messages may still arrive
	// after the last was sent.
	Settle   time.Duration `json:"settle_ns"`
	Arrivals time.Duration `json:"arrivals_ns"`
}

// Result is what all rounds have given. Samples are by server and measurement, in the order of the
// rounds.
type Result struct {
	Scale   Scale                          `json:"scale"`
	Servers []Server                       `json:"servers"`
	Columns []Column                       `json:"measurements"`
	Samples map[string]map[string][]sample `json:"samples"`
	// Failures are those of peers, by server and measurement.
	Failures map[string]map[string]string `json:"failures,omitempty"`
}

// Column describes a measurement.
type Column struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	What string `json:"what"`
}

// Names lists the measurements.
func Names() (names []string) {
	for _, m := range measurements() {
		names = append(names, m.name)
	}
	return names
}

// Run measures, and tells progress line by line. only names the measurements, all if it is empty.
// Every run has a fresh process. Every round begins with another server, so that none always has
// the same place. A run that fails ends it all, unless it is a peer's: a table with holes compares
// nothing.
func Run(ctx context.Context, servers []Server, scale Scale, only []string, progress io.Writer) (
	*Result, error) {
	r := &Result{Scale: scale, Servers: servers, Samples: map[string]map[string][]sample{}}
	chosen := measurements()
	if len(only) > 0 {
		for _, name := range only {
			if !slices.Contains(Names(), name) {
				return nil, fmt.Errorf("%w %q; there are %v", ErrUnknown, name, Names())
			}
		}
		chosen = slices.DeleteFunc(chosen, func(m measurement) bool {
			return !slices.Contains(only, m.name)
		})
	}
	for _, m := range chosen {
		r.Columns = append(r.Columns, Column{m.name, m.unit, m.what})
	}
	for _, s := range servers {
		r.Samples[s.Name] = map[string][]sample{}
	}
	for round := range scale.Rounds {
		for _, m := range chosen {
			for i := range servers {
				s := servers[(round+i)%len(servers)]
				if !m.peers && !s.Compress || r.gaveUp(s.Name, m.name) ||
					len(s.Only) > 0 && !slices.Contains(s.Only, m.name) {
					continue
				}
				if err := r.sample(ctx, s, m, progress); err != nil {
					return nil, err
				}
			}
		}
	}
	return r, nil
}

// everything is the name under which a server is that cannot be had.
const everything = "*"

// gaveUp reports whether a peer has failed at a measurement before.
func (r *Result) gaveUp(server, measurement string) bool {
	failures := r.Failures[server]
	return failures[measurement] != "" || failures[everything] != ""
}

// sample takes a sample and keeps it.
func (r *Result) sample(ctx context.Context, s Server, m measurement, progress io.Writer) error {
	got, err := measure(ctx, s, m, r.Scale)
	n := len(r.Samples[s.Name][m.name]) + 1
	if err != nil && s.Peer && ctx.Err() == nil {
		what := m.name
		if errors.Is(err, child.ErrUnavailable) {
			what = everything
		}
		if r.Failures == nil {
			r.Failures = map[string]map[string]string{}
		}
		if r.Failures[s.Name] == nil {
			r.Failures[s.Name] = map[string]string{}
		}
		r.Failures[s.Name][what] = err.Error()
		fmt.Fprintf(progress, "round %d/%d  %-10s %-14s fails: %v\n", n, r.Scale.Rounds, m.name,
			s.Name, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", m.name, s.Name, err)
	}
	r.Samples[s.Name][m.name] = append(r.Samples[s.Name][m.name], got)
	fmt.Fprintf(progress, "round %d/%d  %-10s %-14s %8.2f %s\n", n, r.Scale.Rounds, m.name, s.Name,
		got.Value, m.unit)
	return nil
}

// measure makes one run, in a process of its own.
func measure(ctx context.Context, s Server, m measurement, scale Scale) (sample, error) {
	c, err := child.Start(ctx, s.Command)
	if err != nil {
		return sample{}, err
	}
	defer c.Stop()
	return m.run(ctx, c, scale)
}

// median of the values that f takes from samples; 0 if there are none.
func median(samples []sample, f func(sample) float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = f(s)
	}
	slices.Sort(values)
	mid := len(values) / 2
	if len(values)%2 == 1 {
		return values[mid]
	}
	return (values[mid-1] + values[mid]) / 2
}
