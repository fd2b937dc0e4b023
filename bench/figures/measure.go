package figures

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice/bench/load"
	"sluice/bench/scenario"
)

// sample is what one run of one measurement on one server has given.
type sample struct {
	Value     float64 `json:"value"`               // in the unit of the measurement
	Messages  uint64  `json:"messages,omitempty"`  // what it was divided by
	Rate      float64 `json:"rate,omitempty"`      // messages per second
	Delivered float64 `json:"delivered,omitempty"` // share of what should have arrived
	P99       float64 `json:"p99_us,omitempty"`    // latency in microseconds
}

// measurement is a column of the table.
type measurement struct {
	name, unit, what string
	peers            bool // also for servers that cannot compress
	run              func(context.Context, *child, Scale) (sample, error)
}

const (
	// settle is how long memory and kernels get to come to rest, warm how long a load runs before
	// it counts.
	settle = 2 * time.Second
	warm   = 500 * time.Millisecond
)

func measurements() []measurement {
	return []measurement{
		{"idle", "B/conn", "RSS per idle connection in rooms of 100", true, measureIdle},
		{"echo", "us/msg", "echo of 128 B, 500 connections, 1 in flight", true,
			echo(500, 128, 1)},
		{"pipelined", "us/msg", "echo of 128 B, 50 connections, 32 in flight", true,
			echo(50, 128, 32)},
		{"echo16k", "us/msg", "echo of 16 KiB, 50 connections, 1 in flight", true,
			echo(50, 16<<10, 1)},
		{"fanout", "us/dlv", "128 B to 1000 receivers, 20 a second", true,
			fanout(1000, 20, 128, "")},
		{"flooded", "us/dlv", "128 B to 500 receivers, 1000 a second", true,
			fanout(500, 1000, 128, "")},
		{"plain512", "us/dlv", "512 B to 500 receivers, 100 a second", true,
			fanout(500, 100, 512, "")},
		{"deflate512", "us/dlv", "the same, compressed", false,
			fanout(500, 100, 512, "permessage-deflate; server_no_context_takeover")},
		{"handshake", "us/conn", "handshakes as fast as they are accepted", true,
			measureHandshakes},
	}
}

// processor measures the processor time of a server over a load, per message that f counts.
func processor(ctx context.Context, c *child, d time.Duration, count func() uint64) (
	sample, error) {
	if err := pause(ctx, warm); err != nil {
		return sample{}, err
	}
	n, err := count(), error(nil)
	before, err := c.cpu()
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	if err := pause(ctx, d); err != nil {
		return sample{}, err
	}
	took := time.Since(began)
	n = count() - n
	after, err := c.cpu()
	if err != nil {
		return sample{}, err
	}
	if n == 0 {
		return sample{}, errors.New("no message arrived")
	}
	return sample{
		Value:    float64(after-before) / float64(time.Microsecond) / float64(n),
		Messages: n, Rate: float64(n) / took.Seconds(),
	}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// swarm opens n clients on a path of the server.
func swarm(ctx context.Context, c *child, path string, n int, cfg load.Config) (
	*load.Swarm, error) {
	target, err := load.ParseTarget(c.base+path, 100)
	if err != nil {
		return nil, err
	}
	cfg.Target = target
	s, err := load.NewSwarm(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.Connect(ctx, n); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func echo(conns, size, inFlight int) func(context.Context, *child, Scale) (sample, error) {
	return func(ctx context.Context, c *child, scale Scale) (m sample, err error) {
		e := scenario.NewEcho(1, size, inFlight)
		s, err := swarm(ctx, c, "/echo", conns, load.Config{Script: e})
		if err != nil {
			return m, err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		e.Start(s)
		m, err = processor(ctx, c, scale.Duration, func() uint64 { return e.Counts().Received })
		if n := e.Counts(); n.Broken > 0 || n.Closed > 0 {
			return m, fmt.Errorf("%d wrong answers, %d connections lost", n.Broken, n.Closed)
		}
		return m, err
	}
}

func fanout(receivers int, rate float64, size int, extensions string) func(
	context.Context, *child, Scale) (sample, error) {
	return func(ctx context.Context, c *child, scale Scale) (m sample, err error) {
		f := scenario.NewFanout(1, size)
		s, err := swarm(ctx, c, "/chat/u{i}?room=bench", receivers+1,
			load.Config{Script: f, Extensions: extensions})
		if err != nil {
			return m, err
		}
		counts, sent, m, err := publishAndMeasure(ctx, c, f, s, rate, scale.Duration)
		if err := errors.Join(err, s.Close()); err != nil {
			return m, err
		}
		m.Delivered = float64(counts.Received) / float64(sent*uint64(receivers))
		m.P99 = float64(f.Latency().ValueAtQuantile(99))
		if counts.Broken+counts.Repeated > 0 {
			return m, fmt.Errorf("%d wrong and %d repeated messages",
				counts.Broken, counts.Repeated)
		}
		return m, nil
	}
}

// publishAndMeasure publishes for d, and a little longer than what is measured.
func publishAndMeasure(ctx context.Context, c *child, f *scenario.Fanout, s *load.Swarm,
	rate float64, d time.Duration) (counts scenario.Counts, sent uint64, m sample, err error) {
	type result struct {
		sent uint64
		err  error
	}
	done := make(chan result, 1)
	go func() {
		sent, err := f.Publish(ctx, s, rate, warm+d+warm)
		done <- result{sent, err}
	}()
	m, err = processor(ctx, c, d, func() uint64 { return f.Counts().Received })
	r := <-done
	if err = errors.Join(err, r.err); err == nil {
		err = pause(ctx, warm) // for what is still on its way
	}
	return f.Counts(), r.sent, m, err
}

// measureIdle takes the slope of the resident memory over the number of connections.
func measureIdle(ctx context.Context, c *child, scale Scale) (m sample, err error) {
	target, err := load.ParseTarget(c.base+"/chat/u{i}?room=r{room}", 100)
	if err != nil {
		return m, err
	}
	s, err := load.NewSwarm(load.Config{Target: target, Script: new(scenario.Idle)})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var xs, ys []float64
	for _, part := range []int{15, 5, 3, 1} {
		n := scale.Connections / part
		if err := s.Connect(ctx, n-s.Open()); err != nil {
			return m, err
		}
		if err := pause(ctx, settle); err != nil {
			return m, err
		}
		rss, err := c.rss()
		if err != nil {
			return m, err
		}
		xs, ys = append(xs, float64(n)), append(ys, float64(rss))
	}
	return sample{Value: slope(xs, ys), Messages: uint64(s.Open())}, nil
}

// slope is the least squares fit of a line.
func slope(xs, ys []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i, x := range xs {
		sx, sy, sxx, sxy = sx+x, sy+ys[i], sxx+x*x, sxy+x*ys[i]
	}
	n := float64(len(xs))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// measureHandshakes connects a crowd as fast as it can.
func measureHandshakes(ctx context.Context, c *child, scale Scale) (m sample, err error) {
	s, err := swarm(ctx, c, "/echo", 10, load.Config{Script: new(scenario.Idle)})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	n := scale.Connections / 3
	before, err := c.cpu()
	if err != nil {
		return m, err
	}
	began := time.Now()
	if err := s.Connect(ctx, n); err != nil {
		return m, err
	}
	took := time.Since(began)
	after, err := c.cpu()
	return sample{
		Value:    float64(after-before) / float64(time.Microsecond) / float64(n),
		Messages: uint64(n), Rate: float64(n) / took.Seconds(),
		P99: float64(s.Handshakes().ValueAtQuantile(99)),
	}, err
}
