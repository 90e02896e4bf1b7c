package consumer

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe"
	"refundd/producer"
)

// These tests hold lines of the contract that no other test of this package
// does; cmd/internal/contract says which.

// TestRepeatIsTheFirstOnesEvent: whatever a repeat carries, its event is that
// of the first command, byte for byte; and so is a rejected one's.
func TestRepeatIsTheFirstOnesEvent(t *testing.T) {
	const first, second = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	traced := func(d Delivery, parent string) Delivery {
		d.Properties = map[string]string{"traceparent": parent}
		return d
	}
	b := newBench(t, nil)
	begin := time.Now().Truncate(time.Millisecond)
	b.handle(traced(b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3","metadata":{"n":"first"}}`), first))
	settled := time.Now()
	b.handle(traced(b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","metadata":{"n":"second"}}`), second))
	bad := traced(b.command(`{"out_request_no":"R2","out_trade_no":"T1","refund_amount":1,"metadata":{"n":"bad"}}`), first)
	b.handle(bad)
	b.handle(bad)
	m := b.broker.Messages(eventTopic)
	if len(m) != 4 {
		t.Fatalf("%d events, want 4", len(m))
	}
	bodies := map[string]int{}
	for _, one := range m {
		bodies[string(one.Body)]++
	}
	for body, n := range bodies {
		if n != 2 || !strings.Contains(body, first) || strings.Contains(body, "second") {
			t.Errorf("%d times %s", n, body)
		}
	}
	e := b.final("R1")
	if e.Metadata["n"] != "first" || e.Time.Before(begin) || e.Time.After(settled) {
		t.Errorf("metadata %v, time %v; settled between %v and %v", e.Metadata, e.Time, begin, settled)
	}
}

// TestConflictSaysSo, in reason and nothing else.
func TestConflictSaysSo(t *testing.T) {
	b := newBench(t, nil)
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	b.handle(b.command(refundBody("R1", "T2", "3.00")))
	rejected := 0
	for _, e := range b.events() {
		if e.Outcome == producer.Rejected {
			rejected++
			if e.Reason != producer.ReasonConflict || e.OutTradeNo != "T2" || e.AmountFen != 300 || e.Subject != "R1" {
				t.Errorf("got %+v", e)
			}
		}
	}
	if rejected != 1 || len(b.parked()) != 0 {
		t.Errorf("%d rejected, %d parked", rejected, len(b.parked()))
	}
}

// TestRejectedAfterRetries: for a retried command it is the first message that
// is rejected: its id, its time.
func TestRejectedAfterRetries(t *testing.T) {
	b := newBench(t, nil)
	body := `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop"}`
	born := time.Now().Add(-10 * time.Minute).Truncate(time.Millisecond)
	c := producer.Copy{Topic: refundTopic, MsgID: "FIRST", Born: born, First: time.Now().Add(-merchantGrace)}
	b.handle(Delivery{Topic: retryTopic, MsgID: "SECOND", Body: []byte(body), Properties: c.Properties(), Born: time.Now()})
	e := b.onlyEvent("R1")
	if e.ID != producer.RejectedID("FIRST", []byte(body), producer.ReasonUnknownMerchant) || !e.Time.Equal(born) {
		t.Errorf("id %s, time %v", e.ID, e.Time)
	}
}

// TestScope: numbers are one per merchant and kind, or one per trade. The
// third command spells its trade another way, which makes it a third refund
// here; at Alipay it is the second, whose money does not move again.
func TestScope(t *testing.T) {
	for _, row := range []struct {
		name             string
		scopeTrade       bool
		succeeded, moved int
	}{{"merchant", false, 1, 1}, {"trade", true, 3, 2}} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.ScopeTrade = row.scopeTrade })
			b.handle(b.command(refundBody("R1", "T1", "3.00")))
			b.handle(b.command(refundBody("R1", "T2", "3.00")))
			b.handle(b.command(`{"out_request_no":"R1","out_trade_no":"T2","trade_no":"` + alipaytest.TradeNo("T2") + `","refund_amount":"3.00"}`))
			b.settleAll()
			succeeded := map[string]bool{}
			for _, e := range b.events() {
				switch {
				case e.Outcome == producer.Succeeded:
					succeeded[e.ID] = true
				case row.scopeTrade || e.Reason != producer.ReasonConflict:
					t.Errorf("got %s %s", e.Outcome, e.Reason)
				}
			}
			if len(succeeded) != row.succeeded || b.moved("R1") != row.moved {
				t.Errorf("%d succeeded, moved %d times", len(succeeded), b.moved("R1"))
			}
		})
	}
}

// TestLostRecord: what a repeat of a refund that succeeded comes to when Redis
// has lost everything since.
func TestLostRecord(t *testing.T) {
	setup := func(t *testing.T) (*bench, producer.Event) {
		t.Helper()
		b := newBench(t, nil)
		b.handle(b.command(refundBody("R1", "T1", "3.00")))
		first := b.final("R1")
		b.redis.FlushAll()
		return b, first
	}
	t.Run("the same again", func(t *testing.T) {
		b, first := setup(t)
		b.handle(b.command(refundBody("R1", "T1", "3.00")))
		b.settleAll()
		if e := b.final("R1"); e.ID != first.ID || b.moved("R1") != 1 {
			t.Errorf("id %s, was %s; moved %d", e.ID, first.ID, b.moved("R1"))
		}
		all := b.events()
		last := all[len(all)-1]
		if len(all) != 2 || last.Type() != first.Type() || last.AmountFen != first.AmountFen || last.Outcome != first.Outcome {
			t.Errorf("events %+v", all)
		}
	})
	t.Run("another amount", func(t *testing.T) {
		b, _ := setup(t)
		b.handle(b.command(refundBody("R1", "T1", "4.00")))
		b.settleAll()
		all := b.events()
		var last producer.Event
		for _, e := range all {
			if e.Outcome == producer.Unresolved {
				last = e
			}
		}
		if len(all) != 2 || last.Reason != producer.ReasonConflictAtAlipay || last.AmountFen != 400 {
			t.Errorf("events %+v", all)
		}
		if p := b.parked(); len(p) != 1 || p[0].Reason != string(producer.ReasonConflictAtAlipay) || b.moved("R1") != 1 {
			t.Errorf("parked %+v, moved %d", p, b.moved("R1"))
		}
	})
	t.Run("another trade", func(t *testing.T) {
		b, first := setup(t)
		b.handle(b.command(refundBody("R1", "T2", "3.00")))
		b.settleAll()
		all := b.events()
		var last producer.Event
		for _, e := range all {
			if e.OutTradeNo == "T2" {
				last = e
			}
		}
		if len(all) != 2 || last.Outcome != producer.Succeeded || last.ID == first.ID {
			t.Errorf("events %+v", all)
		}
	})
}

// TestParkedBeforeTold: the unresolved event is published when the copy is
// safely parked, and the delivery ends when the event is.
func TestParkedBeforeTold(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RetryDelays, c.MaxAge = []time.Duration{time.Second}, time.Minute })
	var attempts [2]atomic.Int64 // to park, to tell
	var refused atomic.Int64     // which of them are refused
	b.broker.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		which := int64(-1)
		switch r.Topic {
		case parkedTopic:
			which = 0
		case eventTopic:
			which = 1
		}
		if which < 0 {
			return rocketmqtest.Action{}
		}
		attempts[which].Add(1)
		if which >= refused.Load() {
			return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.SystemError}
		}
		return rocketmqtest.Action{}
	})
	d := b.aged(refundBody("fault-frozen-1", "T1", "3.00"))
	done := make(chan bool, 1)
	go func() { done <- b.handler.Handle(t.Context(), d).Acknowledged() }()
	waitFor(t, "refused parking", func() bool { return attempts[0].Load() >= 2 })
	if n := attempts[1].Load(); n != 0 {
		t.Errorf("%d times told before it was parked", n)
	}
	refused.Store(1)
	waitFor(t, "refused telling", func() bool { return attempts[1].Load() >= 2 })
	if n := len(b.parked()); n != 1 {
		t.Errorf("%d parked when it was told", n)
	}
	select {
	case <-done:
		t.Error("the delivery ended before its event was published")
	default:
	}
	refused.Store(2)
	if !<-done {
		t.Error("not acknowledged")
	}
	if e := b.onlyEvent("fault-frozen-1"); e.Outcome != producer.Unresolved {
		t.Errorf("got %s", e.Outcome)
	}
}

// aged is a first try, from the retry topic, whose age is over MaxAge.
func (b *bench) aged(body string) Delivery {
	b.number++
	c := producer.Copy{Topic: refundTopic, MsgID: "OLD", Born: time.Now().Add(-2 * b.cfg.MaxAge), First: time.Now().Add(-2 * b.cfg.MaxAge)}
	return Delivery{Topic: retryTopic, MsgID: "X", Body: []byte(body), Properties: c.Properties(), Born: time.Now()}
}

// TestMaxAge: undecided for so long, a command is parked, with the reason why
// it is undecided, whatever spent no tries.
func TestMaxAge(t *testing.T) {
	for _, row := range []struct {
		name, number string
		arrange      func(b *bench)
		want         producer.Reason
		try          int
	}{
		{"no proof", "fault-timeout-before-1", nil, producer.ReasonUnknownOutcome, 1},
		{"merchant blocked", "fault-balance-1", nil, producer.ReasonBlockedMerchant, 1},
		{"configuration blocked", "fault-config-auth-1", nil, producer.ReasonBlockedConfiguration, 1},
		{"limited", "fault-limited-1", nil, producer.ReasonRateLimited, 0},
		{"nobody there", "R1", func(b *bench) { _ = b.alipay.Close() }, producer.ReasonGatewayUnavailable, 1},
		{"paused", "R1", func(b *bench) {
			b.cfg.Limits.Paused = func(Kind, string) bool { return true }
			b.reopen()
		}, producer.ReasonPaused, 0},
		{"held", "R1", func(b *bench) {
			cmd, err := DecodeCommand(KindRefund, []byte(refundBody("R1", "T1", "3.00")))
			check(b.t, err)
			claim, err := b.store.Claim(b.t.Context(), dedupe.ClaimRequest{ID: identityOf("R1"), Fingerprint: cmd.Fingerprint(), Token: dedupe.NewToken()})
			check(b.t, err)
			if claim.State != dedupe.Won {
				b.t.Fatalf("claim is %v", claim.State)
			}
		}, producer.ReasonHeld, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			if row.arrange != nil {
				row.arrange(b)
			}
			body := refundBody(row.number, "T1", "3.00")
			b.handle(b.aged(body))
			e := b.onlyEvent(row.number)
			if e.Outcome != producer.Unresolved || e.Reason != row.want {
				t.Errorf("got %s %s, want unresolved %s", e.Outcome, e.Reason, row.want)
			}
			p := b.parked()
			if len(p) != 1 || p[0].Reason != string(row.want) || p[0].Try != row.try || !bytes.Equal(p[0].Body, []byte(body)) {
				t.Errorf("parked %+v", p)
			}
			if m := b.broker.Scheduled(retryTopic); len(m) != 0 {
				t.Errorf("it comes back as well: %+v", m)
			}
		})
	}
}
