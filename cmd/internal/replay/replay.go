// Package replay records topics, sends recorded commands again, and holds each
// against its event.
package replay

import (
	"context"
	"fmt"
	"io"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/match"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
)

// Options say what is sent, how fast, and what is held against what.
type Options struct {
	Renumbering
	File            string        // of recorded commands; "-" is standard input
	Source          tap.Following // or the part of a topic, where no file is given
	Topic, Kind     string
	Same, Reconcile bool
	EventTopic      string
	Group           string // to read events as
	Rate            int
	Pace            string
	Speed           float64
	Count           int64
	Concurrency     int
	Wait            time.Duration
	Report, Temp    string
	DryRun          bool
	Format          cli.Format
	// Agree asks a person.
	Agree func(ctx context.Context, question string) error
}

// The paces.
const PaceEven, PaceRecorded = "even", "recorded"

// stoppedWait is --wait after an interrupt.
const stoppedWait = 3 * time.Second

// Check refuses what does not go together.
func (o *Options) Check() error {
	switch {
	case (o.File == "") == (o.Source.Topic == ""):
		return cli.WrongUsage("give one of --file and --source")
	case o.Topic == "":
		return cli.WrongUsage("--topic is required: where to send to")
	case (o.Prefix == "") == !o.Same:
		return cli.WrongUsage("give one of --renumber PREFIX (new refunds) and --same-numbers (the same refunds): commands move money")
	case o.Rate < 0 || o.Rate > 1_000_000:
		return cli.WrongUsage("--rate: %d is not 0 to 1000000", o.Rate)
	case o.Speed <= 0 || o.Speed > 1e6:
		return cli.WrongUsage("--speed: %v is not above 0", o.Speed)
	case o.Count < 0:
		return cli.WrongUsage("--count: %d is below zero", o.Count)
	case o.Concurrency < 1 || o.Concurrency > 1000:
		return cli.WrongUsage("--concurrency: %d is not 1 to 1000", o.Concurrency)
	case o.Report != "" && !o.Reconcile:
		return cli.WrongUsage("--report needs --reconcile")
	}
	return o.Renumbering.Check()
}

// Replay sends, and holds every command against its event.
func (o *Options) Replay(ctx context.Context, env cli.Env, cluster tap.Cluster) error {
	from, err := o.from(ctx, env, cluster)
	if err != nil {
		return err
	}
	if o.Reconcile {
		if err := cluster.CheckTopic(ctx, o.EventTopic); err != nil {
			return cli.WrongUsage("--event-topic: %v; --reconcile=false sends without holding against events", err)
		}
	}
	o.plan(env.Stderr, from)
	if o.DryRun {
		return nil
	}
	if err := o.Agree(ctx, "Send them?"); err != nil {
		return err
	}
	return o.run(ctx, env, cluster, from)
}

// from opens where the commands come from.
func (o *Options) from(ctx context.Context, env cli.Env, cluster tap.Cluster) (Source, error) {
	if o.File != "" {
		return &FileSource{Name: o.File, In: env.Stdin}, nil
	}
	if err := cluster.CheckTopic(ctx, o.Source.Topic); err != nil {
		return nil, cli.WrongUsage("--source: %v", err)
	}
	s := &TopicSource{Cluster: cluster, Part: o.Source}
	return s, s.Measure(ctx)
}

// plan says what is going to happen.
func (o *Options) plan(w io.Writer, from Source) {
	count := "the messages"
	if n := from.Total(); n > 0 {
		count = fmt.Sprintf("the %d messages", n)
	}
	if o.Count > 0 {
		count = fmt.Sprintf("at most %d messages", o.Count)
	}
	speed := "as fast as it goes"
	switch {
	case o.Pace == PaceRecorded:
		speed = fmt.Sprintf("with the pauses of the recording, %v times as fast", o.Speed)
	case o.Rate > 0:
		speed = fmt.Sprintf("%d a second", o.Rate)
	}
	_, _ = fmt.Fprintf(w, "plan: send %s of %s to %s, %s\n", count, from, o.Topic, speed)
	if o.Same {
		_, _ = fmt.Fprintf(w, `  Numbers stay. A refundd that reads %s and remembers a refund publishes its event again;
  one that does not (another Redis, or older than REFUNDD_KEEP) may CALL ALIPAY for it.
`, o.Topic)
	} else {
		trades := "; trades stay what they are"
		if o.Trades {
			trades = ", and so are trades"
		}
		_, _ = fmt.Fprintf(w, `  Each out_request_no is renamed with %s before it%s.
  A refundd that reads %s takes each new number for a NEW REFUND and calls its Alipay for it:
  with the real one, money moves. Bad commands go as they are; they are rejected.
`, o.Prefix, trades, o.Topic)
	}
	if o.Reconcile {
		_, _ = fmt.Fprintf(w, "  Then wait for their events in %s, until none has come for %s, and match row by row.\n", o.EventTopic, cli.Ago(o.Wait))
	}
}

// run sends, waits and judges.
func (o *Options) run(ctx context.Context, env cli.Env, cluster tap.Cluster, from Source) error {
	s := &sending{o: o, env: env, kind: consumer.Kind(o.Kind)}
	// A report that cannot be written is told before anything is sent.
	if file, err := openRowReport(o.Report); err != nil {
		return err
	} else if err := file.Close(); err != nil {
		return err
	}
	if o.Reconcile {
		table, err := match.New(match.Config{Dir: o.Temp})
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
	v := Verdict{Source: from.String(), Topic: o.Topic, Sent: s.sent.Load(), NotSent: s.unsure.Load(), Bad: s.bad.Load(), Seconds: s.took.Seconds()}
	v.Rate = float64(v.Sent) / max(v.Seconds, 0.001)
	v.Stopped = ctx.Err() != nil
	if s.table != nil {
		quiet := o.Wait
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
