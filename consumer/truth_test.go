package consumer

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/dedupe"
	"refundd/producer"
)

// dying are the records of a process that dies: what it would write after some
// moment never arrives. The delivery ends when its gate is closed.
type dying struct {
	*dedupe.Store
	dead    atomic.Bool
	refused atomic.Int64
}

var errDead = errors.New("the process is dead")

func (d *dying) ClaimWithSlot(ctx context.Context, req dedupe.ClaimRequest, slot dedupe.Slot) (dedupe.Claim, dedupe.Grant, error) {
	claim, grant, err := d.Store.ClaimWithSlot(ctx, req, slot)
	return claim.Through(d), grant, err
}

func (d *dying) Release(ctx context.Context, req dedupe.ReleaseRequest) (dedupe.Release, error) {
	if d.dead.Load() {
		d.refused.Add(1)
		return dedupe.Release{}, errDead
	}
	return d.Store.Release(ctx, req)
}

func (d *dying) Settle(ctx context.Context, req dedupe.SettleRequest) (dedupe.Settlement, error) {
	if d.dead.Load() {
		d.refused.Add(1)
		return dedupe.Settlement{}, errDead
	}
	return d.Store.Settle(ctx, req)
}

// dieWorking hands a delivery to a process that dies when it would write its end
// down. What it has asked Alipay by then is asked.
func (b *bench) dieWorking(d Delivery) {
	b.t.Helper()
	last := &dying{Store: b.store}
	last.dead.Store(true)
	b.handler.records = last
	done := make(chan bool, 1)
	go func() { done <- b.handler.Handle(context.Background(), d).Acknowledged() }()
	waitFor(b.t, "the last words", func() bool { return last.refused.Load() > 0 })
	b.gate.Close()
	if <-done {
		b.t.Fatal("a process that died acknowledged")
	}
	b.gate.Open()
	b.reopen()
}

// methods are what Alipay was asked, in order, without the prefix.
func (b *bench) methods() string {
	var words []string
	for _, c := range b.alipay.Calls() {
		words = append(words, strings.TrimPrefix(c.Method, "alipay.trade."))
	}
	return strings.Join(words, " ")
}

// TestTooOldIsInTheRecord (R10): a message that is too old to be executed stays so,
// although the process that found it out dies before it can say so.
func TestTooOldIsInTheRecord(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lease = time.Second })
	d := b.command(refundBody("R1", "T1", "3.00"))
	d.Born = time.Now().Add(-24 * time.Hour)
	b.dieWorking(d)
	b.handle(d) // its lease has not ended
	b.settleAll()
	if e := b.onlyEvent("R1"); e.Outcome != producer.Unresolved || e.Reason != producer.ReasonTooOld {
		t.Errorf("got %s %s", e.Outcome, e.Reason)
	}
	if asked := b.methods(); strings.Contains(asked+" ", "refund ") || b.moved("R1") != 0 {
		t.Errorf("Alipay was asked %s, and the money moved %d times", asked, b.moved("R1"))
	}
}

// TestOldByTheBrokersClock (R10): a producer whose clock is ahead, or that names no
// time, does not make a message younger than the broker knows it is.
func TestOldByTheBrokersClock(t *testing.T) {
	for name, born := range map[string]time.Time{
		"ahead": time.Now().Add(240 * time.Hour), "none": time.UnixMilli(0), "at rest": time.Now().Add(-25 * time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			d := b.command(refundBody("R1", "T1", "3.00"))
			d.Born, d.Stored = born, time.Now().Add(-24*time.Hour)
			b.handle(d)
			if e := b.onlyEvent("R1"); e.Reason != producer.ReasonTooOld || b.moved("R1") != 0 {
				t.Errorf("got %s %s, moved %d times", e.Outcome, e.Reason, b.moved("R1"))
			}
		})
	}
	b := newBench(t, nil)
	d := b.command(refundBody("R1", "T1", "3.00"))
	d.Born, d.Stored = time.UnixMilli(0), time.Now()
	b.handle(d)
	if e := b.onlyEvent("R1"); e.Outcome != producer.Succeeded {
		t.Errorf("a message without a time that was stored just now: %s %s", e.Outcome, e.Reason)
	}
}

// TestAuthorisationOfTheDead (R2): instances with an old and a new merchants file
// take turns. Whoever claims after one that died calling knows for whom it called.
func TestAuthorisationOfTheDead(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lease = time.Second })
	token := "old"
	b.cfg.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: token}, true }
	b.reopen()
	d := b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop"}`)
	cmd, err := DecodeCommand(KindRefund, d.Body)
	check(t, err)
	stored, err := note{Origin: origin{Body: d.Body, Topic: d.Topic, MsgID: d.MsgID, Born: d.Born.UnixMilli()}}.encode()
	check(t, err)
	// The old one claims, and releases without a call.
	claim := dedupe.ClaimRequest{
		ID: b.handler.identity(cmd), Fingerprint: cmd.Fingerprint(), Token: dedupe.NewToken(), Note: stored,
		Authorisation: authorisation(Merchant{AppAuthToken: token}),
	}
	_, err = b.store.Claim(t.Context(), claim)
	check(t, err)
	_, err = b.store.Release(t.Context(), dedupe.ReleaseRequest{ID: claim.ID, Token: claim.Token, Note: stored})
	check(t, err)
	c := producer.Copy{Topic: refundTopic, MsgID: d.MsgID, Born: d.Born, First: d.Born, Claimed: true, Generation: 1}
	retried := Delivery{Topic: retryTopic, MsgID: "X", Body: d.Body, Properties: c.Properties(), Born: d.Born}
	token = "new"
	check(t, b.alipay.SetFaults(map[string]float64{"answer-lost-after": 1, "query-lost": 1}))
	b.dieWorking(retried)
	b.alipay.Heal()
	check(t, b.alipay.SetFaults(nil))
	token = "old"
	b.reopen()
	for range 4 {
		b.handle(retried)
		pauseLease(t, b)
	}
	for _, e := range b.events() {
		if e.Outcome != producer.Unresolved {
			t.Errorf("%s was published, and nobody with the right authorisation has asked", e.Outcome)
		}
	}
	for _, call := range b.alipay.Calls() {
		if call.Method == alipay.MethodRefund && call.AppAuthToken != "new" {
			t.Errorf("called for %q as well", call.AppAuthToken)
		}
	}
	if n := b.moved("R1"); n != 1 {
		t.Errorf("the money moved %d times", n)
	}
}

// pauseLease waits until nobody holds R1 of shop.
func pauseLease(t *testing.T, b *bench) {
	t.Helper()
	id := identityOf("R1")
	id.Merchant = "shop"
	waitFor(t, "the lease's end", func() bool {
		r, err := b.store.Read(t.Context(), id)
		return err == nil && r.HeldFor == 0
	})
}

// later is a command with a member that this version does not know, and its claim by
// a process of a version that does.
func (b *bench) later() (Delivery, dedupe.Token) {
	b.t.Helper()
	d := b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","of_a_later_version":"x"}`)
	stored, err := note{Origin: origin{Body: d.Body, Topic: d.Topic, MsgID: d.MsgID, Born: d.Born.UnixMilli()}}.encode()
	check(b.t, err)
	token := dedupe.NewToken()
	claim, err := b.store.Claim(b.t.Context(), dedupe.ClaimRequest{ID: identityOf("R1"), Fingerprint: "1:later", Token: token, Note: stored})
	check(b.t, err)
	if claim.State != dedupe.Won {
		b.t.Fatalf("claim is %v", claim.State)
	}
	return d, token
}

// TestNotRejectedWhileAnotherVersionHasIt (R9): before a message whose number can be
// read is rejected, its record is read.
func TestNotRejectedWhileAnotherVersionHasIt(t *testing.T) {
	b := newBench(t, nil)
	d, token := b.later()
	b.handle(d)
	if events := b.events(); len(events) != 0 {
		t.Fatalf("published %+v of a command that another version has claimed", events)
	}
	if due, err := b.store.Overdue(t.Context(), testApp, time.Now().Add(time.Hour), 10); err != nil || len(due) != 1 {
		t.Errorf("the index has %d entries (%v), want the one that was acknowledged", len(due), err)
	}
	e, err := b.handler.decidedEvent(&claimedDelivery{delivery: &delivery{
		cmd: Command{Kind: KindRefund, OutRequestNo: "R1", OutTradeNo: "T1", Amount: 300},
	}, note: note{Proof: provenByResponse}}, producer.Succeeded, "").Encode()
	check(t, err)
	_, err = b.store.Settle(t.Context(), dedupe.SettleRequest{
		ID: identityOf("R1"), Fingerprint: "1:later", Token: token, Succeeded: true, Event: e.Stored(),
	})
	check(t, err)
	b.settleAll()
	if got := b.onlyEvent("R1"); got.Outcome != producer.Succeeded || got.ID != e.ID {
		t.Errorf("got %s %s, want what was decided", got.Outcome, got.ID)
	}

	// Another command under the number is rejected as ever.
	b.handle(b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"4.00","of_a_later_version":"x"}`))
	if all := b.events(); all[len(all)-1].Reason != producer.ReasonInvalid {
		t.Errorf("got %+v", all[len(all)-1])
	}
}

// TestUnreadableButClaimedIsParkedInTheEnd (R9, R12).
func TestUnreadableButClaimedIsParkedInTheEnd(t *testing.T) {
	b := newBench(t, nil)
	d, _ := b.later()
	b.handle(b.aged(string(d.Body)))
	if e := b.onlyEvent("R1"); e.Outcome != producer.Unresolved || len(b.parked()) != 1 {
		t.Errorf("got %s %s, %d parked", e.Outcome, e.Reason, len(b.parked()))
	}
}

// TestHeldIsInTheIndex (R10): a worker dies in its first call, the next delivery
// finds the record held and is acknowledged, and the broker loses its copy. The
// sweeper finds the command all the same.
func TestHeldIsInTheIndex(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lease = time.Second })
	d := b.command(refundBody("R1", "T1", "3.00"))
	b.dieWorking(d)
	d.Born = d.Born.Add(time.Second) // sent again by upstream
	b.handle(d)
	lost := len(b.broker.Scheduled(retryTopic)) + len(b.broker.Messages(retryTopic))
	if lost != 1 {
		t.Fatalf("%d copies, want 1", lost)
	}
	b.republishDue(t)
	waitFor(t, "the lost copy and the sweeper's", func() bool { return len(b.broker.Messages(retryTopic)) == 2 })
	for _, m := range b.broker.Messages(retryTopic) {
		if m.Properties[producer.PropertyReason] == string(producer.ReasonHeld) && m.Properties[producer.PropertyMsgID] == d.MsgID {
			b.pumped = 1
		}
	}
	b.settleAll()
	if e := b.onlyEvent("R1"); e.Outcome != producer.Succeeded || b.moved("R1") != 1 {
		t.Errorf("got %s, moved %d times", e.Outcome, b.moved("R1"))
	}
	if due, err := b.store.Overdue(t.Context(), testApp, time.Now().Add(time.Hour), 10); err != nil || len(due) != 0 {
		t.Errorf("the index still has %+v (%v)", due, err)
	}
}

// republishDue does what the sweeper does with everything that is due within a day.
func (b *bench) republishDue(t *testing.T) {
	t.Helper()
	due, err := b.store.Overdue(t.Context(), testApp, time.Now().Add(24*time.Hour), 10)
	check(t, err)
	if len(due) == 0 {
		t.Fatal("the index is empty")
	}
	for _, u := range due {
		waitFor(t, "the lease's end", func() bool {
			r, err := b.store.ReadKey(t.Context(), u.Key)
			return err == nil && r.HeldFor == 0
		})
		r, err := b.store.ReadKey(t.Context(), u.Key)
		check(t, err)
		check(t, b.handler.Republish(t.Context(), u.Key, r))
	}
}

// TestNotAcknowledgedBeforeItIsWritten (R10): while a claimed command cannot be
// settled, released or parked, its delivery stays unacknowledged and no copy of it
// replaces the message.
func TestNotAcknowledgedBeforeItIsWritten(t *testing.T) {
	for name, fault := range map[string]string{"settle": "", "release": "timeout-before", "park": "balance"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) {
				c.Patience = 50 * time.Millisecond
				if name == "park" {
					c.RetryDelays = nil
				}
			})
			number := "R1"
			if fault != "" {
				number = "fault-" + fault + "-1"
			}
			away := &dying{Store: b.store}
			away.dead.Store(true)
			b.handler.records = away
			done := make(chan bool, 1)
			go func() {
				done <- b.handler.Handle(context.Background(), b.command(refundBody(number, "T1", "3.00"))).Acknowledged()
			}()
			waitFor(t, "more tries than patience", func() bool { return away.refused.Load() > 5 })
			select {
			case <-done:
				t.Fatal("the delivery has ended")
			default:
			}
			if n := len(b.broker.Scheduled(retryTopic)) + len(b.broker.Messages(retryTopic)) + len(b.parked()); n != 0 {
				t.Fatalf("%d copies", n)
			}
			away.dead.Store(false)
			if !<-done {
				t.Error("not acknowledged")
			}
		})
	}
}

// raced is a publisher that lets something happen before it parks.
type raced struct {
	publisher
	before func()
}

func (r *raced) Park(ctx context.Context, c producer.Copy) error {
	if before := r.before; before != nil {
		r.before = nil
		before()
	}
	return r.publisher.Park(ctx, c)
}

// TestOneParkingIsToldOnce: a copy that races the parking adds no second one, under
// the same number or another.
func TestOneParkingIsToldOnce(t *testing.T) {
	b := newPatientBench(t, func(c *Config) { c.Lease = 2 * time.Second; c.AlipayTimeout = 200 * time.Millisecond })
	b.inDoubt(b.command(refundBody("R1", "T1", "1.00")))
	check(t, b.alipay.SetFaults(map[string]float64{"query-lost": 1}))
	b.cfg.MaxAge = time.Nanosecond
	b.reopen()
	waiting := b.broker.Scheduled(retryTopic)[0]
	copyOfRetry := Delivery{Topic: retryTopic, MsgID: waiting.MsgID, Body: waiting.Body, Born: time.Now(), Properties: waiting.Properties}
	b.nudge(Notified{OutRequestNo: "R1", OutTradeNo: "T1"})
	nudged := b.broker.Messages(retryTopic)[0]
	b.pumped = 1
	b.handler.publish = &raced{b.publish, func() {
		b.handle(Delivery{Topic: retryTopic, MsgID: nudged.MsgID, Body: nudged.Body, Born: time.Now(), Properties: nudged.Properties})
	}}
	b.handle(copyOfRetry)
	for _, m := range b.broker.Scheduled(retryTopic) {
		b.handle(Delivery{Topic: retryTopic, MsgID: m.MsgID, Body: m.Body, Born: time.Now(), Properties: m.Properties})
	}
	if e := b.onlyEvent("R1"); e.Outcome != producer.Unresolved || len(b.parked()) != 1 || b.parked()[0].Park != 1 {
		t.Errorf("got %s, parked %+v", e.Outcome, b.parked())
	}
}

// TestParkingSurvivesItsWorker: who parked it died before that was published. The
// next delivery publishes it, under the same number.
func TestParkingSurvivesItsWorker(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RetryDelays = nil; c.Lease = time.Second })
	d := b.command(refundBody("fault-balance-1", "T1", "3.00"))
	began := make(chan struct{})
	b.handler.publish = &raced{b.publish, func() {
		close(began)
		<-b.gate.stopping
		panic(errDead)
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		b.handler.Handle(context.Background(), d)
	}()
	<-began
	b.gate.Close()
	<-done
	b.reopen()
	b.handle(d)
	b.settleAll()
	if e := b.onlyEvent("fault-balance-1"); e.Outcome != producer.Unresolved || e.Reason != producer.ReasonBlockedMerchant {
		t.Errorf("got %s %s", e.Outcome, e.Reason)
	}
	if p := b.parked(); len(p) != 1 || p[0].Park != 1 {
		t.Errorf("parked %+v", p)
	}
}

// TestConflictAtAlipayTellsItsAmount: the amount of the event is ours, and nothing
// says that it was refunded.
func TestConflictAtAlipayTellsItsAmount(t *testing.T) {
	for _, kind := range []Kind{KindRefund, KindCouponRefund} {
		t.Run(string(kind), func(t *testing.T) {
			b := newBench(t, nil)
			if kind == KindRefund {
				_, err := b.client.Refund(t.Context(), &alipay.RefundRequest{OutRequestNo: "R1", OutTradeNo: "T1", RefundAmount: 500})
				check(t, err)
				b.handle(b.command(refundBody("R1", "T1", "3.00")))
			} else {
				_, err := b.client.RefundCoupon(t.Context(), &alipay.CouponRefundRequest{
					AuthNo: alipaytest.TradeNo("H1"), OutRequestNo: "R1", Amount: 500, Remark: "x",
				})
				check(t, err)
				b.handle(b.coupon(couponBody("R1", "H1", "3.00", true)))
			}
			b.settleAll()
			e := b.onlyEvent("R1")
			if e.Reason != producer.ReasonConflictAtAlipay || e.AmountFen != 300 || e.AmountAtAlipayFen != 500 || !e.RefundedAt.IsZero() {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// TestWorst: the reason of an end is the most serious of what is known of this very
// command.
func TestWorst(t *testing.T) {
	unknown := note{}.afterCall(callAnswer{Class: alipay.ClassUnknown}, at(0), at(1), true)
	limited := note{}.afterCall(callAnswer{Class: alipay.ClassLimited, Signed: true}, at(0), at(1), true)
	broke := note{}.afterCall(callAnswer{Class: alipay.ClassBlockedMerchant, Signed: true}, at(0), at(1), true)
	unsent := note{}.afterCall(callAnswer{Class: alipay.ClassNotSent}, at(0), at(1), true)
	thenLimited := unknown.afterCall(callAnswer{Class: alipay.ClassLimited, Signed: true}, at(2), at(3), false)
	for _, row := range []struct {
		name      string
		note      note
		why, want producer.Reason
	}{
		{"never asked for, paused", note{}, producer.ReasonPaused, producer.ReasonPaused},
		{"limited itself", limited, producer.ReasonRateLimited, producer.ReasonRateLimited},
		{"unknown, and another was limited", unknown, producer.ReasonRateLimited, producer.ReasonUnknownOutcome},
		{"unknown, and paused", unknown, producer.ReasonPaused, producer.ReasonUnknownOutcome},
		{"unknown, and held", unknown, producer.ReasonHeld, producer.ReasonUnknownOutcome},
		{"unknown, then limited itself", thenLimited, producer.ReasonRateLimited, producer.ReasonUnknownOutcome},
		{"unknown, and its merchant is gone", unknown, producer.ReasonBlockedConfiguration, producer.ReasonBlockedConfiguration},
		{"no funds, and paused", broke, producer.ReasonPaused, producer.ReasonBlockedMerchant},
		{"not sent, and paused", unsent, producer.ReasonPaused, producer.ReasonPaused},
		{"unknown, and another amount is there", unknown, producer.ReasonConflictAtAlipay, producer.ReasonConflictAtAlipay},
	} {
		if got := row.note.worst(row.why); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

// TestUnreadableRecordIsOneRefundsTrouble: it stops nobody else, and goes to a
// person when its age is over.
func TestUnreadableRecordIsOneRefundsTrouble(t *testing.T) {
	b := newBench(t, nil)
	check(t, b.redis.Set(b.store.Key(identityOf("R1")), "of another make"))
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	if b.health.Failing(PartRedis) {
		t.Error("one record counts as trouble of Redis")
	}
	if m := b.broker.Scheduled(retryTopic); len(m) != 1 || len(b.events()) != 0 {
		t.Errorf("%d retries, events %+v", len(m), b.events())
	}
	b.handle(b.aged(refundBody("R1", "T1", "3.00")))
	if e := b.onlyEvent("R1"); e.Outcome != producer.Unresolved || len(b.parked()) != 1 {
		t.Errorf("got %s, %d parked", e.Outcome, len(b.parked()))
	}
	if asked := b.methods(); asked != "" {
		t.Errorf("Alipay was asked %s", asked)
	}
}

// TestClockSetBack: what a clock that was ahead has written is not waited for.
func TestClockSetBack(t *testing.T) {
	ahead := at(0).Add(3 * time.Hour)
	n := note{}.afterCall(callAnswer{Class: alipay.ClassUnknown}, ahead, ahead, true).
		afterQuery(queryAnswer{Found: foundAbsent}, ahead, ahead)
	n.setBack(at(0))
	after := 10 * time.Second
	s := situation{Now: at(0), QueryAfter: after, Queryable: true}
	if d := Decide(n, s); d.Do != actWait || d.NotBefore != at(0).Add(after).UnixMilli() {
		t.Errorf("at once: %+v, want to wait for QUERY_AFTER", d)
	}
	s.Now = at(0).Add(after)
	if d := Decide(n, s); d.Do != actQuery {
		t.Errorf("after QUERY_AFTER: %+v, want to ask anew", d)
	}
}
