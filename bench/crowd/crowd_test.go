package crowd

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/bench/benchtest"
	"sluice/bench/load"
	"sluice/bench/report"
	"sluice/bench/run"
)

// childMark makes the test binary a worker.
const childMark = "SLUICE_CROWD_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childMark) != "" {
		if err := Worker(context.Background(), os.Stdin, os.Stdout); err != nil {
			panic(err)
		}
		return
	}
	os.Setenv(childMark, "1") // for the workers only: this process has looked already
	goleak.VerifyTestMain(m)
}

func TestSplit(t *testing.T) {
	echo := run.Options{Scenario: run.Echo, Connections: 10, Rate: 100, PID: 7, MetricsURL: "x"}
	rooms := run.Options{Scenario: run.Fanout, Connections: 12, Rooms: 4, Rate: 8}
	for _, tt := range []struct {
		name       string
		opts       run.Options
		perProcess int
		want       []int // connections of each
	}{
		{"fits", echo, 10, []int{10}},
		{"two", echo, 9, []int{5, 5}},
		{"uneven", echo, 4, []int{3, 3, 4}},
		{"whole_rooms", rooms, 7, []int{6, 6}},
		{"a_room_each", rooms, 3, []int{3, 3, 3, 3}},
		{"a_room_too_big", rooms, 2, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parts, err := Split(tt.opts, tt.perProcess)
			if tt.want == nil {
				if err == nil || !strings.Contains(err.Error(), "ulimit -n") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || len(parts) != len(tt.want) {
				t.Fatalf("%d parts, %v", len(parts), err)
			}
			next, rate, rooms := 0, 0.0, 0
			for i, p := range parts {
				if p.Connections != tt.want[i] || p.FirstIndex != next || p.Runs != len(parts) {
					t.Errorf("part %d: %d connections from %d on, of %d runs", i, p.Connections,
						p.FirstIndex, p.Runs)
				}
				if (p.PID != 0 || p.MetricsURL != "") && i > 0 {
					t.Errorf("part %d looks at the server too", i)
				}
				next, rate, rooms = next+p.Connections, rate+p.Rate, rooms+p.Rooms
			}
			if rate < tt.opts.Rate-1e-9 || rate > tt.opts.Rate+1e-9 || rooms != tt.opts.Rooms {
				t.Errorf("all together: rate %v, %d rooms", rate, rooms)
			}
		})
	}
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Two processes together do what one would have done, and begin together.
func TestTwoProcessesAreOneRun(t *testing.T) {
	o := run.Options{
		Scenario: run.Echo, URL: benchtest.New(t, benchtest.Faults{}).URL("/echo"),
		Connections: 20, Rate: 400, Bytes: 64, Duration: 1500 * time.Millisecond,
	}
	parts, err := Split(o, 10)
	if err != nil {
		t.Fatal(err)
	}
	var points []report.Point
	results, err := Run(ctxOf(t), []string{os.Args[0]}, parts,
		func(p report.Point) { points = append(points, p) })
	if err != nil {
		t.Fatal(err)
	}
	all, err := report.Merge(results)
	if err != nil {
		t.Fatal(err)
	}
	if all.Achieved.Connections != 20 || all.Generator.Processes != 2 || len(all.Errors) > 0 {
		t.Errorf("%+v, %+v, errors %v", all.Achieved, all.Generator, all.Errors)
	}
	if n := all.Latencies["corrected"].Count; n != 600 {
		t.Errorf("%d messages were measured, want 600", n)
	}
	if len(points) == 0 || points[0].Connections != 20 {
		t.Errorf("points %+v", points)
	}
}

// A part that fails is told by its error; the other one is not held up by it.
func TestAPartThatFailsHoldsNobodyUp(t *testing.T) {
	good := run.Options{
		Scenario: run.Idle, URL: benchtest.New(t, benchtest.Faults{}).URL("/echo"),
		Connections: 2, Duration: 100 * time.Millisecond,
	}
	bad := good
	bad.URL = benchtest.New(t, benchtest.Faults{Status: 503}).URL("/echo")
	results, err := Run(ctxOf(t), []string{os.Args[0]}, []run.Options{bad, good}, nil)
	if err == nil || !strings.Contains(err.Error(), "worker 1 of 2") ||
		!strings.Contains(err.Error(), "503") {
		t.Errorf("got %v", err)
	}
	if len(results) != 2 || results[0] != nil || results[1] == nil {
		t.Fatalf("results %v", results)
	}
	if results[1].Achieved.Connections != 2 {
		t.Errorf("%+v", results[1].Achieved)
	}
}

// What was measured until an interrupt is not lost.
func TestAnInterruptLeavesAResult(t *testing.T) {
	o := run.Options{
		Scenario: run.Echo, URL: benchtest.New(t, benchtest.Faults{}).URL("/echo"),
		Connections: 2, Rate: 100, Bytes: 10, Duration: time.Hour,
	}
	ctx, cancel := context.WithCancel(ctxOf(t))
	parts, err := Split(o, 1)
	if err != nil {
		t.Fatal(err)
	}
	results, err := Run(ctx, []string{os.Args[0]}, parts, func(report.Point) { cancel() })
	if err == nil || len(results) != 2 || results[0] == nil || results[1] == nil {
		t.Fatalf("%v, %v", results, err)
	}
	if n := results[0].Achieved.Received; n == 0 {
		t.Error("nothing was measured")
	}
}

const profile = `
url: ws://127.0.0.1:1/
duration: 2s
parts:
  - {name: lurkers, scenario: idle, path: "/a", connections: 1k, churn: 20/s}
  - {name: chat, scenario: fanout, path: "/b?room={room}", connections: 300, rooms: 2, rate: 5/s, size: 1KiB}
`

func TestProfile(t *testing.T) {
	p, err := ReadProfile(strings.NewReader(profile))
	if err != nil {
		t.Fatal(err)
	}
	parts := p.Options()
	lurkers, chat := parts[0], parts[1]
	if lurkers.Connections != 1000 || lurkers.Churn != 20 || lurkers.Duration != 2*time.Second ||
		lurkers.URL != "ws://127.0.0.1:1/a" {
		t.Errorf("%+v", lurkers)
	}
	// The rooms of a part are counted from a multiple of their size.
	if chat.Bytes != 1024 || chat.FirstIndex != 1050 || chat.Rate != 5 {
		t.Errorf("%+v", chat)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"unknown_key", "parts: [{name: a, size_: 3}]", "size_"},
		{"no_parts", "url: ws://x", "no parts"},
		{"no_name", "parts: [{scenario: idle}]", "name of its own"},
		{"same_name", "parts: [{name: a}, {name: a}]", "name of its own"},
		{"dotted_name", "parts: [{name: a.b}]", "dot"},
		{"storm", "parts: [{name: a, scenario: storm}]", "churn"},
		{"bad_unit", "parts: [{name: a, connections: many}]", "many"},
		{"not_yaml", ":::", "profile"},
	} {
		if _, err := ReadProfile(strings.NewReader(tt.text)); err == nil ||
			!strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestMergeOfAProfileNamesItsParts(t *testing.T) {
	p, err := ReadProfile(strings.NewReader(profile))
	if err != nil {
		t.Fatal(err)
	}
	l := func() map[string]*report.Latency {
		h := load.NewHistogram()
		h.RecordValue(100)
		return map[string]*report.Latency{"corrected": report.NewLatency(h)}
	}
	all, err := p.Merge([]*report.Result{nil, {Scenario: "fanout", Latencies: l()}})
	if err != nil {
		t.Fatal(err)
	}
	if all.Scenario != "soak" || all.Latencies["chat"] == nil || all.Latencies["corrected"] == nil {
		t.Errorf("%s, %v", all.Scenario, all.Latencies)
	}
}
