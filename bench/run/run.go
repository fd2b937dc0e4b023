package run

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sluice/bench/load"
	"sluice/bench/report"
)

// script is what the clients of a run do.
type script interface {
	load.Script
	// run plays until ctx ends. It initialises the tallies.
	run(ctx context.Context, s *load.Swarm, w Window)
	tally(lane int) *tally
}

// grace is how long answers may still arrive when nothing more is sent.
const grace = 2 * time.Second

// Run connects, plays and measures. points gets the figures of every second, on a goroutine of the
// run; nil for nobody. When ctx ends early, the result covers what there was, together with ctx's
// error. Connections that fail are errors of the result, not of Run, unless all of them fail.
func Run(ctx context.Context, opts Options, points func(report.Point)) (*report.Result, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	target, err := load.ParseTarget(opts.URL, opts.roomSize())
	if err != nil {
		return nil, err
	}
	if points == nil {
		points = func(report.Point) {}
	}
	r := &runner{opts: opts, points: points, script: newScript(&opts)}
	r.swarm, err = load.NewSwarm(load.Config{
		Target: target, Script: watched{r.script, &r.errors},
		Loops: opts.Loops, Dialers: opts.Dialers,
	})
	if err != nil {
		return nil, err
	}
	played := r.play(ctx)
	err = errors.Join(played, r.swarm.Close())
	if r.result == nil {
		return nil, err
	}
	r.distributions()
	return r.result, err
}

func newScript(opts *Options) script {
	switch opts.Scenario {
	case Echo:
		return newEcho(opts)
	case Fanout, Slow:
		return newFanout(opts)
	}
	return newIdle(opts)
}

// runner is a run under way.
type runner struct {
	opts   Options
	points func(report.Point)
	script script
	swarm  *load.Swarm
	server *meter
	self   *meter
	window Window
	result *report.Result
	errors errorCounts
}

// play connects and runs the scenario.
func (r *runner) play(ctx context.Context) error {
	res := &report.Result{
		Schema: report.SchemaVersion, Scenario: r.opts.Scenario, Target: publicURL(r.opts.URL),
		Started: time.Now().UTC(), Latencies: map[string]*report.Latency{},
		Plan: report.Plan{
			Connections: r.opts.Connections, Rate: r.opts.Rate, InFlight: r.opts.InFlight,
			Bytes: r.opts.Bytes, OpenLoop: r.opts.Rate > 0,
		},
	}
	slope, err := r.connect(ctx)
	if r.swarm.Open() == 0 {
		return err
	}
	if err != nil {
		r.errors.add("connect: failed", uint64(r.opts.Connections-r.swarm.Open()))
		res.Notes = append(res.Notes, err.Error())
	}
	r.result = res
	r.server = newMeter(r.opts.PID, r.opts.MetricsURL)
	r.self = newSelfMeter()

	begin := now()
	r.window = Window{begin + r.opts.Warmup, begin + r.opts.Warmup + r.opts.Duration}
	playing, stop := context.WithCancel(ctx)
	defer stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		r.script.run(playing, r.swarm, r.window)
	}()
	before, after, err := r.watch(ctx)
	stop()
	<-over
	r.settle(ctx)
	if f, ok := r.script.(*fanout); ok && r.opts.Scenario == Slow {
		f.wakeSlow(r.swarm)
		_ = sleep(ctx, grace/2) // they have a lot to read before they see their end
		res.Notes = append(res.Notes, f.slowNote())
	}
	r.summarise(before, after, slope)
	return err
}

// connect opens the connections, in a few steps if the memory of the server is to be measured.
func (r *runner) connect(ctx context.Context) (slope float64, err error) {
	meter := newMeter(r.opts.PID, r.opts.MetricsURL)
	if r.opts.Scenario != Idle || meter == nil {
		return 0, r.swarm.Connect(ctx, r.opts.Connections)
	}
	var xs, ys []float64
	for _, part := range []int{15, 5, 3, 1} {
		n := r.opts.Connections/part - r.swarm.Open()
		if err := r.swarm.Connect(ctx, n); err != nil {
			return 0, err
		}
		if err := sleep(ctx, grace); err != nil {
			return 0, err
		}
		use, err := meter.read(ctx)
		if err != nil {
			return 0, err
		}
		xs, ys = append(xs, float64(r.swarm.Open())), append(ys, float64(use.rss))
	}
	return leastSquares(xs, ys), nil
}

// watch tells the figures of every second until the measured phase is over, and returns what was
// used and counted at its ends.
func (r *runner) watch(ctx context.Context) (before, after snapshot, err error) {
	if err := sleep(ctx, r.window.From-now()); err != nil {
		return before, after, err
	}
	before = r.snapshot(ctx)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := before
	for end := time.After(r.window.To - now()); ; {
		select {
		case <-tick.C:
			next := r.snapshot(ctx)
			r.point(last, next)
			last = next
			continue
		case <-ctx.Done():
			err = ctx.Err()
		case <-end:
		}
		after = r.snapshot(ctx)
		if after.at-last.at > 100*time.Millisecond {
			r.point(last, after)
		}
		return before, after, err
	}
}

// point tells the figures between two moments.
func (r *runner) point(from, to snapshot) {
	d := to.counts.minus(from.counts)
	p := report.Point{
		At: (to.at - r.window.From).Seconds(), Connections: r.swarm.Open(),
		Sent: d.sent, Received: d.received, Errors: d.lost + d.broken,
	}
	if to.second.TotalCount() > 0 {
		p.P50 = float64(to.second.ValueAtQuantile(50))
		p.P99 = float64(to.second.ValueAtQuantile(99))
		p.Max = float64(to.second.Max())
	}
	r.result.Series = append(r.result.Series, p)
	r.points(p)
}

// settle waits for what is still on its way.
func (r *runner) settle(ctx context.Context) {
	last := r.counts().received
	for range int(grace / (100 * time.Millisecond)) {
		if sleep(ctx, 100*time.Millisecond) != nil {
			return
		}
		if n := r.counts().received; n == last {
			return
		} else {
			last = n
		}
	}
}

// snapshot is what was counted and used until a moment.
type snapshot struct {
	at     time.Duration
	counts counts
	server usage
	self   usage
	second *hdrhistogram.Histogram // of the time since the last snapshot
}

func (r *runner) snapshot(ctx context.Context) snapshot {
	s := snapshot{second: load.NewHistogram()}
	parts := make([]*hdrhistogram.Histogram, r.swarm.Lanes())
	r.swarm.OnLanes(func(i int) {
		t := r.script.tally(i)
		parts[i], t.second = t.second, load.NewHistogram()
	})
	for _, p := range parts {
		if p != nil {
			s.second.Merge(p)
		}
	}
	s.at, s.counts = now(), r.counts()
	if r.server != nil {
		s.server, _ = r.server.read(ctx) // a server that has died shows in the errors
	}
	s.self, _ = r.self.read(ctx)
	return s
}

func (r *runner) counts() (c counts) {
	for i := range r.swarm.Lanes() {
		c = c.plus(r.script.tally(i).counts())
	}
	return c
}

// summarise fills the result, but for the distributions.
func (r *runner) summarise(before, after snapshot, slope float64) {
	res := r.result
	took := (after.at - before.at).Seconds()
	d := after.counts.minus(before.counts)
	all := r.counts()
	res.Seconds = took
	res.Achieved = report.Achieved{
		Connections: r.swarm.Open(), Sent: d.sent, Received: d.received,
		Rate: float64(d.received) / max(took, 1e-9),
	}
	if f, ok := r.script.(*fanout); ok {
		receivers := uint64(f.healthy())
		res.Delivery = &report.Delivery{
			Expected: all.sent * receivers, Received: all.received, Lost: all.lost,
			Repeated: all.repeated, Reorder: all.reordered, Broken: all.broken,
		}
		// A message that nothing came after is missing without a gap.
		missing := res.Delivery.Expected - min(all.received, res.Delivery.Expected)
		res.Delivery.Lost = max(res.Delivery.Lost, missing)
	}
	if all.broken > 0 {
		r.errors.add("contents: not what was sent", all.broken)
	}
	res.Errors = r.errors.all()
	res.Generator = r.self.generator(before.self, after.self, took)
	if r.server != nil {
		res.Server = r.server.server(before.server, after.server, d.received, slope)
	}
}

// distributions fills in what belongs to the loops. The swarm is closed.
func (r *runner) distributions() {
	corrected, raw, lag := load.NewHistogram(), load.NewHistogram(), load.NewHistogram()
	for i := range r.opts.Loops {
		t := r.script.tally(i)
		if t.corrected == nil {
			continue
		}
		corrected.Merge(t.corrected)
		raw.Merge(t.raw)
		lag.Merge(t.lag)
	}
	r.latency("corrected", corrected)
	r.latency("raw", raw)
	r.latency("connect", r.swarm.Handshakes())
	if f, ok := r.script.(*fanout); ok {
		first, median, last := f.spreads()
		r.latency("spread_first", first)
		r.latency("spread_median", median)
		r.latency("spread_last", last)
	}
	if lag.TotalCount() > 0 {
		r.result.Generator.SendLag = report.NewLatency(lag)
	}
}

func (r *runner) latency(name string, h *hdrhistogram.Histogram) {
	if h.TotalCount() > 0 {
		r.result.Latencies[name] = report.NewLatency(h)
	}
}

// publicURL leaves out what may be a secret.
func publicURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leastSquares is the slope of the line through points.
func leastSquares(xs, ys []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i, x := range xs {
		sx, sy, sxx, sxy = sx+x, sy+ys[i], sxx+x*x, sxy+x*ys[i]
	}
	n := float64(len(xs))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
