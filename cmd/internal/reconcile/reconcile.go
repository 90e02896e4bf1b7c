// Package reconcile holds events against Alipay's bills, or against recorded
// commands, and explains every fen.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/match"
	"refundd/cmd/internal/replay"
	"refundd/cmd/internal/tape"
	"refundd/consumer"
	"refundd/producer"
)

// Options say what is held against what.
type Options struct {
	replay.Renumbering
	Bills          []string // files, or:
	Commands, Kind string
	Events         string // file; empty: from the topic
	Merchant       string // "-" is the app's own; empty: all
	Report, Temp   string
	All            bool // the report takes lines that match, too
	Format         cli.Format
}

// Check refuses what does not go together.
func (o *Options) Check() error {
	switch {
	case (len(o.Bills) == 0) == (o.Commands == ""):
		return cli.WrongUsage("give one of --bill and --commands")
	case o.All && o.Report == "":
		return cli.WrongUsage("--all needs --report")
	case o.All && o.Commands != "":
		return cli.WrongUsage("--all goes with --bill")
	case o.Prefix != "" && o.Commands == "":
		return cli.WrongUsage("--renumber goes with --commands")
	}
	return o.Renumbering.Check()
}

// Run reads everything, prints the verdict, and returns cli.ErrFound where there
// are differences. Without a file of events they come from the topic.
func (o *Options) Run(ctx context.Context, env cli.Env, topic *replay.TopicSource) error {
	var events replay.Source = topic
	if o.Events != "" {
		events = &eventFile{replay.FileSource{Name: o.Events, In: env.Stdin}}
	} else if err := topic.Measure(ctx); err != nil {
		return err
	}
	if o.Commands != "" {
		return o.reconcileCommands(ctx, env, events)
	}
	return o.reconcileBills(ctx, env, events)
}

// eventFile is a file of events, recorded or bare.
type eventFile struct{ replay.FileSource }

func (s *eventFile) Each(ctx context.Context, take func(tape.Message) error) error {
	r, err := tape.Open(s.Name, s.In)
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
				return cli.WrongUsage("%s line %d: neither a recorded message nor an event", s.Name, r.Lines())
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
func (o *Options) eachEvent(ctx context.Context, env cli.Env, from replay.Source, take func(producer.Event, time.Time) error) (strange int64, err error) {
	read := counter{}
	defer env.Progress(func() string { return fmt.Sprintf("so far %s events", read.of(from.Total())) })()
	err = from.Each(ctx, func(m tape.Message) error {
		read.n.Add(1)
		ev, err := producer.DecodeEvent(m.Body)
		switch {
		case err != nil:
			strange++
			return nil //nolint:nilerr // counted
		case o.Merchant == "-" && ev.Merchant != "", o.Merchant != "-" && o.Merchant != "" && ev.Merchant != o.Merchant:
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
func (o *Options) reconcileCommands(ctx context.Context, env cli.Env, events replay.Source) error {
	table, err := match.New(match.Config{Dir: o.Temp})
	if err != nil {
		return cli.WrongUsage("--temp: %v", err)
	}
	defer func() { _ = table.Close() }() // a folder that stays does no harm to the verdict
	v := replay.Verdict{Source: o.Commands}
	from := &replay.FileSource{Name: o.Commands, In: env.Stdin}
	if err := from.Each(ctx, func(m tape.Message) error {
		p, err := replay.Prepare(consumer.Kind(o.Kind), o.Renumbering, m)
		if err != nil {
			return err
		}
		if p.Bad {
			v.Bad++
		}
		if p.Number == "" && o.Prefix != "" {
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
	if _, err := o.eachEvent(ctx, env, events, func(ev producer.Event, stored time.Time) error { return table.Event(replay.MatchEvent(ev, stored)) }); err != nil {
		return err
	}
	if v.Result, v.Rows, err = replay.Judge(table, o.Report); err != nil {
		return err
	}
	if o.Prefix != "" {
		v.Result.Latency = match.Latency{} // counts from the replayed command, which is not here
	}
	v.Verdict = replay.VerdictOf(v.Result)
	if o.Format.JSON() {
		err = cli.PrintJSON(env.Stdout, v)
	} else {
		if v.NotHeld > 0 {
			_, _ = fmt.Fprintf(env.Stdout, "%d commands without a readable number cannot be found again after a replay, and are left out\n", v.NotHeld)
		}
		if err := errors.Join(replay.PrintResult(env.Stdout, v.Result), replay.PrintRows(env.Stdout, v.Rows, v.Result, o.Report)); err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.Stdout, "verdict: %s\n", v.Verdict)
	}
	if err == nil && !v.Result.Clean() {
		err = cli.ErrFound
	}
	return err
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
