package consumer

import (
	"fmt"
	"strings"
	"testing"

	"refundd/alipay/alipaytest"
	"refundd/producer"
)

func couponBody(number, order, amount string, withOrder bool) string {
	outOrderNo := ""
	if withOrder {
		outOrderNo = fmt.Sprintf(`,"out_order_no":%q`, order)
	}
	return fmt.Sprintf(`{"out_request_no":%q,"auth_no":%q,"amount":%q%s}`, number, alipaytest.TradeNo(order), amount, outOrderNo)
}

func (b *bench) coupon(body string) Delivery {
	d := b.command(body)
	d.Topic = couponTopic
	return d
}

func TestPlainCouponRefund(t *testing.T) {
	b := newBench(t, nil)
	b.handle(b.coupon(couponBody("C1", "H1", "0.01", true)))
	b.settleAll()
	e := b.final("C1")
	if e.Outcome != producer.Succeeded || e.Kind != producer.KindCouponRefund || e.AmountFen != 1 || e.AuthNo == "" || e.OperationID == "" || e.RefundedAt.IsZero() {
		t.Errorf("event is %+v", e)
	}
	if b.trips.Load() != 2 {
		t.Errorf("%d exchanges with Redis, want 2", b.trips.Load())
	}
}

// TestCouponFaultMenu runs every fault that a coupon refund can meet, with and
// without an out_order_no to ask by.
func TestCouponFaultMenu(t *testing.T) {
	tradeOnly := map[string]bool{
		"discordant": true, "fund-change-missing": true, "query-old-form": true, "query-empty": true,
	}
	for _, fault := range alipaytest.Menu() {
		of, _, _ := strings.Cut(fault.Name, "-")
		if tradeOnly[fault.Name] || of == "notify" || of == "deposit" {
			continue
		}
		for _, withOrder := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, order %v", fault.Name, withOrder), func(t *testing.T) {
				t.Parallel()
				b := newBench(t, nil)
				number := "fault-" + fault.Name + "-1"
				if of == "query" {
					number = "C1"
					check(t, b.alipay.SetFaults(map[string]float64{"coupon-init": 1, fault.Name: 1}))
				}
				b.handle(b.coupon(couponBody(number, "H-"+fault.Name, "5.00", withOrder)))
				if of == "query" {
					for b.alipay.FaultCounts()[fault.Name] == 0 && b.retry() { // a busy machine may not have got that far
					}
					b.alipay.Heal()
					check(t, b.alipay.SetFaults(nil))
				}
				b.settleAll()
				e := b.onlyEvent(number)
				moved := b.moved(number)
				if moved > 1 || (e.Outcome == producer.Succeeded) != (moved == 1) && e.Outcome != producer.Unresolved {
					t.Errorf("%s, but moved %d times", e.Outcome, moved)
				}
				if e.Outcome == producer.Unresolved {
					b.wantParkedOnce()
				}
				t.Logf("%s %s, %d calls, fault happened %d times", e.Outcome, e.Reason, e.Calls, b.alipay.FaultCounts()[fault.Name])
			})
		}
	}
}

// TestCouponConflictWithRefund: the two kinds number their refunds apart.
func TestCouponAndRefundShareANumber(t *testing.T) {
	b := newBench(t, nil)
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	b.handle(b.coupon(couponBody("R1", "H1", "4.00", true)))
	kinds := map[producer.Kind]producer.Outcome{}
	for _, e := range b.events() {
		kinds[e.Kind] = e.Outcome
	}
	if kinds[KindRefund] != producer.Succeeded || kinds[KindCouponRefund] != producer.Succeeded {
		t.Errorf("got %v", kinds)
	}
}
