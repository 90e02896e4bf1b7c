package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
	"refundd/producer"
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

type eventsOptions struct {
	connection
	output
	topic, group string
	from         when
	number, kind string
	count        int
	timeout      period
	unique       bool
	untilNow     bool
}

func eventsCommand(env cli.Env) *cobra.Command {
	o := eventsOptions{from: newWhen("now", "now", "beginning")}
	cmd := &cobra.Command{
		Use: "events", Short: "follow the events: what became of the commands", Long: eventsLong, Example: eventsExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.follow(cmd.Context(), env) },
	}
	o.connection.register(cmd)
	o.output.register(cmd)
	topicFlag(cmd, env, &o.topic, "topic", "`topic` of the events; default REFUNDD_TOPIC_EVENT or refund-event")
	groupFlag(cmd, &o.group)
	types, versioned := eventTypes()
	choice{value: &o.kind, of: types, also: versioned}.register(cmd, "type", "t", "only events of this `type`: refund.succeeded.v1, refund.succeeded or succeeded")
	flags := cmd.Flags()
	flags.Var(&o.from, "from", "`start`: now, beginning, a time (2026-01-31T08:00:00Z) or how long ago (10m, 7d)")
	flags.StringVar(&o.number, "number", "", "only events of this out_request_no (or, where none could be read, this message id)")
	flags.IntVarP(&o.count, "count", "n", 0, "end after so many events; 0 = no limit")
	flags.Var(&o.timeout, "timeout", "end after this `time`; exit 1 if --count was not reached; 0 = never")
	flags.BoolVar(&o.unique, "unique", false, "leave out repeats")
	flags.BoolVar(&o.untilNow, "until-now", false, "end after what is there when it starts")
	return cmd
}

func (o *eventsOptions) follow(ctx context.Context, env cli.Env) error {
	o.topic = topic(o.topic, env, "REFUNDD_TOPIC_EVENT", "refund-event")
	if o.count < 0 {
		return cli.WrongUsage("--count: %d is below zero", o.count)
	}
	if err := notTheServices(o.group, env); err != nil {
		return err
	}
	f := tap.Following{
		Topic: o.topic, Group: o.group, UntilNow: o.untilNow, Beginning: o.from.text == "beginning", Since: o.from.Time, Trouble: env.Trouble,
		Ready: func() { _, _ = fmt.Fprintf(env.Stderr, "following %s\n", o.topic) },
	}
	cluster, err := o.open(ctx, env, o.topic)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if o.timeout > 0 {
		timer := time.AfterFunc(time.Duration(o.timeout), func() { cancel(errTimeout) })
		defer timer.Stop()
	}
	shown := 0
	var known repeats
	err = tap.Follow(ctx, cluster, f, func(m tap.Message) {
		ev, err := producer.DecodeEvent(m.Body)
		if err != nil {
			_, _ = fmt.Fprintf(env.Stderr, "message %s at %s offset %d is no event: %v\n", m.ID, m.Queue, m.Offset, err)
			return
		}
		if !o.wants(ev) {
			return
		}
		again := known.seen(ev.ID)
		if again && o.unique {
			return
		}
		if o.JSON() {
			_, err = fmt.Fprintf(env.Stdout, "%s\n", m.Body)
		} else {
			_, err = fmt.Fprintln(env.Stdout, eventLine(ev, again))
		}
		shown++
		if err != nil {
			cancel(fmt.Errorf("print: %w", err))
		} else if shown == o.count {
			cancel(nil)
		}
	})
	return o.verdict(ctx, err, shown)
}

// verdict is the command's own end: being interrupted is none to complain about.
func (o *eventsOptions) verdict(ctx context.Context, err error, shown int) error {
	cause := context.Cause(ctx)
	enough := o.count == 0 || shown >= o.count
	switch {
	case o.count > 0 && enough, isCancel(cause):
		return nil
	case errors.Is(cause, errTimeout) && enough:
		return nil
	case errors.Is(cause, errTimeout):
		return fmt.Errorf("%d of %d events within %s", shown, o.count, &o.timeout)
	case cause != nil:
		return cause
	case err == nil && !enough:
		return fmt.Errorf("%d of %d events are there", shown, o.count)
	}
	return err
}

// wants applies the filters.
func (o *eventsOptions) wants(ev producer.Event) bool {
	if o.number != "" && o.number != ev.OutRequestNo && o.number != ev.Subject {
		return false
	}
	full := string(ev.Type())
	short := strings.TrimSuffix(full, ".v1")
	return o.kind == "" || o.kind == full || o.kind == short || o.kind == string(ev.Outcome)
}
