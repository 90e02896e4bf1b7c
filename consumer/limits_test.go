package consumer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

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

// TestLimitedBacksOffTheApp: 40005 makes the whole app wait, not one command, and
// then go on at a pace.
func TestLimitedBacksOffTheApp(t *testing.T) {
	b := newBench(t, nil)
	b.handle(b.command(refundBody("fault-limited-1", "T1", "1.00")))
	first := b.alipay.Calls()[0]
	b.handle(b.command(refundBody("R2", "T2", "1.00")))
	b.settleAll()
	for _, c := range b.alipay.Calls()[1:] {
		if gap := c.Start.Sub(first.Start); gap < 350*time.Millisecond {
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
	if b.handler.Handle(context.Background(), b.command(refundBody("fault-gw-20000-after-1", "T1", "3.00"))).Acknowledged() {
		t.Error("acknowledged, although its outcome was unknown at the stop")
	}
	if calls := b.alipay.Calls(); len(calls) != 1 {
		t.Errorf("want no query after the stop, got %+v", calls)
	}
}

// pausesInReserve is a record whose Redis answers so late that a pause has begun by
// then.
type pausesInReserve struct {
	*dedupe.Store
	paused *atomic.Bool
}

func (s pausesInReserve) Reserve(ctx context.Context, appID string, slot dedupe.Slot, token dedupe.Token) (dedupe.Grant, error) {
	s.paused.Store(true)
	return s.Store.Reserve(ctx, appID, slot, token)
}

// TestPauseWhileWaitingForATurn: a call that waited for its turn does not go out
// after a pause.
func TestPauseWhileWaitingForATurn(t *testing.T) {
	var paused atomic.Bool
	b := newBench(t, func(c *Config) {
		c.Limits = Limits{Spacing: 100 * time.Millisecond, Paused: func(Kind, string) bool { return paused.Load() }}
	})
	b.handler.records = pausesInReserve{b.store, &paused}
	b.handle(b.command(refundBody("R1", "T1", "1.00")))
	b.handle(b.command(refundBody("R2", "T1", "1.00"))) // has to wait, and is paused then
	if !paused.Load() {
		t.Fatal("it did not have to wait: the test proves nothing")
	}
	if n := b.moved("R2"); n != 0 {
		t.Error("R2 moved although paused")
	}
	paused.Store(false)
	b.handler.records = b.store
	b.settleAll()
	if e := b.final("R2"); e.Outcome != producer.Succeeded {
		t.Errorf("R2 %s", e.Outcome)
	}
}

// TestPauseCostsNothing: what was never claimed waits without Redis, and makes a
// retry message a minute, which is the longest delay that keeps the promise of two
// minutes after the resume.
func TestPauseCostsNothing(t *testing.T) {
	var paused atomic.Bool
	paused.Store(true)
	b := newBench(t, func(c *Config) { c.Limits.Paused = func(Kind, string) bool { return paused.Load() } })
	const commands = 100
	for i := range commands {
		b.handle(b.command(refundBody(fmt.Sprintf("R%d", i), "T1", "1.00")))
	}
	if n := b.trips.Load(); n != 0 {
		t.Errorf("%d exchanges with Redis, want none", n)
	}
	messages := append(b.broker.Messages(retryTopic), b.broker.Scheduled(retryTopic)...)
	if len(messages) != commands {
		t.Errorf("%d retry messages, want one for each of %d commands", len(messages), commands)
	}
	for _, m := range messages {
		level := m.Properties[primitive.PropertyDelayTimeLevel]
		if level != "5" || m.Properties["REFUNDD_REASON"] != string(producer.ReasonPaused) || m.Properties["REFUNDD_CLAIMED"] != "" {
			t.Fatalf("%v, want that it waits for a minute, unclaimed", m.Properties)
		}
	}
	for range commands {
		b.retry()
	}
	if n := b.trips.Load(); n != 0 {
		t.Errorf("%d exchanges with Redis when they came back, want none", n)
	}
	if n := len(b.broker.Messages(retryTopic)) + len(b.broker.Scheduled(retryTopic)); n != 2*commands {
		t.Errorf("%d retry messages after a minute, want %d", n, 2*commands)
	}
	paused.Store(false)
	b.settleAll()
	if n := len(b.alipay.Movements()); n != commands {
		t.Errorf("%d refunds moved after the resume, want %d", n, commands)
	}
}
