package alipaytest

import (
	"slices"
	"strings"
)

// royalty is what a refund asks to be taken back of one share.
type royalty struct {
	Type     string   `json:"royalty_type"`
	TransOut string   `json:"trans_out"`
	TransIn  string   `json:"trans_in"`
	Amount   yuanText `json:"amount"`
}

// mixed reports whether the trade was paid through several channels, byCard
// whether a bank card was among them.
func (e *entry) mixed() bool { return strings.HasPrefix(e.order.outNo, "mixed") }

func (e *entry) byCard() bool {
	return e.mixed() || e.bounced || strings.HasPrefix(e.order.outNo, "card")
}

// parts are how much of the refund goes to the buyer's balance, back to the
// card, and is a discount of the merchant that lapses.
func (e *entry) parts() (balance, card, coupon int64) {
	switch {
	case e.mixed():
		card, coupon = e.amount/2, e.amount/10
	case e.byCard():
		card = e.amount
	}
	return e.amount - card - coupon, card, coupon
}

// funds is what both answers tell of where the money went: what nobody has to
// ask for, and what the options ask for.
func (e *entry) funds(options []string) node {
	asked := func(option string) bool { return slices.Contains(options, option) }
	balance, card, coupon := e.parts()
	var fields node
	if asked("refund_detail_item_list") {
		var items []node
		if balance > 0 {
			items = append(items, node{{"amount", FormatYuan(balance)}, {"fund_channel", "ALIPAYACCOUNT"}})
		}
		if card > 0 {
			items = append(items, node{
				{"amount", FormatYuan(card)},
				{"real_amount", FormatYuan(card)},
				{"fund_channel", "BANKCARD"},
				{"bank_code", "ICBC"},
				{"fund_type", "DEBIT_CARD"},
			})
		}
		if coupon > 0 {
			items = append(items, node{{"amount", FormatYuan(coupon)}, {"fund_channel", "COUPON"}})
		}
		fields = append(fields, member{"refund_detail_item_list", items}, member{"send_back_fee", FormatYuan(e.amount - coupon)})
	}
	if !e.mixed() {
		return fields
	}
	fee := FormatYuan(e.amount / 100)
	fields = append(fields,
		member{"refund_charge_info_list", []node{{
			{"charge_type", "trade"},
			{"refund_charge_fee", fee},
			{"switch_fee_rate", "0.01"},
			{"refund_sub_fee_detail_list", []node{{{"refund_charge_fee", fee}, {"switch_fee_rate", "0.01"}}}},
		}}},
		member{"present_refund_buyer_amount", FormatYuan(e.amount - coupon)},
		member{"present_refund_mdiscount_amount", FormatYuan(coupon)},
	)
	if asked("refund_voucher_detail_list") {
		fields = append(fields, member{"refund_voucher_detail_list", []node{{
			{"id", "2015102600073002039000002D5O"},
			{"name", "满减券"},
			{"type", "ALIPAY_BIZ_VOUCHER"},
			{"amount", FormatYuan(e.order.total / 10)},
			{"merchant_contribute", FormatYuan(e.order.total / 10)},
			{"other_contribute", "0.00"},
		}}})
	}
	return fields
}

// deposit tells what the bank did.
func (e *entry) deposit() node {
	if !e.byCard() {
		return node{{"has_deposit_back", "false"}}
	}
	_, card, _ := e.parts()
	status := "S"
	if e.bounced {
		status = "F"
	}
	return node{
		{"has_deposit_back", "true"},
		{"dback_status", status},
		{"dback_amount", FormatYuan(card)},
		{"bank_ack_time", beijing(e.movedAt)},
		{"est_bank_receipt_time", beijing(e.movedAt)},
	}
}

// royaltyItems are the shares that were taken back; only queries tell of them, and
// of the accounts.
func (e *entry) royaltyItems() (items []node) {
	for _, r := range e.royalties {
		items = append(items, node{
			{"refund_amount", string(r.Amount)},
			{"royalty_type", r.Type},
			{"result_code", "SUCCESS"},
			{"trans_out", r.TransOut},
			{"trans_out_email", "sim***@example.com"},
			{"trans_in", r.TransIn},
		})
	}
	return items
}
