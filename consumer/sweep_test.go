package consumer

import (
	"bytes"
	"context"
	"testing"
	"time"

	"refundd/consumer/rocketmqtest"
	"refundd/dedupe"
	"refundd/producer"
)

// diesUntold hands a delivery over while the broker refuses everything for a topic, and
// ends the process before it has published. The delivery's copy is lost with it.
func (b *bench) diesUntold(d Delivery, topic string, until func(dedupe.Record) bool) {
	b.t.Helper()
	refused := make(chan struct{}, 1000)
	b.broker.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Topic != topic || r.Properties == nil {
			return rocketmqtest.Action{}
		}
		refused <- struct{}{}
		return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.SystemError}
	})
	ended := make(chan bool)
	go func() { ended <- b.handler.Handle(context.Background(), d).Acknowledged() }()
	<-refused
	b.gate.Close()
	if <-ended {
		b.t.Error("acknowledged although nothing was published")
	}
	b.broker.SetHook(nil)
	if r, err := b.store.Read(b.t.Context(), identityOf("R1")); err != nil || !until(r) {
		b.t.Fatalf("record %+v, %v", r, err)
	}
	b.reopen()
}

// sweep lets the sweeper look at what is overdue, until the index is as wanted.
func (b *bench) sweep(want dedupe.Totals) (alarms []dedupe.Record) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	sweeper, err := dedupe.NewSweeper(b.store, dedupe.SweeperConfig{
		AppID: testApp, Every: 5 * time.Millisecond, Grace: time.Millisecond, Republish: b.handler.Republish,
		Alarm:  func(_ dedupe.Undecided, r dedupe.Record) { alarms = append(alarms, r) },
		Failed: func(err error) { b.t.Error(err) },
	})
	check(b.t, err)
	go func() {
		defer close(done)
		sweeper.Run(ctx)
	}()
	waitFor(b.t, "the sweeper's work", func() bool { return b.indexed() == want })
	cancel()
	<-done
	return alarms
}

// indexed sums the index up, but for the ages.
func (b *bench) indexed() dedupe.Totals {
	b.t.Helper()
	totals, err := b.store.Totals(b.t.Context(), testApp)
	check(b.t, err)
	totals.Oldest = time.Time{}
	return totals
}

// waiting is the one copy that waits in the retry topic.
func (b *bench) waiting() Delivery {
	b.t.Helper()
	m := b.broker.Scheduled(retryTopic)
	if len(m) != 1 {
		b.t.Fatalf("%d copies wait, want 1", len(m))
	}
	return Delivery{Topic: retryTopic, MsgID: m[0].MsgID, Body: m[0].Body, Born: time.UnixMilli(m[0].BornTimestamp), Properties: m[0].Properties}
}

// TestSweeperTellsWhatWasDecided (R6, R10): a process settles and dies before it tells,
// and the broker loses the copy. The event is told all the same, from the record.
func TestSweeperTellsWhatWasDecided(t *testing.T) {
	b := newPatientBench(t, nil)
	b.inDoubt(b.command(refundBody("R1", "T1", "1.00")))
	b.diesUntold(b.waiting(), eventTopic, func(r dedupe.Record) bool { return r.Succeeded })
	calls := len(b.alipay.Calls())
	record, err := b.store.Read(t.Context(), identityOf("R1"))
	check(t, err)
	alarms := b.sweep(dedupe.Totals{})
	stored, err := producer.DecodeEncoded(record.Event)
	check(t, err)
	if m := b.broker.Messages(eventTopic); len(m) != 1 || !bytes.Equal(m[0].Body, stored.Body) {
		t.Errorf("%d events, want the one that is stored: %s", len(m), stored.Body)
	}
	if len(alarms) != 1 || !alarms[0].Decided {
		t.Errorf("alarms: %+v", alarms)
	}
	if b.final("R1").Outcome != producer.Succeeded || len(b.alipay.Calls()) != calls || len(b.broker.Scheduled(retryTopic)) != 1 {
		t.Errorf("calls %d, before %d; copies %d", len(b.alipay.Calls()), calls, len(b.broker.Scheduled(retryTopic)))
	}
}

// TestSweeperTellsWhoIsParked (R14): the same between parking and calling a person.
// Only the person may send it again.
func TestSweeperTellsWhoIsParked(t *testing.T) {
	for _, topic := range []string{parkedTopic, eventTopic} {
		t.Run(topic, func(t *testing.T) {
			b := newPatientBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Hour} })
			b.inDoubt(b.command(refundBody("R1", "T1", "1.00")))
			check(t, b.alipay.SetFaults(map[string]float64{"query-lost": 1}))
			b.diesUntold(b.waiting(), topic, func(r dedupe.Record) bool { return r.Parked })
			b.alipay.Heal()
			calls := len(b.alipay.Calls())
			b.sweep(dedupe.Totals{Count: 1, Parked: 1, Fen: 100})
			b.wantParkedOnce()
			e := b.onlyEvent("R1")
			if e.Outcome != producer.Unresolved || e.Reason != producer.ReasonUnknownOutcome || e.Detail == "" || e.Calls == 0 {
				t.Errorf("event %+v", e)
			}
			if want := producer.UnresolvedID(b.handler.eventIdentity(Command{Kind: KindRefund, OutRequestNo: "R1"}), 1); e.ID != want {
				t.Errorf("id %s, want that of the first parking, %s", e.ID, want)
			}
			if len(b.alipay.Calls()) != calls {
				t.Error("Alipay was asked by the sweeper")
			}
			// Requeued by a person, it goes on.
			c := b.parked()[0]
			c.Try, c.First = 0, time.Now()
			check(t, b.alipay.SetFaults(nil))
			b.handle(Delivery{Topic: retryTopic, MsgID: "X", Body: c.Body, Properties: c.Properties(), Born: time.Now()})
			if e := b.final("R1"); e.Outcome != producer.Succeeded || b.indexed() != (dedupe.Totals{}) {
				t.Errorf("event %+v, index %+v", e, b.indexed())
			}
		})
	}
}

// TestSweeperTellsAContradiction: nothing is left that could be parked, so it screams.
func TestSweeperTellsAContradiction(t *testing.T) {
	b := newBench(t, nil)
	b.handle(b.command(refundBody("R1", "nosuch-T1", "3.00")))
	failed, err := b.store.Read(t.Context(), identityOf("R1"))
	check(t, err)
	event := b.final("R1")
	event.Outcome, event.ID, event.Reason, event.Detail = producer.Succeeded, "00000000000000000000000000000001", "", ""
	e, err := event.Encode()
	check(t, err)
	_, err = b.store.Settle(t.Context(), dedupe.SettleRequest{
		ID: identityOf("R1"), Fingerprint: failed.Fingerprint, Succeeded: true, Event: e.Stored(),
		Entry: b.store.Entry(time.Now(), 300, identityOf("R1")),
	})
	check(t, err)
	b.sweep(dedupe.Totals{})
	if n := len(b.events()); n != 2 || b.metrics.contradictions != 1 || !bytes.Contains(b.log.Bytes(), []byte("CONTRADICTION")) {
		t.Errorf("%d events, %d contradictions counted; log:\n%s", n, b.metrics.contradictions, b.log)
	}
}

// TestEntryLeavesWhenItIsTold: what is told is in the index no more, whoever told it.
func TestEntryLeavesWhenItIsTold(t *testing.T) {
	b := newPatientBench(t, nil)
	b.inDoubt(b.command(refundBody("R1", "T1", "1.00")))
	if got := b.indexed(); got != (dedupe.Totals{Count: 1, Fen: 100}) {
		t.Fatalf("in doubt: %+v", got)
	}
	again := b.waiting()
	b.diesUntold(again, eventTopic, func(r dedupe.Record) bool { return r.Succeeded })
	if got := b.indexed(); got.Count != 1 {
		t.Errorf("decided and not told: %+v", got)
	}
	trips := b.trips.Load()
	b.handle(again) // the broker has it still
	if got := b.indexed(); got != (dedupe.Totals{}) {
		t.Errorf("told by the next delivery: %+v", got)
	}
	if n := b.trips.Load() - trips; n > 4 { // claim, told, and two of indexed
		t.Errorf("%d exchanges for telling it again", n)
	}
}
