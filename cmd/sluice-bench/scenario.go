package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/bench/load"
	"sluice/bench/run"
	"sluice/bench/units"
)

// scenarioFlags are the flags of a scenario.
type scenarioFlags struct {
	outcomeFlags
	connectFlags
	opts        run.Options
	connections units.Count
	rate        units.Rate
	connectRate units.Rate
	churn       units.Rate
	bytes       units.Size
	slowRate    units.Size
	buffer      units.Size
	processes   int
}

// define adds the flags that scenarios have in common.
func (f *scenarioFlags) define(flags *pflag.FlagSet, scenario string) {
	o := &f.opts
	o.Scenario = scenario
	f.connections, f.bytes = 100, 128
	flags.VarP(&f.connections, "connections", "c", "connections, like 10k")
	flags.DurationVarP(&o.Duration, "duration", "d", 10*time.Second, "of the measured phase")
	flags.Var(&f.connectRate, "connect-rate", "connects a second; 0 = as many as the dialers allow")
	flags.IntVar(&o.Dialers, "dialers", load.DialersDefault, "connects under way at once")
	flags.IntVar(&o.Loops, "loops", 1, "event loops of the generator")
	flags.IntVar(&f.processes, "processes", 0,
		"processes; 0 = as many as the limit of open files asks")
	flags.IntVar(&o.PID, "pid", 0, "process of the server, to say what it costs")
	flags.StringVar(&o.MetricsURL, "metrics", "", "Prometheus URL of the server, for the same")
	f.outcomeFlags.define(flags)
	f.connectFlags.define(flags)
	if scenario != run.Storm {
		flags.DurationVar(&o.Warmup, "warmup", time.Second, "before the measured phase")
		flags.Var(&f.churn, "churn", "connections a second that are cut and replaced")
	}
}

// messageFlags are for scenarios that send.
func (f *scenarioFlags) messageFlags(flags *pflag.FlagSet, rate string) {
	flags.VarP(&f.rate, "rate", "r", rate)
	flags.VarP(&f.bytes, "size", "s", "bytes of a message, like 16KiB")
	flags.BoolVar(&f.opts.Poisson, "poisson", false, "space messages at random instead of evenly")
	flags.StringVarP(&f.opts.Message, "message", "m", "",
		"text instead of filler, with {i}, {seq}, {time}, {random:N}, {sum}")
	flags.BoolVar(&f.opts.Verify, "verify", false, "compare contents byte by byte")
}

// options are what the flags ask for.
func (f *scenarioFlags) options(url string) (o run.Options, err error) {
	o = f.opts
	if o.Connect, err = f.connectFlags.parse(); err != nil {
		return o, err
	}
	o.URL = url
	o.Connections, o.Bytes = int(f.connections), int(f.bytes)
	o.Rate, o.ConnectRate, o.Churn = float64(f.rate), float64(f.connectRate), float64(f.churn)
	o.SlowRate, o.ReceiveBuffer = int(f.slowRate), int(f.buffer)
	if o.Scenario == run.Echo && o.Rate == 0 && o.InFlight == 0 {
		o.Rate = float64(o.Connections)
	}
	return o, nil
}

// scenarioCommand makes the command of a scenario.
func scenarioCommand(name, short, example string,
	more func(*scenarioFlags, *pflag.FlagSet)) *cobra.Command {
	f := &scenarioFlags{}
	c := &cobra.Command{
		Use:     name + " URL",
		Short:   short,
		Example: example,
		Args:    exactlyOneURL,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.play(cmd.Context(), args[0], streamsOf(cmd))
		},
	}
	f.define(c.Flags(), name)
	more(f, c.Flags())
	return c
}

func exactlyOneURL(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("%s needs one URL, like ws://127.0.0.1:8080/echo", cmd.Name())}
	}
	return nil
}

func echoCommand() *cobra.Command {
	return scenarioCommand(run.Echo, "Send messages to an echo server and measure the answers.",
		"  sluice-bench echo ws://127.0.0.1:8080/echo -c 1k --rate 50k/s -d 30s\n"+
			"  sluice-bench echo ws://127.0.0.1:8080/echo -c 50 --inflight 32",
		func(f *scenarioFlags, flags *pflag.FlagSet) {
			f.messageFlags(flags, "messages a second of all, planned ahead: an open loop, "+
				"like 50k/s\n(default: 1 per connection, or as fast as answers "+
				"come with --inflight)")
			flags.IntVar(&f.opts.InFlight, "inflight", 0,
				"messages without an answer per connection (default 1)")
			flags.BoolVar(&f.opts.Text, "text", false, "send text instead of binary")
		})
}

func fanoutCommand() *cobra.Command {
	return scenarioCommand(run.Fanout, "Publish to rooms of a chat server and measure the spread.",
		"  sluice-bench fanout 'ws://127.0.0.1:8080/chat/u{i}?room=r{room}' -c 1001 --rate 20/s",
		roomFlags)
}

func slowCommand() *cobra.Command {
	return scenarioCommand(run.Slow, "A fan-out with receivers that read slowly or not at all.",
		"  sluice-bench slow 'ws://127.0.0.1:8080/chat/u{i}' -c 401 --rate 250/s --share 0.5",
		func(f *scenarioFlags, flags *pflag.FlagSet) {
			roomFlags(f, flags)
			flags.Float64Var(&f.opts.SlowShare, "share", 0.1,
				"of the receivers that are slow, 0 to 1")
			flags.Var(&f.slowRate, "slow-rate", "bytes a second that they read, like 1kB; 0 = none")
			flags.Var(&f.buffer, "receive-buffer",
				"of a slow receiver in the kernel; 0 = the kernel's choice")
		})
}

func roomFlags(f *scenarioFlags, flags *pflag.FlagSet) {
	f.rate = 10
	f.messageFlags(flags, "messages a second of all publishers, planned ahead, like 1k/s")
	flags.IntVar(&f.opts.Rooms, "rooms", 1, "rooms; {room} in the URL is the number of one")
	flags.IntVar(&f.opts.Publishers, "publishers", 1, "publishers in each room; the others receive")
}

func idleCommand() *cobra.Command {
	return scenarioCommand(run.Idle, "Hold connections that say nothing.",
		"  sluice-bench idle 'ws://127.0.0.1:8080/chat/u{i}?room=r{room}' -c 15k --pid 4711",
		func(f *scenarioFlags, flags *pflag.FlagSet) {
			flags.BoolVar(&f.opts.Slope, "slope", true,
				"connect in steps, to tell the server's memory per connection with "+
					"--pid or --metrics")
		})
}

func stormCommand() *cobra.Command {
	return scenarioCommand(run.Storm, "Connect as fast as asked, cut everything and come back.",
		"  sluice-bench storm ws://127.0.0.1:8080/echo -c 10k --cuts 3 --assert 'back.p99<5s'",
		func(f *scenarioFlags, flags *pflag.FlagSet) {
			flags.IntVar(&f.opts.Cuts, "cuts", 1, "how often everything is cut")
			flags.BoolVar(&f.opts.AwaitCut, "await-cut", false,
				"let the server do the cutting: restart it while this waits")
			flags.StringVar(&f.opts.Greeting, "greeting", "hello",
				"what each says first, for an answer to be timed; '' for nothing")
			_ = flags.Set("tls-resume", "true")
			flags.Lookup("tls-resume").DefValue = "true"
			flags.Lookup("duration").Usage = "the longest time until all are open or back"
			_ = flags.Set("duration", "1m") // it parses
			flags.Lookup("duration").DefValue = "1m0s"
		})
}
