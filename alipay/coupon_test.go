package alipay

import (
	"testing"
)

func TestRefundCoupon(t *testing.T) {
	const root = "alipay_fund_coupon_order_refund_response"
	req := &CouponRefundRequest{AuthNo: "AU1", OutRequestNo: "R1", Amount: 100, Remark: "红包退回"}
	t.Run("success without out_order_no", func(t *testing.T) {
		s := served(t, 200, envelopeOf(t, root, `{"code":"10000","amount":"1.00","auth_no":"AU1","gmt_trans":"2026-01-02 03:04:05","operation_id":"O1","out_request_no":"R1","status":"SUCCESS"}`))
		r, err := testClient(t, certConfig(t, s.URL)).RefundCoupon(t.Context(), req)
		if err != nil || r.Status != CouponSuccess || *r.Amount != 100 || r.OperationID != "O1" || r.OutOrderNo != "" || r.TraceID == "" {
			t.Errorf("%+v, %v", r, err)
		}
	})
	for _, r := range []struct {
		name, node string
		want       Class
		queryFirst bool
	}{
		{"used number", `{"code":"40004","sub_code":"UNIQUE_VIOLATION"}`, ClassUnknown, true},
		{"nothing left", `{"code":"40004","sub_code":"MONEY_NOT_ENOUGH"}`, ClassRefused, true},
		{"in process", `{"code":"10003"}`, ClassUnknown, false},
		{"prefixed code of another product", `{"code":"40004","sub_code":"ACQ.TRADE_NOT_EXIST"}`, ClassUnknown, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := served(t, 200, envelopeOf(t, root, r.node))
			_, err := testClient(t, certConfig(t, s.URL)).RefundCoupon(t.Context(), req)
			if e := asError(t, err); e.Class != r.want || e.QueryFirst != r.queryFirst || !e.Signed {
				t.Errorf("%+v", e)
			}
		})
	}
	for name, bad := range map[string]*CouponRefundRequest{
		"no auth_no": {OutRequestNo: "R1", Amount: 1}, "no number": {AuthNo: "A", Amount: 1}, "no amount": {AuthNo: "A", OutRequestNo: "R1"},
	} {
		_, err := testClient(t, certConfig(t, "http://127.0.0.1:1/")).RefundCoupon(t.Context(), bad)
		if e := asError(t, err); e.Class != ClassNotSent {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestQueryCouponOperation(t *testing.T) {
	const root = "alipay_fund_coupon_operation_query_response"
	c := testClient(t, certConfig(t, served(t, 200, envelopeOf(t, root, `{"code":"10000","auth_no":"AU1","out_request_no":"R1","operation_type":"REFUND","status":"INIT","amount":1.5,"payee_user_id":"2088"}`)).URL))
	for name, req := range map[string]*CouponOperationRequest{
		"by Alipay's numbers": {AuthNo: "AU1", OperationID: "O1"}, "by the merchant's": {OutOrderNo: "T1", OutRequestNo: "R1"},
	} {
		r, err := c.QueryCouponOperation(t.Context(), req)
		if err != nil || r.OperationType != OperationRefund || r.Status != CouponInit || *r.Amount != 150 || r.PayeeUserID != "2088" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for name, req := range map[string]*CouponOperationRequest{
		"nothing": {}, "half a pair": {AuthNo: "AU1"}, "mixed": {AuthNo: "AU1", OperationID: "O1", OutRequestNo: "R1"}, "crossed": {AuthNo: "AU1", OutRequestNo: "R1"},
	} {
		_, err := c.QueryCouponOperation(t.Context(), req)
		if e := asError(t, err); e.Class != ClassNotSent {
			t.Errorf("%s: %+v", name, e)
		}
	}
	gone := testClient(t, certConfig(t, served(t, 200, envelopeOf(t, root, `{"code":"40004","sub_code":"AUTH_OPERATION_NOT_EXIST"}`)).URL))
	_, err := gone.QueryCouponOperation(t.Context(), &CouponOperationRequest{AuthNo: "AU1", OperationID: "O1"})
	if e := asError(t, err); e.Class != ClassNotFound || !e.Signed {
		t.Errorf("%+v", e)
	}
}
