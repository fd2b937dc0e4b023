package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sluice/bench/load"
	"sluice/bench/proc"
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

// settledAfter is after how many tenths of a second without an arrival nothing more is expected.
const settledAfter = 3

// Observer is told how a run gets on. Its functions are called one at a time; nil is for nobody.
type Observer struct {
	// Point gets the figures of every second.
	Point func(report.Point)
	// Connected is called whenever the connections of a step are there and the run would go on,
	// which it does when this returns: several runs begin together that way.
	Connected func(context.Context) error
}

// Run connects, plays and measures. When ctx ends early, the result covers what there was, together
// with ctx's error. Connections that fail are errors of the result, not of Run, unless all of them
// fail.
func Run(ctx context.Context, opts Options, seen Observer) (*report.Result, error) {
	if err := opts.Check(); err != nil {
		return nil, err
	}
	cfg, err := opts.swarm()
	if err != nil {
		return nil, err
	}
	if seen.Point == nil {
		seen.Point = func(report.Point) {}
	}
	if seen.Connected == nil {
		seen.Connected = func(context.Context) error { return nil }
	}
	r := &runner{opts: opts, seen: seen}
	if r.script, err = newScript(&opts); err != nil {
		return nil, err
	}
	cfg.Script = watched{r.script, &r.errors}
	if r.swarm, err = load.NewSwarm(cfg); err != nil {
		return nil, err
	}
	r.begin()
	if storm, ok := r.script.(*storm); ok {
		err = r.weather(ctx, storm)
	} else {
		err = r.play(ctx)
	}
	err = errors.Join(err, r.swarm.Close())
	if r.result == nil {
		return nil, err
	}
	r.distributions()
	return r.result, err
}

// swarm configures the clients, but for their script.
func (o *Options) swarm() (cfg load.Config, err error) {
	cfg = load.Config{
		Loops: o.Loops, Dialers: o.Dialers, Rate: o.ConnectRate, FirstIndex: o.FirstIndex,
	}
	if o.ReceiveBuffer > 0 {
		cfg.ReceiveBuffer = func(i int) int {
			if o.slowReceiver(i) {
				return o.ReceiveBuffer
			}
			return 0
		}
	}
	if cfg.Target, err = load.ParseTarget(o.URL, o.roomSize()); err != nil {
		return cfg, err
	}
	return cfg, o.Connect.configure(&cfg)
}

func newScript(opts *Options) (script, error) {
	switch opts.Scenario {
	case Echo:
		return newEcho(opts)
	case Fanout, Slow:
		return newFanout(opts)
	case Storm:
		return newStorm(opts), nil
	}
	return newIdle(opts), nil
}

// runner is a run under way.
type runner struct {
	opts   Options
	seen   Observer
	script script
	swarm  *load.Swarm
	server *meter
	self   *meter
	window Window
	result *report.Result
	errors errorCounts
}

// begin prepares the result and what measures.
func (r *runner) begin() {
	r.result = &report.Result{
		Schema: report.SchemaVersion, Scenario: r.opts.Scenario, Target: publicURL(r.opts.URL),
		Started: time.Now().UTC(), Latencies: map[string]*report.Latency{},
		Plan: report.Plan{
			Connections: r.opts.Connections, Rate: r.opts.Rate, InFlight: r.opts.InFlight,
			Bytes: r.opts.Bytes, OpenLoop: r.opts.Rate > 0,
		},
	}
	r.server = newMeter(r.opts.PID, r.opts.MetricsURL)
	r.self = newSelfMeter()
}

// play connects and runs the scenario.
func (r *runner) play(ctx context.Context) error {
	slope, err := r.connect(ctx)
	if r.swarm.Open() == 0 || ctx.Err() != nil {
		r.result = nil
		return err
	}
	if err != nil {
		r.result.Notes = append(r.result.Notes, err.Error())
	}
	if err := r.seen.Connected(ctx); err != nil {
		r.result = nil
		return err
	}
	begin := now()
	r.window = Window{begin + r.opts.Warmup, begin + r.opts.Warmup + r.opts.Duration}
	playing, stop := context.WithCancel(ctx)
	defer stop()
	var players sync.WaitGroup
	players.Go(func() { r.script.run(playing, r.swarm, r.window) })
	if r.opts.Churn > 0 {
		players.Go(func() { r.churn(playing) })
	}
	before, after, err := r.watch(ctx, nil)
	stop()
	players.Wait()
	r.settle(ctx)
	if e, ok := r.script.(*echo); ok && e.opts.Rate > 0 {
		r.unsent(e)
	}
	if f, ok := r.script.(*fanout); ok && r.opts.Scenario == Slow {
		f.wakeSlow(r.swarm)
		_ = sleep(ctx, grace/2) // they have a lot to read before they see their end
		r.result.Notes = append(r.result.Notes, f.slowNote())
	}
	r.summarise(before, after, slope)
	return err
}

// unsent counts what the generator owes.
func (r *runner) unsent(e *echo) {
	owed, at := make([]uint64, r.swarm.Lanes()), now()
	r.swarm.OnLanes(func(i int) { owed[i] = e.lanes[i].unsent(at) })
	n := uint64(0)
	for _, o := range owed {
		n += o
	}
	if n > 0 {
		r.result.Notes = append(r.result.Notes, fmt.Sprintf(
			"%d planned messages were never sent; they count as late as the end", n))
	}
}

// connect opens the connections, in a few steps if the memory of the server is to be measured.
func (r *runner) connect(ctx context.Context) (slope float64, err error) {
	if r.opts.Scenario != Idle || !r.opts.Slope {
		return 0, r.swarm.Connect(ctx, r.opts.Connections)
	}
	var xs, ys []float64
	for _, part := range []int{15, 5, 3, 1} {
		n := r.opts.Connections/part - r.swarm.Open()
		if err := r.swarm.Connect(ctx, n); err != nil {
			return 0, err
		}
		if err := r.seen.Connected(ctx); err != nil {
			return 0, err
		}
		if err := sleep(ctx, grace); err != nil {
			return 0, err
		}
		if r.server == nil {
			continue
		}
		use, err := r.server.read(ctx)
		if err != nil {
			return 0, err
		}
		// The other runs of a crowd have got just as far.
		open := r.swarm.Open() * r.opts.Runs
		xs, ys = append(xs, float64(open)), append(ys, float64(use.rss))
	}
	if len(xs) == 0 {
		return 0, nil
	}
	return proc.Slope(xs, ys), nil
}

// churn cuts connections, and opens others for them, until ctx ends.
func (r *runner) churn(ctx context.Context) {
	const step = 100 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	due := 0.0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		due += r.opts.Churn * step.Seconds()
		n := int(due)
		due -= float64(n)
		r.swarm.Cut(n, func(c *load.Client) bool {
			_, publishes := c.Data.(*publisher)
			return !publishes
		})
		_ = r.swarm.Connect(ctx, r.opts.Connections-r.swarm.Open()) // failures are counted there
	}
}

// watch tells the figures of every second until the measured phase is over, or over is closed, and
// returns what was used and counted at its ends.
func (r *runner) watch(ctx context.Context, over <-chan struct{}) (
	before, after snapshot, err error) {
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
		case <-over:
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
		Sent: d.sent, Received: d.received, Errors: d.lost + d.broken + to.errors - from.errors,
	}
	if to.second.TotalCount() > 0 {
		p.P50 = float64(to.second.ValueAtQuantile(50))
		p.P99 = float64(to.second.ValueAtQuantile(99))
		p.Max = float64(to.second.Max())
	}
	r.result.Series = append(r.result.Series, p)
	r.seen.Point(p)
}

// settle waits for what is still on its way.
func (r *runner) settle(ctx context.Context) {
	last, still := r.counts().received, 0
	for range int(grace / (100 * time.Millisecond)) {
		if sleep(ctx, 100*time.Millisecond) != nil {
			return
		}
		n := r.counts().received
		if still++; n != last {
			last, still = n, 0
		}
		if still == settledAfter {
			return
		}
	}
}

// snapshot is what was counted and used until a moment.
type snapshot struct {
	at     time.Duration
	counts counts
	errors uint64 // of connections
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
	for _, n := range r.allErrors() {
		s.errors += n
	}
	if r.server != nil {
		s.server, _ = r.server.read(ctx) // a server that has died shows in the errors
	}
	s.self, _ = r.self.read(ctx)
	return s
}

// allErrors are those of connections, open or not, by class.
func (r *runner) allErrors() map[string]uint64 {
	all := r.swarm.Failures()
	for class, n := range r.errors.all() {
		all[class] += n
	}
	return all
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
		res.Delivery = f.delivery(all)
	}
	res.Errors = r.allErrors()
	if all.broken > 0 {
		res.Errors["contents: not what was sent"] = all.broken
	}
	res.Generator = r.self.generator(before.self, after.self, took, r.opts.Loops)
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
	phases := r.swarm.Phases()
	r.latency("connect", phases.Connect)
	r.latency("tls", phases.TLS)
	r.latency("upgrade", phases.Upgrade)
	if s, ok := r.script.(*storm); ok {
		r.latency("first", phases.First)
		r.latency("open", s.opened)
		r.latency("back", s.back)
	}
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

// publicURL leaves out what may be a secret: the query, and who the user is.
func publicURL(raw string) string {
	raw, _, _ = strings.Cut(raw, "?")
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return ""
	}
	host, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	return scheme + "://" + host + "/" + path
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
