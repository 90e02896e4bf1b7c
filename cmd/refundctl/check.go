package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"refundd/consumer/history"
)

const checkHelp = `check holds histories to what the service promises: that money moves at most
once, that every refund has one true end, that nothing is lost. A history is a
file of JSON lines, as the simulation, the chaos run and the load test write it;
several files are parts of one history, in this order; "-" is standard input.
Nothing is connected to.

  refundctl check history.jsonl
  refundctl check -o json part1.jsonl part2.jsonl
  refundctl check -only I1,I3 history.jsonl
  refundctl check -repeat first.jsonl second.jsonl

An invariant that the history cannot show is "not checked", with what it lacks.
Exit codes: 0 nothing is broken, 1 something is (the report tells the story of the
refund concerned), 2 wrong usage, or a file that is no history. The invariants:

`

// check carries out refundctl check.
func check(_ context.Context, args []string, env environment) error {
	var out output
	var only, repeat string
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	out.register(flags)
	flags.StringVar(&only, "only", "", "`names` of the invariants to check, with commas between them; default all")
	flags.StringVar(&repeat, "repeat", "", "`file` of an earlier run of the same seed, which must be the same (I19)")
	var help strings.Builder
	help.WriteString(checkHelp)
	for _, inv := range history.Invariants() {
		fmt.Fprintf(&help, "  %-4s %s\n", inv.Name, inv.Says)
	}
	if err := parseFlags(flags, args, env, help.String()); err != nil {
		return err
	}
	files := flags.Args()
	if len(files) == 0 {
		return wrongUsage("check: no file is given")
	}
	opts := history.Options{}
	if err := out.check("check"); err != nil {
		return err
	}
	if only != "" {
		opts.Only = strings.Split(only, ",")
		if err := knownInvariants(opts.Only); err != nil {
			return err
		}
	}
	if repeat != "" {
		facts, err := readHistory(repeat, env)
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
	if out.json() {
		if err := printJSON(env.stdout, report); err != nil {
			return err
		}
	} else if _, err := io.WriteString(env.stdout, report.String()); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if !report.Clean() {
		return errFound
	}
	return nil
}

func knownInvariants(names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(history.Invariants(), func(i history.Invariant) bool { return i.Name == name }) {
			return wrongUsage("check: -only: there is no invariant %q", name)
		}
	}
	return nil
}

func readHistory(name string, env environment) ([]history.Fact, error) {
	in := env.stdin
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // the operator's own file
		if err != nil {
			return nil, wrongUsage("check: %v", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	facts, err := history.ReadAll(in)
	if err != nil {
		return nil, wrongUsage("check: %s: %v", name, err)
	}
	return facts, nil
}
