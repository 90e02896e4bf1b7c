package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/flags"
	"refundd/cmd/internal/send"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/producer"
)

const sendLong = `Sends refund commands. A command is executed once however often it is sent, so
sending again is always safe; the same number with another amount is rejected by
the service. Each command is checked here first, exactly as the service would, and
a bad one is not sent.

Many commands come from a file of JSON lines, one command a line as in the
contract. What went wrong is told by line number on standard error; the closing
line counts every line once. Exit code 1 if any command was not sent.`

const sendExample = `  refundctl send --out-request-no R-1 --out-trade-no T-1 --amount 12.50 -r "damaged" --metadata ticket=A-17
  refundctl send --out-request-no R-1 --trade-no 2026010122001 --amount 12.50 --dry-run
  refundctl send -f refunds.jsonl --concurrency 16 --rate 200
  jq -c '.[]' refunds.json | refundctl send -f -`

type sendOptions struct {
	flags.Connection
	oneCommand
	flags.Output
	topic       string
	kind        string
	file        string
	traceparent string
	force       bool
	dryRun      bool
	concurrency int
	rate        int
}

func sendCommand(env cli.Env) *cobra.Command {
	o := sendOptions{kind: string(consumer.KindRefund)}
	cmd := &cobra.Command{
		Use: "send", Short: "send refund commands: one by flags, or many as JSON lines", Long: sendLong, Example: sendExample,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.note(cmd)
			return o.send(cmd.Context(), env)
		},
	}
	o.Connection.Register(cmd)
	o.register(cmd)
	o.Output.Register(cmd)
	flags.Choice{Value: &o.kind, Of: kinds()}.Register(cmd, "kind", "k", "what the commands are: refund or coupon_refund")
	flags.Topic(cmd, env, &o.topic, "topic", "`topic` of the commands; default REFUNDD_TOPIC_REFUND or refund-command (of the other kind: …_COUPON_REFUND)")
	flags.File(cmd, &o.file, "file", "f", "`file` with JSON lines instead of the flags of one command; - is standard input")
	set := cmd.Flags()
	set.StringVar(&o.traceparent, "traceparent", "", "W3C trace `context` of the commands; it comes back in the events")
	set.BoolVar(&o.force, "force", false, "send also what the service will reject")
	set.BoolVar(&o.dryRun, "dry-run", false, "check and print the commands, connect to nothing")
	set.IntVar(&o.concurrency, "concurrency", 8, "`number` of messages sent at once, from a file")
	set.IntVar(&o.rate, "rate", 0, "messages per second at most; 0 = no limit")
	return cmd
}

func (o *sendOptions) check() error {
	switch {
	case o.file != "" && o.given() != "":
		return cli.WrongUsage("--file and %s: give a file or the flags of one command", o.given())
	case o.file == "" && o.given() == "":
		return cli.WrongUsage("nothing to send: give --out-request-no and the others, or --file")
	case o.concurrency < 1 || o.concurrency > 1000:
		return cli.WrongUsage("--concurrency: %d is not 1 to 1000", o.concurrency)
	case o.rate < 0 || o.rate > 1_000_000:
		return cli.WrongUsage("--rate: %d is not 0 to 1000000", o.rate)
	case o.traceparent != "" && !producer.ValidTraceparent(o.traceparent):
		return cli.WrongUsage("--traceparent: not a W3C trace context")
	}
	return nil
}

func (o *sendOptions) send(ctx context.Context, env cli.Env) error {
	if err := o.check(); err != nil {
		return err
	}
	kind := consumer.Kind(o.kind)
	if kind == consumer.KindCouponRefund {
		o.topic = flags.TopicName(o.topic, env, "REFUNDD_TOPIC_COUPON_REFUND", "coupon-refund-command")
	} else {
		o.topic = flags.TopicName(o.topic, env, "REFUNDD_TOPIC_REFUND", "refund-command")
	}
	lines, err := o.open(env, kind)
	if err != nil {
		return err
	}
	defer func() { _ = lines.Close() }() // it was only read

	deliver := func(_ context.Context, c send.Command) error { return printBody(env.Stdout, c) }
	if !o.dryRun {
		cluster, err := o.Open(ctx, env, o.topic)
		if err != nil {
			return err
		}
		sender, err := tap.NewSender(cluster)
		if err != nil {
			return err
		}
		defer func() { _ = sender.Close() }() // every message was confirmed or counted as failed
		deliver = func(ctx context.Context, c send.Command) error {
			id, err := sender.Send(ctx, tap.Outgoing{
				Topic: o.topic, Keys: c.Key, Body: c.Body, Properties: map[string]string{producer.PropertyTraceparent: o.traceparent},
			})
			if err == nil && o.file == "" {
				err = o.Print(env, sent{c.Key, o.topic, id}, "sent %s to %s as message %s\n", c.Key, o.topic, id)
			}
			return err
		}
	}
	b := &send.Batch{
		Kind: kind, Force: o.force, Deliver: deliver, Rate: o.rate, Workers: o.concurrency, Env: env, Many: o.file != "", Dry: o.dryRun,
	}
	if o.file == "" || o.dryRun {
		b.Workers = 1 // in the order of the file
	}
	if err = b.Run(ctx, lines); o.JSON() && o.file != "" && !o.dryRun {
		err = errors.Join(cli.PrintJSON(env.Stdout, b.Result()), err)
	}
	return err
}

// sent is the result for one command.
type sent struct {
	OutRequestNo string `json:"out_request_no"`
	Topic        string `json:"topic"`
	MessageID    string `json:"message_id"`
}

// open gives the commands as lines.
func (o *sendOptions) open(env cli.Env, kind consumer.Kind) (io.ReadCloser, error) {
	switch o.file {
	case "":
		body, err := o.body(kind)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(body)), nil
	case "-":
		return io.NopCloser(env.Stdin), nil
	}
	f, err := os.Open(o.file)
	if err != nil {
		return nil, cli.WrongUsage("--file: %v", err)
	}
	return f, nil
}

func printBody(w io.Writer, c send.Command) error {
	if _, err := fmt.Fprintf(w, "%s\n", c.Body); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
