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
	scale := Scale{Rounds: 1, Duration: 100 * time.Millisecond, Connections: 300}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	// Resident memory of so few connections is all noise, and takes its time to settle.
	fanouts := []string{"fanout", "flooded", "saturated"}
	names := append([]string{"echo", "pipelined", "echo16k", "handshake", "deflate512"}, fanouts...)
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
			scale := Scale{Duration: 100 * time.Millisecond}
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
