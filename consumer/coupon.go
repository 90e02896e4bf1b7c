package consumer

import (
	"context"

	"refundd/alipay"
)

// couponOperation is alipay.fund.coupon.order.refund and its query, in Decide's
// words. It can be asked for by the operation_id that an answer told, else by
// out_order_no; a number that Alipay has never itself named for this auth_no
// proves nothing when it finds nothing.
func couponOperation(g gateway, cmd Command, token, notifyURL string) operation {
	return operation{
		method:      alipay.MethodRefundCoupon,
		queryMethod: alipay.MethodQueryCouponOperation,
		queryable:   func(n note) bool { return n.OperationID != "" || cmd.OutOrderNo != "" },
		call: func(ctx context.Context) callAnswer {
			resp, err := g.RefundCoupon(ctx, &alipay.CouponRefundRequest{
				AuthNo: cmd.AuthNo, OutRequestNo: cmd.OutRequestNo, Amount: cmd.Amount, Remark: cmd.Remark,
				NotifyURL: notifyURL, AppAuthToken: token,
			})
			if err != nil {
				return callRefused(err)
			}
			return judgeCouponCall(cmd, resp)
		},
		query: func(ctx context.Context, n note) queryAnswer {
			req := &alipay.CouponOperationRequest{AuthNo: cmd.AuthNo, OperationID: n.OperationID, AppAuthToken: token}
			byOrder := n.OperationID == ""
			if byOrder { // the pairs must not be mixed
				req = &alipay.CouponOperationRequest{OutOrderNo: cmd.OutOrderNo, OutRequestNo: cmd.OutRequestNo, AppAuthToken: token}
			}
			resp, err := g.QueryCouponOperation(ctx, req)
			if err != nil {
				a := queryFailed(err)
				if a.Found == foundAbsent && byOrder && !n.OrderNamed {
					a.Found = foundUnproven
				}
				return a
			}
			return judgeCouponQuery(cmd, resp)
		},
	}
}

// judgeCouponCall: only SUCCESS with our numbers and our amount proves that
// the money moved. INIT asks for a query, and so does CLOSED: it is a failure
// only by the query that shows it.
func judgeCouponCall(cmd Command, resp *alipay.CouponRefundResponse) callAnswer {
	if differs(cmd.AuthNo, resp.AuthNo) || differs(cmd.OutRequestNo, resp.OutRequestNo) {
		return callAnswer{Class: alipay.ClassUnknown, Signed: true, Facts: facts{Code: resp.Code, TraceID: resp.TraceID}}
	}
	f := facts{
		Code: resp.Code, TraceID: resp.TraceID, OperationID: resp.OperationID, RefundedAt: alipayTime(resp.GmtTrans),
		OutOrderNo: cmd.named(resp.AuthNo, resp.OutOrderNo),
	}
	moved := resp.Status == alipay.CouponSuccess && resp.Amount != nil && *resp.Amount == cmd.Amount
	return callAnswer{Class: alipay.ClassOK, Signed: true, Moved: moved, Facts: f}
}

// judgeCouponQuery compares a verified answer with the command. A query by a
// wrong number may hit the paying operation: its type must be REFUND, and its
// auth_no ours.
func judgeCouponQuery(cmd Command, resp *alipay.CouponOperationResponse) queryAnswer {
	f := facts{
		Code: resp.Code, TraceID: resp.TraceID, OperationID: resp.OperationID, RefundedAt: alipayTime(resp.GmtTrans),
		OutOrderNo: cmd.named(resp.AuthNo, resp.OutOrderNo),
	}
	if resp.AuthNo != cmd.AuthNo || resp.OperationType != alipay.OperationRefund || differs(cmd.OutRequestNo, resp.OutRequestNo) {
		return queryAnswer{Found: foundNothing, Facts: facts{Code: resp.Code, TraceID: resp.TraceID}}
	}
	switch {
	case resp.Amount == nil:
		return queryAnswer{Found: foundNothing, Facts: f}
	case resp.Status == alipay.CouponSuccess && *resp.Amount != cmd.Amount:
		f.AtAlipay = int64(*resp.Amount)
		return queryAnswer{Found: foundOther, Facts: f}
	case resp.Status == alipay.CouponSuccess:
		return queryAnswer{Found: foundOurs, Facts: f}
	case resp.Status == alipay.CouponClosed:
		return queryAnswer{Found: foundClosed, Facts: f}
	default:
		return queryAnswer{Found: foundPending, Facts: f}
	}
}

// named is the order's number if Alipay named the command's own for its auth_no.
func (c Command) named(authNo, outOrderNo string) string {
	if authNo == c.AuthNo && outOrderNo == c.OutOrderNo {
		return outOrderNo
	}
	return ""
}

func differs(ours, theirs string) bool { return ours != "" && theirs != "" && ours != theirs }
