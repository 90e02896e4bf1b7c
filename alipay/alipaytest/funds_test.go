package alipaytest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"refundd/alipay/alipaytest"
)

// TestFundsAreToldWhenAsked: each member comes with the option that asks for it,
// and of a trade that was paid that way.
func TestFundsAreToldWhenAsked(t *testing.T) {
	const always = "refund_charge_info_list present_refund_buyer_amount present_refund_mdiscount_amount"
	for _, row := range []struct {
		trade, options string
		call, query    string // members of funds
	}{
		{"T", ``, "", ""},
		{"T", `"refund_detail_item_list"`, "refund_detail_item_list send_back_fee", "refund_detail_item_list send_back_fee"},
		{"T", `"refund_voucher_detail_list","deposit_back_info"`, "has_deposit_back", "deposit_back_info"},
		{"card1", `"deposit_back_info"`, "has_deposit_back", "deposit_back_info"},
		{"mixed1", ``, always, always},
		{"mixed1", `"refund_voucher_detail_list"`, always + " refund_voucher_detail_list", always + " refund_voucher_detail_list"},
	} {
		t.Run(row.trade+row.options, func(t *testing.T) {
			b := start(t, alipaytest.Config{})
			body := fmt.Sprintf(`{"out_trade_no":%q,"out_request_no":"R","refund_amount":"10","query_options":[%s]}`, row.trade, row.options)
			if got := toldFunds(b.call(t, refundMethod, body).fields); got != sorted(row.call) {
				t.Errorf("called: %s, want %s", got, row.call)
			}
			body = strings.Replace(body, `"refund_amount":"10",`, "", 1)
			if got := toldFunds(b.call(t, queryMethod, body).fields); got != sorted(row.query) {
				t.Errorf("asked: %s, want %s", got, row.query)
			}
		})
	}
}

// TestFundsOfMixedTrade: the channels are the refund, and what the bank takes is the card's.
func TestFundsOfMixedTrade(t *testing.T) {
	b := start(t, alipaytest.Config{})
	b.call(t, refundMethod, `{"out_trade_no":"mixed","out_request_no":"R","refund_amount":"10.01","query_options":["deposit_back_info"],
		"refund_royalty_parameters":[{"trans_out":"2088","royalty_type":"transfer","amount":"1"}]}`).want(t, "10000", "", "good")
	got := b.call(t, queryMethod, `{"out_trade_no":"mixed","out_request_no":"R","query_options":["refund_detail_item_list","deposit_back_info_list"]}`)
	text, err := json.Marshal(got.fields)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"amount":"4.01","fund_channel":"ALIPAYACCOUNT"}`, `"amount":"5.00","bank_code":"ICBC","fund_channel":"BANKCARD"`,
		`{"amount":"1.00","fund_channel":"COUPON"}`, `"send_back_fee":"9.01"`, `"dback_amount":"5.00"`, `"trans_out":"2088"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s\nhas no %s", text, want)
		}
	}
}

func toldFunds(fields map[string]any) string {
	var told []string
	for name := range fields {
		if strings.HasPrefix(name, "refund_") && strings.HasSuffix(name, "_list") || strings.HasPrefix(name, "present_") ||
			strings.Contains(name, "deposit_back") || name == "send_back_fee" {
			told = append(told, name)
		}
	}
	return sorted(strings.Join(told, " "))
}

func sorted(words string) string {
	all := strings.Fields(words)
	slices.Sort(all)
	return strings.Join(all, " ")
}
