package report

import "fmt"

// Bounds beyond which a run says more about the generator than about the server.
const (
	// sendLagMax and sendLagShare bound how late messages are sent: both, at p99, must be passed.
	sendLagMax   = 2_000 // us
	sendLagShare = 0.2   // of the corrected p99
	// cpuShareMax is how busy the generator may be.
	cpuShareMax = 0.9
	// gcPauseMax bounds a pause of the collector.
	gcPauseMax = 10_000 // us
	// plannedMin is how much of an open loop's plan must have been sent, unless it was the server
	// that held it up: then the generator is less busy than busyShare.
	plannedMin = 0.95
	busyShare  = 0.5
)

// Judge fills in the suspicions: what speaks for the generator, not the server, having set the
// figures.
func (r *Result) Judge() {
	r.Suspicions = nil
	suspect := func(bad bool, format string, args ...any) {
		if bad {
			r.Suspicions = append(r.Suspicions, fmt.Sprintf(format, args...))
		}
	}
	g := r.Generator
	if lag, corrected := g.SendLag, r.Latencies["corrected"]; lag != nil && corrected != nil {
		suspect(lag.P99 > sendLagMax && lag.P99 > sendLagShare*corrected.P99,
			"messages were sent up to %s late (p99); the latencies have that in them",
			duration(lag.P99))
	}
	suspect(g.CPUShare > cpuShareMax, "it used %.0f %% of its processors", 100*g.CPUShare)
	suspect(g.GCPause > gcPauseMax, "a pause of its collector took %s", duration(g.GCPause))
	planned := r.Plan.Rate * r.Seconds // the last one may be about to be sent
	suspect(r.Plan.OpenLoop && float64(r.Achieved.Sent+1) < plannedMin*planned &&
		(g.CPUShare >= busyShare || !r.serverStalled()), "it sent %s of %s planned messages",
		number(float64(r.Achieved.Sent)), number(float64(int64(planned))))
	suspect(r.Achieved.Connections < r.Plan.Connections && len(r.Errors) == 0,
		"it held %d of %d connections", r.Achieved.Connections, r.Plan.Connections)
}

// serverStalled reports whether messages waited for answers rather than for the generator: then
// the raw latency is what holds the plan up.
func (r *Result) serverStalled() bool {
	raw := r.Latencies["raw"]
	if raw == nil || r.Plan.Connections == 0 || r.Plan.Rate == 0 {
		return false
	}
	// What all connections together can send a second if each answer takes the raw mean.
	capacity := float64(r.Plan.Connections*max(r.Plan.InFlight, 1)) / (raw.Mean / 1e6)
	return capacity < r.Plan.Rate
}
