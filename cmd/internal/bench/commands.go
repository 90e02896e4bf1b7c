package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"refundd/cmd/internal/tap"
)

// commands sends a run's commands and remembers them.
type commands struct {
	sender *tap.Sender
	topic  string
	run    int

	mu   sync.Mutex
	sent []sentCommand
}

type sentCommand struct {
	number, trade, message string
	at                     time.Time
}

const amount = "16.00"

func (c *commands) send(ctx context.Context, i int) (err error) {
	s := sentCommand{number: fmt.Sprintf("R-%d-%07d", c.run, i), trade: fmt.Sprintf("T-%d-%07d", c.run, i), at: time.Now()}
	if s.message, err = c.put(ctx, s); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, s)
	return nil
}

// put returns the message's id.
func (c *commands) put(ctx context.Context, s sentCommand) (id string, err error) {
	body, err := json.Marshal(map[string]string{"out_request_no": s.number, "out_trade_no": s.trade, "refund_amount": amount})
	if err != nil {
		return "", err
	}
	for try := 1; ; try++ {
		// A broker that is busy says no. What it took all the same is one command more, as in life.
		id, err = c.sender.Send(ctx, tap.Outgoing{Topic: c.topic, Keys: s.number, Body: body})
		if err == nil || try == 10 || ctx.Err() != nil {
			return id, err
		}
	}
}

// atOnce sends as fast as the broker takes them.
func (c *commands) atOnce(ctx context.Context, n int) error {
	base := len(c.all())
	return inParallel(ctx, n, func(ctx context.Context, i int) error { return c.send(ctx, base+i) })
}

// again sends all once more.
func (c *commands) again(ctx context.Context) error {
	all := c.all()
	return inParallel(ctx, len(all), func(ctx context.Context, i int) error {
		_, err := c.put(ctx, all[i])
		return err
	})
}

// inParallel ends with the first error.
func inParallel(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var wg sync.WaitGroup
	next := make(chan int)
	for range 32 {
		wg.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					fail(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// atRate sends so many a second, each when it is due, however long others take.
func (c *commands) atRate(ctx context.Context, n, rate int) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	base := len(c.all())
	var wg sync.WaitGroup
	begin := time.Now()
	for i := 0; i < n && ctx.Err() == nil; i++ {
		due := time.NewTimer(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		select {
		case <-due.C:
		case <-ctx.Done():
		}
		wg.Go(func() {
			if err := c.send(ctx, base+i); err != nil {
				fail(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// all are those so far. Nobody changes them.
func (c *commands) all() []sentCommand {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clip(c.sent)
}

// latencies are those from a command's birth to its event's storing, of all
// commands but the first ones.
func (c *commands) latencies(e *events, skip int) []time.Duration {
	stored := map[string]time.Time{}
	for _, seen := range e.all() {
		if at, ok := stored[seen.number]; !ok || seen.stored.Before(at) {
			stored[seen.number] = seen.stored
		}
	}
	var all []time.Duration
	for _, s := range c.all()[skip:] {
		if at, ok := stored[s.number]; ok {
			all = append(all, at.Sub(s.at))
		}
	}
	slices.Sort(all)
	return all
}
