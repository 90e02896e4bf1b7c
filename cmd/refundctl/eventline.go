package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"refundd/producer"
)

var errTimeout = errors.New("timeout")

func isCancel(err error) bool { return errors.Is(err, context.Canceled) }

// eventLine is an event for a person, in a line.
func eventLine(ev producer.Event, again bool) string {
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
