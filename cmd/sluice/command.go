package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/cmd/sluice/internal/doctor"
	"sluice/cmd/sluice/internal/settings"
	"sluice/gateway"
)

// rootCommand is the tree of the commands. All of them know all settings.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "sluice",
		Short:         "a WebSocket edge gateway",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       readBuild().Version,
		Args:          noArguments,
		RunE:          a.configured(a.run),
	}
	addSettings(root.PersistentFlags())
	helpAll := root.Flags().Bool("help-all", false, "list every setting")
	run := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *helpAll {
			return a.print(helpFlags())
		}
		return run(cmd, args)
	}
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(a.help)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetVersionTemplate("sluice {{.Version}}\n")
	root.SetHelpCommand(a.helpCommand())
	root.AddCommand(a.runCommand(), a.checkCommand(), a.configCommand(), a.doctorCommand(),
		a.healthCommand(), a.tokenCommand(), a.versionCommand())
	return root
}

// configured makes a command of a function that needs the sources of the configuration.
func (a *app) configured(f func(settings.Sources) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error { return f(a.sources(cmd.Flags())) }
}

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Serve until SIGTERM or SIGINT, then drain. SIGHUP reloads the configuration.",
		Args:  noArguments,
		RunE:  a.configured(a.run),
	}
}

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Validate the file, the environment and the flags. Exits with 0 or 2.",
		Args:  noArguments,
		RunE:  a.configured(a.check),
	}
}

func (a *app) configCommand() *cobra.Command {
	var yaml bool
	c := &cobra.Command{
		Use:   "config",
		Short: "Show the value of every setting and where it comes from.",
		Args:  noArguments,
		RunE: a.configured(func(src settings.Sources) error {
			values, err := load(src)
			if err != nil {
				return err
			}
			if yaml {
				return values.WriteYAML(a.stdout)
			}
			return values.WriteTable(a.stdout)
		}),
	}
	c.Flags().BoolVar(&yaml, "yaml", false, "write it as a commented configuration file")
	return c
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Examine the limits of this host. Exits with 1 if something fails.",
		Args:  noArguments,
		RunE:  a.configured(a.doctor),
	}
}

func (a *app) healthCommand() *cobra.Command {
	var ready bool
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask the gateway on this host whether it is alive. Exits with 0 or 1.",
		Args:  noArguments,
		RunE: a.configured(func(src settings.Sources) error {
			return a.health(src, ready)
		}),
	}
	c.Flags().BoolVar(&ready, "ready", false, "ask whether it should get connections")
	return c
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Show version, commit and Go release.",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			return a.print(readBuild().text(asJSON))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write it as JSON, with the modules")
	return c
}

// print writes the output of a command.
func (a *app) print(text string) error {
	_, err := fmt.Fprint(a.stdout, text)
	return err
}

// load reads the configuration; what is wrong with it is an error of usage.
func load(src settings.Sources) (*settings.Values, error) {
	values, err := settings.Load(src)
	if err != nil {
		return nil, &failure{exitUsage, err}
	}
	return values, nil
}

// check reports whether a gateway would start with this configuration.
func (a *app) check(src settings.Sources) error {
	values, err := load(src)
	if err != nil {
		return err
	}
	warnings, err := gateway.Examine(values.Config)
	for _, w := range warnings {
		fmt.Fprintf(a.stderr, "warning: %s\n", w)
	}
	if err != nil {
		return &failure{exitUsage, err}
	}
	where := "no file"
	if values.File != "" {
		where = fmt.Sprintf("%d from %s", values.Count(settings.FromFile), values.File)
	}
	return a.print(fmt.Sprintf(
		"The configuration is valid: %s, %d from the environment, %d from flags.\n",
		where, values.Count(settings.FromEnv), values.Count(settings.FromFlag)))
}

// doctor prints what is wrong with the host.
func (a *app) doctor(src settings.Sources) error {
	values, err := load(src)
	if err != nil {
		return err
	}
	failed := 0
	var out strings.Builder
	for _, f := range (doctor.Host{Root: a.root, Getenv: a.getenv}).Examine(values.Config) {
		hang(&out, fmt.Sprintf("%-5s %-15s", f.Level, f.Subject), 21, f.Text)
		if f.Mend != "" {
			hang(&out, "      mend:", 11, f.Mend)
		}
		if f.Level == doctor.Fail {
			failed++
		}
	}
	if err := a.print(out.String()); err != nil {
		return err
	}
	if failed > 0 {
		return &failure{code: exitRun}
	}
	return nil
}

// getenv looks up a variable of the environment; the last one counts.
func (a *app) getenv(name string) (value string) {
	for _, pair := range a.environ {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			value = v
		}
	}
	return value
}

// textFlag holds the text of a flag until settings.Load reads all sources alike.
type textFlag struct {
	text string
	kind string
	list bool // each time that the flag is given adds to the text
}

func (f *textFlag) Set(s string) error {
	if f.list && f.text != "" {
		s = f.text + " " + s
	}
	f.text = s
	return nil
}
func (f *textFlag) String() string { return f.text }
func (f *textFlag) Type() string   { return f.kind }

const configFlag = "config"

// addSettings adds a flag for every setting.
func addSettings(flags *pflag.FlagSet) {
	flags.String(configFlag, "", "YAML file with the same keys as the flags")
	for _, s := range settings.Table() {
		f := flags.VarPF(&textFlag{kind: s.Arg, list: s.List()}, s.Key, "", s.Help)
		if s.Switch() {
			f.NoOptDefVal = "true"
		}
	}
}

// sources collects what the flags say.
func (a *app) sources(flags *pflag.FlagSet) settings.Sources {
	src := settings.Sources{Environ: a.environ, Flags: map[string]string{}}
	flags.Visit(func(f *pflag.Flag) {
		if _, ok := f.Value.(*textFlag); ok {
			src.Flags[f.Name] = f.Value.String()
		}
	})
	src.File = flags.Lookup(configFlag).Value.String()
	return src
}

// flagError turns the errors of the parser into sentences.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		given := "--" + name
		if group := unknown.GetSpecifiedShortnames(); group != "" {
			name, given = group, "-"+group
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := settings.Nearest(name, names); near != "" {
			return usage("there is no flag %s; did you mean --%s?", given, near)
		}
		return usage("there is no flag %s; `sluice help flags` lists them all", given)
	case errors.As(err, &missing):
		f := missing.GetFlag()
		return usage("the flag --%s needs a value: --%[1]s %s", f.Name, f.Value.Type())
	}
	return usage("%w", err)
}

// noArguments refuses what is no command and belongs to no flag.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	given := args[0]
	switch strings.ToLower(given) {
	case "true", "false", "on", "off", "yes", "no":
		return usage("%q stands alone; write the value of a switch behind =, like --echo=%[1]s",
			given)
	}
	if cmd.HasParent() {
		return usage("`%s` takes no arguments, only flags; %q is too much",
			cmd.CommandPath(), given)
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	if near := settings.Nearest(given, names); near != "" {
		return usage("there is no command %q; did you mean `sluice %s`?", given, near)
	}
	return usage("there is no command %q; `sluice help` lists them all", given)
}
