package simulation

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"refundd/alipay"
	"refundd/consumer"
	"refundd/consumer/history"
)

// gateway is one process's way to Alipay. Each call is one outside act.
type gateway struct{ p *process }

// request is what Alipay is asked.
type request struct {
	method                        string
	kind                          consumer.Kind
	call                          bool
	token, trade, number          string
	amount                        int64
	operation, order              string
	namedTrade, namedAlipaysTrade string // as the request spells them
}

// reply is what came back: one of the answers, or an error.
type reply struct {
	word      string // as an Answer fact has it
	err       *alipay.Error
	refund    *alipay.RefundResponse
	query     *alipay.RefundQueryResponse
	coupon    *alipay.CouponRefundResponse
	operation *alipay.CouponOperationResponse
}

func (g gateway) Refund(ctx context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	r := g.ask(ctx, request{
		method: alipay.MethodRefund, kind: consumer.KindRefund, call: true, token: req.AppAuthToken, number: req.OutRequestNo,
		trade: tradeOf(req.OutTradeNo, req.TradeNo), amount: int64(req.RefundAmount),
		namedTrade: req.OutTradeNo, namedAlipaysTrade: req.TradeNo,
	})
	if r.err != nil {
		return nil, r.err
	}
	return r.refund, nil
}

func (g gateway) QueryRefund(ctx context.Context, req *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error) {
	r := g.ask(ctx, request{
		method: alipay.MethodQueryRefund, kind: consumer.KindRefund, token: req.AppAuthToken, number: req.OutRequestNo,
		trade: tradeOf(req.OutTradeNo, req.TradeNo), namedTrade: req.OutTradeNo, namedAlipaysTrade: req.TradeNo,
	})
	if r.err != nil {
		return nil, r.err
	}
	return r.query, nil
}

func (g gateway) RefundCoupon(ctx context.Context, req *alipay.CouponRefundRequest) (*alipay.CouponRefundResponse, error) {
	r := g.ask(ctx, request{
		method: alipay.MethodRefundCoupon, kind: consumer.KindCouponRefund, call: true, token: req.AppAuthToken,
		number: req.OutRequestNo, trade: req.AuthNo, amount: int64(req.Amount),
	})
	if r.err != nil {
		return nil, r.err
	}
	return r.coupon, nil
}

func (g gateway) QueryCouponOperation(ctx context.Context, req *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error) {
	r := g.ask(ctx, request{
		method: alipay.MethodQueryCouponOperation, kind: consumer.KindCouponRefund, token: req.AppAuthToken,
		number: req.OutRequestNo, trade: req.AuthNo, operation: req.OperationID, order: req.OutOrderNo,
	})
	if r.err != nil {
		return nil, r.err
	}
	return r.operation, nil
}

// tradeOf is the trade's number as all facts spell it. If both are named,
// Alipay's own wins.
func tradeOf(out, alipays string) string {
	if alipays != "" {
		return strings.TrimPrefix(alipays, "A")
	}
	return out
}

// ask sends one request and waits for the answer, for the time of one call.
func (g gateway) ask(ctx context.Context, req request) reply {
	w := g.p.w
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	actor := w.actor(ctx)
	w.mayCall(req, actor)
	f := w.about(req, actor)
	f.Process, f.Call = g.p.name, w.callID(actor)
	if actor[0] == 'd' {
		f.Delivery = actor
	}
	began := f
	began.What, began.Authorised = history.Call, cmp.Or(req.token, "app")
	if !req.call {
		began.Amount = 0
	}
	w.tell(g.p, actor, began)

	var answer reply // which may come when nobody waits any more
	o := &op{proc: g.p, actor: actor, what: f.Method, wire: true}
	o.do = func() { answer = w.bank.answer(o, req) }
	r := unknown(req, context.DeadlineExceeded)
	if w.park(ctx, o) {
		r = answer
	}
	f.What, f.Result, f.Amount = history.Answer, r.word, 0
	if w.unproven(actor, req, r) {
		f.Result = history.Unproven
	}
	if r.err != nil && req.call {
		f.Signed, f.QueryFirst = r.err.Signed, r.err.QueryFirst
	}
	w.tell(g.p, actor, f)
	return r
}

// about is what a request's facts have in common. Which refund it is follows from
// the delivery that asks: a query need not name it.
func (w *world) about(req request, actor string) history.Fact {
	w.mu.Lock()
	defer w.mu.Unlock()
	cmd := w.inHand[actor]
	f := cmd.bare(history.Fact{})
	f.Method, f.Trade, f.Amount = history.MethodQuery, cmd.trade, req.amount
	if req.call {
		f.Method, f.Number, f.Trade = history.MethodRefund, req.number, req.trade
	}
	return f
}

// unproven tells whether an answer that shows no red packet's refund proves nothing,
// because it was asked for by an order that Alipay never named to anybody.
func (w *world) unproven(actor string, req request, r reply) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	cmd := w.inHand[actor]
	key := w.names.Key(cmd.identity()) + " " + cmd.order
	if r.coupon != nil && r.coupon.OutOrderNo == cmd.order || r.operation != nil && r.operation.OutOrderNo == cmd.order {
		w.ordered[key] = true
	}
	return r.word == history.Absent && req.kind == consumer.KindCouponRefund && req.operation == "" && !w.ordered[key]
}

func (w *world) callID(actor string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[actor]++
	return fmt.Sprintf("%s.%d", actor, w.asked[actor])
}

// unknown is a call about which nothing is known.
func unknown(req request, cause error) reply {
	return reply{word: "unknown", err: &alipay.Error{Method: req.method, Class: alipay.ClassUnknown, Err: cause}}
}

// said is an answer with Alipay's codes.
func said(req request, code, sub string, signed bool) reply {
	e := alipay.Refusal(req.method, code, sub, signed)
	word := strings.ReplaceAll(e.Class.String(), " ", "_")
	if !req.call {
		word = "unknown"
		if e.Class == alipay.ClassNotFound && signed {
			word = history.Absent
		}
	}
	return reply{word: word, err: e}
}

// alipayTime is a time as Alipay's answers spell it.
func alipayTime(t time.Time) string {
	return t.In(time.FixedZone("GMT+8", 8*60*60)).Format(time.DateTime)
}
