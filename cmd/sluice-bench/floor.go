package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sluice/bench/floor"
)

func floorCommand() *cobra.Command {
	var addr string
	c := &cobra.Command{
		Use:   "floor",
		Short: "Serve the reference: the least that a server can do. Not for anything else.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return floor.Run(addr, func(bound string) {
				fmt.Fprintf(cmd.OutOrStdout(), "floor   ws://%s/echo\n", bound)
			})
		},
	}
	c.Flags().StringVar(&addr, "listen", "127.0.0.1:8081", "IPv4 address and port")
	return c
}
