package consumer

import (
	"reflect"
	"testing"
	"time"

	"refundd/dedupe"
	"refundd/producer"
)

const someTraceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// TestRepublishedCopy (R7, R10): a copy that is made from the record says what the one
// that the broker lost said, so that the two merge.
func TestRepublishedCopy(t *testing.T) {
	b := newPatientBench(t, nil)
	d := b.command(refundBody("fault-frozen-1", "T1", "3.00"))
	d.Born = time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	d.Properties = map[string]string{producer.PropertyTraceparent: someTraceparent}
	b.handle(d)
	lost := b.waiting()
	want, err := producer.CopyFromProperties(lost.Properties, lost.Body)
	check(t, err)
	if !want.Born.Equal(d.Born) || want.Traceparent != someTraceparent || want.MsgID != d.MsgID || want.Try != 1 || want.Generation != 1 || !want.Claimed {
		t.Fatalf("the first copy is %+v", want)
	}
	key := b.store.Key(identityOf("fault-frozen-1"))
	r, err := b.store.ReadKey(t.Context(), key)
	check(t, err)
	check(t, b.handler.Republish(t.Context(), key, r))
	m := b.broker.Messages(retryTopic)
	if len(m) != 1 {
		t.Fatalf("%d copies", len(m))
	}
	got, err := producer.CopyFromProperties(m[0].Properties, m[0].Body)
	check(t, err)
	want.Reason = string(producer.ReasonHeld)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestReparkedCopy (R14): the same of one that was parked, whose number and reason the
// record knows, and of its event.
func TestReparkedCopy(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RetryDelays = nil })
	d := b.command(`{"out_request_no":"fault-frozen-1","out_trade_no":"T1","refund_amount":"3.00","metadata":{"order":"8816"}}`)
	d.Properties = map[string]string{producer.PropertyTraceparent: someTraceparent}
	b.handle(d)
	key := b.store.Key(identityOf("fault-frozen-1"))
	r, err := b.store.ReadKey(t.Context(), key)
	check(t, err)
	check(t, b.handler.Republish(t.Context(), key, r))
	p := b.parked()
	if len(p) != 2 || !reflect.DeepEqual(p[0], p[1]) || p[0].Park != 1 || p[0].Reason != string(producer.ReasonBlockedMerchant) {
		t.Errorf("parked %+v", p)
	}
	events := b.events()
	if len(events) != 2 || events[0].ID != events[1].ID {
		t.Fatalf("events %+v", events)
	}
	events[1].Time = events[0].Time
	if !reflect.DeepEqual(events[0], events[1]) || events[0].Metadata["order"] != "8816" || events[0].Traceparent != someTraceparent {
		t.Errorf("one id, two events: %+v and %+v", events[0], events[1])
	}
}

// TestNudgeOfHeld: who works on it will see what the notification tells.
func TestNudgeOfHeld(t *testing.T) {
	b := newPatientBench(t, nil)
	b.inDoubt(b.command(refundBody("R1", "T1", "1.00")))
	cmd, err := DecodeCommand(KindRefund, []byte(refundBody("R1", "T1", "1.00")))
	check(t, err)
	claim, err := b.store.Claim(t.Context(), dedupe.ClaimRequest{
		ID: identityOf("R1"), Fingerprint: cmd.Fingerprint(), Token: dedupe.NewToken(), Generation: 1,
	})
	check(t, err)
	if claim.State != dedupe.Won {
		t.Fatalf("the claim is %+v", claim)
	}
	b.nudge(Notified{OutRequestNo: "R1", OutTradeNo: "T1"})
	if n := b.nudged(); n != 0 {
		t.Errorf("%d copies, want none", n)
	}
}

// TestRecordOfNoUse: what cannot be read from a record is an error that names the key,
// and nothing is published of it.
func TestRecordOfNoUse(t *testing.T) {
	b := newBench(t, nil)
	for name, r := range map[string]dedupe.Record{
		"note":  {Exists: true, Note: []byte(`{"v":99}`)},
		"event": {Exists: true, Decided: true, Event: []byte("of a later make")},
	} {
		if err := b.handler.Republish(t.Context(), "k", r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if n := len(b.events()) + len(b.delays()) + len(b.parked()); n != 0 {
		t.Errorf("%d messages", n)
	}
}
