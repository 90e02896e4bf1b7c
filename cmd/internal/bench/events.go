package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
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
	id, number, trade, outcome, amount, body string
	stored                                   time.Time
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
	e.seen = append(e.seen, seenEvent{event.ID, d.Number, d.Trade, d.Outcome, d.Amount, hex.EncodeToString(sum[:8]), m.Stored})
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
	for {
		e.mu.Lock()
		n, err := len(e.numbers), e.err
		e.mu.Unlock()
		switch {
		case err != nil:
			return err
		case n >= refunds:
			return nil
		}
		if err := p.ended(); err != nil {
			return fmt.Errorf("%d of %d events: %w", n, refunds, err)
		}
		select {
		case <-e.changed:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d events: %w", n, refunds, ctx.Err())
		}
	}
}

func (e *events) all() []seenEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]seenEvent(nil), e.seen...)
}

func (e *events) first() time.Time {
	var first time.Time
	for _, seen := range e.all() {
		if first.IsZero() || seen.stored.Before(first) {
			first = seen.stored
		}
	}
	return first
}
