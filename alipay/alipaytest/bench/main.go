// Command bench measures package alipay beside the cost that no client can do
// without and beside two common SDKs, all in one run:
//
//	go run .
//
// It is a module of its own, so that refundd does not depend on those SDKs. The
// gateway is a child process, so that allocations are the client's alone.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == serveArg {
		if err := serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench gateway:", err)
			os.Exit(1)
		}
		return
	}
	testing.Init()
	rounds := flag.Int("count", 100, "rounds; each measures every contender once")
	each := flag.Duration("time", 50*time.Millisecond, "time of one measurement")
	flag.Parse()
	if flag.NArg() > 0 || *rounds < 1 || *each <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, *rounds, *each)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, rounds int, each time.Duration) error {
	if err := flag.Set("test.benchtime", each.String()); err != nil {
		return err
	}
	keys, err := alipaytest.NewKeys()
	if err != nil {
		return err
	}
	answer, err := signedAnswer(keys)
	if err != nil {
		return err
	}
	gateway, stop, err := startGateway(ctx, answer)
	if err != nil {
		return err
	}
	defer stop()
	calls, err := refunds(keys, gateway)
	if err != nil {
		return err
	}
	if err := table(ctx, w, "refund call", calls, rounds); err != nil {
		return err
	}
	text, body, err := signedNotification(keys)
	if err != nil {
		return err
	}
	parses, err := notifications(keys, text, body)
	if err != nil {
		return err
	}
	return table(ctx, w, "notification", parses, rounds)
}
