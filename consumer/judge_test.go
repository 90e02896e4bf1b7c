package consumer

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"refundd/alipay"
)

// TestCallRefused: what an error of a call may mean, and that one that is not
// Alipay's own means anything.
func TestCallRefused(t *testing.T) {
	told := facts{Code: "40004", SubCode: "S", SubMsg: "M", TraceID: "T"}
	refused := &alipay.Error{Class: alipay.ClassRefused, Signed: true, QueryFirst: true, Code: "40004", SubCode: "S", SubMsg: "M", TraceID: "T"}
	for _, row := range []struct {
		name string
		err  error
		want callAnswer
	}{
		{"refused", refused, callAnswer{Class: alipay.ClassRefused, Signed: true, QueryFirst: true, Facts: told}},
		{"wrapped", fmt.Errorf("call: %w", refused), callAnswer{Class: alipay.ClassRefused, Signed: true, QueryFirst: true, Facts: told}},
		{"not sent", &alipay.Error{Class: alipay.ClassNotSent}, callAnswer{Class: alipay.ClassNotSent}},
		{"not Alipay's", errors.New("x"), callAnswer{Class: alipay.ClassUnknown}},
	} {
		row.want.Err = row.err
		if got := callRefused(row.err); got != row.want {
			t.Errorf("%s: got %+v, want %+v", row.name, got, row.want)
		}
	}
}

// TestQueryFailed: an absence is believed only when it is signed.
func TestQueryFailed(t *testing.T) {
	for _, row := range []struct {
		name   string
		class  alipay.Class
		signed bool
		want   finding
	}{
		{"not found", alipay.ClassNotFound, true, foundAbsent},
		{"not found, and nobody signed it", alipay.ClassNotFound, false, foundNothing},
		{"configuration", alipay.ClassBlockedConfiguration, true, foundConfig},
		{"limited", alipay.ClassLimited, true, foundLimited},
		{"limited, and nobody signed it", alipay.ClassLimited, false, foundLimited},
		{"unknown", alipay.ClassUnknown, true, foundNothing},
		{"refused", alipay.ClassRefused, true, foundNothing},
		{"conflict", alipay.ClassConflict, true, foundNothing},
		{"merchant blocked", alipay.ClassBlockedMerchant, true, foundNothing},
		{"not sent", alipay.ClassNotSent, false, foundNothing},
	} {
		err := fmt.Errorf("query: %w", &alipay.Error{Class: row.class, Signed: row.signed, Code: "C", SubCode: "S", SubMsg: "M", TraceID: "T"})
		want := queryAnswer{Found: row.want, Facts: facts{Code: "C", SubCode: "S", SubMsg: "M", TraceID: "T"}, Err: err}
		if got := queryFailed(err); got != want {
			t.Errorf("%s: got %+v, want %+v", row.name, got, want)
		}
	}
	foreign := errors.New("x")
	if got := queryFailed(foreign); got != (queryAnswer{Found: foundNothing, Err: foreign}) {
		t.Errorf("not Alipay's: %+v", got)
	}
}

// TestJudgeRefundQuery: each way in which a verified 10000 may not be about our refund.
func TestJudgeRefundQuery(t *testing.T) {
	amount := func(fen alipay.Amount) *alipay.Amount { return &fen }
	cmd := Command{Kind: KindRefund, OutRequestNo: "R1", TradeNo: "N1", OutTradeNo: "T1", Amount: 300}
	ours := alipay.RefundQueryResponse{
		Code: "10000", TradeNo: "N1", OutTradeNo: "T1", OutRequestNo: "R1", RefundAmount: amount(300), RefundStatus: "REFUND_SUCCESS",
		GmtRefundPay: "2026-03-19 14:03:11", TraceID: "T",
	}
	told := facts{Code: "10000", TraceID: "T", TradeNo: "N1", OutTradeNo: "T1", RefundedAt: "2026-03-19T14:03:11+08:00"}
	strange := facts{Code: "10000", TraceID: "T"}
	there := func(fen int64) facts { f := told; f.AtAlipay = fen; return f }
	for _, row := range []struct {
		name   string
		change func(r *alipay.RefundQueryResponse)
		want   finding
		facts  facts
	}{
		{"ours", func(*alipay.RefundQueryResponse) {}, foundOurs, told},
		{"another trade_no", func(r *alipay.RefundQueryResponse) { r.TradeNo = "N2" }, foundNothing, strange},
		{"another out_trade_no", func(r *alipay.RefundQueryResponse) { r.OutTradeNo = "T2" }, foundNothing, strange},
		{"another number", func(r *alipay.RefundQueryResponse) { r.OutRequestNo = "R2" }, foundNothing, strange},
		{"no number", func(r *alipay.RefundQueryResponse) { r.OutRequestNo = "" }, foundNothing, told},
		{"no amount", func(r *alipay.RefundQueryResponse) { r.RefundAmount = nil }, foundNothing, told},
		{"more", func(r *alipay.RefundQueryResponse) { r.RefundAmount = amount(301) }, foundOther, there(301)},
		{"less", func(r *alipay.RefundQueryResponse) { r.RefundAmount = amount(299) }, foundOther, there(299)},
		{"neither status nor amount", func(r *alipay.RefundQueryResponse) { r.RefundStatus, r.RefundAmount = "", nil }, foundAbsent, told},
		{"neither status, amount nor number", func(r *alipay.RefundQueryResponse) {
			r.RefundStatus, r.RefundAmount, r.OutRequestNo = "", nil, ""
		}, foundAbsent, told},
		{"another's absence", func(r *alipay.RefundQueryResponse) {
			r.RefundStatus, r.RefundAmount, r.OutRequestNo = "", nil, "R2"
		}, foundNothing, strange},
		{"no status", func(r *alipay.RefundQueryResponse) { r.RefundStatus = "" }, foundOldForm, told},
		{"no status, another amount", func(r *alipay.RefundQueryResponse) { r.RefundStatus, r.RefundAmount = "", amount(301) }, foundPending, told},
		{"another status", func(r *alipay.RefundQueryResponse) { r.RefundStatus = "REFUND_PROCESSING" }, foundPending, told},
	} {
		resp := ours
		row.change(&resp)
		if got := judgeRefundQuery(cmd, &resp); got != (queryAnswer{Found: row.want, Facts: row.facts}) {
			t.Errorf("%s: got %+v, want %s and %+v", row.name, got, row.want, row.facts)
		}
	}
}

// couponCommand and its two answers that prove that its money moved.
func couponCommand() (Command, alipay.CouponRefundResponse, alipay.CouponOperationResponse) {
	amount := alipay.Amount(300)
	cmd := Command{Kind: KindCouponRefund, OutRequestNo: "C1", AuthNo: "A1", OutOrderNo: "H1", Amount: 300}
	call := alipay.CouponRefundResponse{
		Code: "10000", AuthNo: "A1", OutOrderNo: "H1", OutRequestNo: "C1", OperationID: "P1", Amount: &amount, Status: "SUCCESS", GmtTrans: "2026-03-19 14:03:11", TraceID: "T",
	}
	query := alipay.CouponOperationResponse{
		Code: "10000", AuthNo: "A1", OutOrderNo: "H1", OutRequestNo: "C1", OperationID: "P1", OperationType: "REFUND", Amount: &amount, Status: "SUCCESS",
		GmtTrans: "2026-03-19 14:03:11", TraceID: "T",
	}
	return cmd, call, query
}

func TestJudgeCouponCall(t *testing.T) {
	amount := func(fen alipay.Amount) *alipay.Amount { return &fen }
	cmd, ours, _ := couponCommand()
	told := facts{Code: "10000", TraceID: "T", OperationID: "P1", RefundedAt: "2026-03-19T14:03:11+08:00", OutOrderNo: "H1"}
	unnamed := told
	unnamed.OutOrderNo = ""
	for _, row := range []struct {
		name   string
		change func(r *alipay.CouponRefundResponse)
		want   callAnswer
	}{
		{"ours", func(*alipay.CouponRefundResponse) {}, callAnswer{Class: alipay.ClassOK, Signed: true, Moved: true, Facts: told}},
		{"INIT", func(r *alipay.CouponRefundResponse) { r.Status = "INIT" }, callAnswer{Class: alipay.ClassOK, Signed: true, Facts: told}},
		{"CLOSED", func(r *alipay.CouponRefundResponse) { r.Status = "CLOSED" }, callAnswer{Class: alipay.ClassOK, Signed: true, Facts: told}},
		{"no amount", func(r *alipay.CouponRefundResponse) { r.Amount = nil }, callAnswer{Class: alipay.ClassOK, Signed: true, Facts: told}},
		{"more", func(r *alipay.CouponRefundResponse) { r.Amount = amount(301) }, callAnswer{Class: alipay.ClassOK, Signed: true, Facts: told}},
		{"another order", func(r *alipay.CouponRefundResponse) { r.OutOrderNo = "H2" }, callAnswer{Class: alipay.ClassOK, Signed: true, Moved: true, Facts: unnamed}},
		{"an order of nobody", func(r *alipay.CouponRefundResponse) { r.AuthNo = "" }, callAnswer{Class: alipay.ClassOK, Signed: true, Moved: true, Facts: unnamed}},
		{
			"another auth_no", func(r *alipay.CouponRefundResponse) { r.AuthNo = "A2" },
			callAnswer{Class: alipay.ClassUnknown, Signed: true, Facts: facts{Code: "10000", TraceID: "T"}},
		},
		{
			"another number", func(r *alipay.CouponRefundResponse) { r.OutRequestNo = "C2" },
			callAnswer{Class: alipay.ClassUnknown, Signed: true, Facts: facts{Code: "10000", TraceID: "T"}},
		},
	} {
		resp := ours
		row.change(&resp)
		if got := judgeCouponCall(cmd, &resp); got != row.want {
			t.Errorf("%s: got %+v, want %+v", row.name, got, row.want)
		}
	}
}

func TestJudgeCouponQuery(t *testing.T) {
	amount := func(fen alipay.Amount) *alipay.Amount { return &fen }
	cmd, _, ours := couponCommand()
	told := facts{Code: "10000", TraceID: "T", OperationID: "P1", RefundedAt: "2026-03-19T14:03:11+08:00", OutOrderNo: "H1"}
	strange := facts{Code: "10000", TraceID: "T"}
	there := func(fen int64) facts { f := told; f.AtAlipay = fen; return f }
	for _, row := range []struct {
		name   string
		change func(r *alipay.CouponOperationResponse)
		want   finding
		facts  facts
	}{
		{"ours", func(*alipay.CouponOperationResponse) {}, foundOurs, told},
		{"another auth_no", func(r *alipay.CouponOperationResponse) { r.AuthNo = "A2" }, foundNothing, strange},
		{"no auth_no", func(r *alipay.CouponOperationResponse) { r.AuthNo = "" }, foundNothing, strange},
		{"the payment", func(r *alipay.CouponOperationResponse) { r.OperationType = "PAY" }, foundNothing, strange},
		{"another number", func(r *alipay.CouponOperationResponse) { r.OutRequestNo = "C2" }, foundNothing, strange},
		{"no amount", func(r *alipay.CouponOperationResponse) { r.Amount = nil }, foundNothing, told},
		{"more", func(r *alipay.CouponOperationResponse) { r.Amount = amount(301) }, foundOther, there(301)},
		{"closed", func(r *alipay.CouponOperationResponse) { r.Status = "CLOSED" }, foundClosed, told},
		{"closed with another amount", func(r *alipay.CouponOperationResponse) { r.Status, r.Amount = "CLOSED", amount(301) }, foundClosed, told},
		{"INIT", func(r *alipay.CouponOperationResponse) { r.Status = "INIT" }, foundPending, told},
	} {
		resp := ours
		row.change(&resp)
		if got := judgeCouponQuery(cmd, &resp); got != (queryAnswer{Found: row.want, Facts: row.facts}) {
			t.Errorf("%s: got %+v, want %s and %+v", row.name, got, row.want, row.facts)
		}
	}
}

// asked is a gateway that keeps what it was asked for, and finds nothing.
type asked struct {
	gateway
	refund *alipay.RefundRequest
	query  *alipay.RefundQueryRequest
	coupon *alipay.CouponOperationRequest
}

func (a *asked) Refund(_ context.Context, req *alipay.RefundRequest) (*alipay.RefundResponse, error) {
	a.refund = req
	amount := alipay.Amount(500)
	return &alipay.RefundResponse{Code: "10000", FundChange: "Y", TradeNo: "N9", RefundFee: &amount, TraceID: "T"}, nil
}

func (a *asked) QueryRefund(_ context.Context, req *alipay.RefundQueryRequest) (*alipay.RefundQueryResponse, error) {
	a.query = req
	return nil, &alipay.Error{Class: alipay.ClassNotFound, Signed: true}
}

func (a *asked) QueryCouponOperation(_ context.Context, req *alipay.CouponOperationRequest) (*alipay.CouponOperationResponse, error) {
	a.coupon = req
	return nil, &alipay.Error{Class: alipay.ClassNotFound, Signed: true}
}

// TestRefundCall: an answer proves only for its own trade, and what it tells of the
// trade reaches the event.
func TestRefundCall(t *testing.T) {
	var g asked
	cmd := Command{Kind: KindRefund, OutRequestNo: "R1", OutTradeNo: "T1", Amount: 300, Refund: alipay.RefundRequest{OutRequestNo: "R1", OutTradeNo: "T1", RefundAmount: 300}}
	op := operationFor(&g, cmd, "token", Additions{})
	a := op.call(t.Context())
	if !a.Moved || !a.Signed || a.Class != alipay.ClassOK || a.Facts.TotalRefunded == nil || *a.Facts.TotalRefunded != 500 || a.Facts.TradeNo != "N9" {
		t.Errorf("answer %+v", a)
	}
	if g.refund.AppAuthToken != "token" || g.refund.OutRequestNo != "R1" {
		t.Errorf("called %+v", g.refund)
	}
	cmd.TradeNo = "N1"
	if a := operationFor(&g, cmd, "", Additions{}).call(t.Context()); a != (callAnswer{Class: alipay.ClassUnknown, Signed: true, Facts: facts{Code: "10000", TraceID: "T"}}) {
		t.Errorf("another trade's answer: %+v", a)
	}
	if q := op.query(t.Context(), note{}); q.Found != foundAbsent || g.query.AppAuthToken != "token" || g.query.OutTradeNo != "T1" || !op.queryable(note{}) {
		t.Errorf("found %+v, asked %+v", q, g.query)
	}
}

// TestCouponQuery (R1): by which numbers a coupon refund is asked for, and when its
// absence proves something.
func TestCouponQuery(t *testing.T) {
	cmd, _, _ := couponCommand()
	anonymous := cmd
	anonymous.OutOrderNo = ""
	for _, row := range []struct {
		name      string
		cmd       Command
		n         note
		queryable bool
		byID      bool
		want      finding
	}{
		{"by its operation", cmd, note{OperationID: "P1"}, true, true, foundAbsent},
		{"by its operation, without an order", anonymous, note{OperationID: "P1"}, true, true, foundAbsent},
		{"by an order that Alipay named", cmd, note{OrderNamed: true}, true, false, foundAbsent},
		{"by an order that nobody named", cmd, note{}, true, false, foundUnproven},
		{"by nothing", anonymous, note{}, false, false, foundUnproven},
	} {
		var g asked
		op := operationFor(&g, row.cmd, "token", Additions{})
		if got := op.queryable(row.n); got != row.queryable {
			t.Errorf("%s: can be asked for: %t", row.name, got)
		}
		want := alipay.CouponOperationRequest{OutOrderNo: row.cmd.OutOrderNo, OutRequestNo: "C1", AppAuthToken: "token"}
		if row.byID {
			want = alipay.CouponOperationRequest{AuthNo: "A1", OperationID: "P1", AppAuthToken: "token"}
		}
		if q := op.query(t.Context(), row.n); q.Found != row.want || *g.coupon != want {
			t.Errorf("%s: found %s by %+v, want %s by %+v", row.name, q.Found, *g.coupon, row.want, want)
		}
	}
}

// TestAlipayTime: eight hours east, or nothing.
func TestAlipayTime(t *testing.T) {
	for text, want := range map[string]string{"2026-03-19 00:03:11": "2026-03-19T00:03:11+08:00", "": "", "2026-03-19": ""} {
		if got := alipayTime(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
