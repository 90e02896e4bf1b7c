// Package events follows the event topic for a person or a script.
package events

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"refundd/cmd/internal/cli"
	"refundd/cmd/internal/tap"
	"refundd/producer"
)

var errTimeout = errors.New("timeout")

// line is an event for a person, in a line.
func line(ev producer.Event, again bool) string {
	parts := []string{
		ev.Time.UTC().Format(time.RFC3339),
		fmt.Sprintf("%-18s", strings.TrimSuffix(string(ev.Type()), ".v1")),
		fmt.Sprintf("%-24s", ev.Subject),
	}
	amount := ""
	if ev.AmountFen > 0 {
		amount = fmt.Sprintf("%d.%02d", ev.AmountFen/100, ev.AmountFen%100)
	}
	parts = append(parts, fmt.Sprintf("%10s", amount))
	if ev.Reason != "" {
		parts = append(parts, fmt.Sprintf("%s: %s", ev.Reason, ev.Detail))
	}
	if ev.ConfirmedBy != "" {
		parts = append(parts, fmt.Sprintf("by %s, calls and queries: %d", ev.ConfirmedBy, ev.Calls))
	}
	for _, key := range slices.Sorted(maps.Keys(ev.Metadata)) {
		parts = append(parts, fmt.Sprintf("%q=%q", key, ev.Metadata[key]))
	}
	parts = append(parts, "id="+ev.ID)
	if again {
		parts = append(parts, "(repeat)")
	}
	return strings.Join(parts, "  ")
}

// repeats remembers ids: at least the last half million, at most a million.
type repeats struct {
	recent, older map[string]bool
}

const remembered = 500_000

func (r *repeats) seen(id string) bool {
	if r.recent[id] || r.older[id] {
		return true
	}
	if r.recent == nil || len(r.recent) >= remembered {
		r.recent, r.older = map[string]bool{}, r.recent
	}
	r.recent[id] = true
	return false
}

// Options say what is shown, and when it ends.
type Options struct {
	Part         tap.Following
	Number, Kind string // an out_request_no; a type, with or without its version, or an outcome
	Count        int    // end after so many; 0: no limit
	Timeout      time.Duration
	Unique       bool // leave out repeats
	Format       cli.Format
}

// Follow prints events until ctx ends or there are enough.
func (o *Options) Follow(ctx context.Context, env cli.Env, cluster tap.Cluster) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if o.Timeout > 0 {
		timer := time.AfterFunc(o.Timeout, func() { cancel(errTimeout) })
		defer timer.Stop()
	}
	shown := 0
	var known repeats
	err := tap.Follow(ctx, cluster, o.Part, func(m tap.Message) {
		ev, err := producer.DecodeEvent(m.Body)
		if err != nil {
			_, _ = fmt.Fprintf(env.Stderr, "message %s at %s offset %d is no event: %v\n", m.ID, m.Queue, m.Offset, err)
			return
		}
		if !o.wants(ev) {
			return
		}
		again := known.seen(ev.ID)
		if again && o.Unique {
			return
		}
		if o.Format.JSON() {
			_, err = fmt.Fprintf(env.Stdout, "%s\n", m.Body)
		} else {
			_, err = fmt.Fprintln(env.Stdout, line(ev, again))
		}
		shown++
		if err != nil {
			cancel(fmt.Errorf("print: %w", err))
		} else if shown == o.Count {
			cancel(nil)
		}
	})
	return o.verdict(ctx, err, shown)
}

// verdict is the command's own end: being interrupted is none to complain about.
func (o *Options) verdict(ctx context.Context, err error, shown int) error {
	cause := context.Cause(ctx)
	enough := o.Count == 0 || shown >= o.Count
	switch {
	case o.Count > 0 && enough, errors.Is(cause, context.Canceled):
		return nil
	case errors.Is(cause, errTimeout) && enough:
		return nil
	case errors.Is(cause, errTimeout):
		return fmt.Errorf("%d of %d events within %s", shown, o.Count, o.Timeout)
	case cause != nil:
		return cause
	case err == nil && !enough:
		return fmt.Errorf("%d of %d events are there", shown, o.Count)
	}
	return err
}

// wants applies the filters.
func (o *Options) wants(ev producer.Event) bool {
	if o.Number != "" && o.Number != ev.OutRequestNo && o.Number != ev.Subject {
		return false
	}
	full := string(ev.Type())
	short := strings.TrimSuffix(full, ".v1")
	return o.Kind == "" || o.Kind == full || o.Kind == short || o.Kind == string(ev.Outcome)
}
