package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/flags"
	"refundd/cmd/internal/reconcile"
	"refundd/cmd/internal/replay"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
)

const reconcileLong = `Holds events against the other side's account of the same money, and explains every
fen:

  --bill FILE      Alipay's bills as downloaded: the trade bill (业务明细) and the fund
                   bill (账务明细), ZIP or the CSV in it; may be repeated for more days
  --commands FILE  commands that "refundctl record" wrote; with --renumber those that
                   "refundctl replay" made of them

The events come from the event topic, or from a file: recorded, or the lines of
"refundctl events -o json".

With bills, lines are: matched; amount_differs; missing_here (Alipay moved money and
no event says so); missing_there (an event says so and the bill does not); outside
(an event of another time than the bill's) and coupon (red packets are in no trade
bill), which are no differences. The time of an event is Alipay's refunded_at. The
trade bill is matched by request number and trade. The fund bill does not name
request numbers: there, refunds are matched by trade and amount.
With commands, rows are as in "refundctl help replay".

--report FILE takes the lines that differ, with --all all of them (.csv, else JSON
lines). Exit codes: 0 no difference, 1 a difference, 2 wrong usage or no bill.`

const reconcileExample = `  refundctl reconcile --bill 20880000000000010156_20260131.csv.zip --report differences.csv
  refundctl reconcile --bill trade.zip --bill fund.zip --events events.jsonl.gz --all --report all.csv
  refundctl reconcile --commands commands.jsonl.gz --renumber LT1- --events events.jsonl.gz`

// reconciling holds the flags of reconcile.
type reconciling struct {
	reconcile.Options
	flags.Connection
	flags.Span
	flags.Output
	topic string
}

func reconcileCommand(env cli.Env) *cobra.Command {
	r := reconciling{Options: reconcile.Options{Kind: string(consumer.KindRefund)}}
	o := &r.Options
	cmd := &cobra.Command{
		Use:   "reconcile (--bill FILE ... | --commands FILE)",
		Short: "hold events against Alipay's bills, or against recorded commands", Long: reconcileLong, Example: reconcileExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd.Context(), env) },
	}
	r.Connection.Register(cmd)
	r.Span.Register(cmd)
	r.Output.Register(cmd)
	set := cmd.Flags()
	set.StringArrayVar(&o.Bills, "bill", nil, "bill `file`; may be repeated")
	flags.CompleteFiles(cmd, "bill")
	flags.File(cmd, &o.Commands, "commands", "", "`file` of recorded commands")
	flags.Choice{Value: &o.Kind, Of: kinds()}.Register(cmd, "kind", "k", "with --commands, what they are: refund or coupon_refund")
	set.StringVar(&o.Prefix, "renumber", "", "with --commands, the `prefix` that they were replayed with")
	flags.File(cmd, &o.Events, "events", "", "`file` of events, instead of the event topic; - is standard input")
	flags.Topic(cmd, env, &r.topic, "event-topic", "`topic` of the events; default REFUNDD_TOPIC_EVENT or refund-event; --from, --to, --queue and --group say which part")
	set.StringVarP(&o.Merchant, "merchant", "m", "", "only events of this `name`; - for those of no merchant. A bill is of one account")
	flags.File(cmd, &o.Report, "report", "", "`file` for the lines that differ: .csv, else JSON lines")
	set.BoolVarP(&o.All, "all", "a", false, "with --bill, write the lines that match as well")
	flags.File(cmd, &o.Temp, "temp", "", "`folder` for some 300 bytes a refund; default the system's")
	return cmd
}

func (r *reconciling) run(ctx context.Context, env cli.Env) error {
	r.Options.Format = r.Output.Format
	if err := r.Check(); err != nil {
		return err
	}
	if r.Events != "" {
		return r.Run(ctx, env, nil)
	}
	name := flags.TopicName(r.topic, env, "REFUNDD_TOPIC_EVENT", "refund-event")
	part, err := r.Following(env, name)
	if err != nil {
		return err
	}
	part.Merged = false // the order does not matter here
	cluster, err := r.Cluster(env)
	if err != nil {
		return err
	}
	r.RedirectLog(env)
	if err := cluster.CheckTopic(ctx, name); err != nil {
		if errors.Is(err, tap.ErrNoTopic) {
			return cli.WrongUsage("--event-topic: %v", err)
		}
		return fmt.Errorf("ask for topic %s: %w", name, err)
	}
	return r.Run(ctx, env, &replay.TopicSource{Cluster: cluster, Part: part})
}
