// Command bench measures refundd beside a plain Go consumer on a real RocketMQ
// and Redis, and judges every run. It is a module of its own, so that refundd
// does not depend on the plain consumer's SDK. From the root:
//
//	make bench                                       # about half an hour
//	make bench BENCH="-rounds 1 -seconds 5 backlog"  # a quick look at one table; -h lists the flags
//	make bench BENCH="-rounds 1 -only image -tls off -backlog 1000000 backlog"
//
// Three contenders run in turns, each a process of its own: image is refundd as
// deploy/Dockerfile builds and sets it, plain is refundd as go build makes it,
// peer is SETNX, smartwalle/alipay and SendSync (peer.go). Settings of Go's
// runtime that the image has, such as GOMAXPROCS, and -env are for all three.
//
// The tables, the first two in plain HTTP to the gateway and over TLS (-tls):
//
//   - backlog: the commands lie there before the process starts, and Alipay
//     answers at once. refundd then gets all of them once more.
//   - rate: commands come at a fixed rate, and Alipay takes its time.
//   - limit: Alipay lets so many calls a second through (limit.go).
//   - instances: 1, 2 and 4 of image, limited by Alipay's time and not by this
//     machine, with a backlog for each.
//
// CPU time is the contender's alone, as so many crypto/rsa signatures, measured on
// all cores right before and after each run: how fast a shared machine is, and
// what else it does, then matters little. Times have no such remedy.
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

	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"
	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
)

type options struct {
	tables                 []string
	tls, only, env         string
	backlog, rate, seconds int
	rounds                 int
	latency                time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	consumer.RedirectSDK(quiet)
	do := run
	if len(os.Args) == 2 && os.Args[1] == rolePeer {
		do = peer
	}
	err := do(ctx)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o, err := parse(os.Args[1:])
	if err != nil {
		return err
	}
	b := &bench{options: o, nameServer: os.Getenv("REFUNDD_TEST_NAMESERVERS"), redisURL: os.Getenv("REFUNDD_TEST_REDIS")}
	b.cluster = tap.Cluster{NameServers: []string{b.nameServer}}
	opts, err := redis.ParseURL(b.redisURL)
	if err != nil {
		return fmt.Errorf("there is no stack, run it by make bench: %w", err)
	}
	b.redis = redis.NewClient(opts)
	if b.sender, err = tap.NewSender(b.cluster); err != nil {
		return err
	}
	if b.folder, err = os.MkdirTemp("", "refundd-bench-"); err != nil {
		return err
	}
	if b.keys, err = alipaytest.LoadOrCreateKeys(b.folder); err != nil {
		return err
	}
	if err := b.run(ctx, os.Stdout); err != nil {
		return fmt.Errorf("%w (logs are in %s)", err, b.folder)
	}
	return os.RemoveAll(b.folder)
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench [flags] [tables: backlog, rate and limit by default, instances]", flag.ContinueOnError)
	flags.StringVar(&o.tls, "tls", "both", "TLS to the gateway under backlog and rate: off, on or both")
	flags.StringVar(&o.only, "only", "", "measure only this `contender`")
	flags.IntVar(&o.rounds, "rounds", 5, "`runs` of each contender for each table")
	flags.IntVar(&o.backlog, "backlog", 5000, "`commands` of a backlog")
	flags.IntVar(&o.rate, "rate", 100, "`commands` a second")
	flags.IntVar(&o.seconds, "seconds", 20, "`length` of a run at that rate")
	flags.DurationVar(&o.latency, "latency", 20*time.Millisecond, "how long Alipay takes at a rate and under a limit")
	flags.StringVar(&o.env, "env", "", "`settings` for every contender, NAME=value NAME=value")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	known := []string{"backlog", "rate", "limit", "instances"}
	if o.tables = flags.Args(); len(o.tables) == 0 {
		o.tables = known[:3]
	}
	for _, name := range o.tables {
		if !slices.Contains(known, name) {
			return o, fmt.Errorf("no table is called %q: want some of %s", name, strings.Join(known, " "))
		}
	}
	if min(o.rounds, o.backlog, o.rate, o.seconds) < 1 || !slices.Contains([]string{"off", "on", "both"}, o.tls) ||
		!slices.Contains([]string{"", "image", "plain", rolePeer}, o.only) {
		return o, errors.New("a flag has a value that it cannot have: see -h")
	}
	return o, nil
}
