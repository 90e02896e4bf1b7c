package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/match"
	"refundd/cmd/internal/tap"
	"refundd/cmd/internal/tape"
	"refundd/consumer"
	"refundd/producer"
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

type reconcileOptions struct {
	connection
	span
	output
	renumbering
	bills            []string
	commands, kind   string
	events, topic    string
	merchant, report string
	temp             string
	all              bool
}

func reconcileCommand(env cli.Env) *cobra.Command {
	o := reconcileOptions{kind: string(consumer.KindRefund)}
	cmd := &cobra.Command{
		Use:   "reconcile (--bill FILE ... | --commands FILE)",
		Short: "hold events against Alipay's bills, or against recorded commands", Long: reconcileLong, Example: reconcileExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), env) },
	}
	o.connection.register(cmd)
	o.span.register(cmd)
	o.output.register(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&o.bills, "bill", nil, "bill `file`; may be repeated")
	completeFiles(cmd, "bill")
	fileFlag(cmd, &o.commands, "commands", "", "`file` of recorded commands")
	choice{value: &o.kind, of: kinds()}.register(cmd, "kind", "k", "with --commands, what they are: refund or coupon_refund")
	flags.StringVar(&o.prefix, "renumber", "", "with --commands, the `prefix` that they were replayed with")
	fileFlag(cmd, &o.events, "events", "", "`file` of events, instead of the event topic; - is standard input")
	topicFlag(cmd, env, &o.topic, "event-topic", "`topic` of the events; default REFUNDD_TOPIC_EVENT or refund-event; --from, --to, --queue and --group say which part")
	flags.StringVarP(&o.merchant, "merchant", "m", "", "only events of this `name`; - for those of no merchant. A bill is of one account")
	fileFlag(cmd, &o.report, "report", "", "`file` for the lines that differ: .csv, else JSON lines")
	flags.BoolVarP(&o.all, "all", "a", false, "with --bill, write the lines that match as well")
	fileFlag(cmd, &o.temp, "temp", "", "`folder` for some 300 bytes a refund; default the system's")
	return cmd
}

func (o *reconcileOptions) checkFlags() error {
	switch {
	case (len(o.bills) == 0) == (o.commands == ""):
		return cli.WrongUsage("give one of --bill and --commands")
	case o.all && o.report == "":
		return cli.WrongUsage("--all needs --report")
	case o.all && o.commands != "":
		return cli.WrongUsage("--all goes with --bill")
	case o.prefix != "" && o.commands == "":
		return cli.WrongUsage("--renumber goes with --commands")
	}
	return o.check()
}

func (o *reconcileOptions) run(ctx context.Context, env cli.Env) error {
	if err := o.checkFlags(); err != nil {
		return err
	}
	events, err := o.eventSource(ctx, env)
	if err != nil {
		return err
	}
	if o.commands != "" {
		return o.reconcileCommands(ctx, env, events)
	}
	return o.reconcileBills(ctx, env, events)
}

// eventSource opens the events: a file, or the topic.
func (o *reconcileOptions) eventSource(ctx context.Context, env cli.Env) (source, error) {
	if o.events != "" {
		return &eventFile{fileSource{o.events, env.Stdin}}, nil
	}
	o.topic = topic(o.topic, env, "REFUNDD_TOPIC_EVENT", "refund-event")
	f, err := o.following(env, o.topic)
	if err != nil {
		return nil, err
	}
	f.Merged = false // the order does not matter here
	cluster, err := o.cluster(env)
	if err != nil {
		return nil, err
	}
	o.redirectLog(env)
	if err := cluster.CheckTopic(ctx, o.topic); err != nil {
		if errors.Is(err, tap.ErrNoTopic) {
			return nil, cli.WrongUsage("--event-topic: %v", err)
		}
		return nil, fmt.Errorf("ask for topic %s: %w", o.topic, err)
	}
	s := &topicSource{cluster: cluster, f: f}
	return s, s.measure(ctx)
}

// eventFile is a file of events, recorded or bare.
type eventFile struct{ fileSource }

func (s *eventFile) each(ctx context.Context, take func(tape.Message) error) error {
	r, err := tape.Open(s.name, s.in)
	if err != nil {
		return cli.WrongUsage("--events: %v", err)
	}
	defer func() { _ = r.Close() }() // it was only read
	for ctx.Err() == nil {
		text, err := r.Line()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		m, err := tape.Decode(text)
		if err != nil {
			// A bare event; when it was stored is not known, when it was settled is.
			ev, err := producer.DecodeEvent(text)
			if err != nil {
				return cli.WrongUsage("%s line %d: neither a recorded message nor an event", s.name, r.Lines())
			}
			m = tape.Message{ID: fmt.Sprintf("line %d", r.Lines()), Body: text, Stored: ev.Time}
		}
		if err := take(m); err != nil {
			return err
		}
	}
	return nil
}

// eachEvent reads all events. What is no event is counted and left out.
func (o *reconcileOptions) eachEvent(ctx context.Context, env cli.Env, from source, take func(producer.Event, time.Time) error) (strange int64, err error) {
	read := counter{}
	defer env.Progress(func() string { return fmt.Sprintf("so far %s events", read.of(from.total())) })()
	err = from.each(ctx, func(m tape.Message) error {
		read.n.Add(1)
		ev, err := producer.DecodeEvent(m.Body)
		switch {
		case err != nil:
			strange++
			return nil //nolint:nilerr // counted
		case o.merchant == "-" && ev.Merchant != "", o.merchant != "-" && o.merchant != "" && ev.Merchant != o.merchant:
			return nil
		}
		return take(ev, m.Stored)
	})
	if err == nil && ctx.Err() != nil {
		err = errStopped
	}
	if strange > 0 {
		_, _ = fmt.Fprintf(env.Stderr, "%d messages of %s are no events and were left out\n", strange, from)
	}
	return strange, err
}

var errStopped = errors.New("stopped before everything was read: no verdict")

// reconcileCommands holds recorded commands against the events.
func (o *reconcileOptions) reconcileCommands(ctx context.Context, env cli.Env, events source) error {
	table, err := match.New(match.Config{Dir: o.temp})
	if err != nil {
		return cli.WrongUsage("--temp: %v", err)
	}
	defer func() { _ = table.Close() }() // a folder that stays does no harm to the verdict
	v := verdict{Source: o.commands}
	from := &fileSource{o.commands, env.Stdin}
	if err := from.each(ctx, func(m tape.Message) error {
		p, err := prepare(consumer.Kind(o.kind), o.renumbering, m)
		if err != nil {
			return err
		}
		if p.bad {
			v.Bad++
		}
		if p.Number == "" && o.prefix != "" {
			v.NotHeld++ // its event has the new message's id, which nobody knows
			return nil
		}
		if p.Number == "" {
			p.Number = m.ID
		}
		return table.Command(p.Command)
	}); err != nil {
		if _, wrong := errors.AsType[*cli.UsageError](err); wrong {
			return cli.WrongUsage("--commands: %s", strings.TrimPrefix(err.Error(), "--file: "))
		}
		return err
	}
	if ctx.Err() != nil {
		return errStopped
	}
	if _, err := o.eachEvent(ctx, env, events, func(ev producer.Event, stored time.Time) error { return table.Event(matchEvent(ev, stored)) }); err != nil {
		return err
	}
	if v.Result, v.Rows, err = report(table, o.report); err != nil {
		return err
	}
	if o.prefix != "" {
		v.Result.Latency = match.Latency{} // counts from the replayed command, which is not here
	}
	v.Verdict = verdictOf(v.Result)
	if o.JSON() {
		err = cli.PrintJSON(env.Stdout, v)
	} else {
		if v.NotHeld > 0 {
			_, _ = fmt.Fprintf(env.Stdout, "%d commands without a readable number cannot be found again after a replay, and are left out\n", v.NotHeld)
		}
		printResult(env.Stdout, v.Result)
		printRows(env.Stdout, v.Rows, v.Result, o.report)
		_, err = fmt.Fprintf(env.Stdout, "verdict: %s\n", v.Verdict)
	}
	if err == nil && !v.Result.Clean() {
		err = cli.ErrFound
	}
	return err
}
