package consumer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"refundd/alipay"
)

// gateway is Alipay as the flow needs it. Every error is an *alipay.Error.
type gateway interface {
	Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error)
	QueryRefund(ctx context.Context, req *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error)
	RefundCoupon(ctx context.Context, req *alipay.CouponRefundRequest) (*alipay.CouponRefundResponse, error)
	QueryCouponOperation(ctx context.Context, req *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error)
}

// operation is one kind of refund at Alipay, in Decide's words. The flow is
// the same for every kind; what differs is here.
type operation struct {
	method, queryMethod string
	// queryable: there is a way to ask for this refund with what the note knows.
	queryable func(note) bool
	call      func(context.Context) callAnswer
	query     func(context.Context, note) queryAnswer
}

// operationFor gives the command's calls, made for the merchant that token
// authorises ("" is the app's own).
func operationFor(g gateway, cmd Command, token string, add Additions) operation {
	if cmd.Kind == KindCouponRefund {
		return couponOperation(g, cmd, token, add.NotifyURL)
	}
	return refundOperation(g, cmd, token, add.QueryOptions)
}

// Additions is what configuration adds to the calls that commands ask for. It is
// no part of their fingerprints.
type Additions struct {
	// NotifyURL is sent with coupon refunds; "" is none.
	NotifyURL string
	// QueryOptions ask for more in the answers to trade refunds and their queries,
	// where the command asks for nothing; each is sent with the call that knows it.
	QueryOptions []string
}

// askRefundedAt makes a query tell when the money moved.
const askRefundedAt = "gmt_refund_pay"

// known keeps the options that a call knows, each once.
func known(asked, options []string) (all []string) {
	for _, option := range asked {
		if slices.Contains(options, option) && !slices.Contains(all, option) {
			all = append(all, option)
		}
	}
	return all
}

func refundOperation(g gateway, cmd Command, token string, options []string) operation {
	if len(cmd.Refund.QueryOptions) > 0 {
		options = cmd.Refund.QueryOptions
	}
	return operation{
		method:      alipay.MethodRefund,
		queryMethod: alipay.MethodQueryRefund,
		queryable:   func(note) bool { return true },
		call: func(ctx context.Context) callAnswer {
			req := cmd.Refund
			req.AppAuthToken = token
			if len(req.QueryOptions) == 0 { // what the command asks for is sent as it is
				req.QueryOptions = known(options, alipay.RefundOptions())
			}
			resp, err := g.Refund(ctx, &req)
			if err != nil {
				return callRefused(err)
			}
			f := facts{
				Code: resp.Code, TraceID: resp.TraceID, TradeNo: resp.TradeNo, OutTradeNo: resp.OutTradeNo,
				RefundedAt: alipayTime(resp.GmtRefundPay), TotalRefunded: fen(resp.RefundFee), Currency: resp.RefundCurrency,
			}
			if !cmd.sameTrade(resp.TradeNo, resp.OutTradeNo) {
				return callAnswer{Class: alipay.ClassUnknown, Signed: true, Facts: facts{Code: resp.Code, TraceID: resp.TraceID}}
			}
			a := callAnswer{Class: alipay.ClassOK, Signed: true, Moved: resp.FundChange == "Y", Facts: f}
			if a.Moved {
				a.Facts.tell(cmd, resp.Funds)
			}
			return a
		},
		query: func(ctx context.Context, _ note) queryAnswer {
			resp, err := g.QueryRefund(ctx, &alipay.RefundQueryRequest{
				OutTradeNo: cmd.OutTradeNo, TradeNo: cmd.TradeNo, OutRequestNo: cmd.OutRequestNo,
				QueryOptions: known(append([]string{askRefundedAt}, options...), alipay.RefundQueryOptions()), AppAuthToken: token,
			})
			if err != nil {
				return queryFailed(err)
			}
			return judgeRefundQuery(cmd, resp)
		},
	}
}

const statusRefundSuccess = "REFUND_SUCCESS"

// judgeRefundQuery compares a verified 10000 answer with the command
// (facts: 10000 alone says only that the query worked).
func judgeRefundQuery(cmd Command, resp *alipay.RefundQueryResponse) queryAnswer {
	f := facts{
		Code: resp.Code, TraceID: resp.TraceID, TradeNo: resp.TradeNo, OutTradeNo: resp.OutTradeNo,
		RefundedAt: alipayTime(resp.GmtRefundPay),
	}
	numberOurs := resp.OutRequestNo == cmd.OutRequestNo
	switch {
	case !cmd.sameTrade(resp.TradeNo, resp.OutTradeNo) || (resp.OutRequestNo != "" && !numberOurs):
		return queryAnswer{Found: foundNothing, Facts: facts{Code: resp.Code, TraceID: resp.TraceID}}
	case resp.RefundStatus == "" && resp.RefundAmount == nil:
		return queryAnswer{Found: foundAbsent, Facts: f}
	case resp.RefundAmount == nil || !numberOurs:
		return queryAnswer{Found: foundNothing, Facts: f}
	case resp.RefundStatus == statusRefundSuccess && *resp.RefundAmount != cmd.Amount:
		f.AtAlipay = int64(*resp.RefundAmount)
		return queryAnswer{Found: foundOther, Facts: f}
	case resp.RefundStatus == statusRefundSuccess:
		f.tell(cmd, resp.Funds)
		return queryAnswer{Found: foundOurs, Facts: f}
	case resp.RefundStatus == "" && *resp.RefundAmount == cmd.Amount:
		f.tell(cmd, resp.Funds)
		return queryAnswer{Found: foundOldForm, Facts: f}
	default:
		return queryAnswer{Found: foundPending, Facts: f}
	}
}

// tell adds where the money went to the facts of an answer that proves that it did.
func (f *facts) tell(cmd Command, funds alipay.Funds) {
	told, leftOut := fundsOf(funds, cmd.Refund.RefundRoyaltyParameters)
	f.Funds, f.LeftOut = told, strings.Join(leftOut, ",")
}

// callRefused is the answer of a call that was not a verified 10000. An error
// that is not Alipay's own is unknown, the safe reading.
func callRefused(err error) callAnswer {
	e, ok := errors.AsType[*alipay.Error](err)
	if !ok {
		return callAnswer{Class: alipay.ClassUnknown, Err: err}
	}
	return callAnswer{Class: e.Class, Signed: e.Signed, QueryFirst: e.QueryFirst, Facts: errorFacts(e), Err: err}
}

func queryFailed(err error) queryAnswer {
	e, ok := errors.AsType[*alipay.Error](err)
	if !ok {
		return queryAnswer{Found: foundNothing, Err: err}
	}
	a := queryAnswer{Found: foundNothing, Facts: errorFacts(e), Err: err}
	switch e.Class {
	case alipay.ClassNotFound:
		if e.Signed {
			a.Found = foundAbsent
		}
	case alipay.ClassBlockedConfiguration:
		a.Found = foundConfig
	case alipay.ClassLimited:
		a.Found = foundLimited
	case alipay.ClassUnknown, alipay.ClassOK, alipay.ClassNotSent, alipay.ClassBlockedMerchant,
		alipay.ClassRefused, alipay.ClassConflict:
	}
	return a
}

func errorFacts(e *alipay.Error) facts {
	return facts{Code: e.Code, SubCode: e.SubCode, SubMsg: e.SubMsg, TraceID: e.TraceID}
}

// sameTrade tells whether the trade numbers of an answer are the command's.
// A number that either side does not name says nothing.
func (c Command) sameTrade(tradeNo, outTradeNo string) bool {
	return !differs(c.TradeNo, tradeNo) && !differs(c.OutTradeNo, outTradeNo)
}

// alipayTime turns Alipay's local time (GMT+8) into RFC 3339; "" if it is
// absent or not a time.
func alipayTime(s string) string {
	zone := time.FixedZone("GMT+8", 8*60*60)
	t, err := time.ParseInLocation("2006-01-02 15:04:05", s, zone)
	if err != nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func fen(a *alipay.Amount) *int64 {
	if a == nil {
		return nil
	}
	f := int64(*a)
	return &f
}
