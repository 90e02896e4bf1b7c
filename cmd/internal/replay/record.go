package replay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
	"refundd/cmd/internal/tape"
)

// Recording says what is recorded.
type Recording struct {
	Part   tap.Following
	File   string
	Count  int64 // end after so many; 0: no limit
	Format cli.Format
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

// Record writes the part of the topic to the file.
func (o *Recording) Record(ctx context.Context, env cli.Env, cluster tap.Cluster) error {
	result, err := o.write(ctx, env, cluster)
	if err != nil {
		return err
	}
	if o.Format.JSON() {
		return cli.PrintJSON(env.Stdout, result)
	}
	stopped := ""
	if result.Stopped {
		stopped = " (stopped before the end)"
	}
	_, _ = fmt.Fprintf(env.Stdout, "recorded %d messages of %s in %s%s\n", result.Messages, o.Part.Topic, o.File, stopped)
	t := cli.NewTable(env.Stdout, "queue", "from", "to")
	for _, q := range result.Queues {
		t.Row(q.Queue, q.From, q.To)
	}
	return t.Flush()
}

// write reads the topic into the file.
func (o *Recording) write(ctx context.Context, env cli.Env, cluster tap.Cluster) (recorded, error) {
	out, err := tape.Create(o.File)
	if err != nil {
		if errors.Is(err, os.ErrExist) {
			return recorded{}, cli.WrongUsage("--file: %s exists; it is not written over", o.File)
		}
		return recorded{}, cli.WrongUsage("--file: %v", err)
	}
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	result := recorded{Topic: o.Part.Topic, File: o.File}
	queues := map[string]*queueOfTape{}
	var total, done atomic.Int64
	f := o.Part
	f.Spans = func(spans []tap.Span) {
		for _, s := range spans {
			total.Add(s.End - s.Next)
			queues[s.Queue] = &queueOfTape{s.Queue, s.Next, s.Next}
		}
	}
	stopProgress := env.Progress(func() string { return fmt.Sprintf("so far %d of %d messages", done.Load(), total.Load()) })
	err = tap.Follow(reading, cluster, f, func(m tap.Message) {
		if err := out.Write(taped(o.Part.Topic, m)); err != nil {
			cancel(err)
			return
		}
		done.Add(1)
		result.Bytes += int64(len(m.Body))
		queues[m.Queue].To = m.Offset + 1
		if done.Load() == o.Count {
			cancel(errEnough)
		}
	})
	stopProgress()
	cause := context.Cause(reading)
	if cause != nil && (errors.Is(cause, errEnough) || errors.Is(cause, context.Canceled)) {
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
