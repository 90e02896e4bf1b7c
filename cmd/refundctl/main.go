// Command refundctl is the operator's tool beside refundd. It sends commands
// (send) and follows events (events) over RocketMQ, as any other system would,
// puts brakes on and off through Redis (pause, resume, brakes), tells one
// refund's story (explain), works off what waits for a person (parked), records,
// replays and reconciles (record, replay, reconcile, verify-notify), looks at
// an environment (doctor, topics create) and checks recorded histories (check).
// It never joins the service's consumer group. Only -live talks to Alipay, by
// queries.
//
// What a person does with a parked refund never says anything about the money.
// A requeue sends a copy of the record's generation, so that it merges with any
// other copy (DESIGN R7), with a new age and no try spent (R12); the service then
// judges by everything that was asked before. A drop only takes the refund off
// the list: its record stays, undecided and without expiry (R10), no event is
// published, so that accounting still has it as unresolved (R14), and a later
// copy or notification may still prove it. Both write who, when and why into the
// record's note, under compare, before anything is sent; where no undecided record
// can hold it, beside the records.
//
// Exit codes: 0 the job is done, or asked to stop; 1 it failed while running;
// 2 wrong usage. Results go to standard output, everything else to standard
// error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"

	"refundd/consumer"
)

const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

const (
	usageHead = `refundctl works with refundd over its topics and its Redis.

usage: refundctl COMMAND [flags]

`
	usageTail = `
"refundctl COMMAND -h" shows flags and examples. Commands that read or write topics take

  -nameserver HOST:PORT,...   RocketMQ's name servers (or REFUNDD_ROCKETMQ_NAMESERVERS)
  -v                          log of the RocketMQ client to standard error

Brokers with access control want REFUNDD_ROCKETMQ_ACCESS_KEY and REFUNDD_ROCKETMQ_SECRET_KEY_FILE.
Results are text, or JSON with -o json. What moves messages or money prints a plan and asks, unless -yes.
Exit codes: 0 done or stopped, 1 failed or found something wrong, 2 wrong usage.
`
)

// verb is one of the tool's commands. A name of two words is a command's own command.
type verb struct {
	name, says string
	run        func(ctx context.Context, args []string, env environment) error
}

// commands is the table of all, in the order of the help.
func commands() []verb {
	brake := func(name string) func(context.Context, []string, environment) error {
		return func(ctx context.Context, args []string, env environment) error { return brakes(ctx, name, args, env) }
	}
	return []verb{
		{"send", "send refund commands: one by flags, or many as JSON lines", send},
		{"events", "follow the events: what became of the commands", events},
		{"pause", "stop new refund calls on all instances; queries go on", brake("pause")},
		{"resume", "let them go again", brake("resume")},
		{"brakes", "list what is paused", brake("brakes")},
		{"explain", "everything about one refund: what is true, what happens next, what to do", explain},
		{"parked list", "the refunds that wait for a person, by reason, and what became of them", parkedList},
		{"parked show", "one of them in full", parkedShow},
		{"parked requeue", "send them again once their cause is mended", parkedRequeue},
		{"parked drop", "mark those that nobody will try again", parkedDrop},
		{"record", "write a part of a topic to a file", record},
		{"replay", "send recorded commands again, and hold each against its event", replay},
		{"reconcile", "hold events against Alipay's bills, or against recorded commands", reconcile},
		{"doctor", "check a live environment: RocketMQ, Redis, Alipay, configuration", runDoctor},
		{"topics create", "make the topics and the group that are missing, or print them", topicsCreate},
		{"topics skip", "pass over one message that refundd cannot receive", topicsSkip},
		{"verify-notify", "say whether a notification is Alipay's, and if not, why", verifyNotify},
		{"check", "hold a recorded history to what the service promises", check},
		{"completion", "a script that completes commands and flags in bash, zsh or fish", completion},
	}
}

func usage() string {
	var b strings.Builder
	b.WriteString(usageHead)
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-16s %s\n", c.name, c.says)
	}
	b.WriteString(usageTail)
	return b.String()
}

// find takes the command's name off the arguments.
func find(args []string) (verb, []string, error) {
	first, under := strings.ToValidUTF8(args[0], "?"), []string{}
	var names []string
	for _, c := range commands() {
		word, rest, _ := strings.Cut(c.name, " ")
		switch {
		case word != args[0]:
		case rest == "":
			return c, args[1:], nil
		case len(args) > 1 && rest == args[1]:
			return c, args[2:], nil
		default:
			under = append(under, rest)
		}
		if !slices.Contains(names, word) {
			names = append(names, word)
		}
	}
	if len(under) > 0 {
		return verb{}, nil, wrongUsage("%s takes one of: %s", first, strings.Join(under, ", "))
	}
	return verb{}, nil, wrongUsage("unknown command %q; there are %s", first, strings.Join(names, ", "))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], environment{
		getenv: os.Getenv, environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		redirect: consumer.RedirectSDK, openTerminal: openTerminal,
	})
	stop()
	os.Exit(code)
}

// environment is what a program gets from outside.
type environment struct {
	getenv         func(string) string
	environ        []string // all of it, for those who check it whole
	stdin          io.Reader
	stdout, stderr io.Writer
	// redirect takes the RocketMQ client's log, once in a process: it is a
	// global of the client's.
	redirect func(logrus.FieldLogger)
	// openTerminal opens the terminal for a question, if there is one.
	openTerminal func() (io.ReadWriteCloser, error)
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, env environment) int {
	if len(args) == 0 {
		_, _ = io.WriteString(env.stderr, usage())
		return exitUsage
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		_, _ = io.WriteString(env.stdout, usage())
		return exitDone
	}
	c, rest, err := find(args)
	if err == nil {
		err = c.run(ctx, rest, env)
	}
	_, wrong := errors.AsType[*usageError](err)
	switch {
	case errors.Is(err, errFound):
		return exitFailed
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case wrong:
		_, _ = fmt.Fprintf(env.stderr, "refundctl: %v (-h helps)\n", err)
		return exitUsage
	}
	_, _ = fmt.Fprintln(env.stderr, "refundctl:", err)
	return exitFailed
}

// usageError is the caller's mistake; its text names the flag or variable.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func wrongUsage(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// parse parses flags that take no further arguments. Mistakes are usage errors;
// help goes to standard output.
func parse(flags *flag.FlagSet, args []string, env environment, help string) error {
	if err := parseFlags(flags, args, env, help); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return wrongUsage("%s: unexpected argument %q", flags.Name(), strings.ToValidUTF8(flags.Arg(0), "?"))
	}
	return nil
}

// parseFlags is parse for flags that further arguments may follow.
func parseFlags(flags *flag.FlagSet, args []string, env environment, help string) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(env.stdout, help+"\nflags:\n")
		flags.SetOutput(env.stdout)
		flags.PrintDefaults()
		return flag.ErrHelp
	case err != nil:
		return wrongUsage("%s: %v", flags.Name(), err)
	}
	return nil
}
