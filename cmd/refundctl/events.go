package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/events"
	"refundd/cmd/internal/flags"
	"refundd/cmd/internal/tap"
)

const eventsLong = `Follows the event topic: what became of the commands. It reads from outside, so
nobody misses an event because of it, and it needs no consumer group of its own.
Events come at least once: one with an id that was shown before is marked as a
repeat, or left out with --unique.

With -o json each line is an event, byte for byte as it was published.`

const eventsExample = `  refundctl events                                     from now on, until Ctrl-C
  refundctl events --from beginning --number R-1       everything about one refund
  refundctl events --from 10m -t failed                failures of the last ten minutes and from now on
  refundctl events --from 2026-01-31T08:00:00Z --until-now -o json > events.jsonl
  refundctl events --number R-1 -n 1 --timeout 1m      wait for an event of R-1; exit 1 if none comes`

// following holds the flags of events.
type following struct {
	events.Options
	flags.Connection
	output   flags.Output
	topic    string
	group    string
	from     flags.When
	timeout  flags.Period
	untilNow bool
}

func eventsCommand(env cli.Env) *cobra.Command {
	o := following{from: flags.NewWhen("now", "now", "beginning")}
	cmd := &cobra.Command{
		Use: "events", Short: "follow the events: what became of the commands", Long: eventsLong, Example: eventsExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.follow(cmd.Context(), env) },
	}
	o.Register(cmd)
	o.output.Register(cmd)
	flags.Topic(cmd, env, &o.topic, "topic", "`topic` of the events; default REFUNDD_TOPIC_EVENT or refund-event")
	flags.Group(cmd, &o.group)
	types, versioned := eventTypes()
	flags.Choice{Value: &o.Kind, Of: types, Also: versioned}.Register(cmd, "type", "t", "only events of this `type`: refund.succeeded.v1, refund.succeeded or succeeded")
	set := cmd.Flags()
	set.Var(&o.from, "from", "`start`: now, beginning, a time (2026-01-31T08:00:00Z) or how long ago (10m, 7d)")
	set.StringVar(&o.Number, "number", "", "only events of this out_request_no (or, where none could be read, this message id)")
	set.IntVarP(&o.Count, "count", "n", 0, "end after so many events; 0 = no limit")
	set.Var(&o.timeout, "timeout", "end after this `time`; exit 1 if --count was not reached; 0 = never")
	set.BoolVar(&o.Unique, "unique", false, "leave out repeats")
	set.BoolVar(&o.untilNow, "until-now", false, "end after what is there when it starts")
	return cmd
}

func (o *following) follow(ctx context.Context, env cli.Env) error {
	o.topic = flags.TopicName(o.topic, env, "REFUNDD_TOPIC_EVENT", "refund-event")
	if o.Count < 0 {
		return cli.WrongUsage("--count: %d is below zero", o.Count)
	}
	if err := flags.NotTheServices(o.group, env); err != nil {
		return err
	}
	o.Part = tap.Following{
		Topic: o.topic, Group: o.group, UntilNow: o.untilNow, Beginning: o.from.Text == "beginning", Since: o.from.Time, Trouble: env.Trouble,
		Ready: func() { _, _ = fmt.Fprintf(env.Stderr, "following %s\n", o.topic) },
	}
	cluster, err := o.Open(ctx, env, o.topic)
	if err != nil {
		return err
	}
	o.Timeout, o.Format = time.Duration(o.timeout), o.output.Format
	return o.Follow(ctx, env, cluster)
}
