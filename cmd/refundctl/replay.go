package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/flags"
	"refundd/cmd/internal/replay"
	"refundd/consumer"
)

const replayLong = `Sends recorded commands again, from a file that "refundctl record" wrote or from a
topic itself, and then holds each command against its final event, row by row. It
follows the event topic from before the first send, and ends when every command
has its event or when none has come for --wait.

A command moves money. With --renumber PREFIX every out_request_no becomes a new
one, and so every command a new refund, for a load test against a local Alipay;
the same old number gives the same new one each time, so repeats stay repeats and
a second run with the same PREFIX moves nothing. --renumber-trades does the same to
the numbers of trades, so that a local Alipay has fresh ones. With --same-numbers
commands go out as they were: refunds that the service remembers are not made
again and only their events come once more. One of the two has to be chosen.

Rows: matched = one final event; missing = none; unresolved = parked for a person;
conflicting = two different final events or one for another amount. A repeat of the
same event id is fine and counted for itself. Those that do not match are written
to --report FILE (.csv, else JSON lines), or the first of them to standard output.
Latency is from sending here to storing the first final event at the broker.
Ctrl-C ends the sending; what was sent is still held against its events.
Exit codes: 0 all sent and matched, 1 not all of it, 2 wrong usage.`

const replayExample = `  refundctl replay -f commands.jsonl.gz --topic load-command --renumber LT1- --renumber-trades --rate 500
  refundctl replay --source refund-command --from 2h --to 1h --topic load-command --renumber LT2- --pace recorded --speed 2
  refundctl replay -f events.jsonl.gz --topic events-again --same-numbers --reconcile=false`

// replaying holds the flags of replay.
type replaying struct {
	replay.Options
	flags.Connection
	flags.Span
	flags.Output
	flags.Agreement
	source string
	wait   flags.Period
}

func replayCommand(env cli.Env) *cobra.Command {
	r := replaying{
		Options: replay.Options{Kind: string(consumer.KindRefund), Pace: replay.PaceEven}, wait: flags.Period(2 * time.Minute),
	}
	o := &r.Options
	cmd := &cobra.Command{
		Use:   "replay (--file FILE | --source TOPIC) --topic TOPIC (--renumber PREFIX | --same-numbers)",
		Short: "send recorded commands again, and hold each against its event", Long: replayLong, Example: replayExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd.Context(), env) },
	}
	r.Connection.Register(cmd)
	r.Span.Register(cmd)
	r.Output.Register(cmd)
	r.Agreement.Register(cmd)
	flags.File(cmd, &o.File, "file", "f", "recorded `file` to send; - is standard input")
	flags.Topic(cmd, env, &r.source, "source", "`topic` to send from, instead of a file; --from, --to, --queue and --group say which part")
	flags.Topic(cmd, env, &o.Topic, "topic", "`topic` to send to; required")
	flags.Topic(cmd, env, &o.EventTopic, "event-topic", "`topic` of the events; default REFUNDD_TOPIC_EVENT or refund-event")
	flags.Choice{Value: &o.Kind, Of: kinds()}.Register(cmd, "kind", "k", "what the commands are: refund or coupon_refund")
	flags.Choice{Value: &o.Pace, Of: []string{replay.PaceEven, replay.PaceRecorded}}.Register(cmd, "pace", "", "even, or recorded: with the pauses of the recording")
	set := cmd.Flags()
	set.StringVar(&o.Prefix, "renumber", "", "`prefix` that makes new refunds of the commands")
	set.BoolVar(&o.Trades, "renumber-trades", false, "rename trades, red packets and their orders as well")
	set.BoolVar(&o.Same, "same-numbers", false, "send the commands as they were")
	set.BoolVar(&o.Reconcile, "reconcile", true, "hold every command against its event; --reconcile=false only sends")
	set.IntVar(&o.Rate, "rate", 0, "messages per second at most; 0 = no limit")
	set.Float64Var(&o.Speed, "speed", 1, "with --pace recorded: so many `times` as fast")
	set.Int64VarP(&o.Count, "count", "n", 0, "end after so many messages; 0 = no limit")
	set.IntVar(&o.Concurrency, "concurrency", 32, "`number` of messages sent at once")
	set.Var(&r.wait, "wait", "give up when no further final event has come for this `time`")
	flags.File(cmd, &o.Report, "report", "", "`file` for the rows that do not match: .csv, else JSON lines")
	flags.File(cmd, &o.Temp, "temp", "", "`folder` for some 150 bytes a command; default the system's")
	set.BoolVar(&o.DryRun, "dry-run", false, "print the plan and send nothing")
	return cmd
}

func (r *replaying) run(ctx context.Context, env cli.Env) error {
	o := &r.Options
	o.Group, o.Wait, o.Format, o.Source.Topic = r.GroupName, time.Duration(r.wait), r.Output.Format, r.source
	if err := o.Check(); err != nil {
		return err
	}
	if !o.DryRun {
		if err := r.Possible(env); err != nil {
			return err
		}
	}
	cluster, err := r.Open(ctx, env, o.Topic)
	if err != nil {
		return err
	}
	if o.File == "" {
		if o.Source, err = r.Following(env, r.source); err != nil {
			return err
		}
	}
	o.EventTopic = flags.TopicName(o.EventTopic, env, "REFUNDD_TOPIC_EVENT", "refund-event")
	o.Agree = func(ctx context.Context, question string) error { return r.Ask(ctx, env, question) }
	return o.Replay(ctx, env, cluster)
}
