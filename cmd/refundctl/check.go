package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/flags"
	"refundd/consumer/history"
)

const checkLong = `Holds histories to what the service promises: that money moves at most once, that
every refund has one true end, that nothing is lost. A history is a file of JSON
lines, as the simulation, the chaos run and the load test write it; several files
are parts of one history, in this order; "-" is standard input. Nothing is
connected to.

An invariant that the history cannot show is "not checked", with what it lacks.
Exit codes: 0 nothing is broken, 1 something is (the report tells the story of the
refund concerned), 2 wrong usage, or a file that is no history. The invariants:

`

const checkExample = `  refundctl check history.jsonl
  refundctl check -o json part1.jsonl part2.jsonl
  refundctl check --only I1,I3 history.jsonl
  refundctl check --repeat first.jsonl second.jsonl`

// checking holds the flags of check.
type checking struct {
	flags.Output
	only, repeat string
}

func checkCommand(env cli.Env) *cobra.Command {
	var o checking
	var long strings.Builder
	var names []string
	long.WriteString(checkLong)
	for _, inv := range history.Invariants() {
		fmt.Fprintf(&long, "  %-4s %s\n", inv.Name, inv.Says)
		names = append(names, inv.Name)
	}
	cmd := &cobra.Command{
		Use: "check FILE...", Short: "hold a recorded history to what the service promises", Long: strings.TrimSpace(long.String()), Example: checkExample,
		Args: cobra.ArbitraryArgs, ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		RunE: func(_ *cobra.Command, files []string) error { return o.check(env, files) },
	}
	o.Register(cmd)
	flags.Choice{Value: &o.only, Of: names, Many: true}.Register(cmd, "only", "", "`names` of the invariants to check, with commas between them; default all")
	flags.File(cmd, &o.repeat, "repeat", "", "`file` of an earlier run of the same seed, which must be the same (I19)")
	return cmd
}

func (o *checking) check(env cli.Env, files []string) error {
	if len(files) == 0 {
		return cli.WrongUsage("no file is given")
	}
	opts := history.Options{}
	if o.only != "" {
		opts.Only = strings.Split(o.only, ",")
	}
	if o.repeat != "" {
		facts, err := readHistory(o.repeat, env)
		if err != nil {
			return err
		}
		opts.Repeat = history.Hash(facts)
	}
	var facts []history.Fact
	for _, name := range files {
		part, err := readHistory(name, env)
		if err != nil {
			return err
		}
		facts = append(facts, part...)
	}
	report := history.Check(facts, opts)
	if o.JSON() {
		if err := cli.PrintJSON(env.Stdout, report); err != nil {
			return err
		}
	} else if _, err := io.WriteString(env.Stdout, report.String()); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if !report.Clean() {
		return cli.ErrFound
	}
	return nil
}

func readHistory(name string, env cli.Env) ([]history.Fact, error) {
	in := env.Stdin
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // the operator's own file
		if err != nil {
			return nil, cli.WrongUsage("%v", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	facts, err := history.ReadAll(in)
	if err != nil {
		return nil, cli.WrongUsage("%s: %v", name, err)
	}
	return facts, nil
}
