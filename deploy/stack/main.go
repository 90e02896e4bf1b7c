// Command stack brings up a real Apache RocketMQ and a real Redis on free
// loopback ports, runs a command against them, and takes everything down again.
//
//	go run ./deploy/stack -- go test ./...
//	go run ./deploy/stack            # stay up, print the variables, end on Ctrl-C
//
// It uses Docker Compose where a Docker daemon answers, else the Maven Central
// jars with a JDK, Maven and redis-server. Run it with -h for what the command
// finds in its environment.
//
// What callers may rely on: the command's exit code is passed on; no process
// and no temporary file outlives the program, whether it ends by itself, by
// Ctrl-C, by SIGTERM or by a panic. After a SIGKILL the processes die with it
// (on Linux) and the next run removes its folder. The jars are kept for the
// next run, in the user's cache folder and Maven's own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Exit codes besides those that the command itself returns.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `usage: go run ./deploy/stack [flags] [-- COMMAND ARGUMENTS...]

Starts RocketMQ %s and Redis on free loopback ports, creates the topics and the
group, runs COMMAND and takes everything down. Without COMMAND it stays up until
Ctrl-C and prints the variables, ready for another terminal.

COMMAND finds:
  REFUNDD_ROCKETMQ_NAMESERVERS   what refundd needs; REFUNDD_TEST_NAMESERVERS is the same for tests
  REFUNDD_REDIS_URL              what refundd needs; REFUNDD_TEST_REDIS is the same for tests
  REFUNDD_TEST_STACK             http://127.0.0.1:PORT, where a test may break things:
      POST /broker/stop  /broker/start  /broker/restart    also /redis/..., /namesrv/... and /broker-b/...
      Answered when it is done: 204, or 500 with the reason. A stop is a SIGKILL unless the
      query says ?signal=TERM. The store is kept, so what was flushed is there after a start.

Its standard input is passed on unless that is a terminal.

Kept between runs, checked against a list of checksums and then used without a
download: the jars, in %s
and in Maven's own cache. Missing tools are installed when this runs as root on
a system with apt-get; else a message names them.

flags:
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

type options struct {
	topics    []string
	group     string
	queues    int
	brokers   int
	syncFlush bool
	engine    string
	command   []string
}

func run(arguments []string, stdout, stderr io.Writer) int {
	opts, err := parse(arguments, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "stack: %v; run with -h for help\n", err)
		return exitUsage
	}

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	ctx = endWithParent(ctx)
	becomeReaper()
	defer killOrphans()

	code, err := runStack(ctx, opts, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "stack:", err)
	}
	return code
}

// parse prints the help itself and then returns flag.ErrHelp.
func parse(arguments []string, help io.Writer) (options, error) {
	var opts options
	flags := flag.NewFlagSet("stack", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	topics := flags.String("topics", "refund-command,coupon-refund-command,refund-event,refund-retry,refund-parked", "comma-separated `names` of the topics to create")
	flags.StringVar(&opts.group, "group", "refundd", "consumer group to create, `name`; empty = none")
	flags.IntVar(&opts.queues, "queues", 8, "`number` of queues of each topic")
	flags.IntVar(&opts.brokers, "brokers", 1, "`number` of brokers under the name server, 1 or 2; two need -engine jars")
	flags.BoolVar(&opts.syncFlush, "sync-flush", false, "make broker and Redis flush each write to the disk before they confirm it, as in production")
	flags.StringVar(&opts.engine, "engine", "auto", "what runs the parts, `name`: docker, jars, or auto for Docker where it answers")
	err := flags.Parse(arguments)
	if errors.Is(err, flag.ErrHelp) {
		cache, cacheErr := jarFolder()
		if cacheErr != nil {
			cache = cacheErr.Error()
		}
		fmt.Fprintf(help, usage, rocketmqVersion, cache)
		flags.SetOutput(help)
		flags.PrintDefaults()
	}
	if err != nil {
		return options{}, err
	}
	for topic := range strings.SplitSeq(*topics, ",") {
		if topic = strings.TrimSpace(topic); topic != "" {
			opts.topics = append(opts.topics, topic)
		}
	}
	opts.command = flags.Args()
	if len(opts.command) > 0 {
		if _, err := exec.LookPath(opts.command[0]); err != nil {
			return options{}, err
		}
	}
	switch {
	case opts.queues < 1 || opts.queues > 1024:
		return options{}, fmt.Errorf("-queues %d: want 1 to 1024", opts.queues)
	case opts.brokers != 1 && opts.brokers != 2:
		return options{}, fmt.Errorf("-brokers %d: want 1 or 2", opts.brokers)
	case opts.brokers == 2 && opts.engine != "jars":
		return options{}, errors.New("-brokers 2 needs -engine jars")
	case opts.engine != "auto" && opts.engine != "docker" && opts.engine != "jars":
		return options{}, fmt.Errorf("-engine %q: want auto, docker or jars", opts.engine)
	}
	return opts, nil
}

// runStack returns the command's exit code, or exitFailed and why the stack
// itself failed.
func runStack(ctx context.Context, opts options, stdout, stderr io.Writer) (code int, err error) {
	folder, err := newFolder()
	if err != nil {
		return exitFailed, err
	}
	defer func() {
		if removal := folder.remove(); removal != nil && err == nil {
			code, err = exitFailed, removal
		}
	}()

	began := time.Now()
	s, err := startStack(ctx, opts, folder.path, stderr)
	if err != nil {
		return stopCode(ctx), err
	}
	defer s.close()
	control, err := serveControl(s)
	if err != nil {
		return exitFailed, err
	}
	defer control.close()
	variables := append(s.variables(), "REFUNDD_TEST_STACK="+control.url)
	fmt.Fprintf(stderr, "stack: up after %.1f s\n", time.Since(began).Seconds())

	if len(opts.command) == 0 {
		for _, v := range variables {
			fmt.Fprintln(stdout, "export "+v)
		}
		fmt.Fprintln(stderr, "stack: paste these lines into another terminal; Ctrl-C here ends the stack")
		<-ctx.Done()
		return exitOK, nil
	}
	return runCommand(ctx, opts.command, variables, stdout, stderr)
}

// commandGrace is how long the command may go on after a signal before it is killed.
const commandGrace = 10 * time.Second

// runCommand runs the command in a process group of its own. The end of ctx
// interrupts the group; what is left of the group afterwards is killed.
func runCommand(ctx context.Context, command, variables []string, stdout, stderr io.Writer) (int, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // running the caller's command is the purpose
	cmd.Env = append(os.Environ(), variables...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if !isTerminal(os.Stdin) {
		cmd.Stdin = os.Stdin
	}
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return signalGroup(cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = commandGrace
	if err := cmd.Start(); err != nil {
		return exitFailed, fmt.Errorf("run %s: %w", command[0], err)
	}
	err := cmd.Wait()
	_ = signalGroup(cmd.Process.Pid, syscall.SIGKILL) // usually nothing is left

	if ctx.Err() != nil {
		return stopCode(ctx), fmt.Errorf("stopped %s: %w", command[0], context.Cause(ctx))
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return exitOK, nil
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode(), nil
	default:
		return exitFailed, fmt.Errorf("run %s: %w", command[0], err)
	}
}

// stopCode is the exit code of a run that did not reach its end: 130 for one
// that was asked to stop, as shells have it.
func stopCode(ctx context.Context) int {
	if ctx.Err() != nil {
		return 130
	}
	return exitFailed
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
