// Command bench measures refundd beside a plain peer on one stack, and judges
// every run by Alipay's ledger. It is a module of its own, so that refundd does
// not depend on the peer's SDK. From the root:
//
//	make bench                                     # brings the stack up and takes it down, about a quarter of an hour
//	make bench BENCH="-rounds 1 -seconds 5"        # a quick look; -h lists the flags
//	make bench BENCH="-only refundd GOGC=200"      # what follows the flags is refundd's environment
//	make bench BENCH="-scale instances,inflight"   # how it grows instead; see scale.go
//	make bench BENCH="-limit"                      # how it works where Alipay limits it instead; see limit.go
//
// After the tables each goal stands beside what was seen. Two loads, in turns between the contenders:
//
//   - backlog: the commands lie in the topic when the process starts, and Alipay
//     answers at once. What counts is the CPU time of a refund. Then all comes once
//     more, which refundd answers from memory and without a call.
//   - rate: commands come at a fixed rate, and Alipay takes its time. What counts is
//     how long after its birth a command's event is stored. Beside it stands what
//     the broker alone takes meanwhile: a hop is a message sent until somebody who
//     waits for it has it.
//
// The contenders are refundd with each signer, and what many would write: the
// SDK's push consumer with 20 handlers, SETNX, smartwalle/alipay, SendSync
// (peer.go). Beside them bare shows with each signer what refundd's libraries cost
// by themselves (bare.go): nobody who uses them gets below it. Each is a process of
// its own; Alipay is a stub in this one, which verifies every request and signs
// every answer. CPU time is the contender's alone, from its start to its last
// event, and is also told as a ratio to one crypto/rsa signature, measured on all
// cores right before and after the run: so what else a shared machine does, and how
// fast it is, matters little. Wall-clock figures have no such remedy.
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
	queues    int
	workers   int
	inFlight  int
	scale     string
	limited   bool
	stack     string
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
	case len(os.Args) == 3 && os.Args[1] == roleBare:
		err = bare(ctx, os.Args[2])
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
	flags.IntVar(&o.queues, "queues", 8, "`number` of queues of each topic")
	flags.IntVar(&o.workers, "workers", 0, "`commands` that an instance of refundd works on at once; 0: its default")
	flags.StringVar(&o.scale, "scale", "", "measure these `questions` instead, comma-separated: redis, flush, instances, inflight, drain; or all")
	flags.BoolVar(&o.limited, "limit", false, "measure refundd and the peer where Alipay limits calls instead, about ten minutes")
	flags.IntVar(&o.inFlight, "in-flight", 10_000, "`commands` at work at once for -scale inflight")
	flags.StringVar(&o.stack, "stack", "bin/stack", "the `program` that brings up a second stack for -scale flush")
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
	if err := o.check(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v; -h lists the flags\n", err)
		return errUsage
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer b.close()
	if o.limited {
		return b.limits(ctx, os.Stdout)
	}
	return b.all(ctx, os.Stdout)
}

func (o *options) check() error {
	for name, value := range map[string]int{
		"rounds": o.rounds, "instances": o.instances, "queues": o.queues, "in-flight": o.inFlight, "seconds": o.seconds,
	} {
		if value < 1 {
			return fmt.Errorf("-%s %d: want 1 or more", name, value)
		}
	}
	for name, value := range map[string]int{"backlog": o.backlog, "rate": o.rate, "workers": o.workers, "warm-up": o.warmUp} {
		if value < 0 {
			return fmt.Errorf("-%s %d: want 0 or more", name, value)
		}
	}
	if o.scale == "" {
		return nil
	}
	if o.scale == "all" {
		o.scale = strings.Join(questions(), ",")
	}
	for name := range strings.SplitSeq(o.scale, ",") {
		if !slices.Contains(questions(), name) {
			return fmt.Errorf("-scale %s: want all or some of %s", name, strings.Join(questions(), ","))
		}
	}
	switch {
	case o.contender != "" && !(contender{name: o.contender}).isRefundd():
		return fmt.Errorf("-scale measures refundd and not %s", o.contender)
	case o.backlog == 0:
		return errors.New("-scale needs a -backlog")
	}
	return nil
}
