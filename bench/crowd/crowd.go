// Package crowd lets several processes play together: a run that needs more descriptors than a
// process may have, and a mix of different loads on one server. Their figures become one result.
package crowd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"

	"sluice/bench/load"
	"sluice/bench/report"
	"sluice/bench/run"
)

// message is a line that a worker writes.
type message struct {
	Connected bool           `json:"connected,omitempty"` // it waits for a line to go on
	Point     *report.Point  `json:"point,omitempty"`
	Result    *report.Result `json:"result,omitempty"` // the end, if any
	Error     string         `json:"error,omitempty"`  // what the result does not say
}

// Split divides a run into equal ones of at most perProcess connections each. Rooms stay whole. It
// fails if that cannot be.
func Split(o run.Options, perProcess int) ([]run.Options, error) {
	unit := 1
	if o.Scenario == run.Fanout || o.Scenario == run.Slow {
		unit = o.Connections / max(o.Rooms, 1)
	}
	if unit < 1 || perProcess < unit {
		return nil, fmt.Errorf("a room of %d connections does not fit into a process with "+
			"room for %d; "+
			"raise ulimit -n, or ask for more rooms", unit, perProcess)
	}
	units := o.Connections / unit
	n := (units + perProcess/unit - 1) / (perProcess / unit)
	parts := make([]run.Options, 0, n)
	for i := range n {
		from, to := units*i/n, units*(i+1)/n
		p := o
		share := float64(to-from) / float64(units)
		p.Connections, p.FirstIndex = (to-from)*unit, o.FirstIndex+from*unit
		p.Rate, p.ConnectRate, p.Churn = o.Rate*share, o.ConnectRate*share, o.Churn*share
		p.Dialers = (max(o.Dialers, load.DialersDefault) + n - 1) / n
		p.Runs = n
		if unit > 1 {
			p.Rooms = to - from
		}
		if i > 0 {
			p.PID, p.MetricsURL = 0, "" // one of them looks at the server
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// Run starts a worker for each part, which begin to play together once all have connected, and
// returns their results in the order of the parts, nil for one that has failed. command starts a
// process that calls Worker. point gets the sums of every second; nil for nobody. When ctx ends
// early, the results cover what there was, together with ctx's error.
func Run(ctx context.Context, command []string, parts []run.Options, point func(report.Point)) (
	[]*report.Result, error) {
	c := &crowd{seconds: seconds{parts: len(parts), tell: point}, gate: newGate(len(parts))}
	results, errs := make([]*report.Result, len(parts)), make([]error, len(parts)+1)
	var workers sync.WaitGroup
	for i, p := range parts {
		workers.Go(func() {
			defer c.gate.leave()
			if results[i], errs[i] = c.work(ctx, command, p); errs[i] != nil {
				errs[i] = fmt.Errorf("worker %d of %d: %w", i+1, len(parts), errs[i])
			}
		})
	}
	workers.Wait()
	errs[len(parts)] = ctx.Err()
	return results, errors.Join(errs...)
}

type crowd struct {
	seconds seconds
	gate    *gate
}

// work plays a part in a process of its own.
func (c *crowd) work(ctx context.Context, command []string, o run.Options) (
	*report.Result, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// It ends when nobody speaks to it any more.
	stop := context.AfterFunc(ctx, func() { in.Close() })
	result, err := c.talk(ctx, in, out, o)
	stop()
	in.Close()
	return result, errors.Join(err, cmd.Wait())
}

func (c *crowd) talk(ctx context.Context, in io.Writer, out io.Reader, o run.Options) (
	*report.Result, error) {
	if err := json.NewEncoder(in).Encode(o); err != nil {
		return nil, err
	}
	from := json.NewDecoder(bufio.NewReader(out))
	for {
		var m message
		if err := from.Decode(&m); err != nil {
			return nil, fmt.Errorf("it died: %w", err)
		}
		switch {
		case m.Connected:
			if c.gate.pass(ctx) {
				fmt.Fprintln(in) // if it is gone, Decode tells
			}
		case m.Point != nil:
			c.seconds.add(*m.Point)
		case m.Error != "":
			return m.Result, errors.New(m.Error)
		default:
			return m.Result, nil
		}
	}
}

// seconds adds up the points of several runs, and tells each sum when it is complete.
type seconds struct {
	parts int
	tell  func(report.Point)

	mu      sync.Mutex
	waiting map[int][]report.Point // by second
}

func (s *seconds) add(p report.Point) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = map[int][]report.Point{}
	}
	at := int(p.At + 0.5)
	s.waiting[at] = append(s.waiting[at], p)
	if len(s.waiting[at]) == s.parts && s.tell != nil {
		s.tell(report.Sum(s.waiting[at]))
		delete(s.waiting, at)
	}
}
