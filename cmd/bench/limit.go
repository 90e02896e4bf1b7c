package main

import (
	"context"
	"math"
	"slices"
	"time"

	"refundd/alipay/alipaytest"
)

// Under a limit the question is how much of what Alipay lets through is used, and
// how many calls it has to refuse for that. The backlog is too large to be worked
// off; Alipay lets so many calls through in each second for limitedFor, and then
// lifted times as many for as long again.
const (
	limitedFor = 30 * time.Second
	foundAfter = 15 * time.Second // by when a limit should be known
	lifted     = 3
)

// underLimit lifts the limit when it is time, and returns when all has been seen.
func (t *trial) underLimit(ctx context.Context, p processes) error {
	if err := t.events.wait(ctx, p, 1, 0); err != nil {
		return err
	}
	begun := t.gateway.Calls()[0].Start.Truncate(time.Second)
	for _, end := range []time.Duration{limitedFor, 2 * limitedFor} {
		select {
		case <-time.After(time.Until(begun.Add(end))):
			t.gateway.SetLimit(lifted * t.l.limit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return p.ended()
}

// throttled is how a run was limited: when its calls came, from the beginning of
// the first one's second on, in order.
type throttled struct {
	limit           int // calls a second, until it was lifted
	passed, refused []time.Duration
}

func throttledBy(limit int, calls []alipaytest.Call) throttled {
	t := throttled{limit: limit}
	slices.SortFunc(calls, func(a, b alipaytest.Call) int { return a.Start.Compare(b.Start) })
	for _, c := range calls {
		at := c.Start.Sub(calls[0].Start.Truncate(time.Second))
		if c.Code == "40005" {
			t.refused = append(t.refused, at)
		} else {
			t.passed = append(t.passed, at)
		}
	}
	return t
}

// perSecond is how many calls passed a second from one time to another.
func (t throttled) perSecond(from, to time.Duration) float64 {
	return float64(within(t.passed, from, to)) / (to - from).Seconds()
}

// refusedShare is which part of all calls was refused.
func (t throttled) refusedShare(from, to time.Duration) float64 {
	refused := within(t.refused, from, to)
	return float64(refused) / float64(max(1, refused+within(t.passed, from, to)))
}

// doubled is how many seconds after the limit was lifted a whole second's calls
// were twice the former limit; NaN: never.
func (t throttled) doubled() float64 {
	for at := limitedFor; at+time.Second <= 2*limitedFor; at += 100 * time.Millisecond {
		if within(t.passed, at, at+time.Second) >= 2*t.limit {
			return (at + time.Second - limitedFor).Seconds()
		}
	}
	return math.NaN()
}

// within counts the times from one until before another.
func within(times []time.Duration, from, to time.Duration) int {
	first, _ := slices.BinarySearch(times, from)
	last, _ := slices.BinarySearch(times, to)
	return last - first
}
