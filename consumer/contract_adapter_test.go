//go:build !race

// See adapter_test.go for the reason of the build constraint.

package consumer

import (
	"testing"
	"time"

	"refundd/consumer/rocketmqtest"
	"refundd/producer"
)

// TestTagsAndMessageIDs: tags are not looked at, and a message is named by its
// UNIQ_KEY, or by the broker's offset id where it has none.
func TestTagsAndMessageIDs(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	store := func(queue int, body string, properties map[string]string) rocketmqtest.Message {
		m, err := r.broker.Append(rocketmqtest.Message{Topic: refundTopic, QueueID: queue, Body: []byte(body), Properties: properties})
		check(t, err)
		return m
	}
	store(0, refundBody("R1", "T1", "1.00"), map[string]string{"TAGS": "whatever"})
	store(1, refundBody("R2", "T2", "1.00"), nil)
	store(2, "named", map[string]string{"UNIQ_KEY": "UNIQUE"})
	unnamed := store(3, "unnamed", nil)
	p := r.start(4)
	await(t, "all events", func() bool { return len(r.events()) == 4 })
	r.stop(p)
	for _, number := range []string{"R1", "R2"} {
		if e := r.final(number); e.Outcome != producer.Succeeded {
			t.Errorf("%s %s", number, e.Outcome)
		}
	}
	ids := map[string]string{
		"UNIQUE":            producer.RejectedID("UNIQUE", []byte("named"), producer.ReasonUnreadable),
		unnamed.OffsetMsgID: producer.RejectedID(unnamed.OffsetMsgID, []byte("unnamed"), producer.ReasonUnreadable),
	}
	for _, e := range r.events() {
		if e.Outcome == producer.Rejected && (ids[e.Subject] == "" || ids[e.Subject] != e.ID) {
			t.Errorf("%s is rejected with id %s", e.Subject, e.ID)
		}
	}
}

// TestLag: how far the group is behind counts what is not acknowledged. The SDK
// knows it of queues of which it has acknowledged something before.
func TestLag(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	numbers, bodies := refunds("L", 48)
	p := r.start(4)
	r.post(bodies[:8]...)
	r.awaitFinals(numbers[:8])
	await(t, "no lag at first", func() bool { n, known := p.Lag()[refundTopic]; return known && n == 0 })
	r.gateway.pause.Store(int64(2 * time.Second))
	r.post(bodies[8:]...)
	await(t, "a lag", func() bool { return p.Lag()[refundTopic] > 20 })
	r.gateway.pause.Store(0)
	r.awaitFinals(numbers)
	await(t, "the end of the lag", func() bool { return p.Lag()[refundTopic] == 0 })
}
