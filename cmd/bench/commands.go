package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"refundd/cmd/internal/tap"
)

// commands sends a run's commands, each of a trade of its own.
type commands struct {
	sender *tap.Sender
	topic  string
	run    int
	sent   []time.Time // when, for the first time
}

const amount, amountFen = "16.00", 1600 // of every refund

func (c *commands) number(i int) string { return fmt.Sprintf("R-%d-%07d", c.run, i) }

func (c *commands) trade(i int) string { return fmt.Sprintf("T-%d-%07d", c.run, i) }

func (c *commands) send(ctx context.Context, i int) error {
	body, err := json.Marshal(map[string]string{"out_request_no": c.number(i), "out_trade_no": c.trade(i), "refund_amount": amount})
	if err != nil {
		return err
	}
	if c.sent[i].IsZero() {
		c.sent[i] = time.Now()
	}
	for try := 1; ; try++ {
		// A broker that is busy says no. What it took all the same is one command more, as in life.
		_, err := c.sender.Send(ctx, tap.Outgoing{Topic: c.topic, Keys: c.number(i), Body: body})
		if err == nil || try == 10 || ctx.Err() != nil {
			return err
		}
	}
}

// atOnce sends some as fast as the broker takes them.
func (c *commands) atOnce(ctx context.Context, from, to int) error {
	senders, ctx := errgroup.WithContext(ctx)
	senders.SetLimit(32)
	for i := from; i < to && ctx.Err() == nil; i++ {
		senders.Go(func() error { return c.send(ctx, i) })
	}
	return senders.Wait()
}

// atRate sends some, so many a second, each when it is due, however long others take.
func (c *commands) atRate(ctx context.Context, from, to, rate int) error {
	senders, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	for i := from; i < to && ctx.Err() == nil; i++ {
		select {
		case <-time.After(time.Until(begin.Add(time.Duration(i-from) * time.Second / time.Duration(rate)))):
			senders.Go(func() error { return c.send(ctx, i) })
		case <-ctx.Done():
		}
	}
	return senders.Wait()
}
