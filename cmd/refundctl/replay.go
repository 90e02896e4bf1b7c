package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"refundd/cmd/internal/match"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
)

const replayHelp = `refundctl replay sends recorded commands again, from a file that "refundctl record"
wrote or from a topic itself, and then holds each command against its final event,
row by row. It follows the event topic from before the first send, and ends when
every command has its event or when none has come for -wait.

A command moves money. With -renumber PREFIX every out_request_no becomes a new
one, and so every command a new refund, for a load test against a local Alipay;
the same old number gives the same new one each time, so repeats stay repeats and
a second run with the same PREFIX moves nothing. -renumber-trades does the same to
the numbers of trades, so that a local Alipay has fresh ones. With -same-numbers
commands go out as they were: refunds that the service remembers are not made
again and only their events come once more. One of the two has to be chosen.

usage: refundctl replay (-file FILE | -source TOPIC) -topic TOPIC (-renumber PREFIX | -same-numbers) [flags]

  refundctl replay -file commands.jsonl.gz -topic load-command -renumber LT1- -renumber-trades -rate 500
  refundctl replay -source refund-command -from 2h -to 1h -topic load-command -renumber LT2- -pace recorded -speed 2
  refundctl replay -file events.jsonl.gz -topic events-again -same-numbers -reconcile=false

Rows: matched = one final event; missing = none; unresolved = parked for a person;
conflicting = two different final events or one for another amount. A repeat of the
same event id is fine and counted for itself. Those that do not match are written
to -report FILE (.csv, else JSON lines), or the first of them to standard output.
Latency is from sending here to storing the first final event at the broker.
Ctrl-C ends the sending; what was sent is still held against its events.
Exit codes: 0 all sent and matched, 1 not all of it, 2 wrong usage.
`

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
	wait            time.Duration
	report, temp    string
	dryRun          bool
}

func (o *replayOptions) register(flags *flag.FlagSet) {
	o.connection.register(flags)
	o.span.register(flags, "beginning")
	o.output.register(flags)
	o.agreement.register(flags)
	flags.StringVar(&o.file, "file", "", "recorded `file` to send; - is standard input")
	flags.StringVar(&o.source, "source", "", "`topic` to send from, instead of a file; -from, -to, -queue and -group say which part")
	flags.StringVar(&o.topic, "topic", "", "`topic` to send to; required")
	flags.StringVar(&o.kind, "kind", "refund", "what the commands are: `refund` or coupon_refund")
	flags.StringVar(&o.prefix, "renumber", "", "`prefix` that makes new refunds of the commands")
	flags.BoolVar(&o.trades, "renumber-trades", false, "rename trades, red packets and their orders as well")
	flags.BoolVar(&o.same, "same-numbers", false, "send the commands as they were")
	flags.BoolVar(&o.reconcile, "reconcile", true, "hold every command against its event; -reconcile=false only sends")
	flags.StringVar(&o.eventTopic, "event-topic", "", "`topic` of the events; default REFUNDD_TOPIC_EVENT or refund-event")
	flags.IntVar(&o.rate, "rate", 0, "messages per second at most; 0 = no limit")
	flags.StringVar(&o.pace, "pace", "even", "`even`, or recorded: with the pauses of the recording")
	flags.Float64Var(&o.speed, "speed", 1, "with -pace recorded: so many times as fast")
	flags.Int64Var(&o.count, "n", 0, "end after so many messages; 0 = no limit")
	flags.IntVar(&o.concurrency, "concurrency", 32, "`number` of messages sent at once")
	flags.DurationVar(&o.wait, "wait", 2*time.Minute, "give up when no further final event has come for this `time`")
	flags.StringVar(&o.report, "report", "", "`file` for the rows that do not match: .csv, else JSON lines")
	flags.StringVar(&o.temp, "temp", "", "`folder` for some 150 bytes a command; default the system's")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the plan and send nothing")
}

// stoppedWait is -wait after an interrupt.
const stoppedWait = 3 * time.Second

func (o *replayOptions) checkFlags() error {
	switch {
	case (o.file == "") == (o.source == ""):
		return wrongUsage("give one of -file and -source")
	case o.topic == "":
		return wrongUsage("-topic is required: where to send to")
	case o.kind != string(consumer.KindRefund) && o.kind != string(consumer.KindCouponRefund):
		return wrongUsage("-kind: %q is neither refund nor coupon_refund", o.kind)
	case (o.prefix == "") == !o.same:
		return wrongUsage("give one of -renumber PREFIX (new refunds) and -same-numbers (the same refunds): commands move money")
	case o.rate < 0 || o.rate > 1_000_000:
		return wrongUsage("-rate: %d is not 0 to 1000000", o.rate)
	case o.pace != "even" && o.pace != "recorded":
		return wrongUsage("-pace: %q is neither even nor recorded", o.pace)
	case o.speed <= 0 || o.speed > 1e6:
		return wrongUsage("-speed: %v is not above 0", o.speed)
	case o.count < 0:
		return wrongUsage("-n: %d is below zero", o.count)
	case o.concurrency < 1 || o.concurrency > 1000:
		return wrongUsage("-concurrency: %d is not 1 to 1000", o.concurrency)
	case o.wait < 0:
		return wrongUsage("-wait: %s is below zero", o.wait)
	case o.report != "" && !o.reconcile:
		return wrongUsage("-report needs -reconcile")
	}
	if err := o.output.check("replay"); err != nil {
		return err
	}
	return o.renumbering.check()
}

func replay(ctx context.Context, args []string, env environment) error {
	var o replayOptions
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	o.register(flags)
	if err := parse(flags, args, env, replayHelp); err != nil {
		return err
	}
	if err := o.checkFlags(); err != nil {
		return err
	}
	if !o.dryRun {
		if err := o.possible("replay", env); err != nil {
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
			return wrongUsage("-event-topic: %v; -reconcile=false sends without holding against events", err)
		}
	}
	o.plan(env.stderr, from)
	if o.dryRun {
		return nil
	}
	if err := o.ask(ctx, "replay", env, "Send them?"); err != nil {
		return err
	}
	return o.run(ctx, env, cluster, from)
}

// from opens where the commands come from.
func (o *replayOptions) from(ctx context.Context, env environment, cluster tap.Cluster) (source, error) {
	if o.file != "" {
		return &fileSource{o.file, env.stdin}, nil
	}
	f, err := o.following(env, o.source, time.Now())
	if err != nil {
		return nil, err
	}
	if err := cluster.CheckTopic(ctx, o.source); err != nil {
		return nil, wrongUsage("-source: %v", err)
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
	case o.pace == "recorded":
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
		_, _ = fmt.Fprintf(w, "  Then wait for their events in %s, until none has come for %s, and match row by row.\n", o.eventTopic, o.wait)
	}
}

// run sends, waits and judges.
func (o *replayOptions) run(ctx context.Context, env environment, cluster tap.Cluster, from source) error {
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
			return wrongUsage("-temp: %v", err)
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
		quiet := o.wait
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
