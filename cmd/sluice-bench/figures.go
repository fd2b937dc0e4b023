package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sluice/bench/figures"
	"sluice/bench/report"
)

// figuresFile is what a run of figures writes.
type figuresFile struct {
	At      time.Time       `json:"at"`
	Machine machine         `json:"machine"`
	Command []string        `json:"command"`
	Result  *figures.Result `json:"result"`
}

// machine says where a run took place.
type machine struct {
	report.Machine
	Modified bool `json:"modified"` // this command is not just that of the commit
}

func figuresCommand() *cobra.Command {
	var gateway, out string
	var only, peers []string
	scale := figures.Scale{}
	c := &cobra.Command{
		Use:   "figures",
		Short: "Measure the gateway beside the reference, interleaved, and print the medians.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runFigures(cmd.Context(), cmd, gateway, out, scale, only, peers)
		},
	}
	f := c.Flags()
	f.StringVar(&gateway, "gateway", "bin/sluice", "binary of the gateway")
	f.StringVar(&out, "out", "", "JSON file with every sample, and a page beside it; none if empty")
	f.StringSliceVar(&only, "only", nil,
		"measurements, comma-separated; all of: "+strings.Join(figures.Names(), ", "))
	f.IntVar(&scale.Rounds, "rounds", 3, "rounds; the table has their medians")
	f.DurationVar(&scale.Duration, "duration", 2*time.Second, "of one run under load")
	f.IntVar(&scale.Connections, "connections", 15_000, "of the idle measurement")
	f.DurationVar(&scale.Settle, "settle", 2*time.Second, "until memory is read")
	f.DurationVar(&scale.Arrivals, "arrivals", 20*time.Second, "for what is on its way at the end")
	f.StringArrayVar(&peers, "peer", nil,
		"another server, like 'name=command and arguments', which says ws://host:port; repeatable")
	return c
}

func runFigures(ctx context.Context, cmd *cobra.Command, gateway, out string, scale figures.Scale,
	only, peers []string) error {
	if scale.Rounds < 1 || scale.Duration < 100*time.Millisecond || scale.Connections < 150 {
		return usageError{fmt.Errorf(
			"figures needs at least 1 round, 100ms of duration and 150 connections")}
	}
	if err := raiseDescriptors(); err != nil {
		return err
	}
	servers, err := contenders(gateway)
	if err != nil {
		return err
	}
	for _, p := range peers {
		name, command, ok := strings.Cut(p, "=")
		if !ok || len(strings.Fields(command)) == 0 {
			return usageError{fmt.Errorf("--peer %q is not a name, = and a command", p)}
		}
		if slices.ContainsFunc(servers, func(s figures.Server) bool { return s.Name == name }) {
			return usageError{fmt.Errorf("--peer %q: the name %s is taken", p, name)}
		}
		servers = append(servers, figures.Server{
			Name: name, Command: strings.Fields(command), Compress: true, Peer: true,
		})
	}
	result, err := figures.Run(ctx, servers, scale, only, cmd.ErrOrStderr())
	if errors.Is(err, figures.ErrUnknown) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	here := thisMachine()
	fmt.Fprintf(cmd.OutOrStdout(), "%s, %d cores, Linux %s, %s; medians of %d rounds\n\n",
		here.CPU, here.Cores, here.Kernel, here.Go, scale.Rounds)
	if err := result.WriteTable(cmd.OutOrStdout()); err != nil || out == "" {
		return err
	}
	return writeFigures(out, &figuresFile{time.Now().UTC(), here, os.Args, result})
}

// writeFigures writes the JSON, and a page beside it.
func writeFigures(path string, f *figuresFile) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return err
	}
	html, err := os.Create(strings.TrimSuffix(path, ".json") + ".html")
	if err != nil {
		return err
	}
	m := f.Machine
	about := fmt.Sprintf("%s; %s, %d cores, Linux %s, %s; medians of %d rounds",
		f.At.Format(time.DateOnly), m.CPU, m.Cores, m.Kernel, m.Go, f.Result.Scale.Rounds)
	return errors.Join(f.Result.WriteHTML(html, about), html.Close())
}

// contenders are the reference and the gateway with each of its engines, all with one loop: what
// counts is the work per message, and the other core is for the clients.
func contenders(gateway string) ([]figures.Server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if wd, err := os.Getwd(); err == nil {
		self = shorten(self, wd)
	}
	run := func(engine string) []string {
		return []string{gateway, "--listen", "127.0.0.1:0", "--admin", "", "--engine", engine,
			"--loops", "1", "--accept-burst", "100000", "--message-rate", "0",
			"--drain-duration", "0", "--log-level", "error"}
	}
	return []figures.Server{
		{
			Name: "floor", Reference: true,
			Command: []string{self, "floor", "--listen", "127.0.0.1:0"},
		},
		{Name: "epoll", Command: run("epoll"), Compress: true},
		{Name: "netpoll", Command: run("netpoll"), Compress: true},
		{
			Name: "epoll-tls", Command: append(run("epoll"), "--tls-self-signed"),
			Only: []string{"idle", "echo", "paced", "echo16k", "handshake"},
		},
	}, nil
}

// shorten makes a path relative to a directory that it is in: the results name it, and the
// directories of this machine mean nothing elsewhere. It can still be run from there.
func shorten(path, dir string) string {
	short, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(short) {
		return path
	}
	return "." + string(filepath.Separator) + short
}

// raiseDescriptors raises the soft limit of open files to the hard one.
func raiseDescriptors() error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	lim.Cur = lim.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	return nil
}

func thisMachine() machine {
	m := machine{Machine: report.Machine{
		CPU: "unknown CPU", Cores: runtime.NumCPU(), Go: runtime.Version(),
	}}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "model name\t: "); ok {
				m.CPU = strings.TrimSpace(name)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				m.Commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				m.Modified = true
			}
		}
	}
	return m
}
