package consumer

import (
	"context"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/dedupe"
	"refundd/producer"
)

// meanwhile are records behind which something happens with each exchange.
type meanwhile struct {
	records
	claimed, reserved func()
}

func (m meanwhile) ClaimWithSlot(ctx context.Context, req dedupe.ClaimRequest, slot dedupe.Slot) (dedupe.Claim, dedupe.Grant, error) {
	claim, grant, err := m.records.ClaimWithSlot(ctx, req, slot)
	if m.claimed != nil {
		m.claimed()
	}
	return claim, grant, err
}

func (m meanwhile) Reserve(ctx context.Context, appID string, slot dedupe.Slot, token dedupe.Token) (dedupe.Grant, error) {
	grant, err := m.records.Reserve(ctx, appID, slot, token)
	if m.reserved != nil {
		m.reserved()
	}
	return grant, err
}

// cut is a gateway during whose refund call something happens.
type cut struct {
	*alipay.Client
	during func()
	lost   bool // the answer
}

func (c cut) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	resp, err := c.Client.Refund(ctx, req)
	if c.during(); c.lost {
		return nil, context.Canceled
	}
	return resp, err
}

// wantUntouched: the delivery was given back as if it had never begun, but for what
// the note knows.
func (b *bench) wantUntouched(calls int) {
	b.t.Helper()
	if got := len(b.alipay.Calls()); got != calls {
		b.t.Errorf("Alipay was asked %q", b.methods())
	}
	if n := len(b.delays()) + len(b.events()) + len(b.parked()); n != 0 {
		b.t.Errorf("%d messages were published", n)
	}
	r, err := b.store.Read(b.t.Context(), identityOf("R1"))
	check(b.t, err)
	n, err := decodeNote(r.Note)
	check(b.t, err)
	if r.HeldFor != 0 || r.Parked || n.Try != 0 || n.Calls+n.Queries != calls {
		b.t.Errorf("record %+v, note %+v", r, n)
	}
}

// TestStopBeforeTheCall (R11): whenever the stop comes after the claim, no call begins
// and the claim is given back; nothing is tried or published because of it.
func TestStopBeforeTheCall(t *testing.T) {
	for _, row := range []struct {
		name   string
		rate   int
		queued bool // the turn is asked for by an exchange of its own
		cancel bool
	}{
		{"gate", 0, false, false},
		{"context", 0, false, true},
		{"gate, while asking for a turn", 1000, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Limits.Rate = row.rate })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop := b.gate.Close
			if row.cancel {
				stop = cancel
			}
			d := b.command(refundBody("R1", "T1", "3.00"))
			if m := (meanwhile{records: b.store}); row.queued {
				m.reserved = stop
				b.handler.records = m
				d = b.inRetry(string(d.Body), producer.Copy{}) // asks first
			} else {
				m.claimed = stop
				b.handler.records = m
			}
			if b.handler.Handle(ctx, d).Acknowledged() {
				t.Error("acknowledged")
			}
			b.wantUntouched(0)
		})
	}
}

// TestCutShort (R11): a call that is cut short by the stop spends no try, and what it
// proved all the same is published.
func TestCutShort(t *testing.T) {
	for name, lost := range map[string]bool{"its answer is lost": true, "its answer is here": false} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b.handler.alipay = cut{b.client, cancel, lost}
			acknowledged := b.handler.Handle(ctx, b.command(refundBody("R1", "T1", "3.00"))).Acknowledged()
			if acknowledged == lost {
				t.Errorf("acknowledged: %t", acknowledged)
			}
			if lost {
				b.wantUntouched(1)
			} else if e := b.onlyEvent("R1"); e.Outcome != producer.Succeeded || e.Calls != 1 {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// TestAsideWhileStopping (R11): what need not be claimed is not moved by a process
// that stops, either.
func TestAsideWhileStopping(t *testing.T) {
	for name, stop := range map[string]func(b *bench, cancel func()){
		"gate": func(b *bench, _ func()) { b.gate.Close() }, "context": func(_ *bench, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Limits.Paused = func(Kind, string) bool { return true } })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop(b, cancel)
			if b.handler.Handle(ctx, b.command(refundBody("R1", "T1", "3.00"))).Acknowledged() || len(b.delays()) != 0 {
				t.Errorf("it was moved: %v", b.delays())
			}
		})
	}
}

// TestAsideUntilATurn: a command that is not claimed comes back when a turn may be
// free, after ten seconds at least and a minute at most.
func TestAsideUntilATurn(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{25 * time.Second: 30 * time.Second, 3 * time.Minute: time.Minute} {
		t.Run(left.String(), func(t *testing.T) {
			b := newPatientBench(t, nil)
			b.handler.lines.app.learn(dedupe.Turns{Next: time.Now().Add(left), Every: time.Second})
			b.handle(b.command(refundBody("R1", "T1", "3.00")))
			b.wantDelays(want)
			if r, err := b.store.Read(t.Context(), identityOf("R1")); err != nil || r.Exists {
				t.Errorf("record %+v, %v", r, err)
			}
		})
	}
}

// TestPausedDoNotQueue (R12): what is paused neither waits for a turn nor takes one.
func TestPausedDoNotQueue(t *testing.T) {
	b := newPatientBench(t, func(c *Config) { c.Limits.Paused = func(Kind, string) bool { return true } })
	b.handler.lines.app.learn(dedupe.Turns{Next: time.Now().Add(25 * time.Second), Every: time.Second})
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	b.wantDelays(time.Minute)
	if reason := b.broker.Scheduled(retryTopic)[0].Properties[producer.PropertyReason]; reason != string(producer.ReasonPaused) {
		t.Errorf("it waits because of %q", reason)
	}
}

// TestOvertakenByADecision (R6): whoever could prove nothing, and whose claim was
// lost meanwhile, publishes what another has decided.
func TestOvertakenByADecision(t *testing.T) {
	b := newBench(t, nil)
	d := b.command(refundBody("R1", "T1", "3.00"))
	other := b.handler
	b.reopen()
	b.handler.alipay = cut{b.client, func() {
		b.redis.SetTime(time.Now().Add(b.cfg.Lease + time.Second))
		if !other.Handle(context.Background(), d).Acknowledged() {
			t.Error("the other worker did not acknowledge")
		}
		check(t, b.alipay.SetFaults(map[string]float64{"query-lost": 1}))
	}, true}
	b.handle(d)
	if e := b.onlyEvent("R1"); e.Outcome != producer.Succeeded || len(b.events()) != 2 || len(b.delays()) != 0 {
		t.Errorf("got %s, %d events, %d copies", e.Outcome, len(b.events()), len(b.delays()))
	}
	if totals, err := b.store.Totals(t.Context(), testApp); err != nil || totals.Count != 0 {
		t.Errorf("index %+v, %v", totals, err)
	}
}

// TestOvertaken (R7): a worker whose claim was lost to one that still works sends its
// copy behind that one's lease, and spends no try.
func TestOvertaken(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lease = 30 * time.Second })
	d := b.command(refundBody("R1", "T1", "3.00"))
	cmd, err := DecodeCommand(KindRefund, d.Body)
	check(t, err)
	b.handler.alipay = cut{b.client, func() {
		b.redis.SetTime(time.Now().Add(b.cfg.Lease + time.Second))
		claim, err := b.store.Claim(t.Context(), dedupe.ClaimRequest{ID: identityOf("R1"), Fingerprint: cmd.Fingerprint(), Token: dedupe.NewToken()})
		if err != nil || claim.State != dedupe.Won {
			t.Errorf("the other claim: %+v, %v", claim, err)
		}
		check(t, b.alipay.SetFaults(map[string]float64{"query-lost": 1}))
	}, true}
	b.handle(d)
	b.wantDelays(30 * time.Second)
	if m := b.broker.Scheduled(retryTopic)[0]; m.Properties[producer.PropertyTry] != "0" && m.Properties[producer.PropertyClaimed] != "1" {
		t.Errorf("properties %v", m.Properties)
	}
	if n := len(b.events()); n != 0 {
		t.Errorf("%d events", n)
	}
}

// TestStaleFailure (R5): a failure is neither written nor published by a worker whose
// claim was lost; the other one may move the money.
func TestStaleFailure(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Lease = 30 * time.Second })
	d := b.command(refundBody("R1", "nosuch-T1", "3.00"))
	cmd, err := DecodeCommand(KindRefund, d.Body)
	check(t, err)
	b.handler.alipay = cut{b.client, func() {
		b.redis.SetTime(time.Now().Add(b.cfg.Lease + time.Second))
		claim, err := b.store.Claim(t.Context(), dedupe.ClaimRequest{ID: identityOf("R1"), Fingerprint: cmd.Fingerprint(), Token: dedupe.NewToken()})
		if err != nil || claim.State != dedupe.Won {
			t.Errorf("the other claim: %+v, %v", claim, err)
		}
	}, false}
	b.handle(d)
	b.wantDelays(30 * time.Second)
	if asked := b.methods(); asked != "refund fastpay.refund.query" || len(b.events()) != 0 {
		t.Errorf("Alipay was asked %q, events %+v", asked, b.events())
	}
}

// TestNoTopicOfOurs: a retried message whose command topic this service does not know
// goes to a person, however it is ended.
func TestNoTopicOfOurs(t *testing.T) {
	c := producer.Copy{Topic: "of-others", MsgID: "M", Keys: "R1", Born: time.Now(), First: time.Now(), Try: 1}
	d := Delivery{Topic: retryTopic, Body: []byte(refundBody("R1", "T1", "3.00")), Properties: c.Properties()}
	for name, row := range map[string]struct {
		end    func(b *bench) bool
		reason producer.Reason
		try    int
	}{
		"handled":  {func(b *bench) bool { return b.handler.Handle(t.Context(), d).Acknowledged() }, producer.ReasonBlockedConfiguration, 1},
		"panicked": {func(b *bench) bool { return b.handler.Postpone(t.Context(), d).Acknowledged() }, producer.ReasonUnknownOutcome, 2},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			if !row.end(b) {
				t.Error("not acknowledged")
			}
			p := b.parked()
			if len(p) != 1 || p[0].Reason != string(row.reason) || p[0].Keys != "R1" || p[0].Try != row.try || p[0].Topic != "of-others" {
				t.Errorf("parked %+v", p)
			}
			if n := len(b.events()) + len(b.delays()); n != 0 {
				t.Errorf("%d events and copies", n)
			}
		})
	}
}

// TestKeysOfCopies: a parked message is found by the command's number, else by the key
// that it came with, else by the first message's id.
func TestKeysOfCopies(t *testing.T) {
	b := newBench(t, nil)
	b.handle(b.inRetry("no JSON", producer.Copy{}))
	b.handle(b.inRetry("no JSON", producer.Copy{Keys: "K1"}))
	b.handle(b.inRetry(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","gone":1}`, producer.Copy{Keys: "K2"}))
	var keys []string
	for _, p := range b.parked() {
		keys = append(keys, p.Keys)
	}
	if totals, err := b.store.Totals(t.Context(), testApp); err != nil || totals.Count != 1 {
		t.Errorf("index %+v, %v: want what has a number", totals, err)
	}
	if len(keys) != 3 || keys[0] != "MSG-FIRST" || keys[1] != "K1" || keys[2] != "R1" {
		t.Errorf("keys %q", keys)
	}
}

// TestUnreadableEvent: a decided record whose event this version cannot read waits for
// another version, a minute at a time, and in the end for a person.
func TestUnreadableEvent(t *testing.T) {
	b := newBench(t, nil)
	d := b.command(refundBody("R1", "T1", "3.00"))
	cmd, err := DecodeCommand(KindRefund, d.Body)
	check(t, err)
	claim := dedupe.ClaimRequest{ID: identityOf("R1"), Fingerprint: cmd.Fingerprint(), Token: dedupe.NewToken()}
	_, err = b.store.Claim(t.Context(), claim)
	check(t, err)
	_, err = b.store.Settle(t.Context(), dedupe.SettleRequest{
		ID: claim.ID, Fingerprint: claim.Fingerprint, Token: claim.Token, Succeeded: true, Event: []byte("of a later make"),
	})
	check(t, err)
	b.handle(d)
	b.wantDelays(time.Minute)
	b.handle(b.aged(string(d.Body)))
	if e := b.onlyEvent("R1"); e.Outcome != producer.Unresolved || e.Reason != producer.ReasonUnknownOutcome || len(b.parked()) != 1 {
		t.Errorf("got %s %s, %d parked", e.Outcome, e.Reason, len(b.parked()))
	}
}

// TestUnreadableWithASpoiltRecord (R9): a command that this version cannot read, whose
// record it cannot read either, may have been claimed: its copy says so for ever.
func TestUnreadableWithASpoiltRecord(t *testing.T) {
	b := newBench(t, nil)
	check(t, b.redis.Set(b.store.Key(identityOf("R1")), "of another make"))
	b.handle(b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","gone":"x"}`))
	b.wantDelays(time.Minute)
	if m := b.broker.Scheduled(retryTopic)[0]; m.Properties[producer.PropertyClaimed] != "1" {
		t.Errorf("properties %v", m.Properties)
	}
}

// TestUnknownMerchantWithASpoiltRecord (R9): nor is it rejected where its merchant is
// not known.
func TestUnknownMerchantWithASpoiltRecord(t *testing.T) {
	b := newBench(t, nil)
	id := identityOf("R1")
	id.Merchant = "shop"
	check(t, b.redis.Set(b.store.Key(id), "of another make"))
	c := producer.Copy{Topic: refundTopic, MsgID: "M", Born: time.Now(), First: time.Now().Add(-2 * merchantGrace)}
	body := `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop"}`
	b.handle(Delivery{Topic: retryTopic, Body: []byte(body), Properties: c.Properties()})
	b.wantDelays(time.Minute)
	if m := b.broker.Scheduled(retryTopic)[0]; m.Properties[producer.PropertyClaimed] != "1" || len(b.events()) != 0 {
		t.Errorf("properties %v, events %+v", m.Properties, b.events())
	}
}

// TestUnusedTurnIsGivenBack: a claim reserves a turn for its call; where it only asks,
// the next command of the trade need not wait for it.
func TestUnusedTurnIsGivenBack(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.Spacing = time.Minute })
	b.handle(b.inRetry(refundBody("R1", "T1", "3.00"), producer.Copy{}))
	b.handle(b.command(refundBody("R2", "T1", "1.00")))
	if asked := b.methods(); asked != "fastpay.refund.query refund" || b.moved("R2") != 1 {
		t.Errorf("Alipay was asked %q; R2 moved %d times", asked, b.moved("R2"))
	}
}

// TestDecidedAfterRedisForgot (R10): what a claimed copy decides is in the index until
// it is published, although Redis knew nothing of it any more.
func TestDecidedAfterRedisForgot(t *testing.T) {
	b := newBench(t, nil)
	body := refundBody("R1", "T1", "3.00")
	cmd, err := DecodeCommand(KindRefund, []byte(body))
	check(t, err)
	_, err = b.client.Refund(t.Context(), &cmd.Refund)
	check(t, err)
	b.diesUntold(b.inRetry(body, producer.Copy{}), eventTopic, func(r dedupe.Record) bool { return r.Succeeded })
	if got := b.indexed(); got != (dedupe.Totals{Count: 1, Fen: 300}) {
		t.Errorf("index %+v", got)
	}
}

// TestUnknownMerchantOfOtherContent (R9): a record of the number that another command
// has claimed is no reason not to reject this one.
func TestUnknownMerchantOfOtherContent(t *testing.T) {
	b := newBench(t, nil)
	body := `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop","refund_reason":"other"}`
	cmd, err := DecodeCommand(KindRefund, []byte(body))
	check(t, err)
	stored, err := note{Origin: origin{Body: []byte(body), Topic: refundTopic, MsgID: "M0"}}.encode()
	check(t, err)
	_, err = b.store.Claim(t.Context(), dedupe.ClaimRequest{ID: b.handler.identity(cmd), Fingerprint: cmd.Fingerprint(), Token: dedupe.NewToken(), Note: stored})
	check(t, err)
	c := producer.Copy{Topic: refundTopic, MsgID: "M", Born: time.Now(), First: time.Now().Add(-2 * merchantGrace)}
	b.handle(Delivery{Topic: retryTopic, Body: []byte(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop"}`), Properties: c.Properties()})
	if e := b.onlyEvent("R1"); e.Outcome != producer.Rejected || e.Reason != producer.ReasonUnknownMerchant || len(b.delays()) != 0 {
		t.Errorf("got %s %s, %d copies", e.Outcome, e.Reason, len(b.delays()))
	}
}
