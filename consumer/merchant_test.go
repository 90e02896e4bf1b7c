package consumer

import (
	"context"
	"runtime"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/producer"
)

const shopBody = `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","merchant":"shop"}`

// TestUnknownMerchantOfADecidedCommand (R9): the command was decided where its
// merchant is known; then its message is delivered again where it is not, and is no
// longer waited for. Found by the simulation: it was rejected as never sent.
func TestUnknownMerchantOfADecidedCommand(t *testing.T) {
	known := true
	b := newBench(t, func(c *Config) {
		c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "token"}, known }
	})
	d := b.command(shopBody)
	b.handle(d)
	known = false
	c := producer.Copy{Topic: refundTopic, MsgID: d.MsgID, Born: d.Born, First: time.Now().Add(-merchantGrace)}
	b.handle(Delivery{Topic: retryTopic, MsgID: "X", Body: d.Body, Properties: c.Properties(), Born: time.Now()})
	messages := b.broker.Messages(eventTopic)
	if len(messages) != 2 || string(messages[0].Body) != string(messages[1].Body) {
		t.Errorf("want the same event twice, got %+v", b.events())
	}
}

// TestUnknownMerchantOfAClaimedCommand: the same while it is undecided. It waits as
// one that was claimed.
func TestUnknownMerchantOfAClaimedCommand(t *testing.T) {
	known := true
	b := newBench(t, func(c *Config) {
		c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "token"}, known }
	})
	b.handler.alipay = diesInCall{b.client}
	d := b.command(shopBody)
	b.dies(d)
	known = false
	c := producer.Copy{Topic: refundTopic, MsgID: d.MsgID, Born: d.Born, First: time.Now().Add(-merchantGrace)}
	b.handle(Delivery{Topic: retryTopic, MsgID: "X", Body: d.Body, Properties: c.Properties(), Born: time.Now()})
	waiting := b.broker.Scheduled(retryTopic)
	if len(b.events()) != 0 || len(waiting) != 1 || waiting[0].Properties[producer.PropertyReason] != string(producer.ReasonBlockedConfiguration) ||
		waiting[0].Properties[producer.PropertyClaimed] != "1" {
		t.Errorf("events %+v, waiting %+v", b.events(), waiting)
	}
}

// diesInCall is a gateway whose caller does not live to see the answer.
type diesInCall struct{ *alipay.Client }

func (d diesInCall) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	_, _ = d.Client.Refund(ctx, req)
	runtime.Goexit()
	return nil, nil
}

// dies handles a delivery in a worker that ends in its call.
func (b *bench) dies(d Delivery) {
	b.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.handler.Handle(context.Background(), d)
	}()
	<-done
}

// TestAuthorisationChangedAfterACrash (R2): a process died in its call, and nobody
// has written down for whom it was made. Then the merchant gets another
// authorisation, and Alipay may not know the trade under it. Found by the simulation:
// the refund was told as failed, although its money had moved.
func TestAuthorisationChangedAfterACrash(t *testing.T) {
	token := "first"
	b := newBench(t, func(c *Config) {
		c.Lease = time.Second
		c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: token}, true }
	})
	b.handler.alipay = diesInCall{b.client}
	d := b.command(shopBody)
	b.dies(d)
	b.reopen()
	token = "second"
	id := identityOf("R1")
	id.Merchant = "shop"
	waitFor(t, "the end of its lease", func() bool {
		r, err := b.store.Read(t.Context(), id)
		check(t, err)
		return r.Exists && r.HeldFor == 0
	})
	b.handle(d)
	if calls := b.alipay.Calls(); len(calls) != 1 {
		t.Errorf("Alipay was asked under another authorisation: %+v", calls)
	}
	waiting := b.broker.Scheduled(retryTopic)
	if len(waiting) != 1 || waiting[0].Properties[producer.PropertyReason] != string(producer.ReasonBlockedConfiguration) {
		t.Fatalf("waiting %+v", waiting)
	}
	token = "first"
	b.settleAll()
	if e := b.final("R1"); e.Outcome != producer.Succeeded {
		t.Errorf("got %+v", e)
	}
}

// TestARejectedMessageStaysRejected (R9): its acknowledgement was lost, and by now its
// merchant is configured. A copy of it ends as it did before; the same command, sent
// once more, is a message of its own.
func TestARejectedMessageStaysRejected(t *testing.T) {
	known := false
	b := newBench(t, func(c *Config) {
		c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "token"}, known }
	})
	d := b.command(shopBody)
	c := producer.Copy{Topic: refundTopic, MsgID: d.MsgID, Born: d.Born, First: time.Now().Add(-merchantGrace)}
	again := Delivery{Topic: retryTopic, MsgID: "X", Body: d.Body, Properties: c.Properties(), Born: time.Now()}
	b.handle(again)
	known = true
	b.handle(again)
	b.handle(d)
	events := b.events()
	if len(events) != 3 || len(b.alipay.Calls()) != 0 {
		t.Fatalf("%d calls, events %+v", len(b.alipay.Calls()), events)
	}
	for i, m := range b.broker.Messages(eventTopic) {
		if string(m.Body) != string(b.broker.Messages(eventTopic)[0].Body) {
			t.Errorf("event %d is %s", i, m.Body)
		}
	}
	for _, e := range events {
		if e.ID != events[0].ID || e.Outcome != producer.Rejected || e.Reason != producer.ReasonUnknownMerchant {
			t.Errorf("event %+v", e)
		}
	}
	d.MsgID = "ANOTHER"
	b.handle(d)
	if e := b.events()[3]; e.Outcome != producer.Succeeded {
		t.Errorf("sent once more: %+v", e)
	}
}
