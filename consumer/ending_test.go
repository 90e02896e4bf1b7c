package consumer

import (
	"testing"
	"time"

	"refundd/producer"
)

// TestEndingIsAValue: how a delivery ends is found without a word to the broker.
func TestEndingIsAValue(t *testing.T) {
	for name, row := range map[string]struct {
		body    string
		copy    producer.Copy // of a delivery from the retry topic
		stops   bool
		want    string
		reason  producer.Reason
		park    bool
		event   bool
		delay   time.Duration
		entered bool
	}{
		"decided":      {body: refundBody("R1", "T1", "3.00"), want: "succeeded", event: true},
		"not possible": {body: `{"out_request_no":"R1"}`, want: "rejected", reason: producer.ReasonInvalid, event: true},
		"no command":   {body: `refund it`, want: "rejected", reason: producer.ReasonUnreadable, park: true, event: true},
		"undecided":    {body: refundBody("fault-frozen-1", "T1", "3.00"), want: "retried", reason: producer.ReasonBlockedMerchant, delay: time.Second},
		"given up": {
			body: refundBody("fault-frozen-1", "T1", "3.00"), copy: producer.Copy{Try: 6},
			want: "unresolved", reason: producer.ReasonUnknownOutcome, park: true, event: true,
		},
		"claimed, and no command": {
			body: `refund it`, copy: producer.Copy{Try: 1},
			want: "unresolved", reason: producer.ReasonUnknownOutcome, park: true, entered: true,
		},
		"stopping": {body: refundBody("R1", "T1", "3.00"), stops: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			msg := b.command(row.body)
			if row.copy.Try > 0 {
				msg = b.inRetry(row.body, row.copy)
			}
			if row.stops {
				b.gate.Close()
			}
			b.handler.publish = nil
			e := b.handler.begin(t.Context(), b.handler.parseDelivery(msg))
			if e.Outcome != row.want || e.reason != row.reason || e.delay != row.delay || e.enters != row.entered || e.Acknowledged() == row.stops {
				t.Errorf("ended as %+v", e)
			}
			if e.park != nil != row.park || e.event != nil != row.event || e.retry != nil != (row.want == outcomeRetried) {
				t.Errorf("parks %v, event %v, copy %v", e.park, e.event, e.retry)
			}
		})
	}
}
