package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"refundd/cmd/internal/tap"
)

// events are those of one run, as they are stored.
type events struct {
	mu      sync.Mutex
	seen    []seenEvent
	numbers map[string]bool
	err     error
	changed chan struct{} // has something whenever there is more to see
}

type seenEvent struct {
	id, number, trade, outcome, amount string
	body                               [8]byte // of a digest
	stored                             time.Time
}

func newEvents() *events {
	return &events{numbers: map[string]bool{}, changed: make(chan struct{}, 1)}
}

func (e *events) add(m tap.Message) {
	var event struct {
		ID   string `json:"id"`
		Data struct {
			Outcome string `json:"outcome"`
			Number  string `json:"out_request_no"`
			Trade   string `json:"out_trade_no"`
			Amount  string `json:"amount"`
		} `json:"data"`
	}
	err := json.Unmarshal(m.Body, &event)
	sum := sha256.Sum256(m.Body)
	e.mu.Lock()
	if err != nil {
		e.err = fmt.Errorf("an event is not JSON: %w", err)
	}
	d := event.Data
	e.seen = append(e.seen, seenEvent{event.ID, d.Number, d.Trade, d.Outcome, d.Amount, [8]byte(sum[:8]), m.Stored})
	e.numbers[d.Number] = true
	e.mu.Unlock()
	e.tell()
}

func (e *events) ended(err error) {
	if err == nil {
		return
	}
	e.mu.Lock()
	e.err = err
	e.mu.Unlock()
	e.tell()
}

func (e *events) tell() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// wait returns when so many refunds have an event.
func (e *events) wait(ctx context.Context, p processes, refunds int) error {
	return e.waitFor(ctx, p, e.count, refunds)
}

// waitAll returns when there are so many events, repeats included.
func (e *events) waitAll(ctx context.Context, p processes, events int) error {
	return e.waitFor(ctx, p, func() int { return len(e.all()) }, events)
}

// errStalled: what is missing does not come any more.
var errStalled = errors.New("no event for a minute")

func (e *events) waitFor(ctx context.Context, p processes, count func() int, want int) error {
	const patience = time.Minute
	most, moved := -1, time.Now()
	for {
		n := count()
		if n > most {
			most, moved = n, time.Now()
		}
		e.mu.Lock()
		err := e.err
		e.mu.Unlock()
		switch {
		case err != nil:
			return err
		case n >= want:
			return nil
		case time.Since(moved) > patience:
			return fmt.Errorf("%d of %d events: %w", n, want, errStalled)
		}
		if err := p.ended(); err != nil {
			return fmt.Errorf("%d of %d events: %w", n, want, err)
		}
		select {
		case <-e.changed:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d events: %w", n, want, ctx.Err())
		}
	}
}

// count is how many refunds have an event.
func (e *events) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.numbers)
}

// all are those so far. Nobody changes them.
func (e *events) all() []seenEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clip(e.seen)
}

// storedAt is when the first event of each refund was stored, in order.
func (e *events) storedAt() []time.Time {
	first := map[string]time.Time{}
	for _, seen := range e.all() {
		if at, ok := first[seen.number]; !ok || seen.stored.Before(at) {
			first[seen.number] = seen.stored
		}
	}
	return slices.SortedFunc(maps.Values(first), time.Time.Compare)
}
