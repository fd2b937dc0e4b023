package figures

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"sluice/bench/child"
	"sluice/bench/load"
	"sluice/bench/proc"
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
	run              func(context.Context, *child.Child, Scale) (sample, error)
}

const (
	// warm is how long a load runs before it counts.
	warm = 500 * time.Millisecond
	// quiet is how long nothing may arrive before what is missing counts as lost.
	quiet = 500 * time.Millisecond
	// encryptedMax bounds the connections of the idle measurement that are encrypted: each takes
	// three descriptors of the generator.
	encryptedMax = 5000
)

func measurements() []measurement {
	return []measurement{
		{"idle", "B/conn", "RSS per idle connection in rooms of 100", true, measureIdle},
		{"echo", "us/msg", "echo of 128 B, 500 connections, 1 in flight", true,
			echo(500, 128, 1)},
		{"paced", "us/msg", "echo of 128 B, 500 connections, 20,000 a second", true,
			paced(500, 128, 20_000)},
		{"pipelined", "us/msg", "echo of 128 B, 50 connections, 32 in flight", true,
			echo(50, 128, 32)},
		{"echo16k", "us/msg", "echo of 16 KiB, 50 connections, 1 in flight", true,
			echo(50, 16<<10, 1)},
		{"fanout", "us/dlv", "128 B to 1000 receivers, 20 a second", true,
			fanout(room{receivers: 1000, size: 128, rate: 20})},
		{"flooded", "us/dlv", "128 B to 500 receivers, 1000 a second", true,
			fanout(room{receivers: 500, size: 128, rate: 1000})},
		{"saturated", "us/dlv", "128 B to 500 receivers, 64 messages on their way", true,
			fanout(room{receivers: 500, size: 128, window: 64})},
		{"plain512", "us/dlv", "512 B to 500 receivers, 100 a second", true,
			fanout(room{receivers: 500, size: 512, rate: 100})},
		{"deflate512", "us/dlv", "the same, compressed", false,
			fanout(room{receivers: 500, size: 512, rate: 100,
				extensions: "permessage-deflate; server_no_context_takeover"})},
		{"handshake", "us/conn", "handshakes as fast as they are accepted", true,
			measureHandshakes},
	}
}

// processor measures the processor time of a server over a load, per message that f counts.
func processor(ctx context.Context, c *child.Child, d time.Duration, count func() uint64) (
	sample, error) {
	if err := pause(ctx, warm); err != nil {
		return sample{}, err
	}
	n, err := count(), error(nil)
	before, err := c.CPU()
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	if err := pause(ctx, d); err != nil {
		return sample{}, err
	}
	took := time.Since(began)
	n = count() - n
	after, err := c.CPU()
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

// anybody believes any certificate: servers under measurement make their own, and no secret is
// told.
func anybody() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// swarm opens n clients on a path of the server.
func swarm(ctx context.Context, c *child.Child, path string, n int, cfg load.Config) (
	*load.Swarm, error) {
	target, err := load.ParseTarget(c.URL()+path, 100)
	if err != nil {
		return nil, err
	}
	cfg.Request = load.Request{Target: target}
	cfg.TLS = anybody()
	s, err := load.NewSwarm(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.Connect(ctx, n); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func echo(conns, size, inFlight int) func(context.Context, *child.Child, Scale) (sample, error) {
	return func(ctx context.Context, c *child.Child, scale Scale) (m sample, err error) {
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

// paced is echo at a rate. Where a client costs much, as with TLS, one that waits for its answer
// slows down, and a server that has less to do at once does it for more: only at one rate the
// costs of two servers compare.
func paced(conns, size int, rate float64) func(context.Context, *child.Child, Scale) (
	sample, error) {
	return func(ctx context.Context, c *child.Child, scale Scale) (m sample, err error) {
		e := scenario.NewEcho(1, size, 0)
		s, err := swarm(ctx, c, "/echo", conns, load.Config{Script: e})
		if err != nil {
			return m, err
		}
		ctx, stop := context.WithCancel(ctx)
		var pacer sync.WaitGroup
		pacer.Go(func() { e.Pace(ctx, s, rate) })
		m, err = processor(ctx, c, scale.Duration, func() uint64 { return e.Counts().Received })
		stop()
		pacer.Wait()
		n := e.Counts()
		err = errors.Join(err, s.Close())
		if n.Broken > 0 || n.Closed > 0 {
			return m, fmt.Errorf("%d wrong answers, %d connections lost", n.Broken, n.Closed)
		}
		return m, err
	}
}

// room is the load of a fan-out: one client publishes, the others receive.
type room struct {
	receivers, size int
	rate            float64 // messages a second
	window          uint32  // without a rate: messages on their way
	extensions      string
}

func fanout(l room) func(context.Context, *child.Child, Scale) (sample, error) {
	return func(ctx context.Context, c *child.Child, scale Scale) (m sample, err error) {
		f := scenario.NewFanout(1, l.size)
		s, err := swarm(ctx, c, "/chat/u{i}?room=bench", l.receivers+1,
			load.Config{Script: f, Extensions: l.extensions})
		if err != nil {
			return m, err
		}
		m, sent, err := publishAndMeasure(ctx, c, f, s, l, scale.Duration)
		want := sent * uint64(l.receivers)
		if err == nil {
			err = awaitArrivals(ctx, want, scale.Arrivals,
				func() uint64 { return f.Counts().Received })
		}
		if err := errors.Join(err, s.Close()); err != nil {
			return m, err
		}
		counts := f.Counts()
		m.Delivered = float64(counts.Received) / float64(want)
		m.P99 = float64(f.Latency().ValueAtQuantile(99))
		if counts.Broken+counts.Repeated > 0 {
			return m, fmt.Errorf("%d wrong and %d repeated messages",
				counts.Broken, counts.Repeated)
		}
		return m, nil
	}
}

// publishAndMeasure publishes for d, and a little longer than what is measured.
func publishAndMeasure(ctx context.Context, c *child.Child, f *scenario.Fanout, s *load.Swarm,
	l room, d time.Duration) (m sample, sent uint64, err error) {
	var failed error
	var publisher sync.WaitGroup
	publisher.Go(func() {
		if l.rate > 0 {
			sent, failed = f.Publish(ctx, s, l.rate, warm+d+warm)
		} else {
			sent, failed = f.Flood(ctx, s, l.window, warm+d+warm)
		}
	})
	m, err = processor(ctx, c, d, func() uint64 { return f.Counts().Received })
	publisher.Wait()
	return m, sent, errors.Join(err, failed)
}

// awaitArrivals waits for what is still on its way: a client that is behind loses nothing.
func awaitArrivals(ctx context.Context, want uint64, most time.Duration,
	count func() uint64) error {
	const look = 20 * time.Millisecond
	seen, since := count(), time.Now()
	for end := since.Add(most); seen < want && time.Now().Before(end); {
		if err := pause(ctx, look); err != nil {
			return err
		}
		now := count()
		if now == seen && time.Since(since) >= quiet {
			break
		}
		if now != seen {
			seen, since = now, time.Now()
		}
	}
	return nil
}

// measureIdle takes the slope of the resident memory over the number of connections.
func measureIdle(ctx context.Context, c *child.Child, scale Scale) (m sample, err error) {
	target, err := load.ParseTarget(c.URL()+"/chat/u{i}?room=r{room}", 100)
	if err != nil {
		return m, err
	}
	s, err := load.NewSwarm(load.Config{
		Request: load.Request{Target: target}, Script: new(scenario.Idle), TLS: anybody(),
	})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var xs, ys []float64
	for _, part := range []int{15, 3, 1} {
		n := scale.Connections / part
		if strings.HasPrefix(c.URL(), "wss:") {
			n = min(scale.Connections, encryptedMax) / part
		}
		if err := s.Connect(ctx, n-s.Open()); err != nil {
			return m, err
		}
		if err := pause(ctx, scale.Settle); err != nil {
			return m, err
		}
		rss, err := c.RSS()
		if err != nil {
			return m, err
		}
		xs, ys = append(xs, float64(n)), append(ys, float64(rss))
	}
	return sample{Value: proc.Slope(xs, ys), Messages: uint64(s.Open())}, nil
}

// measureHandshakes connects a crowd as fast as it can.
func measureHandshakes(ctx context.Context, c *child.Child, scale Scale) (m sample, err error) {
	s, err := swarm(ctx, c, "/echo", 10, load.Config{Script: new(scenario.Idle)})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	n := scale.Connections / 3
	before, err := c.CPU()
	if err != nil {
		return m, err
	}
	began := time.Now()
	if err := s.Connect(ctx, n); err != nil {
		return m, err
	}
	took := time.Since(began)
	after, err := c.CPU()
	return sample{
		Value:    float64(after-before) / float64(time.Microsecond) / float64(n),
		Messages: uint64(n), Rate: float64(n) / took.Seconds(),
		P99: float64(s.Handshakes().ValueAtQuantile(99)),
	}, err
}
