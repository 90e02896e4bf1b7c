package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
	"refundd/cmd/internal/tape"
)

const recordLong = `Writes a part of a topic to a file: JSON lines, one message a line with body, keys,
properties, born time, queue and offset, in the order in which they were stored;
compressed if the name ends in .gz. It reads from outside, so nobody misses a
message because of it. Bodies are payment data: the file is readable by its owner
alone. "refundctl replay --file" sends it again, "refundctl reconcile" reads it.

Ctrl-C ends it early and leaves a whole file of what was read until then.`

const recordExample = `  refundctl record --topic refund-command --from 24h -f commands.jsonl.gz
  refundctl record --topic refund-event --from 2026-01-31T00:00:00+08:00 --to 2026-02-01T00:00:00+08:00 -f events.jsonl.gz
  refundctl record --topic refund-command --queue broker-a/3 --from offset:120000 --to offset:130000 -f some.jsonl`

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
	Stopped  bool          `json:"stopped"` // before its end, by Ctrl-C or --count
	Queues   []queueOfTape `json:"queues"`
}

// queueOfTape are the offsets that the file has of a queue; To is not in it.
type queueOfTape struct {
	Queue string `json:"queue"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
}

func recordCommand(env cli.Env) *cobra.Command {
	var o recordOptions
	cmd := &cobra.Command{
		Use: "record --topic TOPIC --file FILE", Short: "write a part of a topic to a file", Long: recordLong, Example: recordExample,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.record(cmd.Context(), env) },
	}
	o.connection.register(cmd)
	o.span.register(cmd)
	o.output.register(cmd)
	topicFlag(cmd, env, &o.topic, "topic", "`topic` to read; required")
	fileFlag(cmd, &o.file, "file", "f", "`file` to write, which must not exist; required")
	cmd.Flags().Int64VarP(&o.count, "count", "n", 0, "end after so many messages; 0 = no limit")
	return cmd
}

func (o *recordOptions) record(ctx context.Context, env cli.Env) error {
	switch {
	case o.topic == "":
		return cli.WrongUsage("--topic is required")
	case o.file == "":
		return cli.WrongUsage("--file is required")
	case o.count < 0:
		return cli.WrongUsage("--count: %d is below zero", o.count)
	}
	f, err := o.following(env, o.topic)
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
	if o.JSON() {
		return cli.PrintJSON(env.Stdout, result)
	}
	stopped := ""
	if result.Stopped {
		stopped = " (stopped before the end)"
	}
	_, _ = fmt.Fprintf(env.Stdout, "recorded %d messages of %s in %s%s\n", result.Messages, o.topic, o.file, stopped)
	t := cli.NewTable(env.Stdout, "queue", "from", "to")
	for _, q := range result.Queues {
		t.Row(q.Queue, q.From, q.To)
	}
	return t.Flush()
}

// write reads the topic into the file.
func (o *recordOptions) write(ctx context.Context, env cli.Env, cluster tap.Cluster, f tap.Following) (recorded, error) {
	out, err := tape.Create(o.file)
	if err != nil {
		if errors.Is(err, os.ErrExist) {
			return recorded{}, cli.WrongUsage("--file: %s exists; it is not written over", o.file)
		}
		return recorded{}, cli.WrongUsage("--file: %v", err)
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
	stopProgress := env.Progress(func() string { return fmt.Sprintf("so far %d of %d messages", done.Load(), total.Load()) })
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
