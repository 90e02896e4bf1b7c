// Command refundctl is the operator's tool beside refundd. It sends commands
// (send) and follows events (events) over RocketMQ, as any other system would,
// puts brakes on and off through Redis (pause, resume, brakes), and checks
// recorded histories (check). It never joins the service's consumer group and never talks to Alipay.
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

const usage = `refundctl works with refundd over its topics.

usage: refundctl COMMAND [flags]

  send      send refund commands: one by flags, or many as JSON lines
  events    follow the events: what became of the commands
  pause     stop new refund calls on all instances; queries go on
  resume    let them go again
  brakes    list what is paused
  check     hold a recorded history to what the service promises

"refundctl COMMAND -h" shows flags and examples. send and events take

  -nameserver HOST:PORT,...   RocketMQ's name servers (or REFUNDD_ROCKETMQ_NAMESERVERS)
  -v                          log of the RocketMQ client to standard error

Brokers with access control want REFUNDD_ROCKETMQ_ACCESS_KEY and REFUNDD_ROCKETMQ_SECRET_KEY_FILE.
Exit codes: 0 done or stopped, 1 failed, 2 wrong usage.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], environment{
		getenv: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, redirect: consumer.RedirectSDK,
	})
	stop()
	os.Exit(code)
}

// environment is what a program gets from outside.
type environment struct {
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	// redirect takes the RocketMQ client's log, once in a process: it is a
	// global of the client's.
	redirect func(logrus.FieldLogger)
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, env environment) int {
	if len(args) == 0 {
		_, _ = io.WriteString(env.stderr, usage)
		return exitUsage
	}
	var err error
	switch name, rest := args[0], args[1:]; name {
	case "send":
		err = send(ctx, rest, env)
	case "events":
		err = events(ctx, rest, env)
	case "pause", "resume", "brakes":
		err = brakes(ctx, name, rest, env)
	case "check":
		err = check(ctx, rest, env)
	case "help", "-h", "-help", "--help":
		_, _ = io.WriteString(env.stdout, usage)
		return exitDone
	default:
		err = &usageError{fmt.Sprintf("unknown command %q; there are send, events, pause, resume, brakes and check", name)}
	}
	_, wrong := errors.AsType[*usageError](err)
	switch {
	case errors.Is(err, errBroken):
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
