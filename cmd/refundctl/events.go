package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"refundd/cmd/internal/tap"
	"refundd/producer"
)

const eventsHelp = `refundctl events follows the event topic: what became of the commands. It reads
from outside, so nobody misses an event because of it, and it needs no consumer
group of its own. Events come at least once: one with an id that was shown before
is marked as a repeat, or left out with -unique.

usage: refundctl events [flags]

  refundctl events                                     from now on, until Ctrl-C
  refundctl events -from beginning -number R-1         everything about one refund
  refundctl events -from 10m -type failed              failures of the last ten minutes and from now on
  refundctl events -from 2026-01-31T08:00:00Z -until-now -o json > events.jsonl
  refundctl events -number R-1 -n 1 -timeout 1m        wait for an event of R-1; exit 1 if none comes

With -o json each line is an event, byte for byte as it was published.
`

type eventsOptions struct {
	connection
	topic    string
	group    string
	from     string
	number   string
	kind     string
	count    int
	timeout  time.Duration
	output   string
	unique   bool
	untilNow bool
}

func (o *eventsOptions) register(flags *flag.FlagSet) {
	o.connection.register(flags)
	flags.StringVar(&o.topic, "topic", "", "`topic` of the events; default REFUNDD_TOPIC_EVENT or refund-event")
	flags.StringVar(&o.group, "group", tap.ToolsGroup, "consumer `group` to read as; brokers have the default one from birth")
	flags.StringVar(&o.from, "from", "now", "`start`: now, beginning, a time (2026-01-31T08:00:00Z) or how long ago (10m)")
	flags.StringVar(&o.number, "number", "", "only events of this out_request_no (or, where none could be read, this message id)")
	flags.StringVar(&o.kind, "type", "", "only events of this `type`: refund.succeeded.v1, refund.succeeded or succeeded")
	flags.IntVar(&o.count, "n", 0, "end after so many events; 0 = no limit")
	flags.DurationVar(&o.timeout, "timeout", 0, "end after this `time`; exit 1 if -n was not reached; 0 = never")
	flags.StringVar(&o.output, "o", "text", "`format`: text or json")
	flags.BoolVar(&o.unique, "unique", false, "leave out repeats")
	flags.BoolVar(&o.untilNow, "until-now", false, "end after what is there when it starts")
}

// following turns the flags into where to begin.
func (o *eventsOptions) following(env environment, now time.Time) (tap.Following, error) {
	f := tap.Following{Topic: o.topic, Group: o.group, UntilNow: o.untilNow}
	service := env.getenv("REFUNDD_ROCKETMQ_GROUP")
	if service == "" {
		service = "refundd"
	}
	ago, agoErr := time.ParseDuration(o.from)
	at, atErr := time.Parse(time.RFC3339, o.from)
	switch {
	case o.group == service || o.group == "":
		return f, wrongUsage("-group: %q is the service's own group, or none; it would take messages from the service", o.group)
	case o.output != "text" && o.output != "json":
		return f, wrongUsage("-o: %q is neither text nor json", o.output)
	case o.count < 0:
		return f, wrongUsage("-n: %d is below zero", o.count)
	case o.timeout < 0:
		return f, wrongUsage("-timeout: %s is below zero", o.timeout)
	case o.from == "now":
	case o.from == "beginning":
		f.Beginning = true
	case agoErr == nil && ago >= 0:
		f.Since = now.Add(-ago)
	case atErr == nil:
		f.Since = at
	default:
		return f, wrongUsage("-from: %q is not now, beginning, a time such as 2026-01-31T08:00:00Z, or a duration such as 10m", o.from)
	}
	return f, nil
}

func events(ctx context.Context, args []string, env environment) error {
	var o eventsOptions
	flags := flag.NewFlagSet("events", flag.ContinueOnError)
	o.register(flags)
	if err := parse(flags, args, env, eventsHelp); err != nil {
		return err
	}
	o.topic = topic(o.topic, env, "REFUNDD_TOPIC_EVENT", "refund-event")
	f, err := o.following(env, time.Now())
	if err != nil {
		return err
	}
	cluster, err := o.open(ctx, env, o.topic)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if o.timeout > 0 {
		timer := time.AfterFunc(o.timeout, func() { cancel(errTimeout) })
		defer timer.Stop()
	}
	shown := 0
	var known repeats
	f.Ready = func() { _, _ = fmt.Fprintf(env.stderr, "following %s\n", o.topic) }
	f.Trouble = func(err error) { _, _ = fmt.Fprintf(env.stderr, "refundctl: %v; trying again\n", err) }
	err = tap.Follow(ctx, cluster, f, func(m tap.Message) {
		ev, err := producer.DecodeEvent(m.Body)
		if err != nil {
			_, _ = fmt.Fprintf(env.stderr, "message %s at %s offset %d is no event: %v\n", m.ID, m.Queue, m.Offset, err)
			return
		}
		if !o.wants(ev) {
			return
		}
		again := known.seen(ev.ID)
		if again && o.unique {
			return
		}
		if o.output == "json" {
			_, err = fmt.Fprintf(env.stdout, "%s\n", m.Body)
		} else {
			_, err = fmt.Fprintln(env.stdout, eventLine(ev, again))
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
		return fmt.Errorf("%d of %d events within %s", shown, o.count, o.timeout)
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
