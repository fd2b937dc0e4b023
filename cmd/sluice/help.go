package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/cmd/sluice/internal/settings"
	"sluice/gateway"
)

const helpHead = `Sluice is a WebSocket edge gateway.

Usage: sluice [command] [flags]

Commands
  run       serve until SIGTERM or SIGINT, then drain; this is the default
  check     validate file, environment and flags
  config    show every value and where it comes from; --yaml for a file
  doctor    examine the limits of this host and say what mends them
  health    ask the gateway on this host, for container probes; --ready
  token     make tokens for tests (gen), explain one (check)
  version   show version, commit and Go release; --json

Flags (the common ones; sluice help flags lists all)
`

const helpTail = `
Every flag is also a key of the file and a variable: --max-connections is
max-connections: and SLUICE_MAX_CONNECTIONS. Flags win over variables, variables
over the file. SIGHUP reloads. Exit codes: 0 done, 1 failed, 2 usage.

Examples
  sluice                                        try it on this machine
  sluice --listen :8080 --max-connections 100k  let others in
  sluice check --config sluice.yaml             before a restart or SIGHUP
`

// helpConfig explains the flag that is no setting.
const helpConfig = "file with any of these settings, in YAML"

const flagsHead = `Every flag is also a key of the file and a variable (SLUICE_LISTEN).
Values: n like 10k, size like 64KiB, time like 1m30s, rate like 50/s.
Switches take no value, or one behind =: --echo, --echo=false.
In brackets is the default. A limit or rate of 0 means unlimited.
Changes take effect on SIGHUP; those of flags marked * need a restart.

`

// helpShort is the first screen: at most 80 columns and 40 lines.
func helpShort() string {
	var b strings.Builder
	b.WriteString(helpHead)
	flagLine(&b, "config", "file", helpConfig)
	for _, s := range settings.Table() {
		if s.Common {
			flagLine(&b, s.Key, s.Arg, describe(&s))
		}
	}
	b.WriteString(helpTail)
	return b.String()
}

// helpFlags lists every setting.
func helpFlags() string {
	var b strings.Builder
	b.WriteString(flagsHead)
	group := ""
	flagLine(&b, "config", "file", helpConfig)
	for _, s := range settings.Table() {
		if s.Group != group {
			group = s.Group
			b.WriteString("\n" + group + "\n")
		}
		if s.Hot() {
			flagLine(&b, s.Key, s.Arg, describe(&s))
		} else {
			markedLine(&b, "* ", s.Key, s.Arg, describe(&s))
		}
	}
	return b.String()
}

// unlimited is what 0 means for most limits; it is said once, not with each of them.
const unlimited = "unlimited"

// describe is what a setting does, its default, and what 0 means.
func describe(s *settings.Setting) string {
	def := s.Text(gateway.DefaultConfig())
	switch {
	case s.Zero == "", s.Zero == unlimited && def != "0":
	case def == "" && s.List():
		def = s.Zero
	case def == "0":
		def = "0 = " + s.Zero
	case def == "":
		def = `"" = ` + s.Zero
	case s.Kind() == "text":
		def += `; "" = ` + s.Zero
	default:
		def += "; 0 = " + s.Zero
	}
	return fmt.Sprintf("%s [%s]", s.Help, def)
}

// flagLine writes a flag and what it does.
func flagLine(b *strings.Builder, name, arg, text string) {
	markedLine(b, "  ", name, arg, text)
}

func markedLine(b *strings.Builder, mark, name, arg, text string) {
	hang(b, mark+"--"+name+" "+arg, 29, text)
}

// hang writes a text behind a head, wrapped to the width of the screen and indented.
func hang(b *strings.Builder, head string, indent int, text string) {
	line := fmt.Sprintf("%-*s", indent, head)
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > settings.Width {
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", indent)
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}

// help is what cobra calls for --help of any command.
func (a *app) help(cmd *cobra.Command, _ []string) {
	if !cmd.HasParent() {
		a.print(helpShort())
		return
	}
	var b strings.Builder
	text := cmd.Short
	if cmd.Long != "" {
		text = cmd.Long
	}
	fmt.Fprintf(&b, "%s\n\nUsage: %s [flags]\n", strings.TrimSpace(text), cmd.CommandPath())
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			flagLine(&b, f.Name, "", f.Usage)
		}
	})
	b.WriteString("\nIt takes the settings of the gateway, too: see sluice help flags.\n")
	a.print(b.String())
}

// helpCommand is `sluice help [command|flags]`.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Explain a command, or list every flag with `sluice help flags`.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Root().Help()
			}
			if args[0] == "flags" {
				return a.print(helpFlags())
			}
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 || !found.HasParent() {
				return noArguments(cmd.Root(), args)
			}
			return found.Help()
		},
	}
}
