//go:build !race

// The RocketMQ SDK has data races of its own, in its pull and push consumers.

package service

import (
	"testing"

	"refundd/alipay/alipaytest"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe/dedupetest"
	"refundd/producer"
)

// A refund whose answer was lost would be asked for after an hour; Alipay's
// notification makes it be asked for at once. Until the refund waits for its next
// try the notification is kept from getting in.
func TestANotificationHastensTheQuery(t *testing.T) {
	t.Parallel()
	rows := map[string]struct{ topic, body string }{
		"trade":                {"refund-command", `{"out_request_no": "N1", "out_trade_no": "T1", "refund_amount": "1.00"}`},
		"a merchant's trade":   {"refund-command", `{"out_request_no": "N1", "out_trade_no": "T1", "refund_amount": "1.00", "merchant": "shop"}`},
		"a merchant's coupons": {"coupon-refund-command", `{"out_request_no": "N1", "auth_no": "` + alipaytest.TradeNo("O1") + `", "out_order_no": "O1", "amount": "1.00", "merchant": "shop"}`},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, func(places) []string { return []string{"REFUNDD_RETRY_DELAYS=1h"} })
			w.broker.SetHook(func(q rocketmqtest.Request) rocketmqtest.Action {
				if q.Topic == "refund-event" && q.Properties != nil {
					return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: 1, Remark: "not yet"}
				}
				return rocketmqtest.Action{}
			})
			if err := w.sim.SetFaults(map[string]float64{"answer-lost-after": 1, "query-lost": 1}); err != nil {
				t.Fatal(err)
			}
			w.command(row.topic, row.body)
			dedupetest.Until(t, "the next try in an hour", func() bool { return len(w.broker.Scheduled("refund-retry")) == 1 })
			w.sim.Heal()
			w.broker.SetHook(nil)
			w.event("N1", producer.Notified)
			if e := w.event("N1", producer.Succeeded); e.ConfirmedBy != producer.ByQuery {
				t.Errorf("confirmed by %s", e.ConfirmedBy)
			}
			if err := w.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
