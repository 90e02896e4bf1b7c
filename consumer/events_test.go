package consumer

import (
	"testing"

	"refundd/alipay/alipaytest"
	"refundd/producer"
)

// TestWhatEventsTell: what of Alipay's answers reaches accounting, an end a row.
func TestWhatEventsTell(t *testing.T) {
	anonymous := couponBody("fault-refused-AUTH_ORDER_NOT_EXIST-1", "H1", "3.00", false)
	for _, row := range []struct {
		name, number string
		coupon       string // the body, if it is one
		want         producer.Event
		refunded     bool // with a time
	}{
		{name: "refused, and a query shows that", number: "fault-refused-TRADE_HAS_CLOSE-1", want: producer.Event{
			Outcome: producer.Failed, ConfirmedBy: producer.ByQuery, Reason: producer.ReasonRefused,
			AlipayCode: "40004", AlipaySubCode: "ACQ.TRADE_HAS_CLOSE",
			Detail: "Alipay refused the refund (ACQ.TRADE_HAS_CLOSE), and a query shows that it was not carried out",
		}},
		{name: "refused, and nobody can be asked", number: "fault-refused-AUTH_ORDER_NOT_EXIST-1", coupon: anonymous, want: producer.Event{
			Outcome: producer.Failed, ConfirmedBy: producer.ByResponse, Reason: producer.ReasonRefused,
			AlipayCode: "40004", AlipaySubCode: "AUTH_ORDER_NOT_EXIST", Detail: "Alipay refused the refund (AUTH_ORDER_NOT_EXIST)",
		}},
		{name: "closed", number: "fault-coupon-closed-1", coupon: couponBody("fault-coupon-closed-1", "H1", "3.00", true), want: producer.Event{
			Outcome: producer.Failed, ConfirmedBy: producer.ByQuery, Reason: producer.ReasonClosed,
			AlipayCode: "10000", Detail: "Alipay shows this refund as closed",
		}},
		{name: "found by a query", number: "fault-gw-20000-after-1", want: producer.Event{
			Outcome: producer.Succeeded, ConfirmedBy: producer.ByQuery, AlipayCode: "10000", TradeNo: alipaytest.TradeNo("T1"),
		}, refunded: true},
		{name: "answered at once", number: "R1", want: producer.Event{
			Outcome: producer.Succeeded, ConfirmedBy: producer.ByResponse, AlipayCode: "10000", TradeNo: alipaytest.TradeNo("T1"), TotalRefundedFen: 300,
		}, refunded: true},
		{name: "blocked until the tries were used up", number: "fault-frozen-1", want: producer.Event{
			Outcome: producer.Unresolved, Reason: producer.ReasonBlockedMerchant, AlipayCode: "40004", AlipaySubCode: "ACQ.REASON_TRADE_BEEN_FREEZEN",
			Detail: unresolvedDetail(producer.ReasonBlockedMerchant),
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			if row.coupon != "" {
				b.handle(b.coupon(row.coupon))
			} else {
				b.handle(b.command(refundBody(row.number, "T1", "3.00")))
			}
			b.settleAll()
			e := b.onlyEvent(row.number)
			got := producer.Event{
				Outcome: e.Outcome, ConfirmedBy: e.ConfirmedBy, Reason: e.Reason, Detail: e.Detail, AlipayCode: e.AlipayCode, AlipaySubCode: e.AlipaySubCode,
				TradeNo: e.TradeNo, TotalRefundedFen: e.TotalRefundedFen,
			}
			if got.Outcome != row.want.Outcome || got.ConfirmedBy != row.want.ConfirmedBy || got.Reason != row.want.Reason || got.Detail != row.want.Detail ||
				got.AlipayCode != row.want.AlipayCode || got.AlipaySubCode != row.want.AlipaySubCode || got.TradeNo != row.want.TradeNo ||
				got.TotalRefundedFen != row.want.TotalRefundedFen {
				t.Errorf("got  %+v\nwant %+v", got, row.want)
			}
			if e.RefundedAt.IsZero() == row.refunded || e.TraceID == "" || (e.AlipaySubMsg != "") != (row.want.AlipaySubCode != "") || e.Calls != len(b.alipay.Calls()) {
				t.Errorf("refunded at %v, trace %q, sub_msg %q, %d calls", e.RefundedAt, e.TraceID, e.AlipaySubMsg, e.Calls)
			}
		})
	}
}

// TestDetailsDiffer: a person reads another sentence for each reason that a refund
// may lie there for.
func TestDetailsDiffer(t *testing.T) {
	read := map[string]producer.Reason{}
	for _, reason := range []producer.Reason{
		producer.ReasonUnknownOutcome, producer.ReasonBlockedMerchant, producer.ReasonBlockedConfiguration, producer.ReasonConflictAtAlipay,
		producer.ReasonRateLimited, producer.ReasonGatewayUnavailable, producer.ReasonPaused, producer.ReasonHeld, producer.ReasonTooOld,
		producer.ReasonContradiction,
	} {
		detail := unresolvedDetail(reason)
		if other, there := read[detail]; there || detail == "" {
			t.Errorf("%s and %s both say %q", reason, other, detail)
		}
		read[detail] = reason
	}
	if unresolvedDetail(producer.ReasonInvalid) != unresolvedDetail(producer.ReasonUnknownOutcome) {
		t.Error("a reason that is none of an unresolved refund promises more than that nothing is known")
	}
}
