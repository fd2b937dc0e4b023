package crowd

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"sluice/bench/report"
	"sluice/bench/run"
	"sluice/bench/units"
)

// Profile is a mix of loads on one server, which go on at the same time.
type Profile struct {
	URL      string        `yaml:"url"` // the paths of the parts follow it
	Duration time.Duration `yaml:"duration"`
	Warmup   time.Duration `yaml:"warmup"`
	Parts    []Part        `yaml:"parts"`
}

// Part is one of the loads.
type Part struct {
	Name        string      `yaml:"name"`
	Scenario    string      `yaml:"scenario"` // echo, fanout, idle or slow
	Path        string      `yaml:"path"`     // may hold {i} and {room}
	Connections units.Count `yaml:"connections"`
	Churn       units.Rate  `yaml:"churn"` // connections a second that are cut and replaced
	Rate        units.Rate  `yaml:"rate"`
	InFlight    int         `yaml:"inflight"`
	Size        units.Size  `yaml:"size"`
	Rooms       int         `yaml:"rooms"`
	Publishers  int         `yaml:"publishers"`
	SlowShare   float64     `yaml:"slow-share"`
	SlowRate    units.Size  `yaml:"slow-rate"` // bytes a second
}

// durationDefault is how long a soak takes if its profile does not say.
const durationDefault = time.Minute

// ReadProfile reads a profile in YAML. Unknown keys are errors.
func ReadProfile(from io.Reader) (*Profile, error) {
	p := &Profile{Duration: durationDefault}
	d := yaml.NewDecoder(from)
	d.KnownFields(true)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if len(p.Parts) == 0 {
		return nil, errors.New("profile: there are no parts")
	}
	names := map[string]bool{}
	for _, part := range p.Parts {
		switch {
		case part.Name == "" || names[part.Name]:
			return nil, fmt.Errorf("profile: a part needs a name of its own, not %q", part.Name)
		case strings.ContainsAny(part.Name, ". "):
			return nil, fmt.Errorf("profile: the name %q has a dot or a space", part.Name)
		case part.Scenario == run.Storm:
			return nil, fmt.Errorf("profile: part %s: a storm is no part of a mix; use churn",
				part.Name)
		}
		names[part.Name] = true
	}
	return p, nil
}

// Options are the runs of the parts. Their connections have numbers of their own.
func (p *Profile) Options() []run.Options {
	parts, next := make([]run.Options, 0, len(p.Parts)), 0
	for _, part := range p.Parts {
		o := run.Options{
			Scenario: part.Scenario, URL: strings.TrimSuffix(p.URL, "/") + part.Path,
			Connections: int(part.Connections), Churn: float64(part.Churn),
			Rate: float64(part.Rate), InFlight: part.InFlight, Bytes: int(part.Size),
			Rooms: max(part.Rooms, 1), Publishers: part.Publishers,
			SlowShare: part.SlowShare, SlowRate: int(part.SlowRate),
			Duration: p.Duration, Warmup: p.Warmup,
		}
		// Rooms are counted from the first number on.
		room := max(o.Connections/o.Rooms, 1)
		o.FirstIndex = (next + room - 1) / room * room
		next = o.FirstIndex + o.Connections
		parts = append(parts, o)
	}
	return parts
}

// Merge makes one result of those of the parts, nil for one that has failed. The corrected latency
// of each part has the part's name; that of all together is corrected as ever.
func (p *Profile) Merge(results []*report.Result) (*report.Result, error) {
	named := map[string]*report.Latency{}
	var there []*report.Result
	for i, r := range results {
		if r == nil {
			continue
		}
		part := p.Parts[i]
		if l := r.Latencies["corrected"]; l != nil {
			named[part.Name] = l
		}
		r.Scenario, r.Target = "soak", p.URL
		r.Notes = append([]string{fmt.Sprintf("%s: %s, %d connections, %d received", part.Name,
			part.Scenario, r.Achieved.Connections, r.Achieved.Received)}, r.Notes...)
		there = append(there, r)
	}
	all, err := report.Merge(there)
	if err != nil {
		return nil, err
	}
	maps.Copy(all.Latencies, named)
	return all, nil
}
