package alipaytest

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// refundRequest is the part of an alipay.trade.refund that the ledger needs.
type refundRequest struct {
	OutTradeNo     string   `json:"out_trade_no"`
	TradeNo        string   `json:"trade_no"`
	OutRequestNo   string   `json:"out_request_no"`
	RefundAmount   yuanText `json:"refund_amount"`
	RefundReason   string   `json:"refund_reason"`
	RefundCurrency string   `json:"refund_currency"`
	QueryOptions   []string `json:"query_options"`

	Royalties []royalty `json:"refund_royalty_parameters"`
}

type queryRequest struct {
	OutTradeNo   string   `json:"out_trade_no"`
	TradeNo      string   `json:"trade_no"`
	OutRequestNo string   `json:"out_request_no"`
	QueryOptions []string `json:"query_options"`
}

func (s *Server) tradeRefund(c *call) answer {
	var req refundRequest
	if bad := c.decode(refundShape(), &req); bad != nil {
		return *bad
	}
	amount, err := ParseYuan(string(req.RefundAmount))
	switch {
	case err != nil:
		return business("ACQ.INVALID_PARAMETER", "refund_amount: "+err.Error())
	case req.OutTradeNo == "" && req.TradeNo == "":
		return business("ACQ.INVALID_PARAMETER", "out_trade_no and trade_no are both missing")
	case tooLong(req.OutTradeNo, req.TradeNo, req.OutRequestNo):
		return business("ACQ.INVALID_PARAMETER", "a number is longer than 64 characters")
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.ledger.order(tradeRefundKind, c.owner, req.TradeNo, req.OutTradeNo)
	if o == nil {
		c.number = req.OutRequestNo
		return business("ACQ.TRADE_NOT_EXIST", "交易不存在")
	}
	if c.number = req.OutRequestNo; c.number == "" {
		if amount != o.total {
			return business("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "a partial refund needs out_request_no")
		}
		c.number = o.outNo
	}
	e := s.ledger.entry(o, c.number)
	e.calls++
	if !e.known() {
		e.reason, e.royalties = req.RefundReason, req.Royalties
		e.depositBack = slices.Contains(req.QueryOptions, "deposit_back_info")
	}
	return s.perform(c, e, amount, func() answer { return s.refundTrade(e, amount, req) })
}

// refundTrade is what an Alipay without faults does.
func (s *Server) refundTrade(e *entry, amount int64, req refundRequest) answer {
	o := e.order
	changed := "N"
	switch {
	case e.moved > 0 && e.amount != amount:
		return business("ACQ.DISCORDANT_REPEAT_REQUEST", "退款请求号重复且金额不一致")
	case e.moved == 0:
		e.amount = amount
		if req.RefundCurrency != "" && req.RefundCurrency != "CNY" {
			return business("ACQ.CURRENCY_NOT_SUPPORT", "the trade was paid in CNY")
		}
		if code := s.ledger.refusal(e, amount); code != "" {
			refused := business("ACQ."+code, "the refund is not possible: }\",\"sign\":\"")
			refused.fields = node{{"out_trade_no", o.outNo}, {"refund_fee", "0.00"}, {"send_back_fee", "0.00"}}
			return refused
		}
		s.ledger.move(e, amount, s.now())
		changed = "Y"
	}
	fields := node{
		{"trade_no", o.no},
		{"out_trade_no", o.outNo},
		{"store_name", "店/\"},\"sign\":\"x"}, // a trap for whoever cuts text
		{"buyer_logon_id", "sim***@example.com"},
		{"buyer_user_id", buyer(o)},
		{"fund_change", changed},
		{"refund_fee", FormatYuan(o.refunded)},
		{"gmt_refund_pay", beijing(e.movedAt)},
	}
	fields = append(fields, e.funds(req.QueryOptions)...)
	if slices.Contains(req.QueryOptions, "deposit_back_info") {
		fields = append(fields, e.deposit()[0])
	}
	return success(fields)
}

func (s *Server) refundQuery(c *call) answer {
	var req queryRequest
	if bad := c.decode(queryShape(), &req); bad != nil {
		return *bad
	}
	switch {
	case req.OutRequestNo == "":
		return business("ACQ.INVALID_PARAMETER", "out_request_no is missing")
	case req.OutTradeNo == "" && req.TradeNo == "":
		return business("ACQ.INVALID_PARAMETER", "out_trade_no and trade_no are both missing")
	case tooLong(req.OutTradeNo, req.TradeNo, req.OutRequestNo):
		return business("ACQ.INVALID_PARAMETER", "a number is longer than 64 characters")
	}
	c.number = req.OutRequestNo

	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.ledger.order(tradeRefundKind, c.owner, req.TradeNo, req.OutTradeNo)
	if o == nil {
		return business("ACQ.TRADE_NOT_EXIST", "交易不存在")
	}
	e := s.ledger.entry(o, req.OutRequestNo)
	e.queries++
	return s.perform(c, e, 0, func() answer {
		if e.moved == 0 {
			return absent(o, c.draw)
		}
		return found(e, req.QueryOptions)
	})
}

// absent is the answer to a query for a refund that is not there: 10000 with
// nothing in it, and now and then with the trade's own numbers.
func absent(o *order, draw uint64) answer {
	if draw%4 == 0 {
		return success(node{{"out_trade_no", o.outNo}, {"trade_no", o.no}})
	}
	return success(nil)
}

func found(e *entry, options []string) answer {
	fields := node{
		{"trade_no", e.order.no},
		{"out_trade_no", e.order.outNo},
		{"out_request_no", e.number},
		{"total_amount", FormatYuan(e.order.total)},
		{"refund_amount", FormatYuan(e.amount)},
		{"refund_status", "REFUND_SUCCESS"},
	}
	if e.reason != "" {
		fields = append(fields, member{"refund_reason", e.reason})
	}
	if slices.Contains(options, "gmt_refund_pay") {
		fields = append(fields, member{"gmt_refund_pay", beijing(e.movedAt)})
	}
	fields = append(fields, e.funds(options)...)
	if slices.Contains(options, "deposit_back_info") {
		fields = append(fields, member{"deposit_back_info", e.deposit()})
	}
	if slices.Contains(options, "deposit_back_info_list") {
		fields = append(fields, member{"deposit_back_info_list", []node{e.deposit()}})
	}
	if items := e.royaltyItems(); items != nil {
		fields = append(fields, member{"refund_royaltys", items})
	}
	return success(fields)
}

// decode reads biz_content. The answer is nil if it is as it must be.
func (c *call) decode(s shape, v any) *answer {
	err := decodeStrict(c.biz, s, v)
	if err == nil {
		return nil
	}
	a := business(c.spec.badContent, err.Error())
	if errors.Is(err, errSyntax) {
		a = gateway("40002", "isv.illegal-json", err.Error())
	}
	return &a
}

func tooLong(numbers ...string) bool {
	return slices.ContainsFunc(numbers, func(number string) bool { return len([]rune(number)) > 64 })
}

// buyer is a made-up user id, always the same for one order.
func buyer(o *order) string {
	digits := TradeNo(o.no)
	return "2088" + digits[len(digits)-12:]
}

// beijing prints a time as Alipay does everywhere but in V3 headers: GMT+8,
// whatever the zone of this machine.
func beijing(t time.Time) string { return t.In(beijingZone()).Format(time.DateTime) }

func beijingZone() *time.Location { return time.FixedZone("GMT+8", 8*60*60) }

// namedFault is the longest name of the menu that follows fault- in a request
// number, and whether the number begins with fault- at all.
func namedFault(menu []fault, number string) (f *fault, named bool) {
	rest, named := strings.CutPrefix(number, "fault-")
	if !named {
		return nil, false
	}
	for i := range menu {
		if strings.HasPrefix(rest, menu[i].name+"-") && (f == nil || len(menu[i].name) > len(f.name)) {
			f = &menu[i]
		}
	}
	return f, true
}
