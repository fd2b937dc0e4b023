// Command sluice is a WebSocket edge gateway.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"sluice/gateway"
)

func main() {
	cfg := gateway.DefaultConfig()
	flag.StringVar(&cfg.Listen, "listen", cfg.Listen, "address of the WebSocket listener")
	flag.IntVar(&cfg.Loops, "loops", cfg.Loops, "event loops; 0 means one per core")
	flag.IntVar(&cfg.ConnectionsMax, "max-connections", 0, "0 means what the descriptor limit allows")
	flag.IntVar(&cfg.ConnectionsPerIPMax, "max-connections-per-ip", cfg.ConnectionsPerIPMax, "0 means unlimited")
	flag.Float64Var(&cfg.MessageRate, "message-rate", cfg.MessageRate, "messages per second of a connection; 0 means unlimited")
	flag.DurationVar(&cfg.DrainDuration, "drain-duration", cfg.DrainDuration, "time over which a drain spreads the closes")
	flag.Parse()
	if err := run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "sluice:", err)
		os.Exit(1)
	}
}

// run serves until SIGTERM or SIGINT, then drains; a second signal ends the drain at once.
func run(cfg gateway.Config) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	g, err := gateway.New(cfg, gateway.Options{})
	if err != nil {
		return err
	}
	defer g.Close()
	if err := g.Start(); err != nil {
		return err
	}
	fmt.Printf("engine %s, %d loops\nws://%s/chat/{name}?room={room}\nws://%s/echo\n",
		g.EngineName(), g.Loops(), g.Addr(), g.Addr())
	<-signals
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-signals
		cancel()
	}()
	return g.Drain(ctx)
}
