// Command topics creates the topics and the consumer group that refundd wants
// to find, on every master broker of a cluster, and returns when the name
// server knows them. Doing it twice does no harm. It signs nothing, so brokers
// with ACL need RocketMQ's own mqadmin instead.
//
//	go run ./deploy/stack/topics -nameserver 127.0.0.1:9876
//
// Exit codes: 0 done, 1 failed, 2 wrong usage.
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
	"time"

	"refundd/consumer/remoting"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("topics", flag.ContinueOnError)
	flags.SetOutput(stderr)
	nameServer := flags.String("nameserver", "127.0.0.1:9876", "`host:port` of one name server")
	topics := flags.String("topics", "refund-command,coupon-refund-command,refund-event,refund-retry,refund-parked", "comma-separated `names`")
	group := flags.String("group", "refundd", "consumer group, `name`; empty = none")
	queues := flags.Int("queues", 8, "`number` of queues of each topic on each broker")
	wait := flags.Duration("wait", 2*time.Minute, "how long to wait for name server and brokers")
	err := flags.Parse(arguments)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case *queues < 1 || flags.NArg() > 0:
		fmt.Fprintln(stderr, "topics: want flags only, and at least one queue; run with -h for help")
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, *wait)
	defer cancel()
	if err := create(ctx, *nameServer, strings.Split(*topics, ","), *queues, *group); err != nil {
		fmt.Fprintln(stderr, "topics:", err)
		return 1
	}
	fmt.Fprintf(stdout, "topics %s and group %q are there\n", *topics, *group)
	return 0
}

func create(ctx context.Context, nameServer string, topics []string, queues int, group string) error {
	if _, err := remoting.WaitBroker(ctx, nameServer); err != nil {
		return err
	}
	brokers, err := remoting.Brokers(ctx, nameServer)
	if err != nil {
		return err
	}
	for _, broker := range brokers {
		for _, topic := range topics {
			if err := remoting.CreateTopic(ctx, broker, topic, queues); err != nil {
				return err
			}
		}
		if group == "" {
			continue
		}
		if err := remoting.CreateGroup(ctx, broker, group); err != nil {
			return err
		}
	}
	for _, topic := range topics {
		if err := remoting.WaitRoute(ctx, nameServer, topic); err != nil {
			return err
		}
	}
	return nil
}
