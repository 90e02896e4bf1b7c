package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"refundd/cmd/internal/tap"
	"refundd/cmd/internal/tape"
)

const recordHelp = `refundctl record writes a part of a topic to a file: JSON lines, one message a line
with body, keys, properties, born time, queue and offset, in the order in which
they were stored; compressed if the name ends in .gz. It reads from outside, so
nobody misses a message because of it. Bodies are payment data: the file is
readable by its owner alone. "refundctl replay -file" sends it again,
"refundctl reconcile" reads it.

usage: refundctl record -topic TOPIC -file FILE [flags]

  refundctl record -topic refund-command -from 24h -file commands.jsonl.gz
  refundctl record -topic refund-event -from 2026-01-31T00:00:00+08:00 -to 2026-02-01T00:00:00+08:00 -file events.jsonl.gz
  refundctl record -topic refund-command -queue broker-a/3 -from offset:120000 -to offset:130000 -file some.jsonl

Ctrl-C ends it early and leaves a whole file of what was read until then.
`

type recordOptions struct {
	connection
	span
	output
	topic, file string
	count       int64
}

// recorded is the result of record.
type recorded struct {
	Topic    string        `json:"topic"`
	File     string        `json:"file"`
	Messages int64         `json:"messages"`
	Bytes    int64         `json:"body_bytes"`
	Stopped  bool          `json:"stopped"` // before its end, by Ctrl-C or -n
	Queues   []queueOfTape `json:"queues"`
}

// queueOfTape are the offsets that the file has of a queue; To is not in it.
type queueOfTape struct {
	Queue string `json:"queue"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
}

func record(ctx context.Context, args []string, env environment) error {
	var o recordOptions
	flags := flag.NewFlagSet("record", flag.ContinueOnError)
	o.connection.register(flags)
	o.span.register(flags, "beginning")
	o.output.register(flags)
	flags.StringVar(&o.topic, "topic", "", "`topic` to read; required")
	flags.StringVar(&o.file, "file", "", "`file` to write, which must not exist; required")
	flags.Int64Var(&o.count, "n", 0, "end after so many messages; 0 = no limit")
	if err := parse(flags, args, env, recordHelp); err != nil {
		return err
	}
	switch {
	case o.topic == "":
		return wrongUsage("-topic is required")
	case o.file == "":
		return wrongUsage("-file is required")
	case o.count < 0:
		return wrongUsage("-n: %d is below zero", o.count)
	}
	if err := o.check("record"); err != nil {
		return err
	}
	f, err := o.following(env, o.topic, time.Now())
	if err != nil {
		return err
	}
	cluster, err := o.open(ctx, env, o.topic)
	if err != nil {
		return err
	}
	result, err := o.write(ctx, env, cluster, f)
	if err != nil {
		return err
	}
	if o.json() {
		return printJSON(env.stdout, result)
	}
	stopped := ""
	if result.Stopped {
		stopped = " (stopped before the end)"
	}
	_, _ = fmt.Fprintf(env.stdout, "recorded %d messages of %s in %s%s\n", result.Messages, o.topic, o.file, stopped)
	for _, q := range result.Queues {
		_, _ = fmt.Fprintf(env.stdout, "  %-20s offsets %d to %d\n", q.Queue, q.From, q.To)
	}
	return nil
}

// write reads the topic into the file.
func (o *recordOptions) write(ctx context.Context, env environment, cluster tap.Cluster, f tap.Following) (recorded, error) {
	out, err := tape.Create(o.file)
	if err != nil {
		if errors.Is(err, os.ErrExist) {
			return recorded{}, wrongUsage("-file: %s exists; it is not written over", o.file)
		}
		return recorded{}, wrongUsage("-file: %v", err)
	}
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	result := recorded{Topic: o.topic, File: o.file}
	queues := map[string]*queueOfTape{}
	var total, done atomic.Int64
	f.Spans = func(spans []tap.Span) {
		for _, s := range spans {
			total.Add(s.End - s.Next)
			queues[s.Queue] = &queueOfTape{s.Queue, s.Next, s.Next}
		}
	}
	stopProgress := every(env.stderr, func() string { return fmt.Sprintf("so far %d of %d messages", done.Load(), total.Load()) })
	err = tap.Follow(reading, cluster, f, func(m tap.Message) {
		if err := out.Write(taped(o.topic, m)); err != nil {
			cancel(err)
			return
		}
		done.Add(1)
		result.Bytes += int64(len(m.Body))
		queues[m.Queue].To = m.Offset + 1
		if done.Load() == o.count {
			cancel(errEnough)
		}
	})
	stopProgress()
	cause := context.Cause(reading)
	if cause != nil && (errors.Is(cause, errEnough) || isCancel(cause)) {
		// Ended on purpose: what Follow says of it is no mishap.
		result.Stopped, cause, err = true, nil, nil
	}
	if err = errors.Join(err, cause, out.Close()); err != nil {
		return recorded{}, err
	}
	result.Messages = done.Load()
	for _, q := range queues {
		result.Queues = append(result.Queues, *q)
	}
	slices.SortFunc(result.Queues, func(a, b queueOfTape) int { return strings.Compare(a.Queue, b.Queue) })
	return result, nil
}

var errEnough = errors.New("so many were wanted")

func taped(topic string, m tap.Message) tape.Message {
	return tape.Message{
		Topic: topic, Queue: m.Queue, Offset: m.Offset, ID: m.ID, Born: m.Born, Stored: m.Stored, Properties: m.Properties, Body: m.Body,
	}
}
