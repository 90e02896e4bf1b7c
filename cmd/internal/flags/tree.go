package flags

import (
	"strings"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
)

// Finish makes commands that only have commands of their own ask for one, and all
// others refuse arguments that they do not take.
func Finish(c *cobra.Command) {
	switch {
	case c.HasSubCommands():
		c.Args, c.RunE, c.SuggestionsMinimumDistance = cobra.ArbitraryArgs, Choose, 2
	case c.Name() == "help":
		c.Run, c.RunE, c.Short = nil, help, "the help of a command, or of a group of them"
	case c.Args == nil, c.Parent().Name() == "completion":
		c.Args = noArguments
	}
	if c.Name() == "completion" {
		c.Short = "a script that completes commands, flags and their values in a shell"
	}
	for _, under := range c.Commands() {
		Finish(under)
	}
}

// Choose tells which commands there are.
func Choose(c *cobra.Command, args []string) error {
	var names []string
	for _, under := range c.Commands() {
		if under.IsAvailableCommand() {
			names = append(names, under.Name())
		}
	}
	list := strings.Join(names, ", ")
	switch {
	case len(args) == 0 && !c.HasParent():
		c.SetOut(c.ErrOrStderr())
		_ = c.Help() // as far as it can be printed
		return &cli.UsageError{}
	case len(args) == 0:
		return cli.WrongUsage("%s takes one of: %s", c.Name(), list)
	}
	name := strings.ToValidUTF8(args[0], "?")
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return cli.WrongUsage("unknown command %q for %s; did you mean %s?", name, c.CommandPath(), strings.Join(near, " or "))
	}
	return cli.WrongUsage("unknown command %q for %s; there are %s", name, c.CommandPath(), list)
}

// help is the help of a command, or of a group of them.
func help(c *cobra.Command, args []string) error {
	about, rest, err := c.Root().Find(args)
	if err != nil {
		return cli.WrongUsage("%v", err)
	}
	if len(rest) > 0 && about.HasSubCommands() {
		return Choose(about, rest)
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return cli.WrongUsage("unexpected argument %q", strings.ToValidUTF8(args[0], "?"))
	}
	return nil
}

// OneNumber wants the out_request_no, before or behind the flags.
func OneNumber(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cli.WrongUsage("the out_request_no is missing")
	}
	return noArguments(c, args[1:])
}

// OneDash refuses -name where --name is meant. It would be read as a row of short
// forms: -merchant=a as --merchant erchant=a.
func OneDash(root *cobra.Command, args []string) error {
	c, rest, err := root.Find(args)
	if err != nil {
		return nil //nolint:nilerr // it is told when it is carried out
	}
	c.InitDefaultHelpFlag()
	for _, arg := range rest {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		switch {
		case arg == "--":
			return nil
		case len(name) > 1 && strings.HasPrefix(arg, "-") && c.Flags().Lookup(name) != nil:
			return cli.WrongUsage("-%s: write --%s; one dash is for names of one letter", name, name)
		}
	}
	return nil
}
