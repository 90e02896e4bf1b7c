//go:build !race

// The RocketMQ SDK has data races of its own, in its pull and push consumers.

package service

import (
	"strings"
	"testing"

	"refundd/consumer/rocketmqtest"
	"refundd/dedupe/dedupetest"
	"refundd/producer"
)

// A notification whose event the broker refuses for its content would come for a
// day, and then be gone: its stub is parked, and the sender is answered.
func TestANotificationWhoseEventIsRefusedForItsContent(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	w.broker.SetHook(func(q rocketmqtest.Request) rocketmqtest.Action {
		if q.Properties != nil && strings.HasSuffix(q.Properties["ce_type"], ".notified.v1") {
			return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.MessageIllegal}
		}
		return rocketmqtest.Action{}
	})
	w.command("coupon-refund-command", `{"out_request_no": "N1", "auth_no": "A1", "out_order_no": "O1", "amount": "1.00"}`)
	w.event("N1", producer.Succeeded)
	dedupetest.Until(t, "the stub", func() bool { return len(w.broker.Messages("refund-parked")) > 0 })
	for _, m := range w.broker.Messages("refund-parked") {
		c, err := producer.CopyFromProperties(m.Properties, m.Body)
		s, ok := producer.DecodeStub(m.Body)
		if err != nil || !ok || s.Of != producer.StubOfEvent || c.Reason != string(producer.ReasonTooLarge) || !strings.Contains(string(s.Head), `"specversion"`) {
			t.Errorf("%v %v: %s %s", err, ok, c.Reason, m.Body)
		}
	}
	dedupetest.Until(t, "the answer", func() bool {
		return w.metric(`refundd_notifications_total{result="published"}`) != `refundd_notifications_total{result="published"} 0`
	})
	if got := w.metric(`refundd_notifications_total{result="unpublished"}`); got != `refundd_notifications_total{result="unpublished"} 0` {
		t.Errorf("told to come again: %s", got)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}
