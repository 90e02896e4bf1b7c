package consumer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"refundd/consumer/rocketmqtest"
	"refundd/producer"
)

// refuses makes the broker refuse for its content, for ever, whatever is larger
// than a stub and published to one of the topics with the key.
func (b *bench) refuses(key string, topics ...string) {
	b.broker.SetHook(func(q rocketmqtest.Request) rocketmqtest.Action {
		for _, topic := range topics {
			if _, isStub := producer.DecodeStub(q.Body); q.Properties != nil && q.Topic == topic && q.Properties["KEYS"] == key && !isStub {
				return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.MessageIllegal, Remark: "the message is illegal"}
			}
		}
		return rocketmqtest.Action{}
	})
}

// stubs are the parked messages that are stubs, and how many others there are.
func (b *bench) stubs() (stubs []producer.Stub, copies []producer.Copy, others int) {
	for _, c := range b.parked() {
		if s, ok := producer.DecodeStub(c.Body); ok {
			stubs, copies = append(stubs, s), append(copies, c)
		} else {
			others++
		}
	}
	return stubs, copies, others
}

// oneStub wants exactly one parked message, the stub of the body.
func (b *bench) oneStub(of string, body []byte, reason producer.Reason) {
	b.t.Helper()
	stubs, copies, others := b.stubs()
	if len(stubs) != 1 || others != 0 {
		b.t.Fatalf("%d stubs, %d others are parked", len(stubs), others)
	}
	sum := sha256.Sum256(body)
	if s := stubs[0]; s.Of != of || s.Size != len(body) || s.SHA256 != hex.EncodeToString(sum[:]) || !bytes.Equal(s.Head, body[:min(len(body), 1024)]) {
		b.t.Errorf("got %+v for %d bytes", s, len(body))
	}
	if copies[0].Reason != string(reason) {
		b.t.Errorf("parked as %s, want %s", copies[0].Reason, reason)
	}
	if !strings.Contains(b.log.String(), AlarmRefusedContent) {
		b.t.Error("nobody was called")
	}
	if failing(b.health) {
		b.t.Error("a message that is refused for its content counts as trouble of the broker")
	}
}

// failing reports whether the last publish to some topic failed.
func failing(h *Health) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range []string{retryTopic, eventTopic, parkedTopic} {
		if _, is := h.failing(piece{part: PartRocketMQ, of: "topic " + topic}); is {
			return true
		}
	}
	return false
}

// TestRefusedCopyOfAClaimedCommand: what was called and cannot come back is asked
// for once more in place, and then unresolved; never rejected.
func TestRefusedCopyOfAClaimedCommand(t *testing.T) {
	b := newBench(t, nil)
	d := b.command(refundBody("fault-balance-1", "T1", "3.00"))
	d.Broker, d.Queue, d.Offset = "broker-a", 3, 17
	b.refuses("fault-balance-1", retryTopic, parkedTopic)
	b.handle(d)
	b.oneStub(producer.StubOfCommand, d.Body, producer.ReasonBlockedMerchant)
	stubs, _, _ := b.stubs()
	if want := (producer.Place{Topic: refundTopic, Broker: "broker-a", Queue: 3, Offset: 17}); *stubs[0].Lies != want {
		t.Errorf("lies at %+v", stubs[0].Lies)
	}
	if e := b.onlyEvent("fault-balance-1"); e.Outcome != producer.Unresolved || e.Reason != producer.ReasonBlockedMerchant || e.AmountFen != 300 {
		t.Errorf("got %s %s", e.Outcome, e.Reason)
	}
	rec, err := b.store.Read(t.Context(), identityOf("fault-balance-1"))
	check(t, err)
	if !rec.Parked || rec.Decided {
		t.Errorf("the record is %+v", rec)
	}
}

// TestRefusedCopyIsDecidedInPlace: the wait in place is enough for the query
// that decides it.
func TestRefusedCopyIsDecidedInPlace(t *testing.T) {
	b := newBench(t, nil)
	const number = "fault-reset-after-1"
	d := b.command(refundBody(number, "T1", "3.00"))
	b.refuses(number, retryTopic, parkedTopic)
	b.handle(d)
	if e := b.onlyEvent(number); e.Outcome != producer.Succeeded || b.moved(number) != 1 {
		t.Errorf("got %s, moved %d", e.Outcome, b.moved(number))
	}
	if parked := b.parked(); len(parked) != 0 {
		t.Errorf("%d parked", len(parked))
	}
}

// TestRefusedUnreadableMessage: what was never claimed is rejected as before.
func TestRefusedUnreadableMessage(t *testing.T) {
	for name, row := range map[string]struct {
		body   []byte
		reason producer.Reason
	}{
		"unreadable": {[]byte("no JSON at all"), producer.ReasonUnreadable},
		"too large":  {bytes.Repeat([]byte("x"), 70<<10), producer.ReasonTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			d := b.command(string(row.body))
			b.refuses("", parkedTopic)
			b.handle(d)
			b.oneStub(producer.StubOfCommand, row.body, row.reason)
			if e := b.events(); len(e) != 1 || e[0].Outcome != producer.Rejected || e[0].Reason != row.reason || e[0].Subject != d.MsgID {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// TestRefusedCopyOfAClaimedUnreadable (R9): not even then is it rejected.
func TestRefusedCopyOfAClaimedUnreadable(t *testing.T) {
	b := newBench(t, nil)
	b.refuses("R1", parkedTopic)
	c := producer.Copy{Body: []byte("{"), Keys: "R1", Topic: refundTopic, MsgID: "m1", Born: time.Now(), First: time.Now(), Claimed: true}
	b.handle(Delivery{Topic: retryTopic, MsgID: "r1", Body: c.Body, Properties: c.Properties()})
	b.oneStub(producer.StubOfCommand, c.Body, producer.ReasonUnknownOutcome)
	if events := b.events(); len(events) != 0 {
		t.Errorf("%d events", len(events))
	}
}

// TestRefusedEvent: the stub tells of it, the record keeps it, and the command
// sent once more publishes it.
func TestRefusedEvent(t *testing.T) {
	b := newBench(t, nil)
	d := b.command(refundBody("R1", "T1", "3.00"))
	b.refuses("R1", eventTopic)
	b.handle(d)
	rec, err := b.store.Read(t.Context(), identityOf("R1"))
	check(t, err)
	e, err := producer.DecodeEncoded(rec.Event)
	check(t, err)
	b.oneStub(producer.StubOfEvent, e.Body, producer.ReasonTooLarge)
	b.broker.SetHook(nil)
	b.handle(d)
	if e := b.onlyEvent("R1"); e.Outcome != producer.Succeeded || b.moved("R1") != 1 {
		t.Errorf("got %s, moved %d", e.Outcome, b.moved("R1"))
	}
}

// TestRefusedStub: a broker that takes not even a stub is in trouble.
func TestRefusedStub(t *testing.T) {
	b := newBench(t, nil)
	b.broker.SetHook(func(q rocketmqtest.Request) rocketmqtest.Action {
		if q.Properties != nil && q.Topic == parkedTopic {
			return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.MessageIllegal}
		}
		return rocketmqtest.Action{}
	})
	d := b.command("no JSON")
	ended := make(chan bool)
	go func() { ended <- b.handler.Handle(context.Background(), d).Acknowledged() }()
	waitFor(t, "trouble", func() bool { return failing(b.health) })
	b.gate.Close()
	if <-ended {
		t.Error("acknowledged, and nothing is parked")
	}
}

// TestSweeperMeetsRefused: what is made from the record alone ends the same way.
func TestSweeperMeetsRefused(t *testing.T) {
	republish := func(b *bench, number string) error {
		id := identityOf(number)
		rec, err := b.store.Read(b.t.Context(), id)
		check(b.t, err)
		return b.handler.Republish(b.t.Context(), b.store.Key(id), rec)
	}
	t.Run("undecided", func(t *testing.T) {
		b := newBench(t, nil)
		const number = "fault-balance-1"
		b.handle(b.command(refundBody(number, "T1", "3.00")))
		b.refuses(number, retryTopic, parkedTopic)
		if err := republish(b, number); err == nil || !strings.Contains(err.Error(), "in place") {
			t.Errorf("got %v", err)
		}
		b.oneStub(producer.StubOfCommand, []byte(refundBody(number, "T1", "3.00")), producer.ReasonBlockedMerchant)
		if e := b.onlyEvent(number); e.Outcome != producer.Unresolved {
			t.Errorf("got %s", e.Outcome)
		}
		left, err := b.store.Overdue(t.Context(), testApp, time.Now().Add(24*time.Hour), 10)
		check(t, err)
		if len(left) != 0 {
			t.Errorf("the sweeper would come again: %+v", left)
		}
	})
	t.Run("parked", func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Second} })
		const number = "fault-balance-1"
		b.handle(b.command(refundBody(number, "T1", "3.00")))
		for b.retry() {
		}
		parked := len(b.parked())
		b.refuses(number, parkedTopic, eventTopic)
		check(t, republish(b, number))
		stubs, _, others := b.stubs()
		if len(stubs) != 2 || stubs[0].Of != producer.StubOfCommand || stubs[1].Of != producer.StubOfEvent || stubs[0].Lies != nil || others != parked {
			t.Errorf("%+v and %d others, %d before", stubs, others, parked)
		}
	})
	t.Run("decided", func(t *testing.T) {
		b := newBench(t, nil)
		b.handle(b.command(refundBody("R1", "T1", "3.00")))
		b.refuses("R1", eventTopic)
		check(t, republish(b, "R1"))
		if stubs, _, _ := b.stubs(); len(stubs) != 1 || stubs[0].Of != producer.StubOfEvent {
			t.Errorf("%+v", stubs)
		}
	})
}
