//go:build linux

package run

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"

	"sluice/bench/benchtest"
	"sluice/bench/report"
)

// childMark makes the test binary an echo server.
const childMark = "SLUICE_RUN_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childMark) != "" {
		serveEchoes()
		return
	}
	goleak.VerifyTestMain(m)
}

// serveEchoes is a server that a test may stop with SIGSTOP.
func serveEchoes() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if _, err := ws.Upgrade(c); err != nil {
				return
			}
			for {
				msg, op, err := wsutil.ReadClientData(c)
				if err != nil || wsutil.WriteServerMessage(c, op, msg) != nil {
					return
				}
			}
		}()
	}
}

// echoServer starts an echo server in a process of its own.
func echoServer(t *testing.T) (pid int, url string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childMark+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, "ws://" + strings.TrimSpace(line) + "/echo"
}

func mustRun(t *testing.T, o Options, points func(report.Point)) *report.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := Run(ctx, o, Observer{Point: points})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOpenLoopKeepsItsPlan(t *testing.T) {
	pid, url := echoServer(t)
	points := 0
	r := mustRun(t, Options{
		Scenario: Echo, URL: url, Connections: 20, Rate: 1000, Bytes: 64, Verify: true,
		Duration: 2 * time.Second, PID: pid,
	}, func(report.Point) { points++ })
	if n := r.Latencies["corrected"].Count; n != 2000 {
		t.Errorf("%d messages were planned and measured, want 2000", n)
	}
	if len(r.Errors) > 0 || r.Achieved.Connections != 20 {
		t.Errorf("errors %v, %d connections", r.Errors, r.Achieved.Connections)
	}
	if points < 2 || len(r.Series) != points {
		t.Errorf("%d points told, %d in the result", points, len(r.Series))
	}
	if r.Server == nil || r.Server.CPUSeconds <= 0 || r.Generator.CPUSeconds <= 0 ||
		r.Generator.SendLag == nil {
		t.Errorf("server %+v, generator %+v", r.Server, r.Generator)
	}
}

func TestClosedLoopFillsEveryConnection(t *testing.T) {
	_, url := echoServer(t)
	r := mustRun(t, Options{
		Scenario: Echo, URL: url, Connections: 4, InFlight: 8, Bytes: 64, Verify: true,
		Duration: 500 * time.Millisecond,
	}, nil)
	if len(r.Errors) > 0 || r.Achieved.Received < 100 {
		t.Errorf("errors %v, %d received", r.Errors, r.Achieved.Received)
	}
}

// A server that stands still for a second holds up what is planned meanwhile. Who only measures
// from sending to receiving does not see most of that.
func TestCorrectedLatencyShowsAStall(t *testing.T) {
	pid, url := echoServer(t)
	stalled := false
	r := mustRun(t, Options{
		Scenario: Echo, URL: url, Connections: 5, Rate: 1000, Bytes: 64, Duration: 6 * time.Second,
	}, func(p report.Point) {
		if !stalled && p.At > 1.5 {
			stalled = true
			syscall.Kill(pid, syscall.SIGSTOP)
			time.AfterFunc(time.Second, func() { syscall.Kill(pid, syscall.SIGCONT) })
		}
	})
	corrected, raw := r.Latencies["corrected"].P99, r.Latencies["raw"].P99
	if corrected < 400_000 {
		t.Errorf("corrected p99 is %.0f us although the server stood still for a second", corrected)
	}
	if raw > corrected/3 {
		t.Errorf("raw p99 is %.0f us: this run shows nothing", raw)
	}
}

func TestFanoutCountsWhatAServerDoesWrong(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults benchtest.Faults
		check  func(d *report.Delivery) bool
	}{
		{"honest", benchtest.Faults{}, func(d *report.Delivery) bool {
			return d.Received == d.Expected && d.Lost+d.Repeated+d.Reorder+d.Broken == 0
		}},
		{"drops_one_percent", benchtest.Faults{DropEvery: 100}, func(d *report.Delivery) bool {
			return d.Lost == d.Expected/100
		}},
		{"repeats", benchtest.Faults{RepeatEvery: 100}, func(d *report.Delivery) bool {
			return d.Repeated == d.Expected/100 && d.Lost == 0
		}},
		{"reorders", benchtest.Faults{SwapEvery: 110}, func(d *report.Delivery) bool {
			return d.Reorder == 9*4 && d.Lost == 0
		}},
		{"garbles", benchtest.Faults{Garble: true}, func(d *report.Delivery) bool {
			return d.Broken == d.Received
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := mustRun(t, Options{
				Scenario: Fanout, URL: benchtest.New(t, tt.faults).URL("/chat"), Connections: 5,
				Rate: 1000, Bytes: 100, Duration: time.Second, Verify: true,
			}, nil)
			if r.Delivery.Expected != 4*1000 || !tt.check(r.Delivery) {
				t.Errorf("%+v", r.Delivery)
			}
			if tt.name == "honest" && r.Latencies["spread_last"].Count == 0 {
				t.Error("no broadcast was traced")
			}
		})
	}
}

func TestRunRefusesNonsense(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
		want string
	}{
		{"no_connections", Options{Scenario: Echo, Duration: 1}, "too few"},
		{"no_duration", Options{Scenario: Echo, Connections: 1}, "not positive"},
		{"unknown", Options{Scenario: "ekko", Connections: 1, Duration: 1}, `no scenario "ekko"`},
		{"fanout_without_rate", Options{Scenario: Fanout, Connections: 2, Duration: 1}, "needs a rate"},
		{"no_receiver", Options{Scenario: Fanout, Connections: 2, Publishers: 2, Rate: 1, Duration: 1},
			"no receiver"},
		{"uneven_rooms", Options{Scenario: Fanout, Connections: 5, Rooms: 2, Rate: 1, Duration: 1},
			"evenly"},
		{"bad_url", Options{Scenario: Idle, Connections: 1, Duration: 1, URL: "http://x"}, "ws://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Run(context.Background(), tt.opts, Observer{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSchedule(t *testing.T) {
	even := newSchedule(0, 3, false)
	for i := range 3000 {
		if want := time.Duration(i) * time.Second / 3; even.at-want > 1000 || want-even.at > 1000 {
			t.Fatalf("moment %d is %v, want %v", i, even.at, want)
		}
		even.next()
	}
	random := newSchedule(0, 1000, true)
	n := 0
	for random.at < 100*time.Second {
		random.next()
		n++
	}
	if n < 99_000 || n > 101_000 { // three standard deviations are 950
		t.Errorf("%d moments in 100 s at 1000/s", n)
	}
}

func TestKnownDistributionIsReproduced(t *testing.T) {
	var tl tally
	tl.init(Window{0, time.Hour})
	var all []float64
	for range 200_000 { // log-normal around 5 ms
		us := math.Exp(rand.NormFloat64()*0.7) * 5000
		all = append(all, us)
		tl.measure(time.Second, time.Second, time.Second+time.Duration(us*1000))
	}
	for _, q := range []float64{50, 90, 99, 99.9} {
		// Three digits of the value that has this rank, or of one of its neighbours.
		low, high := ranked(all, q)
		got := float64(tl.corrected.ValueAtQuantile(q))
		if got < low*0.999-1 || got > high*1.001+1 {
			t.Errorf("p%v is %v, want %v to %v", q, got, low, high)
		}
	}
}

func ranked(values []float64, q float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(q/100*float64(len(sorted)))) - 1
	return sorted[i-1], sorted[i+1]
}

func TestStamp(t *testing.T) {
	want := stamp{publisher: 7, seq: 77, planned: 123456789, sent: 987654321}
	for _, size := range []int{0, stampBytes, 100, 1000} {
		text := want.append([]byte("bob: "), size)
		got, ok := readStamp(text, size)
		if !ok || got != want || !intact(text) {
			t.Errorf("size %d: %+v %v", size, got, ok)
		}
		for i := len("bob: "); i < len(text); i++ {
			changed := append([]byte(nil), text...)
			changed[i] ^= 1
			if _, ok := readStamp(changed, size); ok && intact(changed) {
				t.Errorf("size %d: a change at %d goes unnoticed", size, i)
			}
		}
		if _, ok := readStamp(text[:len(text)-1], size); ok {
			t.Errorf("size %d: a cut goes unnoticed", size)
		}
	}
}

// Every connection that is cut comes back, with its number and its greeting.
func TestStormComesBack(t *testing.T) {
	const n = 60
	r := mustRun(t, Options{
		Scenario: Storm, URL: benchtest.New(t, benchtest.Faults{}).URL("/echo"), Connections: n,
		Cuts: 2, Greeting: "hello", Duration: 20 * time.Second,
	}, nil)
	if len(r.Errors) > 0 || r.Achieved.Connections != n {
		t.Errorf("errors %v, %d connections", r.Errors, r.Achieved.Connections)
	}
	for name, want := range map[string]uint64{
		"open": n, "back": 2 * n, "connect": 3 * n, "upgrade": 3 * n, "first": 3 * n,
	} {
		if l := r.Latencies[name]; l == nil || l.Count != want {
			t.Errorf("%s: %+v, want %d", name, l, want)
		}
	}
}

// A server that refuses is asked again, and what it refused is told.
func TestStormThatNeverLands(t *testing.T) {
	r := mustRun(t, Options{
		Scenario: Storm, URL: benchtest.New(t, benchtest.Faults{Status: 503}).URL("/echo"),
		Connections: 5, Duration: time.Second,
	}, nil)
	if r.Errors["handshake: status 503"] < 10 || r.Achieved.Connections != 0 ||
		len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "5 of 5 connections were not open") {
		t.Errorf("%d connections, errors %v, notes %v", r.Achieved.Connections, r.Errors, r.Notes)
	}
}

// The server process is cut off by the test; another takes its place.
func TestStormWaitsForTheServersCut(t *testing.T) {
	s := benchtest.New(t, benchtest.Faults{})
	r := mustRun(t, Options{
		Scenario: Storm, URL: s.URL("/echo"), Connections: 20, Cuts: 1, AwaitCut: true,
		Duration: 20 * time.Second,
	}, func(p report.Point) {
		if p.At < 1.5 {
			s.CutAll()
		}
	})
	if l := r.Latencies["back"]; l == nil || l.Count != 20 || r.Achieved.Connections != 20 {
		t.Errorf("%d connections, back %+v", r.Achieved.Connections, r.Latencies["back"])
	}
}

// With churn, connections come and go, and nothing of that is an error.
func TestChurnIsNoError(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
		path string
	}{
		{"echo", Options{Scenario: Echo, Rate: 500, Bytes: 32}, "/echo"},
		{"closed_loop", Options{Scenario: Echo, Bytes: 32}, "/echo"},
		{"fanout", Options{Scenario: Fanout, Rate: 100, Bytes: 100}, "/chat"},
		{"idle", Options{Scenario: Idle}, "/echo"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.opts
			o.URL = benchtest.New(t, benchtest.Faults{}).URL(tt.path)
			o.Connections, o.Churn, o.Duration = 20, 50, 1500*time.Millisecond
			r := mustRun(t, o, nil)
			if len(r.Errors) > 0 {
				t.Errorf("errors %v", r.Errors)
			}
			if n := r.Latencies["connect"].Count; n < 60 {
				t.Errorf("%d connects in all, want 20 and about 50 a second", n)
			}
			if r.Delivery != nil && (r.Delivery.Lost > 0 || r.Delivery.Received == 0) {
				t.Errorf("delivery %+v", r.Delivery)
			}
		})
	}
}

// Who does not read is cut off by this server's write deadline; the others get everything.
func TestSlowReceiversAreToldApart(t *testing.T) {
	s := benchtest.New(t, benchtest.Faults{LagMax: 64})
	r := mustRun(t, Options{
		Scenario: Slow, URL: s.URL("/chat"), Connections: 5, Rate: 200, Bytes: 8 << 10,
		SlowShare: 0.5, ReceiveBuffer: 4 << 10, Duration: 2 * time.Second,
	}, nil)
	if len(r.Errors) > 0 || r.Delivery.Lost > 0 || r.Delivery.Received == 0 {
		t.Errorf("errors %v, delivery %+v", r.Errors, r.Delivery)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "2 of the 2 slow receivers were disc") {
		t.Errorf("notes %q", r.Notes)
	}
}
