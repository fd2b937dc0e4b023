// Command sluice-bench loads WebSocket servers and says what came of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitRun         = 1   // it could not do what was asked
	exitUsage       = 2   // what was asked is wrong
	exitInvalid     = 3   // the run is SUSPECT, with --require-valid
	exitAssertion   = 99  // an assertion was not met
	exitInterrupted = 130 // by a signal; what there was has been reported
)

// helpColumns is how wide help is.
const helpColumns = 80

// usageError is an error of somebody who wrote something wrong.
type usageError struct{ error }

// exitError ends the program with a code, when everything has been said.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprint("exit code ", e.code) }

const rootExample = `  sluice-bench echo ws://127.0.0.1:8080/echo -c 1k --rate 50k/s -d 30s
  sluice-bench fanout 'ws://127.0.0.1:8080/chat/u{i}?room=r{room}' -c 1001 --rate 20/s
  sluice-bench storm ws://127.0.0.1:8080/echo -c 10k --assert 'back.p99<5s'
  sluice-bench echo ws://127.0.0.1:8080/echo --out json=run.json,html=run.html`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends it at once.
	context.AfterFunc(ctx, stop)
	defer stop()
	os.Exit(exitCode(rootCommand().ExecuteContext(ctx)))
}

// exitCode says what is wrong, if it has not been said, and returns the code to exit with.
func exitCode(err error) int {
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	}
	fmt.Fprintln(os.Stderr, "sluice-bench:", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitRun
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "sluice-bench",
		Short:         "Load WebSocket servers and say what came of it.",
		Example:       rootExample,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(
		&cobra.Group{ID: "scenario", Title: "Scenarios, for any WebSocket server:"},
		&cobra.Group{ID: "result", Title: "Results:"},
		&cobra.Group{ID: "machine", Title: "This machine and the gateway:"},
	)
	group := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("scenario", echoCommand(), fanoutCommand(), idleCommand(), slowCommand(), stormCommand(),
		soakCommand(), searchCommand())
	group("result", compareCommand(), mergeCommand(), schemaCommand())
	group("machine", calibrateCommand(), figuresCommand(), floorCommand())
	root.AddCommand(workerCommand())
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages",
		fmt.Sprintf(".FlagUsagesWrapped %d", helpColumns)))
	return root
}
