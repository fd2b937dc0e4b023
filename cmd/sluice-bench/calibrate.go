package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sluice/bench/child"
	"sluice/bench/run"
)

func calibrateCommand() *cobra.Command {
	var duration time.Duration
	c := &cobra.Command{
		Use:   "calibrate",
		Short: "Measure the generator against the built-in floor: the ceiling of this machine.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return calibrate(cmd.Context(), duration, streamsOf(cmd))
		},
	}
	c.Flags().DurationVarP(&duration, "duration", "d", 3*time.Second, "of each measurement")
	return c
}

// calibrations are closed loops: as fast as the generator and the floor can.
var calibrations = []struct {
	what                   string
	connections, in, bytes int
}{
	{"pipelined, 128 B, 50 x 32", 50, 32, 128},
	{"one in flight, 128 B, x 500", 500, 1, 128},
	{"one in flight, 16 KiB, x 50", 50, 1, 16 << 10},
}

// calibrate loads the floor, which runs in a process of its own.
func calibrate(ctx context.Context, d time.Duration, to streams) error {
	if err := raiseDescriptors(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	here := thisMachine()
	fmt.Fprintf(to.out, "%s, %d cores, Linux %s, %s\n\n", here.CPU, here.Cores, here.Kernel,
		here.Go)
	fmt.Fprintf(to.out, "%-28s %12s %12s %12s %8s\n", "closed loop, 1 loop each", "echoes/s",
		"generator", "floor", "p99")
	fmt.Fprintf(to.out, "%-28s %12s %12s %12s %8s\n", "", "", "us/echo", "us/echo", "us")
	best := 0.0
	for _, c := range calibrations {
		floor, err := child.Start(ctx, []string{self, "floor", "--listen", "127.0.0.1:0"})
		if err != nil {
			return err
		}
		r, err := run.Run(ctx, run.Options{
			Scenario: run.Echo, URL: floor.URL() + "/echo", Connections: c.connections,
			InFlight: c.in, Bytes: c.bytes, Warmup: d / 4, Duration: d, PID: floor.PID(),
		}, run.Observer{})
		floor.Stop()
		if err != nil {
			return err
		}
		n := float64(max(r.Achieved.Received, 1))
		fmt.Fprintf(to.out, "%-28s %12.0f %12.2f %12.2f %8.0f\n", c.what, r.Achieved.Rate,
			r.Generator.CPUSeconds*1e6/n, r.Server.CPUPerMessage, r.Latencies["corrected"].P99)
		if c.in == 1 && c.bytes < 1024 {
			best = r.Achieved.Rate
		}
	}
	fmt.Fprintf(to.out, "\nBeyond about %s echoes a second, one in flight each, a run on this "+
		"machine\nmeasures the generator.\n", thousands(float64(int(best/1000))*1000))
	return nil
}
