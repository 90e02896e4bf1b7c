package alipaytest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

func TestRefundMovesMoneyOncePerNumber(t *testing.T) {
	b := start(t, alipaytest.Config{})
	first := b.refund(t, "T1", "R1", "3")
	first.want(t, "10000", "", "good")
	if first.text("fund_change") != "Y" || first.text("refund_fee") != "3.00" || first.text("trade_no") != alipaytest.TradeNo("T1") ||
		first.text("out_trade_no") != "T1" || !strings.Contains(first.text("buyer_logon_id"), "***") {
		t.Fatalf("first = %v", first.fields)
	}
	if first.header.Get("trace_id") == "" || first.header.Get("Content-Type") != "text/html;charset=utf-8" {
		t.Fatalf("header = %v", first.header)
	}
	second := b.refund(t, "T1", "R2", "4.50")
	if second.text("refund_fee") != "7.50" {
		t.Fatalf("refund_fee = %s, want the sum 7.50", second.text("refund_fee"))
	}
	again := b.refund(t, "T1", "R1", "3.00")
	again.want(t, "10000", "", "good")
	if again.text("fund_change") != "N" || again.text("refund_fee") != "7.50" {
		t.Fatalf("replay = %v", again.fields)
	}
	b.refund(t, "T1", "R1", "3.01").want(t, "40004", "ACQ.DISCORDANT_REPEAT_REQUEST", "good")
	got := b.entry(t, "R1")
	want := alipaytest.Refund{
		Kind: "refund", AppID: appID, OutTradeNo: "T1", TradeNo: alipaytest.TradeNo("T1"), OutRequestNo: "R1",
		Amount: "3.00", Moved: 1, Calls: 3,
	}
	if got != want {
		t.Fatalf("ledger = %+v, want %+v", got, want)
	}
}

func TestRefundRefusals(t *testing.T) {
	tests := []struct{ name, biz, code, subCode string }{
		{"unknown trade", `{"out_trade_no":"nosuch1","out_request_no":"R","refund_amount":"1.00"}`, "40004", "ACQ.TRADE_NOT_EXIST"},
		{"closed trade", `{"out_trade_no":"closed1","out_request_no":"R","refund_amount":"1.00"}`, "40004", "ACQ.TRADE_HAS_CLOSE"},
		{"finished trade", `{"out_trade_no":"finished1","out_request_no":"R","refund_amount":"1.00"}`, "40004", "ACQ.TRADE_HAS_FINISHED"},
		{"more than the trade", `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1000.01"}`, "40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"},
		{"more than is left", `{"out_trade_no":"half","out_request_no":"R","refund_amount":"500.01"}`, "40004", "ACQ.REASON_TRADE_REFUND_FEE_ERR"},
		{"nothing left", `{"out_trade_no":"spent","out_request_no":"R","refund_amount":"0.01"}`, "40004", "ACQ.TRADE_HAS_CLOSE"},
		{"part without a number", `{"out_trade_no":"T","refund_amount":"1.00"}`, "40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"},
		{"other currency", `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1.00","refund_currency":"USD"}`, "40004", "ACQ.CURRENCY_NOT_SUPPORT"},
		{"no trade", `{"out_request_no":"R","refund_amount":"1.00"}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"no amount", `{"out_trade_no":"T","out_request_no":"R"}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"zero", `{"out_trade_no":"T","out_request_no":"R","refund_amount":"0.00"}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"three decimals", `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1.001"}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"exponent", `{"out_trade_no":"T","out_request_no":"R","refund_amount":1e2}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"long number", `{"out_trade_no":"T","out_request_no":"` + strings.Repeat("R", 65) + `","refund_amount":"1.00"}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"unknown member", `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1.00","metadata":"x"}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"unknown nested member", `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1.00","goods_detail":[{"goods":"x"}]}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"other case", `{"out_trade_no":"T","Out_Request_No":"R","refund_amount":"1.00"}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"member twice", `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1.00","refund_amount":"2.00"}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"wrong type", `{"out_trade_no":1,"out_request_no":"R","refund_amount":"1.00"}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"a fault that is not on the menu", `{"out_trade_no":"T","out_request_no":"fault-tpyo-1","refund_amount":"1.00"}`, "40004", "ACQ.INVALID_PARAMETER"},
		{"not JSON", `{"out_trade_no":`, "40002", "isv.illegal-json"},
		{"two objects", `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1.00"}{}`, "40002", "isv.illegal-json"},
	}
	b := start(t, alipaytest.Config{})
	b.refund(t, "half", "R0", "500").want(t, "10000", "", "good")
	b.refund(t, "spent", "R0", "1000").want(t, "10000", "", "good")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.call(t, refundMethod, tt.biz).want(t, tt.code, tt.subCode, "good")
		})
	}
	for _, r := range b.sim.State().Refunds {
		if r.OutRequestNo != "R0" && r.Moved != 0 {
			t.Errorf("money moved for %+v", r)
		}
	}
}

func TestRefundWithoutNumberIsTheWholeTrade(t *testing.T) {
	b := start(t, alipaytest.Config{TradeTotal: 250})
	b.call(t, refundMethod, `{"out_trade_no":"T","refund_amount":2.5}`).want(t, "10000", "", "good")
	if got := b.query(t, "T", "T"); got.text("refund_amount") != "2.50" {
		t.Fatalf("query = %v", got.fields)
	}
}

func TestRefundTakesEveryMemberOfTheContract(t *testing.T) {
	b := start(t, alipaytest.Config{})
	got := b.call(t, refundMethod, `{"out_trade_no":"T","trade_no":"2026","out_request_no":"R","refund_amount":"1.00","refund_reason":"r",
		"refund_currency":"CNY","refund_goods_detail":[{"goods_id":"g","refund_amount":"1.00","out_item_id":"i","out_sku_id":"s",
		"out_certificate_no_list":["c"]}],"goods_detail":[{"goods_id":"g","alipay_goods_id":"a","goods_name":"n","quantity":1,"price":"1",
		"goods_category":"c","categories_tree":"t","body":"b","show_url":"u"}],"refund_royalty_parameters":[{"royalty_type":"transfer",
		"trans_out":"o","trans_out_type":"userId","trans_in":"i","trans_in_type":"userId","trans_in_name":"n","amount":"0.10",
		"amount_percentage":10,"desc":"d","royalty_scene":"s"}],"query_options":["refund_detail_item_list","deposit_back_info"],
		"related_settle_confirm_no":"n","operator_id":"o","store_id":"s","terminal_id":"t","org_pid":"p","refund_advance_account":"a",
		"refund_advance_account_type":"userId","refund_trans_out":"o","refund_trans_out_type":"userId"}`)
	got.want(t, "10000", "", "good")
	if got.text("send_back_fee") != "1.00" || got.text("has_deposit_back") != "false" || got.fields["refund_detail_item_list"] == nil {
		t.Fatalf("options are not honoured: %v", got.fields)
	}
}

func TestQuery(t *testing.T) {
	b := start(t, alipaytest.Config{})
	b.call(t, refundMethod, `{"out_trade_no":"T","out_request_no":"R1","refund_amount":"3","refund_reason":"退/款"}`).want(t, "10000", "", "good")
	b.refund(t, "T", "R2", "4").want(t, "10000", "", "good")

	got := b.query(t, "T", "R1")
	got.want(t, "10000", "", "good")
	for name, want := range map[string]string{
		"refund_status": "REFUND_SUCCESS", "refund_amount": "3.00", "total_amount": "1000.00", "out_request_no": "R1",
		"out_trade_no": "T", "trade_no": alipaytest.TradeNo("T"), "refund_reason": "退/款", "gmt_refund_pay": "",
	} {
		if got.text(name) != want {
			t.Errorf("%s = %q, want %q", name, got.text(name), want)
		}
	}
	full := b.call(t, queryMethod, `{"trade_no":"`+alipaytest.TradeNo("T")+`","out_request_no":"R1",
		"query_options":["gmt_refund_pay","refund_detail_item_list","deposit_back_info"]}`)
	back, _ := full.fields["deposit_back_info"].(map[string]any)
	if full.text("gmt_refund_pay") == "" || full.fields["refund_detail_item_list"] == nil || back["has_deposit_back"] != "false" {
		t.Errorf("options are not honoured: %v", full.fields)
	}
	for range 8 {
		none := b.query(t, "T", "R3")
		none.want(t, "10000", "", "good")
		if none.fields["refund_amount"] != nil || none.fields["refund_status"] != nil {
			t.Fatalf("an unknown number is found: %v", none.fields)
		}
	}
	b.query(t, "nosuch", "R1").want(t, "40004", "ACQ.TRADE_NOT_EXIST", "good")
	b.call(t, queryMethod, `{"out_trade_no":"T"}`).want(t, "40004", "ACQ.INVALID_PARAMETER", "good")
	b.call(t, queryMethod, `{"out_request_no":"R1"}`).want(t, "40004", "ACQ.INVALID_PARAMETER", "good")
	b.call(t, queryMethod, `{"out_trade_no":"T","out_request_no":"R1","refund_amount":"1"}`).want(t, "40004", "ACQ.INVALID_PARAMETER", "good")
	if e := b.entry(t, "R3"); e.Queries != 8 || e.Calls != 0 || e.Moved != 0 || e.Amount != "0.00" {
		t.Errorf("ledger = %+v", e)
	}
}

func TestBothNumbersNameOneTrade(t *testing.T) {
	both := func(trade, out, number string) string {
		return biz(t, "trade_no", trade, "out_trade_no", out, "out_request_no", number, "refund_amount", "1.00")
	}
	b := start(t, alipaytest.Config{})
	b.refund(t, "T1", "R", "1")
	if got := b.call(t, refundMethod, biz(t, "trade_no", alipaytest.TradeNo("T1"), "out_request_no", "R", "refund_amount", "1")); got.text("fund_change") != "N" {
		t.Errorf("by the derived trade_no: %v", got.fields)
	}
	if got := b.call(t, refundMethod, biz(t, "trade_no", "X", "out_request_no", "R", "refund_amount", "1")); got.text("out_trade_no") != alipaytest.OutTradeNo("X") {
		t.Errorf("by trade_no alone: %v", got.fields)
	}
	if got := b.refund(t, alipaytest.OutTradeNo("X"), "R", "1"); got.text("fund_change") != "N" || got.text("trade_no") != "X" {
		t.Errorf("by the derived out_trade_no: %v", got.fields)
	}
	if got := b.call(t, refundMethod, both("X", "T2", "R")); got.text("fund_change") != "N" || got.text("out_trade_no") != "T2" {
		t.Errorf("a caller's own spelling replaces the derived one: %v", got.fields)
	}
	if got := b.refund(t, "T2", "R", "1"); got.text("fund_change") != "N" {
		t.Errorf("by the new spelling: %v", got.fields)
	}
	if got := b.call(t, refundMethod, both("Y", "T3", "R")); got.text("fund_change") != "Y" || got.text("out_trade_no") != "T3" {
		t.Errorf("both given: %v", got.fields)
	}
	if got := b.call(t, refundMethod, both("Y", "T1", "R")); got.text("fund_change") != "N" || got.text("out_trade_no") != "T3" {
		t.Errorf("trade_no wins: %v", got.fields)
	}
	b.call(t, refundMethod, both("Z", "T3", "R")).want(t, "40004", "ACQ.TRADE_NOT_EXIST", "good")
}

func TestBalance(t *testing.T) {
	b := start(t, alipaytest.Config{})
	b.sim.SetBalance("", 150)
	b.refund(t, "T", "R1", "1").want(t, "10000", "", "good")
	b.refund(t, "T", "R2", "1").want(t, "40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH", "good")
	b.sim.SetBalance("", 100)
	if got := b.refund(t, "T", "R2", "1"); got.text("fund_change") != "Y" {
		t.Fatalf("after topping up: %v", got.fields)
	}
	if got := b.refund(t, "T", "R1", "1"); got.text("fund_change") != "N" {
		t.Fatalf("a replay needs no balance: %v", got.fields)
	}
}

func TestMerchantsHaveLedgersOfTheirOwn(t *testing.T) {
	b := start(t, alipaytest.Config{})
	content := biz(t, "out_trade_no", "T", "out_request_no", "R", "refund_amount", "1000.00")
	for _, token := range []string{"", "one", "two"} {
		params := b.params(refundMethod, content)
		params["app_auth_token"] = token
		if got := b.send(t.Context(), refundMethod, b.signed(t, params)); got.text("fund_change") != "Y" {
			t.Errorf("token %q: %s", token, got.raw)
		}
	}
	if n := len(b.sim.State().Refunds); n != 3 {
		t.Errorf("%d refunds, want 3", n)
	}
}

func TestTimesAreBeijing(t *testing.T) {
	now := time.Date(2026, 1, 1, 20, 0, 0, 0, time.UTC)
	b := start(t, alipaytest.Config{Now: func() time.Time { return now }})
	if got := b.refund(t, "T", "R", "1"); got.text("gmt_refund_pay") != "2026-01-02 04:00:00" {
		t.Fatalf("gmt_refund_pay = %s", got.text("gmt_refund_pay"))
	}
}

func TestStateHasTheShapeOfTheContract(t *testing.T) {
	b := start(t, alipaytest.Config{})
	b.refund(t, "T", "R", "1.5")
	raw, err := json.Marshal(b.sim.State())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"refunds":[{"kind":"refund","app_id":"2021000000000001","app_auth_token":"","out_trade_no":"T","trade_no":"` +
		alipaytest.TradeNo("T") + `","auth_no":"","out_request_no":"R","amount":"1.50","moved":1,"calls":1,"queries":0}]}`
	if string(raw) != want {
		t.Fatalf("state = %s\nwant    %s", raw, want)
	}
}
