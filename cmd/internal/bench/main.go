// Command bench measures refundd beside a plain peer on one stack, and judges
// every run by Alipay's ledger. It is a module of its own, so that refundd does
// not depend on the peer's SDK. From the root:
//
//	make bench                                     # brings the stack up and takes it down, about ten minutes
//	make bench BENCH="-rounds 1 -seconds 5"        # a quick look; -h lists the flags
//	make bench BENCH="-only refundd GOGC=200"      # what follows the flags is refundd's environment
//
// Two loads, in turns between the contenders:
//
//   - backlog: the commands lie in the topic when the process starts, and Alipay
//     answers at once. What counts is the CPU time of a refund.
//   - rate: commands come at a fixed rate, and Alipay takes its time. What counts is
//     how long after its birth a command's event is stored.
//
// The contenders are refundd with each signer, and what many would write: the
// SDK's push consumer with 20 handlers, SETNX, smartwalle/alipay, SendSync
// (peer.go). Each is a process of its own; Alipay is a stub in this one, which
// verifies every request and signs every answer. CPU time is the contender's
// alone, from its start to its last event, and is also told as a ratio to one
// crypto/rsa signature, measured on all cores right before and after the run: so
// what else a shared machine does, and how fast it is, matters little. Wall-clock
// figures have no such remedy.
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
	"time"

	"github.com/sirupsen/logrus"
	"refundd/consumer"
)

type options struct {
	refundd   string
	rounds    int
	backlog   int
	rate      int
	seconds   int
	latency   time.Duration
	warmUp    int
	instances int
	slow      time.Duration
	contender string
	eachStage bool
	keep      bool
	env       []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	consumer.RedirectSDK(quiet)
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == rolePeer:
		err = peer(ctx)
	case len(os.Args) == 3 && os.Args[1] == roleGateway:
		err = serveGateway(ctx, os.Args[2])
	default:
		err = run(ctx, os.Args[1:])
	}
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("wrong usage")

func run(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.refundd, "refundd", "bin/refundd", "the `program` to measure")
	flags.IntVar(&o.rounds, "rounds", 3, "`runs` of each contender under each load")
	flags.IntVar(&o.backlog, "backlog", 5000, "`commands` of the backlog; 0: leave this load out")
	flags.DurationVar(&o.slow, "backlog-latency", 0, "how long Alipay takes under the backlog")
	flags.IntVar(&o.instances, "instances", 1, "`processes` of a contender that share the work")
	flags.IntVar(&o.rate, "rate", 100, "commands a second; 0: leave this load out")
	flags.IntVar(&o.seconds, "seconds", 20, "`length` of a run at that rate")
	flags.DurationVar(&o.latency, "latency", 20*time.Millisecond, "how long Alipay takes at that rate")
	flags.IntVar(&o.warmUp, "warm-up", 100, "`commands` before a run at that rate, which do not count")
	flags.StringVar(&o.contender, "only", "", "measure only the contender of this `name`")
	flags.BoolVar(&o.eachStage, "stages", true, "also measure the parts of a refund one by one")
	flags.BoolVar(&o.keep, "keep", false, "keep the contenders' logs and say where")
	if err := flags.Parse(args); err != nil {
		return errors.Join(errUsage, err)
	}
	o.env = flags.Args() // NAME=value, for refundd
	if o.rounds < 1 || o.instances < 1 || o.backlog < 0 || o.rate < 0 || o.seconds < 1 {
		fmt.Fprintln(os.Stderr, "bench: numbers must be positive; -h lists the flags")
		return errUsage
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer b.close()
	return b.all(ctx, os.Stdout)
}
