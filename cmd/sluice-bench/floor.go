package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"sluice/bench/floor"
)

func floorCommand() *cobra.Command {
	var addr string
	var loops int
	c := &cobra.Command{
		Use:   "floor",
		Short: "Serve the reference: the least that a server can do. Not for anything else.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if loops < 1 {
				return usageError{fmt.Errorf("floor needs at least one loop")}
			}
			// A loop keeps its processor; one is left for the signals.
			runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops+1))
			return floor.Run(cmd.Context(), addr, loops, func(bound string) {
				fmt.Fprintf(cmd.OutOrStdout(), "floor   ws://%s/echo\n", bound)
			})
		},
	}
	c.Flags().StringVar(&addr, "listen", "127.0.0.1:8081", "IPv4 address and port")
	c.Flags().IntVar(&loops, "loops", 1, "event loops; each broadcasts to its own clients only")
	return c
}
