package alipaytest

import (
	"cmp"
	"context"
	"time"
)

// faultMenu is the fault menu as data: the names and sentences are its
// documentation, printed by alipaysim -faults help.
func faultMenu() []fault {
	menu := []fault{
		{
			name: "answer-lost-before", doc: "nothing is done; the connection is held for a while, then closed without an answer",
			on: anyRefund, instead: say(answer{delivery: lost}),
		},
		{
			name: "answer-lost-after", doc: "the money moves; the connection is held for a while, then closed without an answer",
			on: anyRefund, after: deliver(lost),
		},
		{
			name: "reset-before", doc: "nothing is done; the connection is reset",
			on: anyRefund, instead: say(answer{delivery: reset}),
		},
		{
			name: "reset-after", doc: "the money moves; the connection is reset",
			on: anyRefund, after: deliver(reset),
		},
		{
			name: "timeout-before", doc: "nothing is done; no answer until the client goes away",
			on: anyRefund, instead: say(answer{delivery: silent}),
		},
		{
			name: "timeout-after", doc: "the money moves; no answer until the client goes away",
			on: anyRefund, after: deliver(silent),
		},
		{
			name: "late", doc: "the connection is reset; the money moves some time later, if no replay was faster",
			on: anyRefund, yields: true, instead: moneyLate,
		},
		{
			name: "system-error-before", doc: "nothing is done; a signed SYSTEM_ERROR",
			on: anyRefund, instead: systemError,
		},
		{
			name: "system-error-after", doc: "the money moves; a signed SYSTEM_ERROR",
			on: anyRefund, after: replaceBy(systemError),
		},
		{
			name: "gw-20000-before", doc: "nothing is done; gateway code 20000, isp.unknow-error or aop.ACQ.SYSTEM_ERROR, signed or not",
			on: anyRefund, instead: unavailable,
		},
		{
			name: "gw-20000-after", doc: "the money moves; gateway code 20000, as above",
			on: anyRefund, after: replaceBy(unavailable),
		},
		{
			name: "html-502-before", doc: "nothing is done; HTTP 502 with an HTML page",
			on: anyRefund, instead: say(answer{delivery: badGateway}),
		},
		{
			name: "html-502-after", doc: "the money moves; HTTP 502 with an HTML page",
			on: anyRefund, after: deliver(badGateway),
		},
		{
			name: "no-sign", doc: "the success is answered without a signature",
			on: anyRefund, after: onSuccess(func(a *answer) { a.signature = noSignature }),
		},
		{
			name: "bad-sign", doc: "the success is answered with a signature of something else",
			on: anyRefund, after: onSuccess(func(a *answer) { a.signature = badSignature }),
		},
		{
			name: "truncated", doc: "the money moves; half of the answer arrives, its length announced in full or not",
			on: anyRefund, after: truncate,
		},
		{
			name: "slow-drip", doc: "the money moves; the whole answer arrives, a few bytes at a time",
			on: anyRefund, after: deliver(dripping),
		},
		{
			name: "success-gbk", doc: "the money moves; the success is in GBK",
			on: anyRefund, after: onSuccess(func(a *answer) { a.msg, a.gbk = chinese, true }),
		},
		{
			name: "limited", doc: "for a while: 40005 isv.app-call-limited, nothing is done",
			on: anyRefund, span: while, instead: say(gateway("40005", "isv.app-call-limited", "应用调用次数超限")),
		},
		{
			name: "limited-auth", doc: "for a while: 40005 isv.app-auth-invoke-limit, one merchant's authorisation, nothing is done",
			on: anyRefund, span: while, instead: say(gateway("40005", "isv.app-auth-invoke-limit", "应用授权调用次数超限")),
		},
		{
			name: "balance", doc: "for a while: the merchant's balance is not enough (SELLER_BALANCE_NOT_ENOUGH)",
			on: refundOp, span: while, yields: true, instead: code("SELLER_BALANCE_NOT_ENOUGH", ""),
		},
		{
			name: "frozen", doc: "for ever, until healed: REASON_TRADE_BEEN_FREEZEN (for coupons ENTERPRISE_PAY_BIZ_ERROR)",
			on: anyRefund, span: forEver, yields: true, instead: code("REASON_TRADE_BEEN_FREEZEN", "ENTERPRISE_PAY_BIZ_ERROR"),
		},
		{
			name: "config", doc: "for a while: 40002 isv.invalid-signature, unsigned, nothing is done",
			on: anyRefund, span: while, instead: say(gateway("40002", "isv.invalid-signature", "验签出错").unsigned()),
		},
		{
			name: "config-auth", doc: "for a while: 20001 aop.invalid-app-auth-token, signed, nothing is done",
			on: anyRefund, span: while, instead: say(gateway("20001", "aop.invalid-app-auth-token", "无效的应用授权令牌")),
		},
		{
			name: "unknown-code", doc: "the money moves; a signed 40004 with a sub_code that no table has",
			on: anyRefund, after: replaceBy(code("BRAND_NEW_STATE", "BRAND_NEW_STATE")),
		},
		{
			name: "discordant", doc: "somebody used the number with another amount before: DISCORDANT_REPEAT_REQUEST, and queries show that amount",
			on: refundOp, span: forEver, yields: true, instead: discordant,
		},
		{
			name: "fund-change-missing", doc: "the money moves; the success lacks fund_change",
			on: refundOp, after: onMember("fund_change", func(a *answer) { a.fields = a.fields.without("fund_change") }),
		},
		{
			name: "wrong-trade", doc: "the money moves; the success names another trade (or red packet)",
			on: anyRefund, after: wrongTrade,
		},
		{
			name: "query-empty", doc: "for a while: queries do not show the refund, although its money moved",
			on: anyQuery, span: while, after: hide,
		},
		{
			name: "query-old-form", doc: "queries show the refund in the form of 2019, without refund_status",
			on: queryOp, span: forEver, after: onMember("refund_status", func(a *answer) { a.fields = a.fields.without("refund_status") }),
		},
		{
			name: "query-wrong-amount", doc: "one query shows the refund with another amount",
			on: anyQuery, after: wrongAmount,
		},
		{
			name: "query-bad-sign", doc: "one query is answered with a signature of something else",
			on: anyQuery, after: onSuccess(func(a *answer) { a.signature = badSignature }),
		},
		{
			name: "query-no-sign", doc: "one query is answered without a signature",
			on: anyQuery, after: onSuccess(func(a *answer) { a.signature = noSignature }),
		},
		{
			name: "query-gbk", doc: "queries show the refund in GBK, with a reason in Chinese",
			on: anyQuery, span: forEver, after: foundInGBK,
		},
		{
			name: "query-system-error", doc: "for a while: queries are answered by SYSTEM_ERROR",
			on: anyQuery, span: while, instead: systemError,
		},
		{
			name: "query-limited", doc: "for a while: queries are answered by 40005 isv.method-call-limited",
			on: anyQuery, span: while, instead: say(gateway("40005", "isv.method-call-limited", "接口调用次数超限")),
		},
		{
			name: "query-lost", doc: "one query gets no answer; the connection is held for a while, then closed",
			on: anyQuery, after: deliver(lost),
		},
		{
			name: "coupon-init", doc: "a coupon refund is accepted with status INIT and becomes SUCCESS some time later",
			on: couponOp, yields: true, instead: accept(false),
		},
		{
			name: "coupon-closed", doc: "a coupon refund is accepted with status INIT and becomes CLOSED some time later, for ever",
			on: couponOp, yields: true, instead: accept(true),
		},
		{
			name: "coupon-10003", doc: "the money moves; a coupon refund is answered by a signed 10003",
			on: couponOp, after: inProcess,
		},
		{
			name: "coupon-unique-violation", doc: "replays of a coupon refund are answered by UNIQUE_VIOLATION",
			on: couponOp, span: forEver, after: repeated,
		},
		{
			name: "query-pay-operation", doc: "one operation query shows the operation that paid the red packet",
			on: operationOp, after: showPayment,
		},
		{
			name: "notify-never", doc: "the refund is never notified",
			on: noticeOp, notice: func(n *notice) { n.copies = 0 },
		},
		{
			name: "notify-twice", doc: "the refund is notified twice at once",
			on: noticeOp, notice: func(n *notice) { n.copies = 2 },
		},
		{
			name: "notify-bad-sign", doc: "the refund is notified with a signature of something else, at every delivery",
			on: noticeOp, notice: func(n *notice) { n.forged = true },
		},
		{
			name: "deposit-bounced", doc: "the bank refuses the refund: deposit_back_info and its notification say F",
			on: refundOp, after: bounce,
		},
		{
			name: "refused-unsigned", doc: "for ever: TRADE_STATUS_ERROR (for coupons ILLEGAL_ARGUMENT) without a signature",
			on: anyRefund, span: forEver, yields: true, instead: refuse("TRADE_STATUS_ERROR", "ILLEGAL_ARGUMENT", noSignature),
		},
		{
			name: "refused-gbk", doc: "for ever, even when healed: TRADE_STATUS_ERROR (for coupons ILLEGAL_ARGUMENT) in GBK, explained in Chinese",
			on: anyRefund, span: forEver, yields: true, instead: refuseInGBK,
		},
	}
	for _, refusal := range refusals() {
		menu = append(menu, fault{
			name: "refused-" + refusal.code, doc: "for ever, even when healed: " + refusal.doc,
			on: refusal.on, span: forEver, yields: true, instead: refuse(refusal.code, refusal.code, goodSignature),
		})
	}
	return menu
}

type refusalInfo struct {
	code, doc string
	on        op
}

// refusals are the definite refusals of the menu. Those marked "may mean done"
// are what Alipay also says when the refund was carried out before.
func refusals() []refusalInfo {
	return []refusalInfo{
		{"TRADE_STATUS_ERROR", "a definite refusal", refundOp},
		{"TRADE_NOT_ALLOW_REFUND", "a definite refusal", refundOp},
		{"NOT_ALLOW_PARTIAL_REFUND", "a definite refusal", refundOp},
		{"ONLINE_TRADE_VOUCHER_NOT_ALLOW_REFUND", "a definite refusal", refundOp},
		{"BUYER_NOT_EXIST", "a definite refusal", refundOp},
		{"CURRENCY_NOT_SUPPORT", "a definite refusal", refundOp},
		{"INVALID_PARAMETER", "a definite refusal", refundOp},
		{"TRADE_HAS_FINISHED", "a refusal that may mean done", refundOp},
		{"TRADE_HAS_CLOSE", "a refusal that may mean done", refundOp},
		{"REFUND_FEE_ERROR", "a refusal that may mean done", refundOp},
		{"REASON_TRADE_STATUS_INVALID", "a refusal that may mean done", refundOp},
		{"ILLEGAL_ARGUMENT", "a definite refusal of a coupon refund", couponOp},
		{"AUTH_ORDER_NOT_EXIST", "a definite refusal of a coupon refund", couponOp},
		{"MONEY_NOT_ENOUGH", "a refusal of a coupon refund that may mean done", couponOp},
	}
}

// say answers in the place of Alipay.
func say(a answer) func(*scene) answer { return func(*scene) answer { return a } }

// code answers a business failure: one sub_code for trades, one for coupons.
func code(trade, coupon string) func(*scene) answer {
	return func(sc *scene) answer {
		if sc.c.spec.op&(couponOp|operationOp) != 0 {
			return business(coupon, "the request cannot be carried out")
		}
		return business("ACQ."+trade, "the request cannot be carried out")
	}
}

// refuse writes the refusal down, so that the number stays refused.
func refuse(trade, coupon string, sig signature) func(*scene) answer {
	return func(sc *scene) answer {
		sc.e.amount = sc.amount
		sc.e.refused = trade
		if sc.c.spec.op == couponOp {
			sc.e.refused = coupon
		}
		a := code(trade, coupon)(sc)
		a.signature = sig
		return a
	}
}

// chinese ends in a character whose last byte is a backslash in GBK, a trap for
// whoever looks for the closing quote byte by byte.
const chinese = "订单状态不允许退款：貨物已起運"

func refuseInGBK(sc *scene) answer {
	a := refuse("TRADE_STATUS_ERROR", "ILLEGAL_ARGUMENT", goodSignature)(sc)
	a.subMsg, a.gbk = chinese, true
	return a
}

func foundInGBK(sc *scene, a *answer) bool {
	if a.code != "10000" || sc.e.moved == 0 {
		return false
	}
	name := "refund_reason"
	if sc.c.spec.op == operationOp {
		name = "remark"
	}
	a.fields = append(a.fields.without(name), member{name, chinese})
	a.gbk = true
	return true
}

func systemError(sc *scene) answer { return code("SYSTEM_ERROR", "SYSTEM_ERROR")(sc) }

func unavailable(sc *scene) answer {
	a := gateway("20000", "isp.unknow-error", "系统繁忙")
	if sc.c.draw&1 != 0 {
		a.subCode = "aop.ACQ.SYSTEM_ERROR"
	}
	if sc.c.draw&2 != 0 {
		a.signature = noSignature
	}
	return a
}

// moneyLate accepts the refund silently; see ledger.arrive.
func moneyLate(sc *scene) answer {
	sc.s.delay(sc)
	return answer{delivery: reset}
}

// delay puts the money on its way. An errand looks after it, because nobody may
// ask again and the notification must go out.
func (s *Server) delay(sc *scene) {
	sc.e.amount, sc.e.due = sc.amount, s.now().Add(s.cfg.LateBy)
	sc.e.order.late = append(sc.e.order.late, sc.e)
	s.errands.after(s.cfg.LateBy, func(context.Context) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ledger.arrive(sc.e.order, s.now())
		s.notifyMoved()
	})
}

// bounce lets the bank refuse the money that has just moved.
func bounce(sc *scene, a *answer) bool {
	if a.code != "10000" || sc.e.moved == 0 {
		return false
	}
	sc.e.bounced = true
	return true
}

// discordant moves the money of somebody else's refund under this number, one
// fen more or less than what is asked for now.
func discordant(sc *scene) answer {
	other := sc.amount + 1
	if sc.e.order.refunded+other > sc.e.order.total {
		other = sc.amount - 1
	}
	if refusal := sc.s.ledger.refusal(sc.e, other); refusal != "" || other < 1 {
		return business("ACQ."+cmp.Or(refusal, "SYSTEM_ERROR"), "the request cannot be carried out")
	}
	sc.s.ledger.move(sc.e, other, sc.s.now().Add(-time.Hour))
	return business("ACQ.DISCORDANT_REPEAT_REQUEST", "退款请求号重复且金额不一致")
}

// deliver changes what happens to the bytes, whatever they say.
func deliver(d delivery) func(*scene, *answer) bool {
	return func(_ *scene, a *answer) bool {
		a.delivery = d
		return true
	}
}

// replaceBy puts another answer over a success.
func replaceBy(instead func(*scene) answer) func(*scene, *answer) bool {
	return func(sc *scene, a *answer) bool {
		if a.code != "10000" {
			return false
		}
		*a = instead(sc)
		return true
	}
}

func onSuccess(change func(*answer)) func(*scene, *answer) bool {
	return func(_ *scene, a *answer) bool {
		if a.code != "10000" {
			return false
		}
		change(a)
		return true
	}
}

func onMember(name string, change func(*answer)) func(*scene, *answer) bool {
	return func(_ *scene, a *answer) bool {
		if a.fields.value(name) == nil {
			return false
		}
		change(a)
		return true
	}
}

func truncate(sc *scene, a *answer) bool {
	a.delivery = cutBody
	if sc.c.draw&1 != 0 {
		a.delivery = cutJSON
	}
	return true
}

func wrongTrade(sc *scene, a *answer) bool {
	if a.code != "10000" {
		return false
	}
	a.fields = a.fields.with("trade_no", TradeNo("another "+sc.e.order.no)).
		with("out_trade_no", "another").
		with("auth_no", TradeNo("another "+sc.e.order.no)).
		with("out_order_no", "another")
	return true
}

func hide(sc *scene, a *answer) bool {
	if a.code != "10000" || sc.e.moved == 0 {
		return false
	}
	if sc.c.spec.op == operationOp {
		*a = business("AUTH_OPERATION_NOT_EXIST", "the operation does not exist")
		return true
	}
	*a = absent(sc.e.order, sc.c.draw)
	return true
}

func wrongAmount(sc *scene, a *answer) bool {
	if a.code != "10000" || sc.e.moved == 0 {
		return false
	}
	other := FormatYuan(sc.e.amount + 1)
	a.fields = a.fields.with("refund_amount", other).with("amount", other)
	return true
}
