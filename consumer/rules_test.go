package consumer

import (
	"context"
	"strings"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe"
	"refundd/producer"
)

// identity of a plain test refund.
func identityOf(number string) dedupe.Identity {
	return dedupe.Identity{AppID: testApp, Kind: string(KindRefund), OutRequestNo: number}
}

// TestRejected: bad input yields a rejected event that names the member, and
// nothing of it reaches Alipay.
func TestRejected(t *testing.T) {
	rows := []struct {
		name, body string
		reason     producer.Reason
		detail     string
		subject    string // "" = the message id
		parked     bool
	}{
		{"not JSON", `refund R1 please`, producer.ReasonUnreadable, "JSON", "", true},
		{"invalid UTF-8", "{\"out_request_no\":\"R\xff\"}", producer.ReasonUnreadable, "UTF-8", "", true},
		{"null", `null`, producer.ReasonUnreadable, "object", "", true},
		{"too large", `{"refund_reason":"` + strings.Repeat("x", 64<<10) + `"}`, producer.ReasonTooLarge, "bytes", "", true},
		{"unknown member", `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"1","note":"x"}`, producer.ReasonInvalid, "note", "R1", false},
		{"duplicate member", `{"out_request_no":"R1","out_request_no":"R2","out_trade_no":"T1","refund_amount":"1"}`, producer.ReasonInvalid, "out_request_no", "", false},
		{"amount is a number", `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":1}`, producer.ReasonInvalid, "refund_amount", "R1", false},
		{"number is missing", `{"out_trade_no":"T1","refund_amount":"1"}`, producer.ReasonInvalid, `"out_request_no" is missing`, "", false},
		{"nested", `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"1","goods_detail":[{"goods_id":"g","price":"x"}]}`, producer.ReasonInvalid, "goods_detail[0].price", "R1", false},
	}
	b := newBench(t, nil)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			before, parked := len(b.events()), len(b.parked())
			d := b.command(row.body)
			b.handle(d)
			events := b.events()[before:]
			if len(events) != 1 {
				t.Fatalf("%d events, want 1", len(events))
			}
			e := events[0]
			if row.subject == "" {
				row.subject = d.MsgID
			}
			if e.Outcome != producer.Rejected || e.Reason != row.reason || !strings.Contains(e.Detail, row.detail) || e.Subject != row.subject {
				t.Errorf("got %s %s %q for %q", e.Outcome, e.Reason, e.Detail, e.Subject)
			}
			if !e.Time.Equal(d.Born.Truncate(time.Millisecond)) && !e.Time.Equal(d.Born) {
				t.Errorf("time is %v, want when the message was born, %v", e.Time, d.Born)
			}
			if got := len(b.parked()) - parked; (got == 1) != row.parked {
				t.Errorf("%d parked", got)
			}
		})
	}
	if calls := b.alipay.Calls(); len(calls) != 0 {
		t.Errorf("Alipay saw %v", calls)
	}
}

// TestCompressedBody: a body that the SDK could not decompress says so.
func TestCompressedBody(t *testing.T) {
	b := newBench(t, nil)
	d := b.command("\x04\x22\x4d\x18 lz4 frame")
	d.Compressed = true
	b.handle(d)
	if e := b.events()[0]; e.Reason != producer.ReasonUnreadable || !strings.Contains(e.Detail, "compressed") {
		t.Errorf("got %s %q", e.Reason, e.Detail)
	}
}

// TestLapsedClaim (R3): a claim that was never released counts as a call in
// flight until its lease ended; the money of a lost call is found by asking.
func TestLapsedClaim(t *testing.T) {
	for _, moved := range []bool{true, false} {
		t.Run(map[bool]string{true: "the lost call moved the money", false: "the lost call did nothing"}[moved], func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Lease = time.Second })
			d := b.command(refundBody("R1", "T1", "3.00"))
			cmd, err := DecodeCommand(KindRefund, d.Body)
			check(t, err)
			stored, err := note{Origin: origin{Body: d.Body, Topic: d.Topic, MsgID: d.MsgID, Born: d.Born.UnixMilli()}}.encode()
			check(t, err)
			claim, err := b.store.Claim(t.Context(), dedupe.ClaimRequest{
				ID: identityOf("R1"), Fingerprint: cmd.Fingerprint(), Token: dedupe.NewToken(), Note: stored,
			})
			check(t, err)
			if claim.State != dedupe.Won {
				t.Fatalf("claim is %v", claim.State)
			}
			if moved {
				_, err := b.client.Refund(t.Context(), &cmd.Refund)
				check(t, err)
			}
			// The process is gone. Its message is delivered again, at once.
			b.handle(d)
			b.settleAll()
			if e := b.final("R1"); e.Outcome != producer.Succeeded {
				t.Errorf("got %s", e.Outcome)
			}
			if b.moved("R1") != 1 {
				t.Errorf("moved %d times", b.moved("R1"))
			}
			calls := b.alipay.Calls()
			if first := calls[len(calls)-1]; moved && len(calls) != 2 {
				t.Errorf("want the lost call and one query, got %d calls, the last is %+v", len(calls), first)
			}
		})
	}
}

// TestRedisForgets: between any two tries Redis loses everything.
func TestRedisForgets(t *testing.T) {
	for _, fault := range []string{"timeout-after", "timeout-before", "refused-TRADE_HAS_CLOSE", "balance"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(c *Config) { c.Lease = time.Second })
			number := "fault-" + fault + "-1"
			b.handle(b.command(refundBody(number, "T1", "3.00")))
			for n := 0; ; n++ {
				if n < 3 {
					b.redis.FlushAll()
				}
				if n > 100 {
					t.Fatal("no end")
				}
				if !b.retry() {
					break
				}
			}
			e := b.final(number)
			if (e.Outcome == producer.Succeeded) != (b.moved(number) == 1) || b.moved(number) > 1 {
				t.Errorf("%s, but moved %d times", e.Outcome, b.moved(number))
			}
		})
	}
}

// TestCopiesMerge (R7): however many copies there are, all but one are
// dropped, and none is the last one.
func TestCopiesMerge(t *testing.T) {
	b := newBench(t, func(c *Config) { c.QueryAfter = time.Second })
	d := b.command(refundBody("fault-balance-1", "T1", "3.00"))
	b.broker.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Topic == retryTopic || r.Properties["REFUNDD_GEN"] != "" {
			return rocketmqtest.Action{Kind: rocketmqtest.Duplicate}
		}
		return rocketmqtest.Action{}
	})
	b.handle(d)
	b.handle(d)
	b.handle(b.command(string(d.Body)))
	b.broker.SetHook(nil)
	most := 0
	for n := 0; b.retry(); n++ {
		living := len(b.broker.Scheduled(retryTopic)) + len(b.broker.Messages(retryTopic)) - b.pumped
		most = max(most, living)
		if n > 200 {
			t.Fatalf("copies never merge: %d living", living)
		}
	}
	if e := b.final("fault-balance-1"); e.Outcome != producer.Succeeded || b.moved("fault-balance-1") != 1 {
		t.Errorf("got %s, moved %d", e.Outcome, b.moved("fault-balance-1"))
	}
	if b.metrics.count(outcomeDuplicate) == 0 {
		t.Error("no copy was dropped")
	}
	t.Logf("at most %d copies lived at once", most)
}

// TestTooOld (R10): an old message without a record is only asked for.
func TestTooOld(t *testing.T) {
	b := newBench(t, nil)
	old := func(number string) Delivery {
		d := b.command(refundBody(number, "T1", "3.00"))
		d.Born = time.Now().Add(-24 * time.Hour)
		return d
	}
	b.handle(old("R1"))
	if e := b.onlyEvent("R1"); e.Outcome != producer.Unresolved || e.Reason != producer.ReasonTooOld {
		t.Errorf("got %s %s", e.Outcome, e.Reason)
	}
	if p := b.parked(); len(p) != 1 || p[0].Reason != string(producer.ReasonTooOld) || !p[0].Claimed {
		t.Errorf("parked %+v", p)
	}
	for _, c := range b.alipay.Calls() {
		if c.Method != "alipay.trade.fastpay.refund.query" {
			t.Errorf("called %s", c.Method)
		}
	}
	cmd, err := DecodeCommand(KindRefund, []byte(refundBody("R2", "T1", "3.00")))
	check(t, err)
	_, err = b.client.Refund(t.Context(), &cmd.Refund)
	check(t, err)
	b.handle(old("R2"))
	if e := b.final("R2"); e.Outcome != producer.Succeeded || e.ConfirmedBy != producer.ByQuery {
		t.Errorf("got %s by %s", e.Outcome, e.ConfirmedBy)
	}
}

// TestNeverRejectedOnceClaimed (R9).
func TestNeverRejectedOnceClaimed(t *testing.T) {
	b := newBench(t, nil)
	claimed := func(c producer.Copy, body string) Delivery {
		c.Claimed, c.Topic, c.MsgID, c.Born, c.First = true, refundTopic, "M", time.Now(), time.Now().Add(-2*time.Hour)
		return Delivery{Topic: retryTopic, MsgID: "X", Body: []byte(body), Properties: c.Properties(), Born: time.Now()}
	}
	rows := []struct {
		name, body string
		reason     producer.Reason
	}{
		{"no longer readable", `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","gone":1}`, producer.ReasonUnknownOutcome},
		{"its merchant has gone", `{"out_request_no":"R2","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop"}`, producer.ReasonBlockedConfiguration},
		{"its fingerprint differs", refundBody("R3", "T1", "4.00"), producer.ReasonUnknownOutcome},
	}
	b.handle(b.command(refundBody("R3", "T1", "3.00")))
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b.handle(claimed(producer.Copy{Try: 1}, row.body))
			p := b.parked()
			if len(p) == 0 || p[len(p)-1].Reason != string(row.reason) || string(p[len(p)-1].Body) != row.body {
				t.Errorf("parked %+v", p)
			}
			unresolved := 0
			for _, e := range b.events() {
				if e.Outcome == producer.Rejected {
					t.Errorf("rejected: %+v", e)
				}
				if e.Outcome == producer.Unresolved {
					unresolved++
				}
			}
			if unresolved != len(p) {
				t.Errorf("%d unresolved events for %d parked", unresolved, len(p))
			}
		})
	}
}

// TestUnknownMerchant: retried for over a minute, then rejected.
func TestUnknownMerchant(t *testing.T) {
	b := newBench(t, nil)
	body := `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop"}`
	b.handle(b.command(body))
	if n := len(b.events()); n != 0 {
		t.Fatalf("%d events at once", n)
	}
	c := producer.Copy{Topic: refundTopic, MsgID: "M1", Born: time.Now(), First: time.Now().Add(-merchantGrace)}
	b.handle(Delivery{Topic: retryTopic, MsgID: "X", Body: []byte(body), Properties: c.Properties(), Born: time.Now()})
	if e := b.onlyEvent("R1"); e.Outcome != producer.Rejected || e.Reason != producer.ReasonUnknownMerchant || !strings.Contains(e.Detail, "shop") {
		t.Errorf("got %+v", e)
	}
}

// TestTriesUsedUp (R14): parked first, then told, and a requeue goes on.
func TestTriesUsedUp(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Second} })
	number := "fault-frozen-1"
	b.handle(b.command(refundBody(number, "T1", "3.00")))
	b.settleAll()
	e := b.onlyEvent(number)
	if e.Outcome != producer.Unresolved || e.Reason != producer.ReasonBlockedMerchant || e.AlipaySubCode != "ACQ.REASON_TRADE_BEEN_FREEZEN" {
		t.Fatalf("got %+v", e)
	}
	p := b.parked()
	if len(p) != 1 || p[0].Park != 1 || p[0].Try != 2 || p[0].Generation == 0 {
		t.Fatalf("parked %+v", p)
	}
	// A person mends it and requeues: a new age, tries anew, the same number.
	b.alipay.Heal()
	c := p[0]
	c.Try, c.First = 0, time.Now()
	b.handle(Delivery{Topic: retryTopic, MsgID: "X", Body: c.Body, Properties: c.Properties(), Born: time.Now()})
	b.settleAll()
	if e := b.final(number); e.Outcome != producer.Succeeded || b.moved(number) != 1 {
		t.Errorf("got %s, moved %d", e.Outcome, b.moved(number))
	}
}

// TestHeld: a duplicate that meets a held record comes back after the lease
// and spends no try.
func TestHeld(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lease = time.Second })
	b.startAlipay(alipaytest.Config{Latency: 150 * time.Millisecond})
	b.reopen()
	d := b.command(refundBody("R1", "T1", "3.00"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.handler.Handle(context.Background(), d)
	}()
	waitFor(t, "the claim", func() bool {
		r, err := b.store.Read(t.Context(), identityOf("R1"))
		return err == nil && r.Exists
	})
	b.handle(d)
	<-done
	m := append(b.broker.Scheduled(retryTopic), b.broker.Messages(retryTopic)...)
	if len(m) != 1 || m[0].Properties["REFUNDD_TRY"] != "0" || m[0].Properties["REFUNDD_CLAIMED"] != "1" || m[0].Properties["REFUNDD_REASON"] != "held" {
		t.Fatalf("retries: %+v", m)
	}
	b.settleAll()
	if ev := b.broker.Messages(eventTopic); len(ev) != 2 || string(ev[0].Body) != string(ev[1].Body) {
		t.Errorf("%d events", len(ev))
	}
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); pause() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// stopsAfterCall is a process that is told to stop while a call is in flight.
type stopsAfterCall struct {
	*alipay.Client
	gate *Gate
}

func (s stopsAfterCall) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	defer s.gate.Close()
	return s.Client.Refund(ctx, req)
}

// TestStop (R11): a stop is not a failure. No new call begins, the claim is
// released with what is known, and the next process ends the command.
func TestStop(t *testing.T) {
	b := newBench(t, nil)
	b.handler.alipay = stopsAfterCall{b.client, b.gate}
	number := "fault-gw-20000-after-1"
	d := b.command(refundBody(number, "T1", "3.00"))
	if b.handler.Handle(context.Background(), d).Acknowledged() {
		t.Error("acknowledged, although its outcome was unknown at the stop")
	}
	if n := len(b.alipay.Calls()); n != 1 {
		t.Errorf("%d calls, want no new one after the stop", n)
	}
	r, err := b.store.Read(t.Context(), identityOf(number))
	check(t, err)
	n, err := decodeNote(r.Note)
	check(t, err)
	if r.HeldFor != 0 || n.Calls != 1 || n.Ended != endedUnknown || n.Try != 0 {
		t.Errorf("record %+v, note %+v", r, n)
	}
	if m := b.broker.Scheduled(retryTopic); len(m) != 0 {
		t.Errorf("a stop published a retry: %+v", m)
	}
	b.reopen()
	b.handle(d)
	b.settleAll()
	if e := b.final(number); e.Outcome != producer.Succeeded || b.moved(number) != 1 {
		t.Errorf("got %s, moved %d", e.Outcome, b.moved(number))
	}
}

// TestRedisDown (R5, R12): nothing is sent to Alipay; the command in hand
// moves to the retry topic and spends no try.
func TestRedisDown(t *testing.T) {
	b := newBench(t, nil)
	b.redis.SetError("LOADING for a test")
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	if n := len(b.alipay.Calls()); n != 0 {
		t.Errorf("%d calls without a claim", n)
	}
	if !b.health.Failing(PartRedis) {
		t.Error("health did not notice")
	}
	b.redis.SetError("")
	b.settleAll()
	if e := b.final("R1"); e.Outcome != producer.Succeeded || e.Calls != 1 {
		t.Errorf("got %+v", e)
	}
}

// TestPublishRefused (R4, R6): what is settled is published until the broker
// confirms, and a crash in between repeats the same bytes.
func TestPublishRefused(t *testing.T) {
	b := newBench(t, nil)
	refuse := func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Properties["ce_id"] != "" {
			return rocketmqtest.Action{Kind: rocketmqtest.Status, Code: rocketmqtest.FlushDiskTimeout}
		}
		return rocketmqtest.Action{}
	}
	b.broker.SetHook(refuse)
	d := b.command(refundBody("R1", "T1", "3.00"))
	ended := make(chan bool)
	go func() { ended <- b.handler.Handle(context.Background(), d).Acknowledged() }()
	waitFor(t, "two unconfirmed events", func() bool { return len(b.broker.Messages(eventTopic)) >= 2 })
	b.gate.Close() // the process dies here, unacknowledged
	if <-ended {
		t.Error("acknowledged without a confirmed event")
	}
	b.broker.SetHook(nil)
	b.reopen()
	b.handle(d)
	messages := b.broker.Messages(eventTopic)
	for _, m := range messages {
		if string(m.Body) != string(messages[0].Body) {
			t.Errorf("another event: %s", m.Body)
		}
	}
	if n := len(b.alipay.Calls()); n != 1 || b.moved("R1") != 1 {
		t.Errorf("%d calls, moved %d", n, b.moved("R1"))
	}
}

// TestContradiction: proof of success after a stored failure screams.
func TestContradiction(t *testing.T) {
	b := newBench(t, nil)
	number := "R1"
	d := b.command(refundBody(number, "nosuch-T1", "3.00"))
	b.handle(d)
	if e := b.final(number); e.Outcome != producer.Failed {
		t.Fatalf("got %s", e.Outcome)
	}
	// Another worker whose lease was lost long ago comes back with a proof.
	cmd, err := DecodeCommand(KindRefund, d.Body)
	check(t, err)
	late := b.handler.parseDelivery(d)
	late.fingerprint = cmd.Fingerprint()
	c := &claimedDelivery{delivery: late, first: cmd, claimedAt: time.Now()}
	c.claim, err = b.store.Claim(t.Context(), dedupe.ClaimRequest{
		ID: identityOf(number), Fingerprint: late.fingerprint, Token: dedupe.NewToken(), Born: d.Born, Fen: int64(cmd.Amount),
	})
	check(t, err)
	c.claim.Fresh, c.note.Proof, c.note.Calls = true, provenByResponse, 1
	check(t, b.handler.finish(t.Context(), late, b.handler.settle(t.Context(), c, producer.Succeeded, "")))
	var outcomes []string
	for _, e := range b.events() {
		outcomes = append(outcomes, string(e.Outcome)+" "+string(e.Reason))
	}
	if got := strings.Join(outcomes, ", "); len(outcomes) != 3 || !strings.Contains(got, "succeeded") || !strings.Contains(got, "unresolved contradiction") {
		t.Errorf("events: %s", got)
	}
	if b.metrics.contradictions != 1 || len(b.parked()) != 1 {
		t.Errorf("%d contradictions counted, %d parked", b.metrics.contradictions, len(b.parked()))
	}
}

// TestDamagedProperties: a retried message with a damaged property is taken in
// its most careful sense and nothing is lost.
func TestDamagedProperties(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lease = time.Second })
	c := producer.Copy{Topic: refundTopic, MsgID: "M1", Born: time.Now(), First: time.Now()}
	properties := c.Properties()
	properties["REFUNDD_TRY"] = "many"
	b.handle(Delivery{Topic: retryTopic, MsgID: "X", Body: []byte(refundBody("R1", "T1", "3.00")), Properties: properties, Born: time.Now()})
	b.settleAll()
	if e := b.final("R1"); e.Outcome != producer.Succeeded {
		t.Errorf("got %s", e.Outcome)
	}
	if first := b.alipay.Calls()[0]; first.Method != "alipay.trade.fastpay.refund.query" {
		t.Errorf("the first call was %s, want a query: the command may have been called before", first.Method)
	}
}

// TestForgedProperties: properties on a command topic are anybody's.
func TestForgedProperties(t *testing.T) {
	b := newBench(t, nil)
	d := b.command(`{"nonsense":1}`)
	d.Properties = map[string]string{"REFUNDD_CLAIMED": "1", "REFUNDD_TRY": "99", "REFUNDD_GEN": "99"}
	b.handle(d)
	if e := b.events(); len(e) != 1 || e[0].Outcome != producer.Rejected {
		t.Errorf("got %+v", e)
	}
}

// TestPostpone: what panics again and again comes back later, and is parked in
// the end.
func TestPostpone(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Second} })
	d := b.command(refundBody("R1", "T1", "3.00"))
	if !b.handler.Postpone(t.Context(), d).Acknowledged() {
		t.Fatal("not acknowledged")
	}
	m := b.broker.Scheduled(retryTopic)
	if len(m) != 1 || m[0].Properties["REFUNDD_TRY"] != "1" {
		t.Fatalf("retries: %+v", m)
	}
	if !b.handler.Postpone(t.Context(), Delivery{Topic: retryTopic, Body: d.Body, Properties: m[0].Properties}).Acknowledged() {
		t.Fatal("not acknowledged")
	}
	if len(b.parked()) != 1 {
		t.Errorf("%d parked", len(b.parked()))
	}
}

// answersLate is a gateway whose answers to queries take longer than QueryAfter.
type answersLate struct {
	*alipay.Client
	by time.Duration
}

func (a answersLate) QueryRefund(ctx context.Context, req *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error) {
	resp, err := a.Client.QueryRefund(ctx, req)
	<-time.After(a.by)
	return resp, err
}

// TestQueryCountsFromItsBeginning (R3): what an answer shows may be as old as its
// query. Found by the simulation, where a process was frozen.
func TestQueryCountsFromItsBeginning(t *testing.T) {
	b := newBench(t, nil)
	b.handler.alipay = answersLate{b.client, 2 * b.cfg.QueryAfter}
	number := "fault-gw-20000-before-1"
	b.handle(b.command(refundBody(number, "T1", "3.00")))
	r, err := b.store.Read(t.Context(), identityOf(number))
	check(t, err)
	n, err := decodeNote(r.Note)
	check(t, err)
	if n.Found != foundAbsent || n.LastQuery >= n.LastCall+b.cfg.QueryAfter.Milliseconds() {
		t.Errorf("the query counts as %d ms behind the call: %+v", n.LastQuery-n.LastCall, n)
	}
}
