//go:build linux

package figures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/bench/benchtest"
	"sluice/bench/child"
	"sluice/bench/floor"
)

// childMark makes the test binary something else than a test.
const childMark = "SLUICE_FIGURES_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childMark) {
	case "floor":
		err := floor.Run(context.Background(), "127.0.0.1:0", 1, func(addr string) { fmt.Println("ws://" + addr) })
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case "mute":
		return
	case "absent":
		os.Exit(77)
	case "deaf":
		signal.Ignore(os.Interrupt)
		fmt.Println("ws://127.0.0.1:1")
		select {}
	}
	goleak.VerifyTestMain(m)
}

// self is this test binary in another role.
func self(role string) []string {
	return []string{"/usr/bin/env", childMark + "=" + role, os.Args[0]}
}

func TestEveryMeasurementOfTheFloor(t *testing.T) {
	servers := []Server{
		{Name: "floor", Command: self("floor"), Reference: true},
		{Name: "again", Command: self("floor")},
	}
	scale := Scale{
		Rounds: 1, Duration: 100 * time.Millisecond, Connections: 300, Arrivals: 20 * time.Second,
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	// Resident memory of so few connections is all noise, and takes its time to settle.
	fanouts := []string{"fanout", "flooded", "saturated"}
	names := append([]string{"echo", "paced", "pipelined", "echo16k", "handshake", "deflate512"}, fanouts...)
	var progress bytes.Buffer
	r, err := Run(ctx, servers, scale, names, &progress)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		samples := r.Samples["floor"][name]
		if name == "deflate512" {
			if len(samples) != 0 {
				t.Error("the floor was measured at what it cannot do")
			}
			continue
		}
		if len(samples) != 1 || samples[0].Value <= 0 || samples[0].Messages == 0 {
			t.Errorf("%s: %+v", name, samples)
		}
		if d := samples[0].Delivered; slices.Contains(fanouts, name) && d != 1 {
			t.Errorf("%s: %.3f delivered by a server that loses nothing", name, d)
		}
	}
	if lines := strings.Count(progress.String(), "\n"); lines != 2*(len(names)-1) {
		t.Errorf("%d lines of progress:\n%s", lines, &progress)
	}
}

func TestRunRefusesUnknownMeasurements(t *testing.T) {
	_, err := Run(context.Background(), nil, Scale{Rounds: 1}, []string{"ekko"}, io.Discard)
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), `"ekko"`) {
		t.Errorf("got %v", err)
	}
}

func TestChildThatSaysNothing(t *testing.T) {
	if _, err := child.Start(context.Background(), self("mute")); err == nil {
		t.Error("a mute server was started")
	}
	if _, err := child.Start(context.Background(), []string{"/nonexistent"}); err == nil {
		t.Error("a missing binary was started")
	}
}

func TestChildrenEnd(t *testing.T) {
	for _, role := range []string{"floor", "deaf"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			c, err := child.Start(context.Background(), self(role))
			if err != nil {
				t.Fatal(err)
			}
			c.Stop()
			if _, err := c.RSS(); err == nil {
				t.Error("it has memory still")
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	first := writerFunc(func(p []byte) (int, error) {
		cancel() // while the second round begins
		return len(p), nil
	})
	servers := []Server{{Name: "floor", Command: self("floor"), Reference: true}}
	scale := Scale{Rounds: 100, Duration: 100 * time.Millisecond, Connections: 300}
	if _, err := Run(ctx, servers, scale, []string{"echo"}, first); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// What a server does wrong is in the sample, or there is none. This process stands for the server.
func TestFanoutOfAFaultyServer(t *testing.T) {
	for _, tt := range []struct {
		name      string
		faults    benchtest.Faults
		delivered float64
		wrong     string
	}{
		{"honest", benchtest.Faults{}, 1, ""},
		{"drops_one_percent", benchtest.Faults{DropEvery: 100}, 0.99, ""},
		{"repeats", benchtest.Faults{RepeatEvery: 100}, 0, "repeated messages"},
		{"garbles", benchtest.Faults{Garble: true}, 0, "wrong and 0 repeated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := benchtest.New(t, tt.faults)
			c := child.Attach(os.Getpid(), "ws://"+s.Addr)
			// 1.1 s with what comes before and after: 2,200 messages.
			scale := Scale{Duration: 100 * time.Millisecond, Arrivals: time.Second}
			got, err := fanout(room{receivers: 5, size: 128, rate: 2000})(t.Context(), c, scale)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("got %v, want %q", err, tt.wrong)
				}
				return
			}
			if err != nil || got.Delivered != tt.delivered || got.P99 <= 0 {
				t.Errorf("%+v, %v; want %v delivered", got, err, tt.delivered)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	value := func(s sample) float64 { return s.Value }
	for _, tt := range []struct {
		name string
		in   []float64
		want float64
	}{
		{"none", nil, 0}, {"one", []float64{3}, 3}, {"odd", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 2, 9}, 3},
	} {
		var samples []sample
		for _, v := range tt.in {
			samples = append(samples, sample{Value: v})
		}
		if got := median(samples, value); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	r := &Result{
		Servers: []Server{{Name: "floor", Reference: true}, {Name: "epoll"}, {Name: "netpoll"}},
		Columns: []Column{{"echo", "us/msg", "an echo"}, {"deflate", "us/dlv", "compressed"}},
		Samples: map[string]map[string][]sample{
			"floor":   {"echo": {{Value: 8, Rate: 4}, {Value: 10, Rate: 5}, {Value: 99, Rate: 6}}},
			"epoll":   {"echo": {{Value: 11}}, "deflate": {{Value: 1.5, Rate: 9, Delivered: 1, P99: 1500}}},
			"netpoll": {"echo": {{Value: 123.4}}},
		},
	}
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `
                                floor            epoll          netpoll
echo        us/msg               10.0      11.0  1.10x       123 12.34x
deflate     us/dlv                  -             1.50                -

echo        an echo
              floor      5/s
deflate     compressed
              epoll      9/s, 100.0 % delivered, p99 1.5 ms
`
	if got := "\n" + b.String(); got != want {
		t.Errorf("got:%s\nwant:%s", got, want)
	}
}

// A peer that cannot be had or fails leaves a hole; anybody else ends it all.
func TestPeersMayFail(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	scale := Scale{Rounds: 2, Duration: 100 * time.Millisecond, Connections: 300}
	floor := Server{Name: "floor", Command: self("floor"), Reference: true}
	for _, tt := range []struct {
		name, role, at string
	}{
		{"unavailable", "absent", everything},
		{"fails", "mute", "echo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			peer := Server{Name: "peer", Command: self(tt.role), Peer: true}
			r, err := Run(ctx, []Server{floor, peer}, scale, []string{"echo"}, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Samples["floor"]["echo"]) != 2 || r.Failures["peer"][tt.at] == "" {
				t.Errorf("%+v, failures %v", r.Samples, r.Failures)
			}
			peer.Peer = false
			if _, err := Run(ctx, []Server{floor, peer}, scale, []string{"echo"}, io.Discard); err == nil {
				t.Error("a failure that is nobody's went by")
			}
		})
	}
}

func TestTableOfManyServers(t *testing.T) {
	r := &Result{
		Servers: []Server{{Name: "floor", Reference: true}, {Name: "epoll"}, {Name: "gws"}, {Name: "node-ws"}},
		Columns: []Column{{"idle", "B/conn", ""}, {"echo", "us/msg", ""}, {"pipelined", "us/msg", ""},
			{"echo16k", "us/msg", ""}, {"fanout", "us/dlv", ""}},
		Samples: map[string]map[string][]sample{
			"floor": {"idle": {{Value: 100}}, "echo": {{Value: 5}}, "fanout": {{Value: 5}}},
			"epoll": {"idle": {{Value: 450}}, "echo": {{Value: 5.25}}, "fanout": {{Value: 6, Delivered: 1}}},
			"gws":   {"idle": {{Value: 12345}}, "fanout": {{Value: 70.25, Delivered: 0.5}}},
		},
		Failures: map[string]map[string]string{"node-ws": {"*": "not here"}, "gws": {"echo": "reset"}},
	}
	var b strings.Builder
	if err := r.writeMatrix(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"450  4.50x", "12345 123.45x", "failed", "70.2 14.05x", "50 %"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("no %q in:\n%s", part, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > 81 {
			t.Errorf("wider than 80 columns: %q", line)
		}
	}
	var page strings.Builder
	if err := r.WriteHTML(&page, "a <machine>"); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"a &lt;machine&gt;", "12345 123.45x", "(50 % delivered)", "failed"} {
		if !strings.Contains(page.String(), part) {
			t.Errorf("the page has no %q", part)
		}
	}
	if strings.Contains(page.String(), "http://") || strings.Contains(page.String(), "https://") {
		t.Error("the page links to something outside")
	}
	if strings.Contains(b.String(), "node-ws  ") {
		t.Errorf("a server that cannot be had has a line:\n%s", b.String())
	}
}
