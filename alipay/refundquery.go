package alipay

import (
	"context"
	"errors"
	"fmt"
)

// RefundQueryRequest asks what became of one refund.
type RefundQueryRequest struct {
	// OutTradeNo and TradeNo as in the refund; at least one.
	OutTradeNo string `json:"out_trade_no,omitempty"`
	TradeNo    string `json:"trade_no,omitempty"`
	// OutRequestNo as in the refund.
	OutRequestNo string `json:"out_request_no"`
	// QueryOptions asks for more members; see RefundQueryOptions.
	QueryOptions []string `json:"query_options,omitempty"`
	// OrgPid is for institutions that connect banks, up to 16.
	OrgPid string `json:"org_pid,omitempty"`
	// AppAuthToken as in the refund. It is a secret.
	AppAuthToken string `json:"-"`
}

// Format prints the number alone.
func (r RefundQueryRequest) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "alipay.RefundQueryRequest{OutRequestNo: %s}", r.OutRequestNo)
}

// RefundQueryOptions are the query_options that QueryRefund knows, without
// enterprise_pay_info, whose answer is personal.
func RefundQueryOptions() []string {
	return append(RefundOptions(), "deposit_back_info_list", "gmt_refund_pay")
}

// RefundStatusSuccess is the only RefundStatus that Alipay documents.
const RefundStatusSuccess = "REFUND_SUCCESS"

// RefundQueryResponse is a verified answer to QueryRefund. The refund is proven
// when RefundStatus is RefundStatusSuccess and OutRequestNo and RefundAmount are
// those of the refund. An answer without them means: not refunded as far as
// Alipay knows now, which within ten seconds of the call means nothing.
type RefundQueryResponse struct {
	// Code is 10000 over v2 and empty over V3.
	Code string
	// TradeNo, OutTradeNo and OutRequestNo say what was found; compare them.
	TradeNo, OutTradeNo, OutRequestNo string
	// RefundAmount is of this refund alone; TotalAmount is the trade's.
	RefundAmount, TotalAmount *Amount
	// RefundStatus is RefundStatusSuccess or absent. Answers of 2019 did not
	// have it.
	RefundStatus string
	// GmtRefundPay comes only with the query option of the same name.
	GmtRefundPay string

	RefundReason       string
	ErrorCode          string // of asynchronous refunds only
	EnterprisePayInfo  *EnterprisePay
	IndustrySepcDetail string // Alipay's spelling
	Funds

	// TraceID is Alipay's number of the call.
	TraceID string
}

func (r *RefundQueryResponse) fields() []field {
	return append(r.Funds.fields(),
		proof("code", &r.Code),
		proof("trade_no", &r.TradeNo),
		proof("out_trade_no", &r.OutTradeNo),
		proof("out_request_no", &r.OutRequestNo),
		proof("refund_amount", &r.RefundAmount),
		detail("total_amount", &r.TotalAmount),
		proof("refund_status", &r.RefundStatus),
		detail("gmt_refund_pay", &r.GmtRefundPay),
		detail("refund_reason", &r.RefundReason),
		detail("error_code", &r.ErrorCode),
		detail("enterprise_pay_info", object(&r.EnterprisePayInfo)),
		detail("industry_sepc_detail", &r.IndustrySepcDetail),
	)
}

// QueryRefund calls alipay.trade.fastpay.refund.query once. Every error is an
// *Error; ClassNotFound means that the trade is not known.
func (c *Client) QueryRefund(ctx context.Context, req *RefundQueryRequest) (*RefundQueryResponse, error) {
	call := call{method: MethodQueryRefund, token: req.AppAuthToken, biz: req}
	if err := req.check(); err != nil {
		return nil, call.notSent(err)
	}
	resp := &RefundQueryResponse{}
	trace, err := c.tradeCall(ctx, pathQueryRefund, call, resp)
	if err != nil {
		return nil, err
	}
	resp.TraceID = trace
	return resp, nil
}

func (r *RefundQueryRequest) check() error {
	switch {
	case r.OutTradeNo == "" && r.TradeNo == "":
		return errors.New("neither out_trade_no nor trade_no")
	case r.OutRequestNo == "":
		return errors.New("no out_request_no")
	}
	return nil
}
