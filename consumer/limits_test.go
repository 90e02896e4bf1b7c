package consumer

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"refundd/dedupe"
	"refundd/producer"
)

// TestSpacing: two partial refunds of one trade, sent at once, are at least
// the spacing apart at Alipay; both succeed, and no try is spent.
func TestSpacing(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.Spacing = 600 * time.Millisecond })
	var wg sync.WaitGroup
	for _, number := range []string{"R1", "R2", "R3"} {
		d := b.command(refundBody(number, "T1", "1.00"))
		wg.Go(func() { b.handler.Handle(t.Context(), d) })
	}
	wg.Wait()
	b.settleAll()
	for _, number := range []string{"R1", "R2", "R3"} {
		if e := b.final(number); e.Outcome != producer.Succeeded {
			t.Errorf("%s %s", number, e.Outcome)
		}
	}
	calls := b.alipay.Calls()
	for i := 1; i < len(calls); i++ {
		if gap := calls[i].Start.Sub(calls[i-1].Start); gap < 600*time.Millisecond {
			t.Errorf("calls %d and %d are %v apart", i-1, i, gap)
		}
	}
}

// TestSpacingHotPath: limits cost no exchange of their own.
func TestSpacingHotPath(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits = Limits{Spacing: 3 * time.Second, Rate: 100} })
	b.handle(b.command(refundBody("R1", "T1", "1.00")))
	if n := b.trips.Load(); n != 2 {
		t.Errorf("%d exchanges with Redis, want 2", n)
	}
}

// TestPaused: no refund call begins while a brake is on; queries go on, no try
// is spent, and after the resume the command flows again.
func TestPaused(t *testing.T) {
	var paused atomic.Bool
	b := newBench(t, func(c *Config) { c.Limits.Paused = func(Kind, string) bool { return paused.Load() } })
	d := b.command(refundBody("fault-timeout-after-1", "T1", "1.00"))
	b.handle(d) // in doubt from here on
	paused.Store(true)
	b.handle(b.command(refundBody("R2", "T1", "1.00")))
	for range 5 {
		b.retry()
	}
	if n := b.moved("R2"); n != 0 {
		t.Errorf("R2 moved although paused")
	}
	if e := b.final("fault-timeout-after-1"); e.Outcome != producer.Succeeded {
		t.Errorf("the one in doubt was not queried: %s", e.Outcome)
	}
	for _, m := range b.broker.Messages(retryTopic) {
		if m.Properties["REFUNDD_REASON"] == string(producer.ReasonPaused) && m.Properties["REFUNDD_TRY"] != "0" {
			t.Errorf("a pause spent a try: %v", m.Properties)
		}
	}
	paused.Store(false)
	b.settleAll()
	if e := b.final("R2"); e.Outcome != producer.Succeeded {
		t.Errorf("R2 %s", e.Outcome)
	}
}

// TestLimitedBacksOffTheApp: 40005 makes the whole app wait, not one command.
func TestLimitedBacksOffTheApp(t *testing.T) {
	b := newBench(t, nil)
	b.handle(b.command(refundBody("fault-limited-1", "T1", "1.00")))
	first := b.alipay.Calls()[0]
	b.handle(b.command(refundBody("R2", "T2", "1.00")))
	b.settleAll()
	for _, c := range b.alipay.Calls()[1:] {
		if gap := c.Start.Sub(first.Start); gap < 900*time.Millisecond {
			t.Errorf("%s was called %v after Alipay had limited the app", c.OutRequestNo, gap)
		}
	}
	for _, number := range []string{"R2", "fault-limited-1"} {
		if e := b.final(number); e.Outcome != producer.Succeeded {
			t.Errorf("%s %s", number, e.Outcome)
		}
	}
}

// stopsInReserve is a record whose Redis answers so late that the process has been
// asked to stop by then.
type stopsInReserve struct {
	*dedupe.Store
	gate *Gate
}

func (s stopsInReserve) Reserve(ctx context.Context, appID string, slot dedupe.Slot, token dedupe.Token) (dedupe.Grant, error) {
	defer s.gate.Close()
	return s.Store.Reserve(ctx, appID, slot, token)
}

// TestStopWhileAskingForATurn (R11): no call begins after the signal, although the turn
// was granted. Found by the simulation.
func TestStopWhileAskingForATurn(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.Rate = 100 })
	b.handler.records = stopsInReserve{b.store, b.gate}
	if b.handler.Handle(context.Background(), b.command(refundBody("fault-gw-20000-after-1", "T1", "3.00"))) {
		t.Error("acknowledged, although its outcome was unknown at the stop")
	}
	if calls := b.alipay.Calls(); len(calls) != 1 {
		t.Errorf("want no query after the stop, got %+v", calls)
	}
}
