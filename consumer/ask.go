package consumer

import (
	"context"

	"refundd/alipay"
)

// Answer is what Alipay says of one refund now, judged as the service judges it.
type Answer struct {
	// Found is what the query showed: ours (the money moved), old (the same in an
	// answer without a status, which counts when it is repeated), absent,
	// unproven (absent by a number that Alipay never named), other (another
	// amount), closed, pending, config, limited; or nothing, an answer that
	// says nothing.
	Found string
	// Amount is what Alipay has under this number, nil if it named none.
	Amount *alipay.Amount

	Code, SubCode, SubMsg, TraceID               string
	TradeNo, OutTradeNo, OperationID, RefundedAt string
	Err                                          error // of the query, if it failed
}

// Ask queries Alipay once for the command's refund; nothing is changed by it. A
// coupon refund needs an operation id or the command's out_order_no.
func Ask(ctx context.Context, a gateway, cmd Command, appAuthToken, operationID string) Answer {
	listening := &listener{gateway: a}
	op := operationFor(listening, cmd, appAuthToken, Additions{})
	n := note{OperationID: operationID}
	if !op.queryable(n) {
		return Answer{}
	}
	q := op.query(ctx, n)
	f := q.Facts
	return Answer{
		Found: string(q.Found), Amount: listening.amount, Code: f.Code, SubCode: f.SubCode, SubMsg: f.SubMsg, TraceID: f.TraceID,
		TradeNo: f.TradeNo, OutTradeNo: f.OutTradeNo, RefundedAt: f.RefundedAt, OperationID: f.OperationID, Err: listening.err,
	}
}

// listener keeps what a judgement leaves out.
type listener struct {
	gateway
	amount *alipay.Amount
	err    error
}

func (l *listener) QueryRefund(ctx context.Context, req *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error) {
	resp, err := l.gateway.QueryRefund(ctx, req)
	if l.err = err; err == nil {
		l.amount = resp.RefundAmount
	}
	return resp, err
}

func (l *listener) QueryCouponOperation(ctx context.Context, req *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error) {
	resp, err := l.gateway.QueryCouponOperation(ctx, req)
	if l.err = err; err == nil {
		l.amount = resp.Amount
	}
	return resp, err
}
