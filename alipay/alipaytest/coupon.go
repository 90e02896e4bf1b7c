package alipaytest

import (
	"fmt"
	"time"
)

// couponRequest is alipay.fund.coupon.order.refund.
type couponRequest struct {
	AuthNo       string   `json:"auth_no"`
	OutRequestNo string   `json:"out_request_no"`
	Amount       yuanText `json:"amount"`
	Remark       string   `json:"remark"`
}

// operationRequest is alipay.fund.coupon.operation.query: one pair of numbers
// or the other.
type operationRequest struct {
	AuthNo       string `json:"auth_no"`
	OperationID  string `json:"operation_id"`
	OutOrderNo   string `json:"out_order_no"`
	OutRequestNo string `json:"out_request_no"`
}

func couponShape() shape {
	return object(map[string]shape{"auth_no": {}, "out_request_no": {}, "amount": {kind: yuanKind}, "remark": {}})
}

func operationShape() shape {
	return object(map[string]shape{"auth_no": {}, "operation_id": {}, "out_order_no": {}, "out_request_no": {}})
}

// remarkLimit is how many characters a remark may have.
const remarkLimit = 100

func (s *Server) couponRefund(c *call) answer {
	var req couponRequest
	if bad := c.decode(couponShape(), &req); bad != nil {
		return *bad
	}
	amount, err := ParseYuan(string(req.Amount))
	switch {
	case err != nil:
		return business("ILLEGAL_ARGUMENT", "amount: "+err.Error())
	case req.AuthNo == "" || req.OutRequestNo == "" || req.Remark == "":
		return business("ILLEGAL_ARGUMENT", "auth_no, out_request_no or remark is missing")
	case tooLong(req.AuthNo, req.OutRequestNo):
		return business("ILLEGAL_ARGUMENT", "a number is longer than 64 characters")
	case len([]rune(req.Remark)) > remarkLimit:
		return business("ILLEGAL_ARGUMENT", "remark is longer than 100 characters")
	}
	c.number = req.OutRequestNo

	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.ledger.order(couponRefundKind, c.owner, req.AuthNo, "")
	if o == nil {
		return business("AUTH_ORDER_NOT_EXIST", "the red packet does not exist")
	}
	e := s.ledger.entry(o, req.OutRequestNo)
	e.calls++
	if !e.known() {
		e.reason, e.notifyURL = req.Remark, c.notifyURL
	}
	return s.perform(c, e, amount, func() answer { return s.refundCoupon(c, e, amount) })
}

// refundCoupon is what an Alipay without faults does: the money moves at once,
// and the same request again says so again.
func (s *Server) refundCoupon(c *call, e *entry, amount int64) answer {
	switch {
	case e.known() && e.amount != amount || e.number == payNumber(e.order):
		return business("UNIQUE_VIOLATION", "out_request_no is used already")
	case !e.known():
		e.amount = amount
		if code := s.ledger.refusal(e, amount); code != "" {
			return business(code, "the refund is not possible")
		}
		s.ledger.move(e, amount, s.now())
	}
	return couponAnswer(c, e)
}

// couponAnswer is a success of the coupon refund in any status. out_order_no is
// there or not: real answers were seen without it.
func couponAnswer(c *call, e *entry) answer {
	fields := node{
		{"auth_no", e.order.no},
		{"operation_id", operationID(e)},
		{"out_request_no", e.number},
		{"amount", FormatYuan(e.amount)},
		{"status", e.status()},
	}
	if c.draw&16 != 0 {
		fields = append(fields, member{"out_order_no", e.order.outNo})
	}
	if e.moved > 0 {
		fields = append(fields, member{"gmt_trans", beijing(e.movedAt)})
	}
	return success(fields)
}

// status is how Alipay calls the state of a coupon operation.
func (e *entry) status() string {
	switch {
	case e.moved > 0:
		return "SUCCESS"
	case e.closed:
		return "CLOSED"
	}
	return "INIT"
}

func (s *Server) operationQuery(c *call) answer {
	var req operationRequest
	if bad := c.decode(operationShape(), &req); bad != nil {
		return *bad
	}
	byAlipay := req.AuthNo != "" && req.OperationID != "" && req.OutOrderNo == "" && req.OutRequestNo == ""
	byMerchant := req.AuthNo == "" && req.OperationID == "" && req.OutOrderNo != "" && req.OutRequestNo != ""
	if !byAlipay && !byMerchant {
		return business("ILLEGAL_ARGUMENT", "want auth_no and operation_id, or out_order_no and out_request_no")
	}
	if tooLong(req.AuthNo, req.OperationID, req.OutOrderNo, req.OutRequestNo) {
		return business("ILLEGAL_ARGUMENT", "a number is longer than 64 characters")
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.ledger.order(couponRefundKind, c.owner, req.AuthNo, req.OutOrderNo)
	if o == nil {
		return business("AUTH_ORDER_NOT_EXIST", "the red packet does not exist")
	}
	if req.OutRequestNo == payNumber(o) || req.OperationID == payID(o) {
		return payOperation(o, s.now())
	}
	e := o.byNumber[o.byOperation[req.OperationID]]
	if byMerchant {
		e = s.ledger.entry(o, req.OutRequestNo)
	}
	if e == nil {
		return business("AUTH_OPERATION_NOT_EXIST", "the operation does not exist")
	}
	c.number = e.number
	e.queries++
	return s.perform(c, e, 0, func() answer {
		if !e.known() {
			return business("AUTH_OPERATION_NOT_EXIST", "the operation does not exist")
		}
		return operation(e)
	})
}

func operation(e *entry) answer {
	fields := append(operationHead(e.order, operationID(e), e.number),
		member{"amount", FormatYuan(e.amount)},
		member{"operation_type", "REFUND"},
		member{"status", e.status()},
		member{"remark", e.reason},
		member{"payer_user_id", buyer(e.order)},
		member{"payer_logon_id", "sim***@example.com"},
	)
	if e.moved > 0 {
		fields = append(fields, member{"gmt_create", beijing(e.movedAt)}, member{"gmt_trans", beijing(e.movedAt)})
	}
	return success(fields)
}

// payOperation is the operation that paid the red packet: a query that takes it
// for a refund is wrong.
func payOperation(o *order, now time.Time) answer {
	return success(append(operationHead(o, payID(o), payNumber(o)),
		member{"amount", FormatYuan(o.total)},
		member{"operation_type", "PAY"},
		member{"status", "SUCCESS"},
		member{"gmt_create", beijing(now)},
		member{"gmt_trans", beijing(now)},
	))
}

func operationHead(o *order, id, number string) node {
	return node{
		{"auth_no", o.no},
		{"out_order_no", o.outNo},
		{"operation_id", id},
		{"out_request_no", number},
		{"order_title", "红包"},
		{"total_pay_refund_amount", FormatYuan(o.refunded)},
		{"extra_param", nil},
	}
}

// operationID is Alipay's number of a coupon refund.
func operationID(e *entry) string {
	return fmt.Sprintf("20260102%020d", hash("operation", e.order.no, e.number))
}

// payNumber and payID are the numbers of the operation that paid.
func payNumber(o *order) string { return "pay-" + o.outNo }

func payID(o *order) string { return fmt.Sprintf("20260102%020d", hash("pay", o.no)) }

// accept answers INIT: what becomes of it shows when it is due.
func accept(closing bool) func(*scene) answer {
	return func(sc *scene) answer {
		if code := sc.s.ledger.refusal(sc.e, sc.amount); code != "" {
			return business(code, "the refund is not possible")
		}
		sc.e.accepted, sc.e.closing = true, closing
		sc.s.delay(sc)
		return couponAnswer(sc.c, sc.e)
	}
}

// inProcess puts 10003 over a success.
func inProcess(_ *scene, a *answer) bool {
	if a.code != "10000" {
		return false
	}
	*a = answer{code: "10003", msg: "order success pay inprocess"}
	return true
}

// repeated answers a replay as some products do: the number is used.
func repeated(sc *scene, a *answer) bool {
	if a.code != "10000" || sc.e.calls < 2 {
		return false
	}
	*a = business("UNIQUE_VIOLATION", "out_request_no is used already")
	return true
}

// showPayment answers a query with the operation that paid.
func showPayment(sc *scene, a *answer) bool {
	if a.code != "10000" {
		return false
	}
	*a = payOperation(sc.e.order, sc.s.now())
	return true
}
