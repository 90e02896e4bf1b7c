package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"refundd/cmd/internal/tap"
)

// span holds the flags that say which part of a topic is read.
type span struct {
	from, to, queue, group string
}

func (s *span) register(flags *flag.FlagSet, from string) {
	flags.StringVar(&s.from, "from", from, "`start`: beginning, a time (2026-01-31T08:00:00Z), how long ago (10m), or offset:N in every queue")
	flags.StringVar(&s.to, "to", "now", "`end`, itself not read: now, a time, how long ago, or offset:N in every queue")
	flags.StringVar(&s.queue, "queue", "", "only this `queue`, such as broker-a/3")
	flags.StringVar(&s.group, "group", tap.ToolsGroup, "consumer `group` to read as; brokers have the default one from birth. Its offsets are never moved")
}

// following turns the flags into a reading that ends.
func (s *span) following(env environment, topic string, now time.Time) (tap.Following, error) {
	f := tap.Following{Topic: topic, Group: s.group, Queue: s.queue, UntilNow: true, Merged: true}
	service := env.getenv("REFUNDD_ROCKETMQ_GROUP")
	if service == "" {
		service = "refundd"
	}
	if s.group == service || s.group == "" {
		return f, wrongUsage("-group: %q is the service's own group, or none; it would take messages from the service", s.group)
	}
	var err error
	switch s.from {
	case "beginning":
		f.Beginning = true
	default:
		if f.Since, f.From, err = parseMoment("-from", s.from, now); err != nil {
			return f, err
		}
	}
	if s.to != "now" {
		if f.Until, f.To, err = parseMoment("-to", s.to, now); err != nil {
			return f, err
		}
		if f.Until.After(now) {
			return f, wrongUsage("-to: %s is still to come", s.to)
		}
	}
	f.Trouble = func(err error) { _, _ = fmt.Fprintf(env.stderr, "refundctl: %v; trying again\n", err) }
	return f, nil
}

// parseMoment reads a time or an offset.
func parseMoment(name, text string, now time.Time) (time.Time, *int64, error) {
	if number, ok := strings.CutPrefix(text, "offset:"); ok {
		offset, err := strconv.ParseInt(number, 10, 64)
		if err != nil || offset < 0 {
			return time.Time{}, nil, wrongUsage("%s: %q is not offset: and a number from 0", name, text)
		}
		return time.Time{}, &offset, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, nil, wrongUsage("%s: %q is not a time such as 2026-01-31T08:00:00Z, a duration such as 10m, or offset:N", name, text)
	}
	return at, nil, nil
}

// every calls line now and then and prints what it says to w, until the function
// that it returns is called. Short work prints nothing.
func every(w io.Writer, line func() string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_, _ = fmt.Fprintln(w, line())
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// counter counts for a line of progress.
type counter struct{ n atomic.Int64 }

// of is the count, and of how many where that is known.
func (c *counter) of(total int64) string {
	if total > 0 {
		return fmt.Sprintf("%d of %d", c.n.Load(), total)
	}
	return strconv.FormatInt(c.n.Load(), 10)
}
