package main

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sys/unix"

	"sluice/cmd/sluice/internal/settings"
	"sluice/gateway"
)

// run serves until a signal says otherwise.
func (a *app) run(src settings.Sources) error {
	// A signal that arrives while the gateway starts is served once it has.
	stop, reload := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(stop)
	// One reload that waits is enough for any number of signals: it reads the newest file.
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	// Writing to a pipe that nobody reads must fail, not kill.
	signal.Ignore(syscall.SIGPIPE)

	values, err := load(src)
	if err != nil {
		return err
	}
	log := newLogs(a.stderr, values.Config)
	defer log.close()
	raiseDescriptors(log.Logger)
	a.tuneCollector()
	a.limitMemory(log.Logger)
	g, err := a.start(values.Config, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := g.Close(); err != nil {
			log.Error("not everything could be closed", "event", "close_failed", "error", err)
		}
	}()
	s := &service{
		gateway: g, log: log.Logger, level: log.level, sources: src, config: values.Config,
	}
	return s.serve(stop, reload)
}

// start starts a gateway and says where it is.
func (a *app) start(cfg gateway.Config, log *logs) (*gateway.Gateway, error) {
	build := readBuild()
	g, err := gateway.New(cfg, gateway.Options{
		Logger: log.Logger, Version: build.Version, LogDropped: log.writer.Lost,
		Stderr: a.stderr,
	})
	if err != nil {
		return nil, fmt.Errorf("the gateway cannot be built: %w", err)
	}
	if err := g.Start(); err != nil {
		g.Close() // the first error is the one that tells
		return nil, a.startError(cfg, err)
	}
	at := addresses{g.Addr(), g.AdminAddr()}
	say(a.stdout, banner(build, g.EngineName(), g.Loops(), at, cfg))
	warnOpen(log.Logger, at, cfg)
	return g, nil
}

// heapGrowthPercent is how much garbage the heap may gather before it is collected. Nearly all of a
// gateway's heap lives as long as its connections and little garbage is made, so collections are
// rare and cheap: an idle connection costs some 450 bytes with this and 550 with Go's default of
// 100.
const heapGrowthPercent = 50

// tuneCollector sets the garbage collector, unless the environment does.
func (a *app) tuneCollector() {
	if a.getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowthPercent)
	}
}

// memoryShare is how much of the memory of the control group Go may use: the rest is for the
// kernel's socket buffers, which count for the group too, and for what Go does not count.
const memoryShare = 0.8

// limitMemory tells Go the limit of the control group, unless the environment sets one.
func (a *app) limitMemory(log *slog.Logger) {
	if a.getenv("GOMEMLIMIT") != "" {
		return
	}
	limit, err := memlimit.FromCgroup()
	if err != nil || limit == math.MaxUint64 || limit == 0 {
		return // there is none
	}
	limit = uint64(memoryShare * float64(limit))
	if limit < math.MaxInt64 {
		debug.SetMemoryLimit(int64(limit))
		log.Info("memory is limited", "event", "memory_limit", "bytes", limit)
	}
}

// raiseDescriptors raises the soft limit of open files to the hard one. If that fails, there is
// room for fewer connections, which the gateway takes into account.
func raiseDescriptors(log *slog.Logger) {
	var lim unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim)
	if err == nil && lim.Cur < lim.Max {
		lim.Cur = lim.Max
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
	}
	if err != nil {
		log.Warn("the limit of open files cannot be raised", "event", "nofile_failed", "error", err)
	}
}
