package run

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"sluice/bench/proc"
	"sluice/bench/report"
)

// usage is what a process has used until a moment.
type usage struct {
	cpu time.Duration
	rss int64
	gcs int64 // collections of our own process
}

// meter reads the usage of a process.
type meter struct {
	source string
	read   func(context.Context) (usage, error)
}

// scrapeTimeout bounds a look at the server's metrics.
const scrapeTimeout = 2 * time.Second

// newMeter makes a meter of a server; nil if nothing is known of it.
func newMeter(pid int, metricsURL string) *meter {
	switch {
	case pid > 0:
		return &meter{"/proc", func(context.Context) (usage, error) { return procUsage(pid) }}
	case metricsURL != "":
		return &meter{"/metrics", func(ctx context.Context) (usage, error) {
			return scrape(ctx, metricsURL)
		}}
	}
	return nil
}

// newSelfMeter makes a meter of this process.
func newSelfMeter() *meter {
	return &meter{"/proc", func(context.Context) (usage, error) {
		u, err := procUsage(os.Getpid())
		var gc debug.GCStats
		debug.ReadGCStats(&gc)
		u.gcs = gc.NumGC
		return u, err
	}}
}

func procUsage(pid int) (u usage, err error) {
	if u.cpu, err = proc.CPU(pid); err != nil {
		return u, err
	}
	u.rss, err = proc.RSS(pid)
	return u, err
}

// scrape reads the process collector's families, which every Prometheus client library has.
func scrape(ctx context.Context, url string) (u usage, err error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return u, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return u, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return u, fmt.Errorf("metrics: %s", resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		switch name {
		case "process_cpu_seconds_total":
			u.cpu = time.Duration(value * float64(time.Second))
		case "process_resident_memory_bytes":
			u.rss = int64(value)
		}
	}
	return u, lines.Err()
}

// server is what a server has used between two moments.
func (m *meter) server(from, to usage, messages uint64, slope float64) *report.Server {
	cpu := (to.cpu - from.cpu).Seconds()
	s := &report.Server{CPUSeconds: cpu, RSS: to.rss, RSSPerConn: slope, Source: m.source}
	if messages > 0 {
		s.CPUPerMessage = cpu * 1e6 / float64(messages)
	}
	return s
}

// generator is what this process has used between two moments.
func (m *meter) generator(from, to usage, seconds float64, loops int) report.Generator {
	cpu := (to.cpu - from.cpu).Seconds()
	return report.Generator{
		CPUSeconds: cpu, RSS: to.rss, Processes: 1,
		CPUShare: cpu / max(seconds, 1e-9) / float64(min(loops, runtime.GOMAXPROCS(0))),
		GCPause:  longestPause(to.gcs - from.gcs),
	}
}

// longestPause is that of the last n collections, as far as the runtime remembers, in microseconds.
func longestPause(n int64) (us float64) {
	var gc debug.GCStats
	debug.ReadGCStats(&gc)
	for i, pause := range gc.Pause {
		if int64(i) == n {
			break
		}
		us = max(us, float64(pause.Microseconds()))
	}
	return us
}
