// Command demo shows refundd at work in one process, with nothing installed but
// Go: an embedded RocketMQ broker, an embedded Redis, a local Alipay that
// misbehaves on demand, and the real service (the same code as cmd/refundd,
// over real connections). It sends some forty commands, refunds and
// coupon refunds, and prints one line for each: what Alipay did, and which event
// came out. Alipay's notifications arrive at the service's receiver and become
// events, too.
//
//	go run ./cmd/demo          stays up for a second terminal, until Ctrl-C
//	go run ./cmd/demo -once    ends by itself and checks the ledger against the events
//
// Exit codes: 0 stopped (with -once: ledger and events agree), 1 failed (with
// -once: they do not agree), 2 wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/sirupsen/logrus"

	"refundd/cmd/internal/build"
	"refundd/consumer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], console{
		stdout: os.Stdout, stderr: os.Stderr,
		colour:   isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "",
		redirect: consumer.RedirectSDK,
	})
	stop()
	os.Exit(code)
}

type options struct {
	once    bool
	verbose bool
	logFile string
	broker  string
	alipay  string
	admin   string
	// receiver is where Alipay's notifications arrive.
	receiver string
	version  bool
}

// console is what the program writes to.
type console struct {
	stdout, stderr io.Writer
	colour         bool // escape codes on stdout
	// redirect takes the RocketMQ client's log, once in a process: it is a
	// global of the client's.
	redirect func(logrus.FieldLogger)
}

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, to console) int {
	stderr := to.stderr
	o, err := readOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "demo:", err)
		return 2
	case o.version:
		_, _ = fmt.Fprintln(to.stdout, "demo", build.Version())
		return 0
	}
	log, closeLog, err := newLog(o, stderr)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "demo: -log:", err)
		return 2
	}
	defer closeLog()
	to.redirect(log)
	ok, err := play(ctx, o, table{out: to.stdout, colour: to.colour}, log)
	switch {
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "demo:", err)
		return 1
	case !ok:
		return 1
	}
	return 0
}

func readOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.once, "once", false, "end after the script and check the ledger against the events; exit 0 or 1")
	flags.BoolVar(&o.version, "version", false, "print the version")
	flags.BoolVar(&o.verbose, "v", false, "log of service and RocketMQ client to standard error")
	flags.StringVar(&o.logFile, "log", "", "`file` for the log of service and RocketMQ client")
	flags.StringVar(&o.broker, "broker", "127.0.0.1:0", "`address` of the embedded broker and name server; port 0 takes a free one")
	flags.StringVar(&o.alipay, "alipay", "127.0.0.1:0", "`address` of the local Alipay")
	flags.StringVar(&o.admin, "admin", "127.0.0.1:0", "`address` of the service's admin page")
	flags.StringVar(&o.receiver, "receiver", "127.0.0.1:0", "`address` of the service's notification receiver")
	flags.Usage = func() {
		_, _ = fmt.Fprint(stderr, "usage: go run ./cmd/demo [flags]\n\nrefundd with all its surroundings in one process. Flags:\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err //nolint:wrapcheck // names the flag; flag has printed the usage
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}

// newLog is silent unless a flag says otherwise: the table is what to look at.
func newLog(o options, stderr io.Writer) (*logrus.Logger, func(), error) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	switch {
	case o.logFile != "":
		f, err := os.OpenFile(o.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("open log: %w", err)
		}
		log.SetOutput(f)
		return log, func() { _ = f.Close() }, nil // the last lines of a log
	case o.verbose:
		log.SetOutput(stderr)
	}
	return log, func() {}, nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
