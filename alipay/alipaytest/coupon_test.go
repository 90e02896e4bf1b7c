package alipaytest_test

import (
	"strings"
	"testing"

	"refundd/alipay/alipaytest"
)

func (b *bench) coupon(t *testing.T, auth, number, amount string) reply {
	t.Helper()
	return b.call(t, couponMethod, biz(t, "auth_no", auth, "out_request_no", number, "amount", amount, "remark", "红包退回"))
}

func TestCouponRefundMovesMoneyOncePerNumber(t *testing.T) {
	b := start(t, alipaytest.Config{})
	auth := alipaytest.TradeNo("O1")
	first := b.coupon(t, auth, "R1", "3")
	first.want(t, "10000", "", "good")
	if first.text("status") != "SUCCESS" || first.text("amount") != "3.00" || first.text("auth_no") != auth || first.text("out_request_no") != "R1" {
		t.Fatalf("first = %v", first.fields)
	}
	again := b.coupon(t, auth, "R1", "3.00")
	if again.text("status") != "SUCCESS" || again.text("operation_id") != first.text("operation_id") {
		t.Fatalf("replay = %v", again.fields)
	}
	b.coupon(t, auth, "R1", "4").want(t, "40004", "UNIQUE_VIOLATION", "good")
	b.coupon(t, auth, "R2", "997.01").want(t, "40004", "MONEY_NOT_ENOUGH", "good")

	byMerchant := b.call(t, operationMethod, biz(t, "out_order_no", "O1", "out_request_no", "R1"))
	byAlipay := b.call(t, operationMethod, biz(t, "auth_no", auth, "operation_id", first.text("operation_id")))
	for name, got := range map[string]reply{"out_order_no": byMerchant, "auth_no": byAlipay} {
		got.want(t, "10000", "", "good")
		if got.text("operation_type") != "REFUND" || got.text("status") != "SUCCESS" || got.text("amount") != "3.00" ||
			got.text("out_request_no") != "R1" || got.text("auth_no") != auth || got.text("out_order_no") != "O1" || got.text("remark") != "红包退回" {
			t.Errorf("by %s: %v", name, got.fields)
		}
	}
	got := b.entry(t, "R1")
	want := alipaytest.Refund{
		Kind: "coupon_refund", AppID: appID, OutTradeNo: "O1", AuthNo: auth, OutRequestNo: "R1",
		Amount: "3.00", Moved: 1, Calls: 3, Queries: 2,
	}
	if got != want {
		t.Fatalf("ledger = %+v, want %+v", got, want)
	}
}

func TestCouponRefusals(t *testing.T) {
	b := start(t, alipaytest.Config{})
	long := strings.Repeat("红", 101)
	for _, tt := range []struct{ name, method, biz, subCode string }{
		{"unknown red packet", couponMethod, biz(t, "auth_no", "nosuch", "out_request_no", "R", "amount", "1", "remark", "r"), "AUTH_ORDER_NOT_EXIST"},
		{"no remark", couponMethod, biz(t, "auth_no", "A", "out_request_no", "R", "amount", "1"), "ILLEGAL_ARGUMENT"},
		{"long remark", couponMethod, biz(t, "auth_no", "A", "out_request_no", "R", "amount", "1", "remark", long), "ILLEGAL_ARGUMENT"},
		{"no amount", couponMethod, biz(t, "auth_no", "A", "out_request_no", "R", "remark", "r"), "ILLEGAL_ARGUMENT"},
		{"unknown member", couponMethod, biz(t, "auth_no", "A", "out_request_no", "R", "amount", "1", "remark", "r", "out_order_no", "O"), "ILLEGAL_ARGUMENT"},
		{"the number that paid", couponMethod, biz(t, "auth_no", alipaytest.TradeNo("O"), "out_request_no", "pay-"+alipaytest.OutTradeNo(alipaytest.TradeNo("O")), "amount", "1", "remark", "r"), "UNIQUE_VIOLATION"},
		{"pairs mixed", operationMethod, biz(t, "auth_no", "A", "out_request_no", "R"), "ILLEGAL_ARGUMENT"},
		{"both pairs", operationMethod, biz(t, "auth_no", "A", "operation_id", "1", "out_order_no", "O", "out_request_no", "R"), "ILLEGAL_ARGUMENT"},
		{"unknown operation", operationMethod, biz(t, "auth_no", "A", "operation_id", "1"), "AUTH_OPERATION_NOT_EXIST"},
		{"unknown number", operationMethod, biz(t, "out_order_no", "O", "out_request_no", "R"), "AUTH_OPERATION_NOT_EXIST"},
		{"query of an unknown red packet", operationMethod, biz(t, "auth_no", "nosuch", "operation_id", "1"), "AUTH_ORDER_NOT_EXIST"},
	} {
		t.Run(tt.name, func(t *testing.T) { b.call(t, tt.method, tt.biz).want(t, "40004", tt.subCode, "good") })
	}
	if got := b.call(t, operationMethod, biz(t, "out_order_no", "O", "out_request_no", "pay-O")); got.text("operation_type") != "PAY" {
		t.Errorf("the operation that paid: %s", got.raw)
	}
	for _, r := range b.sim.State().Refunds {
		if r.Moved != 0 {
			t.Errorf("money moved for %+v", r)
		}
	}
}
