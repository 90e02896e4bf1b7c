package replay

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/match"
	"refundd/cmd/internal/tap"
	"refundd/producer"
)

// MatchEvent is an event for the join.
func MatchEvent(ev producer.Event, stored time.Time) match.Event {
	out := match.Event{
		Key:     match.Key{Kind: ev.Kind, Merchant: ev.Merchant, Number: ev.Subject},
		Outcome: ev.Outcome, Amount: ev.AmountFen, Stored: stored,
	}
	digest, _ := hex.DecodeString(ev.ID) // DecodeEvent has checked it
	copy(out.ID[:], digest)
	return out
}

// watcher follows the event topic while a replay runs.
type watcher struct {
	s      *sending
	env    cli.Env
	stop   func() // ends it and waits
	failed <-chan error
	final  atomic.Int64 // final events of our commands, repeats included
	last   atomic.Int64 // when the last one came, in nanoseconds since 1970
}

// watch begins to follow and returns when every event from now on will be seen.
func (o *Options) watch(ctx context.Context, env cli.Env, cluster tap.Cluster, s *sending) (*watcher, error) {
	w := &watcher{s: s, env: env, stop: func() {}}
	if s.table == nil {
		return w, nil
	}
	// An interrupt ends the sending first; the events until then still count.
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ready, failed := make(chan struct{}), make(chan error, 1)
	w.failed = failed
	f := tap.Following{Topic: o.EventTopic, Group: o.Group, Ready: func() { close(ready) }}
	f.Trouble = func(err error) { _, _ = fmt.Fprintf(env.Stderr, "refundctl: events: %v; trying again\n", err) }
	var wg sync.WaitGroup
	wg.Go(func() {
		var broken error
		err := tap.Follow(following, cluster, f, func(m tap.Message) {
			if err := w.take(o.Prefix, m); err != nil && broken == nil {
				broken = err
				cancel()
			}
		})
		if broken == nil {
			broken = err
		}
		if broken != nil {
			failed <- fmt.Errorf("events: %w", broken)
		}
	})
	w.stop = func() {
		cancel()
		wg.Wait()
	}
	select {
	case <-ready:
		return w, nil
	case err := <-failed:
		w.stop()
		return nil, err
	case <-ctx.Done():
		w.stop()
		return nil, ctx.Err() //nolint:wrapcheck // an interrupt says enough
	}
}

// take keeps an event that can be an answer to one of our commands.
func (w *watcher) take(prefix string, m tap.Message) error {
	ev, err := producer.DecodeEvent(m.Body)
	if err != nil {
		w.s.complain("event message %s is no event: %v", m.ID, err)
		return nil
	}
	if ev.Outcome != producer.Rejected && !strings.HasPrefix(ev.Subject, prefix) {
		return nil
	}
	switch ev.Outcome {
	case producer.Succeeded, producer.Failed, producer.Rejected:
		w.final.Add(1)
		w.last.Store(time.Now().UnixNano())
	case producer.Unresolved, producer.Notified, producer.DepositBack:
	}
	return w.s.table.Event(MatchEvent(ev, m.Stored))
}

// wait returns when nothing is missing any more, when no further final event has
// come for quiet, or when ctx ends. Joining everything takes a while with
// millions of rows, so it is done only when it can tell something new, and with
// pauses that are longer than it takes.
func (w *watcher) wait(ctx context.Context, quiet time.Duration) (match.Result, error) {
	stopProgress := w.env.Progress(func() string {
		return fmt.Sprintf("waiting for events: %d final ones for %d commands so far", w.final.Load(), w.s.sent.Load())
	})
	defer stopProgress()
	sent := w.s.sent.Load()
	begin := time.Now()
	pause, next := time.Second, begin
	known := int64(-1)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		now := time.Now()
		silent := now.Sub(time.Unix(0, max(w.last.Load(), begin.UnixNano())))
		over := ctx.Err() != nil || silent >= quiet
		final := w.final.Load()
		// Fewer events than commands may be enough: repeats can share one.
		if over || final != known && now.After(next) && (final >= sent || silent > pause) {
			result, err := w.s.table.Join(func(match.Row) error { return nil })
			if err != nil || over || result.Settled() {
				return result, err
			}
			known = final
			took := time.Since(now)
			pause = max(time.Second, 4*took)
			next = now.Add(took + pause)
		}
		select {
		case err := <-w.failed:
			return match.Result{}, err
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
