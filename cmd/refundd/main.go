// Command refundd consumes refund commands from RocketMQ, carries each out at Alipay exactly as often as it has to be,
// and publishes what came of it. It is configured by environment only; `refundd -h` lists the variables.
//
// Exit codes: 0 asked to stop and stopped cleanly, 1 failed while running, 2 wrong usage or configuration.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"text/tabwriter"

	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"refundd/cmd/internal/build"
	"refundd/cmd/internal/config"
	"refundd/cmd/internal/service"
	"refundd/cmd/internal/tracing"
	"refundd/consumer"
)

const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	runtime.MemProfileRate = 0 // nobody can read a profile of this process, and keeping one takes a megabyte
	ctx := untilSignal(context.Background())
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	p := program{
		environ: os.Environ(),
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		serve: func(ctx context.Context, cfg config.Config, log *logrus.Logger) error {
			return service.Run(ctx, cfg, reload, log)
		},
	}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// untilSignal returns a context that the first SIGTERM or SIGINT ends. A second one kills the process at once: whoever
// sends it has decided not to wait for the drain.
func untilSignal(parent context.Context) context.Context {
	ctx, stop := signal.NotifyContext(parent, syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)
	return ctx
}

// program is what run needs of the world.
type program struct {
	environ        []string // as os.Environ returns it
	stdout, stderr io.Writer
	serve          func(context.Context, config.Config, *logrus.Logger) error
}

// run does what args ask for and returns the exit code. It serves until ctx ends.
func (p program) run(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("refundd", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // usage is ours
	check := flags.Bool("check", false, "")
	version := flags.Bool("version", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return p.print(usage)
	case err != nil:
		return p.misused(err.Error())
	case flags.NArg() > 0:
		return p.misused(fmt.Sprintf("unexpected argument %q; everything is configured by environment", flags.Arg(0)))
	case *version:
		return p.print(printVersion)
	}

	cfg, err := config.Load(p.environ)
	if err != nil {
		return p.failed(err)
	}
	if *check {
		return p.print(cfg.WriteCheck)
	}
	log := config.NewLogger(cfg, p.stderr)
	redis.SetLogger(config.RedisLogger{Log: log})
	consumer.RedirectSDK(log)
	tracing.RedirectSDK(log)
	if err := p.serve(ctx, cfg, log); err != nil {
		if e, ok := errors.AsType[*config.Error](err); ok {
			for _, problem := range e.Problems {
				log.WithField("variable", problem.Variable).Error(problem.Text)
			}
			return exitUsage
		}
		log.WithError(err).Error("refundd failed")
		return exitFailed
	}
	return exitOK
}

// print writes to standard output what write says.
func (p program) print(write func(io.Writer) error) int {
	if err := write(p.stdout); err != nil {
		return p.failed(err)
	}
	return exitOK
}

// misused says how the command line was wrong.
func (p program) misused(text string) int {
	_, _ = fmt.Fprintf(p.stderr, "refundd: %s\nrefundd -h explains.\n", text)
	return exitUsage
}

// failed prints err, one line a problem, before there is a logger.
func (p program) failed(err error) int {
	e, ok := errors.AsType[*config.Error](err)
	if !ok {
		_, _ = fmt.Fprintf(p.stderr, "refundd: %v\n", err)
		return exitFailed
	}
	for _, problem := range e.Problems {
		_, _ = fmt.Fprintf(p.stderr, "refundd: %s: %s\n", problem.Variable, problem.Text)
	}
	return exitUsage
}

func printVersion(w io.Writer) error {
	_, err := fmt.Fprintf(w, "refundd %s %s\n", build.Version(), runtime.Version())
	return err
}

const usageText = `refundd consumes refund commands from RocketMQ, executes each at Alipay, and publishes the outcome as an event.

  refundd            serve until SIGTERM or SIGINT; a second signal kills at once.
                     SIGHUP reads keys, certificates and merchants again, as a change of their files does
  refundd -check     validate the configuration, print it with secrets masked, connect to nothing
  refundd -version   print the version
  refundd -h         print this

It takes no arguments; the environment configures it. Exit codes: 0 stopped as asked (or the job is done), 1 failed while
running, 2 wrong usage or configuration. Secrets are read from the files that variables ending in _FILE name. A broker or
a Redis that is not there yet is waited for; topics and the consumer group have to exist. OpenTelemetry's own variables
switch traces on: OTEL_TRACES_EXPORTER=otlp, with OTEL_EXPORTER_OTLP_ENDPOINT and the like.

To begin with, set these five:

  export REFUNDD_ROCKETMQ_NAMESERVERS=127.0.0.1:9876
  export REFUNDD_REDIS_URL=redis://127.0.0.1:6379/0
  export REFUNDD_ALIPAY_APP_ID=2021000000000001
  export REFUNDD_ALIPAY_PRIVATE_KEY_FILE=app_private_key.pem
  export REFUNDD_ALIPAY_PUBLIC_KEY_FILE=alipay_public_key.pem
  refundd -check

Variables and, in brackets, their defaults:

`

func usage(w io.Writer) error {
	if _, err := io.WriteString(w, usageText); err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range config.Variables() {
		_, _ = fmt.Fprintf(table, "  %s\t%s [%s]\n", v.Name, v.Meaning, v.Default)
	}
	return table.Flush()
}
