package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/match"
	"refundd/cmd/internal/tap"
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

type replayOptions struct {
	connection
	span
	output
	agreement
	renumbering
	source, file    string
	topic, kind     string
	same, reconcile bool
	eventTopic      string
	rate            int
	pace            string
	speed           float64
	count           int64
	concurrency     int
	wait            period
	report, temp    string
	dryRun          bool
}

func replayCommand(env cli.Env) *cobra.Command {
	o := replayOptions{kind: string(consumer.KindRefund), pace: paceEven, wait: period(2 * time.Minute)}
	cmd := &cobra.Command{
		Use:   "replay (--file FILE | --source TOPIC) --topic TOPIC (--renumber PREFIX | --same-numbers)",
		Short: "send recorded commands again, and hold each against its event", Long: replayLong, Example: replayExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.replay(cmd.Context(), env) },
	}
	o.connection.register(cmd)
	o.span.register(cmd)
	o.output.register(cmd)
	o.agreement.register(cmd)
	fileFlag(cmd, &o.file, "file", "f", "recorded `file` to send; - is standard input")
	topicFlag(cmd, env, &o.source, "source", "`topic` to send from, instead of a file; --from, --to, --queue and --group say which part")
	topicFlag(cmd, env, &o.topic, "topic", "`topic` to send to; required")
	topicFlag(cmd, env, &o.eventTopic, "event-topic", "`topic` of the events; default REFUNDD_TOPIC_EVENT or refund-event")
	choice{value: &o.kind, of: kinds()}.register(cmd, "kind", "k", "what the commands are: refund or coupon_refund")
	choice{value: &o.pace, of: []string{paceEven, paceRecorded}}.register(cmd, "pace", "", "even, or recorded: with the pauses of the recording")
	flags := cmd.Flags()
	flags.StringVar(&o.prefix, "renumber", "", "`prefix` that makes new refunds of the commands")
	flags.BoolVar(&o.trades, "renumber-trades", false, "rename trades, red packets and their orders as well")
	flags.BoolVar(&o.same, "same-numbers", false, "send the commands as they were")
	flags.BoolVar(&o.reconcile, "reconcile", true, "hold every command against its event; --reconcile=false only sends")
	flags.IntVar(&o.rate, "rate", 0, "messages per second at most; 0 = no limit")
	flags.Float64Var(&o.speed, "speed", 1, "with --pace recorded: so many `times` as fast")
	flags.Int64VarP(&o.count, "count", "n", 0, "end after so many messages; 0 = no limit")
	flags.IntVar(&o.concurrency, "concurrency", 32, "`number` of messages sent at once")
	flags.Var(&o.wait, "wait", "give up when no further final event has come for this `time`")
	fileFlag(cmd, &o.report, "report", "", "`file` for the rows that do not match: .csv, else JSON lines")
	fileFlag(cmd, &o.temp, "temp", "", "`folder` for some 150 bytes a command; default the system's")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the plan and send nothing")
	return cmd
}

// The paces.
const paceEven, paceRecorded = "even", "recorded"

// stoppedWait is --wait after an interrupt.
const stoppedWait = 3 * time.Second

func (o *replayOptions) checkFlags() error {
	switch {
	case (o.file == "") == (o.source == ""):
		return cli.WrongUsage("give one of --file and --source")
	case o.topic == "":
		return cli.WrongUsage("--topic is required: where to send to")
	case (o.prefix == "") == !o.same:
		return cli.WrongUsage("give one of --renumber PREFIX (new refunds) and --same-numbers (the same refunds): commands move money")
	case o.rate < 0 || o.rate > 1_000_000:
		return cli.WrongUsage("--rate: %d is not 0 to 1000000", o.rate)
	case o.speed <= 0 || o.speed > 1e6:
		return cli.WrongUsage("--speed: %v is not above 0", o.speed)
	case o.count < 0:
		return cli.WrongUsage("--count: %d is below zero", o.count)
	case o.concurrency < 1 || o.concurrency > 1000:
		return cli.WrongUsage("--concurrency: %d is not 1 to 1000", o.concurrency)
	case o.report != "" && !o.reconcile:
		return cli.WrongUsage("--report needs --reconcile")
	}
	return o.check()
}

func (o *replayOptions) replay(ctx context.Context, env cli.Env) error {
	if err := o.checkFlags(); err != nil {
		return err
	}
	if !o.dryRun {
		if err := o.possible(env); err != nil {
			return err
		}
	}
	cluster, err := o.open(ctx, env, o.topic)
	if err != nil {
		return err
	}
	from, err := o.from(ctx, env, cluster)
	if err != nil {
		return err
	}
	o.eventTopic = topic(o.eventTopic, env, "REFUNDD_TOPIC_EVENT", "refund-event")
	if o.reconcile {
		if err := cluster.CheckTopic(ctx, o.eventTopic); err != nil {
			return cli.WrongUsage("--event-topic: %v; --reconcile=false sends without holding against events", err)
		}
	}
	o.plan(env.Stderr, from)
	if o.dryRun {
		return nil
	}
	if err := o.ask(ctx, env, "Send them?"); err != nil {
		return err
	}
	return o.run(ctx, env, cluster, from)
}

// from opens where the commands come from.
func (o *replayOptions) from(ctx context.Context, env cli.Env, cluster tap.Cluster) (source, error) {
	if o.file != "" {
		return &fileSource{o.file, env.Stdin}, nil
	}
	f, err := o.following(env, o.source)
	if err != nil {
		return nil, err
	}
	if err := cluster.CheckTopic(ctx, o.source); err != nil {
		return nil, cli.WrongUsage("--source: %v", err)
	}
	s := &topicSource{cluster: cluster, f: f}
	return s, s.measure(ctx)
}

// plan says what is going to happen.
func (o *replayOptions) plan(w io.Writer, from source) {
	count := "the messages"
	if n := from.total(); n > 0 {
		count = fmt.Sprintf("the %d messages", n)
	}
	if o.count > 0 {
		count = fmt.Sprintf("at most %d messages", o.count)
	}
	speed := "as fast as it goes"
	switch {
	case o.pace == paceRecorded:
		speed = fmt.Sprintf("with the pauses of the recording, %v times as fast", o.speed)
	case o.rate > 0:
		speed = fmt.Sprintf("%d a second", o.rate)
	}
	_, _ = fmt.Fprintf(w, "plan: send %s of %s to %s, %s\n", count, from, o.topic, speed)
	if o.same {
		_, _ = fmt.Fprintf(w, `  Numbers stay. A refundd that reads %s and remembers a refund publishes its event again;
  one that does not (another Redis, or older than REFUNDD_KEEP) may CALL ALIPAY for it.
`, o.topic)
	} else {
		trades := "; trades stay what they are"
		if o.trades {
			trades = ", and so are trades"
		}
		_, _ = fmt.Fprintf(w, `  Each out_request_no is renamed with %s before it%s.
  A refundd that reads %s takes each new number for a NEW REFUND and calls its Alipay for it:
  with the real one, money moves. Bad commands go as they are; they are rejected.
`, o.prefix, trades, o.topic)
	}
	if o.reconcile {
		_, _ = fmt.Fprintf(w, "  Then wait for their events in %s, until none has come for %s, and match row by row.\n", o.eventTopic, &o.wait)
	}
}

// run sends, waits and judges.
func (o *replayOptions) run(ctx context.Context, env cli.Env, cluster tap.Cluster, from source) error {
	s := &sending{o: o, env: env, kind: consumer.Kind(o.kind)}
	// A report that cannot be written is told before anything is sent.
	if file, err := openRowReport(o.report); err != nil {
		return err
	} else if err := file.close(); err != nil {
		return err
	}
	if o.reconcile {
		table, err := match.New(match.Config{Dir: o.temp})
		if err != nil {
			return cli.WrongUsage("--temp: %v", err)
		}
		defer func() { _ = table.Close() }() // a folder that stays does no harm to the verdict
		s.table = table
	}
	sender, err := tap.NewSender(cluster)
	if err != nil {
		return err
	}
	defer func() { _ = sender.Close() }() // every message was confirmed or counted as not
	s.sender = sender

	w, err := o.watch(ctx, env, cluster, s)
	if err != nil {
		return err
	}
	defer w.stop()
	if err := s.all(ctx, from); err != nil {
		return err
	}
	v := verdict{Source: from.String(), Topic: o.topic, Sent: s.sent.Load(), NotSent: s.unsure.Load(), Bad: s.bad.Load(), Seconds: s.took.Seconds()}
	v.Rate = float64(v.Sent) / max(v.Seconds, 0.001)
	v.Stopped = ctx.Err() != nil
	if s.table != nil {
		quiet := time.Duration(o.wait)
		if v.Stopped {
			// What was sent before the interrupt may be answered at this moment.
			ctx, quiet = context.WithoutCancel(ctx), min(quiet, stoppedWait)
		}
		if v.Result, err = w.wait(ctx, quiet); err != nil {
			return err
		}
	}
	return o.tell(env, s.table, v)
}
