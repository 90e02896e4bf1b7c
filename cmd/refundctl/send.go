package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/producer"
)

const sendHelp = `refundctl send sends refund commands. A command is executed once however often it
is sent, so sending again is always safe; the same number with another amount is
rejected by the service. Each command is checked here first, exactly as the
service would, and a bad one is not sent.

usage: refundctl send [flags]

One command by flags:
  refundctl send -out-request-no R-1 -out-trade-no T-1 -amount 12.50 -reason "damaged" -metadata ticket=A-17
  refundctl send -out-request-no R-1 -trade-no 2026010122001 -amount 12.50 -dry-run

Many as JSON lines, one command a line as in the contract:
  refundctl send -file refunds.jsonl -concurrency 16 -rate 200
  jq -c '.[]' refunds.json | refundctl send -file -

What went wrong is told by line number on standard error; the closing line counts
every line once. Exit code 1 if any command was not sent.
`

type sendOptions struct {
	connection
	members
	topic       string
	kind        string
	file        string
	traceparent string
	force       bool
	dryRun      bool
	concurrency int
	rate        int
}

func (o *sendOptions) register(flags *flag.FlagSet) {
	o.connection.register(flags)
	o.members.register(flags)
	flags.StringVar(&o.kind, "kind", "refund", "`refund` or coupon_refund")
	flags.StringVar(&o.topic, "topic", "", "`topic` of the commands; default REFUNDD_TOPIC_REFUND or refund-command (of the other kind: …_COUPON_REFUND)")
	flags.StringVar(&o.file, "file", "", "`file` with JSON lines instead of the flags of one command; - is standard input")
	flags.StringVar(&o.traceparent, "traceparent", "", "W3C trace `context` of the commands; it comes back in the events")
	flags.BoolVar(&o.force, "force", false, "send also what the service will reject")
	flags.BoolVar(&o.dryRun, "dry-run", false, "check and print the commands, connect to nothing")
	flags.IntVar(&o.concurrency, "concurrency", 8, "`number` of messages sent at once, from a file")
	flags.IntVar(&o.rate, "rate", 0, "messages per second at most; 0 = no limit")
}

func (o *sendOptions) check() error {
	switch {
	case o.kind != string(consumer.KindRefund) && o.kind != string(consumer.KindCouponRefund):
		return wrongUsage("-kind: %q is neither refund nor coupon_refund", o.kind)
	case o.file != "" && o.given() != "":
		return wrongUsage("-file and %s: give a file or the flags of one command", o.given())
	case o.file == "" && o.given() == "":
		return wrongUsage("nothing to send: give -out-request-no and the others, or -file")
	case o.concurrency < 1 || o.concurrency > 1000:
		return wrongUsage("-concurrency: %d is not 1 to 1000", o.concurrency)
	case o.rate < 0 || o.rate > 1_000_000:
		return wrongUsage("-rate: %d is not 0 to 1000000", o.rate)
	case o.traceparent != "" && !producer.ValidTraceparent(o.traceparent):
		return wrongUsage("-traceparent: not a W3C trace context")
	}
	return nil
}

func send(ctx context.Context, args []string, env environment) error {
	var o sendOptions
	flags := flag.NewFlagSet("send", flag.ContinueOnError)
	o.register(flags)
	if err := parse(flags, args, env, sendHelp); err != nil {
		return err
	}
	o.note(flags)
	if err := o.check(); err != nil {
		return err
	}
	kind := consumer.Kind(o.kind)
	if kind == consumer.KindCouponRefund {
		o.topic = topic(o.topic, env, "REFUNDD_TOPIC_COUPON_REFUND", "coupon-refund-command")
	} else {
		o.topic = topic(o.topic, env, "REFUNDD_TOPIC_REFUND", "refund-command")
	}
	lines, err := o.open(env, kind)
	if err != nil {
		return err
	}
	defer func() { _ = lines.Close() }() // it was only read

	deliver := func(_ context.Context, c command) error { return printBody(env.stdout, c) }
	if !o.dryRun {
		cluster, err := o.connection.open(ctx, env, o.topic)
		if err != nil {
			return err
		}
		sender, err := tap.NewSender(cluster)
		if err != nil {
			return err
		}
		defer func() { _ = sender.Close() }() // every message was confirmed or counted as failed
		deliver = func(ctx context.Context, c command) error {
			id, err := sender.Send(ctx, tap.Outgoing{
				Topic: o.topic, Keys: c.key, Body: c.body, Properties: map[string]string{producer.PropertyTraceparent: o.traceparent},
			})
			if err == nil && o.file == "" {
				_, _ = fmt.Fprintf(env.stdout, "sent %s to %s as message %s\n", c.key, o.topic, id)
			}
			return err
		}
	}
	b := &batch{kind: kind, force: o.force, deliver: deliver, rate: o.rate, workers: o.concurrency, env: env, many: o.file != "", dry: o.dryRun}
	if o.file == "" || o.dryRun {
		b.workers = 1 // in the order of the file
	}
	return b.run(ctx, lines)
}

// open gives the commands as lines.
func (o *sendOptions) open(env environment, kind consumer.Kind) (io.ReadCloser, error) {
	switch o.file {
	case "":
		body, err := o.body(kind)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(body)), nil
	case "-":
		return io.NopCloser(env.stdin), nil
	}
	f, err := os.Open(o.file)
	if err != nil {
		return nil, wrongUsage("-file: %v", err)
	}
	return f, nil
}

func printBody(w io.Writer, c command) error {
	if _, err := fmt.Fprintf(w, "%s\n", c.body); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

var errNotAllSent = errors.New("not every command was sent")
