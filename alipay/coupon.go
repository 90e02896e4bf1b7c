package alipay

import (
	"context"
	"errors"
	"fmt"
)

// What a red packet's refund or operation has come to, as Alipay writes it.
const (
	CouponInit    = "INIT"    // accepted, not done
	CouponSuccess = "SUCCESS" // done
	CouponClosed  = "CLOSED"  // failed
)

// CouponRefundRequest asks for money of a red packet back. The product needs
// certificate mode and exists over v2 only.
type CouponRefundRequest struct {
	// AuthNo is Alipay's number of the red packet, up to 64.
	AuthNo string `json:"auth_no"`
	// OutRequestNo identifies this operation of the merchant, up to 64; it must
	// differ from the paying operation's number.
	OutRequestNo string `json:"out_request_no"`
	// Amount is what to give back now, 0.01 to 100000000.00 yuan.
	Amount Amount `json:"amount"`
	// Remark is shown to people, up to 100 letters; Alipay documents it as
	// required.
	Remark string `json:"remark,omitempty"`
	// NotifyURL is where Alipay notifies of the end, up to 256; empty means nowhere.
	NotifyURL string `json:"-"`
	// AppAuthToken as in RefundRequest. It is a secret.
	AppAuthToken string `json:"-"`
}

// Format prints the number alone.
func (r CouponRefundRequest) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "alipay.CouponRefundRequest{OutRequestNo: %s}", r.OutRequestNo)
}

// CouponRefundResponse is a verified answer to RefundCoupon. Only Status
// CouponSuccess with our Amount says that the money moved; CouponInit asks for a
// query, and CouponClosed is a failure that a query must confirm.
type CouponRefundResponse struct {
	Code                                          string
	AuthNo, OutOrderNo, OperationID, OutRequestNo string
	// Amount is of this refund.
	Amount *Amount
	// Status is CouponInit, CouponSuccess or CouponClosed.
	Status   string
	GmtTrans string // see ParseTime
	// TraceID is Alipay's number of the call.
	TraceID string
}

func (r *CouponRefundResponse) fields() []field {
	return []field{
		proof("code", &r.Code),
		proof("auth_no", &r.AuthNo),
		proof("out_order_no", &r.OutOrderNo),
		proof("operation_id", &r.OperationID),
		proof("out_request_no", &r.OutRequestNo),
		proof("amount", &r.Amount),
		proof("status", &r.Status),
		detail("gmt_trans", &r.GmtTrans),
	}
}

// RefundCoupon calls alipay.fund.coupon.order.refund once. Errors are as those
// of Refund; UNIQUE_VIOLATION is unknown, because the number's first use may
// have moved the money.
func (c *Client) RefundCoupon(ctx context.Context, req *CouponRefundRequest) (*CouponRefundResponse, error) {
	call := call{method: MethodRefundCoupon, token: req.AppAuthToken, notifyURL: req.NotifyURL, biz: req}
	if err := req.check(); err != nil {
		return nil, call.notSent(err)
	}
	resp := &CouponRefundResponse{}
	trace, err := c.callV2(ctx, call, resp)
	if err != nil {
		return nil, err
	}
	resp.TraceID = trace
	return resp, nil
}

func (r *CouponRefundRequest) check() error {
	switch {
	case r.AuthNo == "":
		return errors.New("no auth_no")
	case r.OutRequestNo == "":
		return errors.New("no out_request_no")
	case r.Amount < MinAmount || r.Amount > MaxAmount:
		return errors.New("amount is outside 0.01 to 100000000.00")
	}
	return nil
}

// CouponOperationRequest asks about one operation on a red packet, either by
// AuthNo and OperationID, which Alipay finds faster, or by OutOrderNo and
// OutRequestNo. The pairs must not be mixed.
type CouponOperationRequest struct {
	AuthNo       string `json:"auth_no,omitempty"`
	OperationID  string `json:"operation_id,omitempty"`
	OutOrderNo   string `json:"out_order_no,omitempty"`
	OutRequestNo string `json:"out_request_no,omitempty"`
	// AppAuthToken as in RefundRequest. It is a secret.
	AppAuthToken string `json:"-"`
}

// Format prints the numbers alone.
func (r CouponOperationRequest) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "alipay.CouponOperationRequest{OperationID: %s, OutRequestNo: %s}", r.OperationID, r.OutRequestNo)
}

// OperationRefund is the OperationType of a refund.
const OperationRefund = "REFUND"

// CouponOperationResponse is a verified answer to QueryCouponOperation. Compare
// AuthNo and OutRequestNo, and require OperationType OperationRefund: a query
// by a wrong number may find the payment.
type CouponOperationResponse struct {
	Code                                          string
	AuthNo, OutOrderNo, OperationID, OutRequestNo string
	OperationType                                 string // PAY or REFUND
	Amount                                        *Amount
	// Status is CouponInit, CouponSuccess or CouponClosed.
	Status string
	// TotalPayRefundAmount is everything given back of the red packet so far.
	TotalPayRefundAmount      *Amount
	OrderTitle, Remark        string
	GmtCreate, GmtTrans       string // see ParseTime
	PayerLogonID, PayerUserID Personal
	PayeeLogonID, PayeeUserID Personal
	ExtraParam                string
	// TraceID is Alipay's number of the call.
	TraceID string
}

func (r *CouponOperationResponse) fields() []field {
	return []field{
		proof("code", &r.Code),
		proof("auth_no", &r.AuthNo),
		proof("out_order_no", &r.OutOrderNo),
		proof("operation_id", &r.OperationID),
		proof("out_request_no", &r.OutRequestNo),
		proof("operation_type", &r.OperationType),
		proof("amount", &r.Amount),
		proof("status", &r.Status),
		detail("total_pay_refund_amount", &r.TotalPayRefundAmount),
		detail("order_title", &r.OrderTitle),
		detail("remark", &r.Remark),
		detail("gmt_create", &r.GmtCreate),
		detail("gmt_trans", &r.GmtTrans),
		detail("payer_logon_id", &r.PayerLogonID),
		detail("payer_user_id", &r.PayerUserID),
		detail("payee_logon_id", &r.PayeeLogonID),
		detail("payee_user_id", &r.PayeeUserID),
		detail("extra_param", &r.ExtraParam),
	}
}

// QueryCouponOperation calls alipay.fund.coupon.operation.query once.
// ClassNotFound means that the operation does not exist.
func (c *Client) QueryCouponOperation(ctx context.Context, req *CouponOperationRequest) (*CouponOperationResponse, error) {
	call := call{method: MethodQueryCouponOperation, token: req.AppAuthToken, biz: req}
	if err := req.check(); err != nil {
		return nil, call.notSent(err)
	}
	resp := &CouponOperationResponse{}
	trace, err := c.callV2(ctx, call, resp)
	if err != nil {
		return nil, err
	}
	resp.TraceID = trace
	return resp, nil
}

func (r *CouponOperationRequest) check() error {
	byAlipay := r.AuthNo != "" && r.OperationID != "" && r.OutOrderNo == "" && r.OutRequestNo == ""
	byMerchant := r.AuthNo == "" && r.OperationID == "" && r.OutOrderNo != "" && r.OutRequestNo != ""
	if !byAlipay && !byMerchant {
		return errors.New("want auth_no and operation_id, or out_order_no and out_request_no")
	}
	return nil
}
