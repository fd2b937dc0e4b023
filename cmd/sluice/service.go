package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"sluice/cmd/sluice/internal/settings"
	"sluice/gateway"
)

// service is a gateway that obeys signals.
type service struct {
	gateway interface {
		Reload(gateway.Config) error
		ReloadFailed()
		ReopenLogs()
		Drain(context.Context) error
	}
	log     *slog.Logger
	level   *slog.LevelVar
	sources settings.Sources
	config  gateway.Config // in force
}

// serve reloads on every reload signal, one after the other, and drains on the first stop signal.
// A second one ends the drain at once; a third one kills, as by default.
func (s *service) serve(stop, reload <-chan os.Signal) error {
	for {
		select {
		case <-reload:
			s.reload()
		case sig := <-stop:
			s.log.Info("stopping; a second signal ends the drain at once", "event", "stopping",
				"signal", sig.String())
			return s.drain(stop)
		}
	}
}

// drain takes the gateway out of service. Reload signals have no effect any more.
func (s *service) drain(stop <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- s.gateway.Drain(ctx) }()
	select {
	case err := <-drained:
		return err
	case sig := <-stop:
		signal.Reset(syscall.SIGTERM, os.Interrupt)
		s.log.Warn("stopping at once", "event", "stopping_at_once", "signal", sig.String())
		cancel()
		return <-drained
	}
}

// reload reads the configuration again and puts it into force as a whole, or leaves all as it was.
func (s *service) reload() {
	s.gateway.ReopenLogs() // also if the configuration is wrong: a log has been rotated
	values, err := settings.Load(s.sources)
	if err != nil {
		s.gateway.ReloadFailed()
		s.refused(err)
		return
	}
	if err := s.gateway.Reload(values.Config); err != nil {
		s.refused(err)
		return
	}
	changes := settings.Changes(s.config, values.Config)
	if len(changes) == 0 {
		s.log.Info("the configuration is unchanged", "event", "config_unchanged")
	}
	s.config = values.Config
	s.level.Set(values.Config.LogLevel)
	for _, c := range changes {
		s.log.Info("setting changed",
			"event", "config_reloaded", "key", c.Key, "old", c.Old, "new", c.New)
	}
}

// refused logs why a reload changed nothing.
func (s *service) refused(err error) {
	const msg = "the configuration was not reloaded; nothing has changed"
	if restart := (*gateway.RestartError)(nil); errors.As(err, &restart) {
		s.log.Error(msg+": these keys need a restart", "event", "config_reload_refused",
			"keys", settings.Keys(restart.Fields))
		return
	}
	var problems []string
	for _, e := range settings.List(err) {
		problems = append(problems, e.Error())
	}
	s.log.Error(msg, "event", "config_reload_failed", "problems", problems)
}
