package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"refundd/cmd/internal/tap"
)

// events are those of one run, as they are stored.
type events struct {
	mu    sync.Mutex
	seen  map[string][]event // by out_request_no
	total int
	err   error
}

type event struct {
	ID   string `json:"id"`
	Data struct {
		Outcome string `json:"outcome"`
		Number  string `json:"out_request_no"`
		Trade   string `json:"out_trade_no"`
		Amount  string `json:"amount"`
	} `json:"data"`
	stored time.Time
}

// follow reads the event topic from its beginning until ctx ends.
func follow(ctx context.Context, cluster tap.Cluster, topic string) *events {
	e := &events{seen: map[string][]event{}}
	go func() {
		err := tap.Follow(ctx, cluster, tap.Following{Topic: topic, Beginning: true}, e.add)
		e.mu.Lock()
		e.err = errors.Join(e.err, err)
		e.mu.Unlock()
	}()
	return e
}

func (e *events) add(m tap.Message) {
	one := event{stored: m.Stored}
	err := json.Unmarshal(m.Body, &one)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = errors.Join(e.err, err)
	e.seen[one.Data.Number] = append(e.seen[one.Data.Number], one)
	e.total++
}

// state is how many refunds have events, and how many events there are.
func (e *events) state() (refunds, total int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.seen), e.total, e.err
}

// wait returns when so many refunds have events and there are so many events,
// repeats included, or when none has come for a minute: the verdict then says
// what is missing.
func (e *events) wait(ctx context.Context, p processes, refunds, total int) error {
	most, moved := -1, time.Now()
	for {
		done, have, err := e.state()
		if have > most {
			most, moved = have, time.Now()
		}
		if done >= refunds && have >= total || time.Since(moved) > time.Minute {
			return err
		}
		if err := errors.Join(err, p.ended(), ctx.Err()); err != nil {
			return fmt.Errorf("%d of %d refunds have events: %w", done, refunds, err)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// latencies are the ms from sending a command to its first event's storing, of the
// commands from one on; last is when the last of these events was stored.
func (e *events) latencies(c *commands, from int) (ms []float64, last time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := from; i < len(c.sent); i++ {
		if seen := e.seen[c.number(i)]; len(seen) > 0 {
			ms = append(ms, seen[0].stored.Sub(c.sent[i]).Seconds()*1000)
			if seen[0].stored.After(last) {
				last = seen[0].stored
			}
		}
	}
	return ms, last
}
