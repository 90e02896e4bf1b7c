package simulation

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"refundd/alipay"
	"refundd/consumer"
	"refundd/consumer/history"
)

// bank is Alipay: a ledger that is always right, and answers that are not always
// given. Its refusals are lasting, as a definite refusal's are: what is refused now
// is refused later.
type bank struct {
	w          *world
	trades     map[string]*trade
	called     map[string]int // calls of each number
	operations int
	calls      int
	forced     string // a story's fault for this call
}

// trade is a trade or a red packet that was paid.
type trade struct {
	name       string // of the trade
	owner      string // merchant
	kind       consumer.Kind
	paid, back int64
	refuses    string // with this sub_code, whatever is asked
	refunds    map[string]*refund
}

// refund is what the bank knows of one number.
type refund struct {
	amount    int64
	status    string // alipay.CouponInit, CouponSuccess or CouponClosed
	at        time.Time
	visible   time.Time // for queries
	hidden    bool      // no query may show nothing although it is visible: one has, or its call was refused
	operation string
}

// lateMost is how late a request may still arrive, or a refund become visible, behind
// the end of its call. It is below queryAfter, or R3 would not hold.
const lateMost = 9 * time.Second

func (b *bank) open(w *world) { b.w, b.trades, b.called = w, map[string]*trade{}, map[string]int{} }

// seller is whose authorisation a token is. A new one of a merchant is for another
// account at Alipay, which has none of the former's trades.
func seller(token string) string {
	for _, name := range []string{"shop", "mall"} {
		if token == firstToken(name) {
			return name
		}
	}
	return token
}

func firstToken(merchant string) string { return "token-" + merchant + "-1" }

func (b *bank) key(kind consumer.Kind, seller, trade string) string {
	return string(kind) + " " + seller + " " + trade
}

func (b *bank) numberOf(req request) string {
	return b.key(req.kind, seller(req.token), req.trade) + " " + req.number
}

// pay makes the command's trade exist, with a sum that may not be enough for all.
func (b *bank) pay(cmd command) {
	key := b.key(cmd.kind, cmd.merchant, cmd.trade)
	if cmd.number == "" || b.trades[key] != nil {
		return
	}
	t := &trade{
		name: cmd.trade, owner: cmd.merchant, kind: cmd.kind, paid: 100_000, refuses: b.w.opts.refuses, refunds: map[string]*refund{},
	}
	if !b.w.opts.mute {
		t.paid = int64(500 + 100*b.w.rng.IntN(60))
		if b.w.rng.IntN(8) == 0 {
			t.refuses = "ACQ.TRADE_STATUS_ERROR"
			if cmd.kind == consumer.KindCouponRefund {
				t.refuses = "ILLEGAL_ARGUMENT"
			}
		}
		if b.w.rng.IntN(20) == 0 {
			return // it does not exist
		}
	}
	b.trades[key] = t
	b.w.fact(history.Fact{What: history.Trade, AppID: appID, Merchant: cmd.merchant, Kind: string(cmd.kind), Trade: cmd.trade, Amount: t.paid})
}

// meets draws whether a call or a query meets a fault.
func (b *bank) meets(name, on string, probability float64) bool {
	if b.forced == name {
		b.forced = ""
		b.w.happened(name, on)
		return true
	}
	return b.w.fault(name, on, probability)
}

var (
	errGateway   = errors.New("status 502")
	errForged    = errors.New("signature does not fit")
	errUnwritten = errors.New("connection refused: no byte")
)

// answer carries one request out.
func (b *bank) answer(o *op, req request) reply {
	on := o.what
	b.forced = ""
	if req.call {
		b.called[b.numberOf(req)]++
		b.calls++
		if b.calls <= len(b.w.opts.answers) {
			b.forced = b.w.opts.answers[b.calls-1]
		}
	}
	t := b.trades[b.key(req.kind, seller(req.token), req.trade)]
	if req.call && t != nil && t.refunds[req.number] != nil {
		on = "repeated " + on
	}
	if r, instead := b.before(req, on); instead {
		return r
	}
	var r reply
	switch {
	case req.call && req.kind == consumer.KindRefund:
		r = b.refund(o, req, t, on)
	case req.call:
		r = b.coupon(o, req, t, on)
	case req.kind == consumer.KindRefund:
		r = b.query(req, t, on)
	default:
		r = b.operation(req, on)
	}
	if instead, spoilt := b.after(req, on); spoilt {
		if done := t.of(req.number); done != nil && instead.word == history.Refused {
			done.hidden = true // Alipay does not lie twice about one refund
		}
		return instead
	}
	return r
}

// of is what is known of a number.
func (t *trade) of(number string) *refund {
	if t == nil {
		return nil
	}
	return t.refunds[number]
}

// codes are how the calls of a kind spell the prefix of a sub_code, a definite refusal,
// one that may mean "already done", and an account that has to be mended.
func codes(kind consumer.Kind) (prefix, refusal, already, account string) {
	if kind == consumer.KindCouponRefund {
		return "", "ILLEGAL_ARGUMENT", "MONEY_NOT_ENOUGH", "ENTERPRISE_PAY_BIZ_ERROR"
	}
	return "ACQ.", "ACQ.TRADE_STATUS_ERROR", "ACQ.TRADE_HAS_CLOSE", "ACQ.SELLER_BALANCE_NOT_ENOUGH"
}

// before are the faults of a request that was not executed.
func (b *bank) before(req request, on string) (reply, bool) {
	business, refusal, _, funds := codes(req.kind)
	switch {
	case b.w.tooMany(on):
		return said(req, "40005", "isv.app-call-limited", true), true
	case b.meets("request lost", on, 0.02):
		return unknown(req, errReset), true
	case req.call && b.meets("not sent", on, 0.01):
		return reply{word: "not_sent", err: &alipay.Error{Method: req.method, Class: alipay.ClassNotSent, Err: errUnwritten}}, true
	case b.meets("throttled", on, 0.005):
		return said(req, "40005", "isv.app-call-limited", true), true
	case b.meets("SYSTEM_ERROR before", on, 0.015):
		return said(req, "40004", business+"SYSTEM_ERROR", true), true
	case b.meets("20000 before", on, 0.01):
		return said(req, "20000", "isp.unknow-error", true), true
	case b.meets("no permission", on, 0.005):
		return said(req, "40006", "isv.insufficient-isv-permissions", true), true
	case req.token != "" && b.meets("authorisation refused", on, 0.01):
		return said(req, "20001", "aop.invalid-app-auth-token", true), true
	case req.token != "" && b.meets("merchant throttled", on, 0.01):
		return said(req, "40005", "isv.app-auth-invoke-limit", true), true
	case b.meets("unsigned no permission", on, 0.005):
		return said(req, "40006", "isv.insufficient-isv-permissions", false), true
	case b.meets("an unknown code", on, 0.005):
		return said(req, "40004", business+"SOMETHING_NEW", true), true
	case req.call && b.meets("no funds", on, 0.01):
		return said(req, "40004", funds, true), true
	case req.call && b.meets("an unsigned refusal", on, 0.015):
		return said(req, "40004", refusal, false), true
	case req.method == alipay.MethodRefund && b.meets("10000 and not done", on, 0.01):
		return reply{word: "ok", refund: &alipay.RefundResponse{
			Code: "10000", TradeNo: alipays(req.trade), OutTradeNo: req.trade, FundChange: "N", RefundFee: amount(0),
		}}, true
	case req.method == alipay.MethodRefund && b.meets("somebody else's answer", on, 0.01):
		return reply{word: "unknown", refund: &alipay.RefundResponse{
			Code: "10000", TradeNo: "A-other", OutTradeNo: "other", FundChange: "Y", RefundFee: amount(req.amount),
		}}, true
	case req.method == alipay.MethodQueryRefund && b.meets("somebody else's answer", on, 0.01):
		return reply{word: "unknown", query: &alipay.RefundQueryResponse{
			Code: "10000", TradeNo: "A-other", OutTradeNo: "other", OutRequestNo: req.number,
			RefundAmount: amount(100), RefundStatus: alipay.RefundStatusSuccess,
		}}, true
	}
	return reply{}, false
}

// after are the faults of an answer whose request was executed.
func (b *bank) after(req request, on string) (reply, bool) {
	business, refusal, already, _ := codes(req.kind)
	number := b.numberOf(req)
	switch {
	case b.meets("answer lost", on, 0.04):
		return unknown(req, errReset), true
	case b.meets("502", on, 0.01):
		return unknown(req, errGateway), true
	case b.meets("bad signature", on, 0.01):
		return unknown(req, errForged), true
	case req.call && b.meets("SYSTEM_ERROR after", on, 0.015):
		return said(req, "40004", business+"SYSTEM_ERROR", true), true
	case req.call && b.meets("done, and an unsigned refusal", on, 0.015):
		return said(req, "40004", refusal, false), true
	case req.call && b.called[number] == 1 && b.meets("done, and refused as done already", on, 0.015):
		return said(req, "40004", already, true), true
	case req.call && b.meets("10003", on, 0.005):
		return said(req, "10003", "", true), true
	}
	return reply{}, false
}

func amount(fen int64) *alipay.Amount { return new(alipay.Amount(fen)) }

// refund is alipay.trade.refund.
func (b *bank) refund(o *op, req request, t *trade, on string) reply {
	switch {
	case t == nil:
		return said(req, "40004", "ACQ.TRADE_NOT_EXIST", true)
	case t.refuses != "":
		return said(req, "40004", t.refuses, true)
	}
	ok := func(change string) reply {
		return reply{word: "ok", refund: &alipay.RefundResponse{
			Code: "10000", TradeNo: alipays(t.name), OutTradeNo: t.name, FundChange: change, RefundFee: amount(t.back),
			GmtRefundPay: alipayTime(time.Now()),
		}}
	}
	if done := t.refunds[req.number]; done != nil {
		switch {
		case done.amount != req.amount:
			return said(req, "40004", "ACQ.DISCORDANT_REPEAT_REQUEST", true)
		case b.meets("refused as done already", on, 0.15):
			return said(req, "40004", "ACQ.TRADE_HAS_CLOSE", true)
		}
		return ok("N")
	}
	if t.back+req.amount > t.paid {
		return said(req, "40004", "ACQ.REASON_TRADE_REFUND_FEE_ERR", true)
	}
	now := time.Now()
	t.refunds[req.number] = &refund{amount: req.amount, status: alipay.CouponSuccess, at: now, visible: now.Add(b.lag(o, on))}
	b.move(t, req.number, req.amount)
	if b.meets("fund_change missing", on, 0.01) {
		return ok("")
	}
	return ok("Y")
}

// lag is how long a refund stays invisible to queries.
func (b *bank) lag(o *op, on string) time.Duration {
	if o.gone || o.proc.dead || !b.meets("query lag", on, 0.2) {
		return 0
	}
	return time.Duration(b.w.rng.Int64N(int64(lateMost)))
}

// move writes the ledger.
func (b *bank) move(t *trade, number string, fen int64) {
	t.back += fen
	f := history.Fact{
		What: history.Money, AppID: appID, Merchant: t.owner, Kind: string(t.kind), Number: number, Trade: t.name, Amount: fen,
	}
	b.w.fact(f)
}

// query is alipay.trade.fastpay.refund.query.
func (b *bank) query(req request, t *trade, on string) reply {
	if t == nil {
		return said(req, "40004", []string{"ACQ.TRADE_NOT_EXIST", "TRADE_NOT_EXIST"}[b.w.rng.IntN(2)], true)
	}
	resp := &alipay.RefundQueryResponse{Code: "10000"}
	r := t.refunds[req.number]
	switch {
	case r == nil || r.visible.After(time.Now()):
		return reply{word: history.Absent, query: resp}
	case !r.hidden && b.meets("found nothing although there", on, 0.03):
		r.hidden = true
		return reply{word: history.Absent, query: resp}
	}
	resp.TradeNo, resp.OutTradeNo, resp.OutRequestNo = alipays(t.name), t.name, req.number
	resp.RefundAmount, resp.GmtRefundPay = amount(r.amount), alipayTime(r.at)
	word := "ours"
	switch {
	case b.meets("the form without a status", on, 0.03):
		word = "unknown"
	case b.meets("another number's answer", on, 0.01):
		resp.OutRequestNo, word = req.number+"0", "unknown"
		resp.RefundStatus = alipay.RefundStatusSuccess
	default:
		resp.RefundStatus = alipay.RefundStatusSuccess
	}
	return reply{word: word, query: resp}
}

// coupon is alipay.fund.coupon.order.refund.
func (b *bank) coupon(o *op, req request, t *trade, on string) reply {
	switch {
	case t == nil:
		return said(req, "40004", "AUTH_ORDER_NOT_EXIST", true)
	case t.refuses != "":
		return said(req, "40004", t.refuses, true)
	}
	done := t.refunds[req.number]
	if done != nil {
		if done.amount != req.amount || b.meets("UNIQUE_VIOLATION", on, 0.5) {
			return said(req, "40004", "UNIQUE_VIOLATION", true)
		}
		return b.couponAnswer(t, req.number, done, on)
	}
	if t.back+t.promised()+req.amount > t.paid {
		return said(req, "40004", "MONEY_NOT_ENOUGH", true)
	}
	b.operations++
	now := time.Now()
	done = &refund{
		amount: req.amount, status: alipay.CouponInit, at: now, visible: now.Add(b.lag(o, on)),
		operation: fmt.Sprintf("OP%d", b.operations),
	}
	t.refunds[req.number] = done
	closes := b.meets("INIT, then CLOSED", on, 0.06)
	if closes || b.meets("INIT, then SUCCESS", on, 0.15) {
		b.w.later(time.Duration(1+b.w.rng.IntN(300))*time.Second, func() { b.end(t, req.number, done, !closes) })
	} else {
		b.end(t, req.number, done, true)
	}
	return b.couponAnswer(t, req.number, done, on)
}

// promised is what is accepted and has not moved.
func (t *trade) promised() int64 {
	var sum int64
	for _, r := range t.refunds {
		if r.status == alipay.CouponInit {
			sum += r.amount
		}
	}
	return sum
}

// end decides a red packet's refund.
func (b *bank) end(t *trade, number string, r *refund, moves bool) {
	r.status = alipay.CouponClosed
	if moves {
		r.status = alipay.CouponSuccess
		b.move(t, number, r.amount)
	}
}

func (b *bank) couponAnswer(t *trade, number string, r *refund, on string) reply {
	resp := &alipay.CouponRefundResponse{
		Code: "10000", AuthNo: t.name, OutOrderNo: "O" + t.name, OperationID: r.operation, OutRequestNo: number,
		Amount: amount(r.amount), Status: r.status, GmtTrans: alipayTime(r.at),
	}
	if b.meets("out_order_no missing", on, 0.1) {
		resp.OutOrderNo = ""
	}
	return reply{word: strings.ToLower(r.status), coupon: resp}
}

// operation is alipay.fund.coupon.operation.query.
func (b *bank) operation(req request, on string) reply {
	t, number, r := b.find(req)
	if r == nil || r.visible.After(time.Now()) {
		return said(req, "40004", "AUTH_OPERATION_NOT_EXIST", true)
	}
	if !r.hidden && b.meets("found nothing although there", on, 0.03) {
		r.hidden = true
		return said(req, "40004", "AUTH_OPERATION_NOT_EXIST", true)
	}
	resp := &alipay.CouponOperationResponse{
		Code: "10000", AuthNo: t.name, OutOrderNo: "O" + t.name, OperationID: r.operation, OutRequestNo: number,
		OperationType: alipay.OperationRefund, Amount: amount(r.amount), Status: r.status, GmtTrans: alipayTime(r.at),
	}
	if b.meets("the payment found instead", on, 0.02) {
		resp.OperationType, resp.Status = "PAY", alipay.CouponSuccess
		return reply{word: "unknown", operation: resp}
	}
	word := map[string]string{alipay.CouponInit: "pending", alipay.CouponSuccess: "ours", alipay.CouponClosed: history.Closed}[r.status]
	return reply{word: word, operation: resp}
}

// find looks a red packet's refund up in one of the two ways to ask.
func (b *bank) find(req request) (*trade, string, *refund) {
	if req.operation == "" {
		t := b.trades[b.key(req.kind, seller(req.token), strings.TrimPrefix(req.order, "O"))]
		if t == nil || !strings.HasPrefix(req.order, "O") {
			return nil, "", nil
		}
		return t, req.number, t.refunds[req.number]
	}
	t := b.trades[b.key(req.kind, seller(req.token), req.trade)]
	if t == nil {
		return nil, "", nil
	}
	for number, r := range t.refunds {
		if r.operation == req.operation {
			return t, number, r
		}
	}
	return nil, "", nil
}
