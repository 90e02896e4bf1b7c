package consumer

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// newPatientBench tries again only after an hour, so that whatever comes sooner
// was nudged.
func newPatientBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	return newBench(t, func(c *Config) {
		c.RetryDelays = []time.Duration{time.Hour, time.Hour}
		if change != nil {
			change(c)
		}
	})
}

// inDoubt leaves the refund undecided although its money moved.
func (b *bench) inDoubt(d Delivery) {
	b.t.Helper()
	check(b.t, b.alipay.SetFaults(map[string]float64{"answer-lost-after": 1, "query-lost": 1}))
	b.handle(d)
	b.alipay.Heal()
	check(b.t, b.alipay.SetFaults(nil))
	if n := len(b.broker.Scheduled(retryTopic)); n != 1 {
		b.t.Fatalf("%d retries are scheduled, want 1; log:\n%s", n, b.log)
	}
}

func (b *bench) nudge(about Notified) {
	b.t.Helper()
	if about.Kind == "" {
		about.Kind = KindRefund
	}
	if about.Merchants == nil {
		about.Merchants = []string{""}
	}
	check(b.t, b.handler.Nudge(b.t.Context(), about))
}

// nudged are the copies that came before their time.
func (b *bench) nudged() int { return len(b.broker.Messages(retryTopic)) }

// TestNudge: a notification brings the event long before the next try. The copy
// that still waits is dropped when it comes.
func TestNudge(t *testing.T) {
	b := newPatientBench(t, nil)
	b.inDoubt(b.command(refundBody("R1", "T1", "1.00")))
	b.nudge(Notified{OutRequestNo: "R1", OutTradeNo: "T1", TradeNo: alipaytest.TradeNo("T1")})
	b.retry()
	if e := b.final("R1"); e.Outcome != producer.Succeeded || e.ConfirmedBy != producer.ByQuery || b.moved("R1") != 1 {
		t.Errorf("event is %+v, moved %d times", e, b.moved("R1"))
	}
	late := b.broker.Scheduled(retryTopic)
	if len(late) != 1 {
		t.Fatalf("%d copies wait, want the one of the next try", len(late))
	}
	m := late[0]
	b.handle(Delivery{Topic: retryTopic, MsgID: m.MsgID, Body: m.Body, Born: time.UnixMilli(m.BornTimestamp), Properties: m.Properties})
	b.onlyEvent("R1")
}

// TestNudgeAsksAnew: the last query did not find the refund, and QueryAfter has
// not passed: without a notification nothing would be asked yet.
func TestNudgeAsksAnew(t *testing.T) {
	b := newPatientBench(t, func(c *Config) { c.QueryAfter = time.Hour })
	check(t, b.alipay.SetFaults(map[string]float64{"answer-lost-after": 1, "query-empty": 1}))
	b.handle(b.command(refundBody("R1", "T1", "1.00")))
	b.alipay.Heal()
	b.nudge(Notified{OutRequestNo: "R1", OutTradeNo: "T1"})
	b.retry()
	if e := b.final("R1"); e.Outcome != producer.Succeeded {
		t.Errorf("event is %+v", e)
	}
	calls := 0
	for _, c := range b.alipay.Calls() {
		if !strings.HasSuffix(c.Method, ".query") {
			calls++
		}
	}
	if calls != 1 {
		t.Errorf("%d refund calls, want 1", calls)
	}
}

// TestNudgeOnce: at most one copy for each record, however often Alipay notifies,
// also if the copy brought nothing.
func TestNudgeOnce(t *testing.T) {
	b := newPatientBench(t, nil)
	b.inDoubt(b.command(refundBody("R1", "T1", "1.00")))
	about := Notified{OutRequestNo: "R1", OutTradeNo: "T1"}
	for range 5 {
		b.nudge(about)
	}
	if n := b.nudged(); n != 1 {
		t.Fatalf("%d copies, want 1", n)
	}
	check(t, b.alipay.SetFaults(map[string]float64{"query-lost": 1}))
	b.retry()
	b.nudge(about)
	if n := b.nudged(); n != 1 {
		t.Errorf("%d copies after a query that told nothing, want 1", n)
	}
}

// TestNudgeOfParked: a person need not look any more.
func TestNudgeOfParked(t *testing.T) {
	b := newPatientBench(t, nil)
	b.cfg.RetryDelays = nil
	b.reopen()
	check(t, b.alipay.SetFaults(map[string]float64{"answer-lost-after": 1, "query-lost": 1}))
	b.handle(b.command(refundBody("R1", "T1", "1.00")))
	b.alipay.Heal()
	check(t, b.alipay.SetFaults(nil))
	if len(b.parked()) != 1 {
		t.Fatalf("%d parked, want 1; log:\n%s", len(b.parked()), b.log)
	}
	b.nudge(Notified{OutRequestNo: "R1", OutTradeNo: "T1"})
	b.retry()
	if e := b.final("R1"); e.Outcome != producer.Succeeded {
		t.Errorf("event is %+v", e)
	}
}

// TestNudgeOfNothing: what is not known here, decided, held, or another trade's.
func TestNudgeOfNothing(t *testing.T) {
	b := newPatientBench(t, nil)
	b.handle(b.command(refundBody("R1", "T1", "1.00")))
	b.inDoubt(b.command(refundBody("R2", "T2", "1.00")))
	for name, about := range map[string]Notified{
		"not known here":     {OutRequestNo: "R9", OutTradeNo: "T9"},
		"decided":            {OutRequestNo: "R1", OutTradeNo: "T1"},
		"another trade":      {OutRequestNo: "R2", OutTradeNo: "T1"},
		"another merchant's": {OutRequestNo: "R2", OutTradeNo: "T2", Merchants: []string{"shop"}},
		"another kind":       {OutRequestNo: "R2", OutTradeNo: "T2", Kind: KindCouponRefund},
	} {
		b.nudge(about)
		if n := b.nudged(); n != 0 {
			t.Fatalf("%s: %d copies, want none", name, n)
		}
	}
	b.redis.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := b.handler.Nudge(ctx, Notified{Kind: KindRefund, Merchants: []string{""}, OutRequestNo: "R2", OutTradeNo: "T2"}); err == nil {
		t.Error("no error although Redis is away")
	}
}

// TestNudgeFindsTheRecord: under scope trade the command may name its trade in
// either way, and a coupon refund's notification names no merchant.
func TestNudgeFindsTheRecord(t *testing.T) {
	shop := func(string) (Merchant, bool) { return Merchant{AppAuthToken: "201510BBtoken"}, true }
	tradeNo := alipaytest.TradeNo("T1")
	rows := map[string]struct {
		scope bool
		body  string
		kind  Kind
		about Notified
	}{
		"by trade_no":     {true, fmt.Sprintf(`{"out_request_no":"R1","trade_no":%q,"refund_amount":"1.00"}`, tradeNo), KindRefund, Notified{TradeNo: tradeNo, OutTradeNo: "T1"}},
		"by out_trade_no": {true, refundBody("R1", "T1", "1.00"), KindRefund, Notified{TradeNo: tradeNo, OutTradeNo: "T1"}},
		"by auth_no": {
			true, `{"out_request_no":"R1","auth_no":"A1","amount":"1.00","out_order_no":"O1"}`, KindCouponRefund, Notified{AuthNo: "A1", Kind: KindCouponRefund},
		},
		"of some merchant": {
			false, `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"1.00","merchant":"shop"}`, KindRefund,
			Notified{OutTradeNo: "T1", Merchants: []string{"", "other", "shop"}},
		},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			b := newPatientBench(t, func(c *Config) { c.ScopeTrade, c.Merchant = row.scope, shop })
			d := b.command(row.body)
			d.Topic = b.cfg.Topics[row.kind]
			b.inDoubt(d)
			row.about.OutRequestNo = "R1"
			b.nudge(row.about)
			if n := b.nudged(); n != 1 {
				t.Errorf("%d copies, want 1", n)
			}
		})
	}
}
