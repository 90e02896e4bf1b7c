package consumer

import (
	"reflect"
	"slices"
	"unicode/utf8"

	"refundd/alipay"
	"refundd/producer"
)

// fundsOf is what the event tells of where the money went. What the published
// schema cannot express is left out, and its name is added to those that the
// answer itself had malformed; nothing of it can keep a proven outcome from
// being published. Accounts and persons have no place in producer.Funds.
func fundsOf(from alipay.Funds, shares []alipay.RoyaltyParameter) (*producer.Funds, []string) {
	m := &mapping{leftOut: from.LeftOut}
	f := &producer.Funds{
		SendBackFee:                  m.fen("send_back_fee", from.SendBackFee),
		RefundChargeAmount:           m.fen("refund_charge_amount", from.RefundChargeAmount),
		RefundHybAmount:              m.fen("refund_hyb_amount", from.RefundHybAmount),
		PreAuthCancelFee:             m.fen("pre_auth_cancel_fee", from.PreAuthCancelFee),
		RefundSettlementID:           m.text("refund_settlement_id", from.RefundSettlementID),
		RefundChannelStatus:          m.text("refund_channel_status", from.RefundChannelStatus),
		RefundChannelList:            m.text("refund_channel_list", from.RefundChannelList),
		PresentRefundBuyerAmount:     m.fen("present_refund_buyer_amount", from.PresentRefundBuyerAmount),
		PresentRefundDiscountAmount:  m.fen("present_refund_discount_amount", from.PresentRefundDiscountAmount),
		PresentRefundMdiscountAmount: m.fen("present_refund_mdiscount_amount", from.PresentRefundMdiscountAmount),
		HasDepositBack:               m.text("has_deposit_back", from.HasDepositBack),
		RefundDetailItemList:         each(m, "refund_detail_item_list", from.RefundDetailItemList, m.channel),
		RefundChargeInfoList:         each(m, "refund_charge_info_list", from.RefundChargeInfoList, m.charge),
		RefundVoucherDetailList:      each(m, "refund_voucher_detail_list", from.RefundVoucherDetailList, m.voucher),
		RefundRoyaltys:               each(m, "refund_royaltys", from.RefundRoyaltys, m.royalty),
		RefundPresetPaytoolList:      each(m, "refund_preset_paytool_list", from.RefundPresetPaytoolList, m.paytool),
		DepositBackInfoList:          each(m, "deposit_back_info_list", from.DepositBackInfoList, m.deposit),
	}
	for i := range f.RefundRoyaltys {
		if n, certain := shareOf(i, from.RefundRoyaltys, shares); certain {
			f.RefundRoyaltys[i].Parameter = &n
		}
	}
	if from.DepositBackInfo != nil {
		back := m.deposit(*from.DepositBackInfo)
		f.DepositBackInfo = &back
	}
	if reflect.ValueOf(*f).IsZero() {
		f = nil
	}
	return f, m.leftOut
}

// mapping names what it had to leave out.
type mapping struct{ leftOut []string }

func (m *mapping) leave(name string) {
	if !slices.Contains(m.leftOut, name) {
		m.leftOut = append(m.leftOut, name)
	}
}

func (m *mapping) fen(name string, a *alipay.Amount) *producer.Fen {
	if a == nil {
		return nil
	}
	told := producer.Fen(*a)
	if told < 0 || told > producer.MaxFen {
		m.leave(name)
		return nil
	}
	return &told
}

const (
	longestText = 1000 // characters; far beyond what Alipay's documents allow
	longestList = 100  // entries, as the schema says
)

func (m *mapping) text(name, s string) string {
	if utf8.RuneCountInString(s) > longestText {
		m.leave(name)
		return ""
	}
	return s
}

func (m *mapping) time(name, s string) string {
	at := alipayTime(s)
	if at == "" && s != "" {
		m.leave(name)
	}
	return at
}

func (m *mapping) channel(b alipay.FundBill) producer.FundChannel {
	const name = "refund_detail_item_list"
	return producer.FundChannel{
		FundChannel: m.text(name, b.FundChannel), BankCode: m.text(name, b.BankCode), FundType: m.text(name, b.FundType),
		Amount: m.fen(name, b.Amount), RealAmount: m.fen(name, b.RealAmount),
	}
}

func (m *mapping) charge(c alipay.RefundCharge) producer.FundCharge {
	const name = "refund_charge_info_list"
	return producer.FundCharge{
		ChargeType: m.text(name, c.ChargeType), RefundChargeFee: m.fen(name, c.RefundChargeFee),
		SwitchFeeRate: m.text(name, c.SwitchFeeRate),
		RefundSubFeeDetailList: each(m, name, c.RefundSubFeeDetailList, func(s alipay.RefundSubFee) producer.FundSubFee {
			return producer.FundSubFee{RefundChargeFee: m.fen(name, s.RefundChargeFee), SwitchFeeRate: m.text(name, s.SwitchFeeRate)}
		}),
	}
}

func (m *mapping) voucher(v alipay.Voucher) producer.FundVoucher {
	const name = "refund_voucher_detail_list"
	return producer.FundVoucher{
		ID: m.text(name, v.ID), Name: m.text(name, v.Name), Type: m.text(name, v.Type),
		Memo: m.text(name, v.Memo), TemplateID: m.text(name, v.TemplateID),
		Amount: m.fen(name, v.Amount), MerchantContribute: m.fen(name, v.MerchantContribute),
		OtherContribute:            m.fen(name, v.OtherContribute),
		PurchaseBuyerContribute:    m.fen(name, v.PurchaseBuyerContribute),
		PurchaseMerchantContribute: m.fen(name, v.PurchaseMerchantContribute),
		PurchaseAntContribute:      m.fen(name, v.PurchaseAntContribute),
		OtherContributeDetail: each(m, name, v.OtherContributeDetail, func(c alipay.Contribution) producer.FundContribution {
			return producer.FundContribution{ContributeType: m.text(name, c.ContributeType), ContributeAmount: m.fen(name, c.ContributeAmount)}
		}),
	}
}

func (m *mapping) royalty(r alipay.RefundRoyalty) producer.FundRoyalty {
	const name = "refund_royaltys"
	return producer.FundRoyalty{
		RefundAmount: m.fen(name, r.RefundAmount), RoyaltyType: m.text(name, r.RoyaltyType), ResultCode: m.text(name, r.ResultCode),
	}
}

func (m *mapping) paytool(p alipay.PresetPayTool) producer.FundPaytool {
	const name = "refund_preset_paytool_list"
	told := producer.FundPaytool{AssertTypeCode: m.text(name, p.AssertTypeCode)}
	for _, a := range each(m, name, p.Amount, func(a alipay.Amount) *producer.Fen { return m.fen(name, &a) }) {
		if a != nil {
			told.Amount = append(told.Amount, *a)
		}
	}
	return told
}

func (m *mapping) deposit(d alipay.DepositBackInfo) producer.FundDeposit {
	const name = "deposit_back_info"
	return producer.FundDeposit{
		HasDepositBack: m.text(name, d.HasDepositBack), DbackStatus: m.text(name, d.DbackStatus),
		DbackAmount: m.fen(name, d.DbackAmount),
		BankAckTime: m.time(name, d.BankAckTime), EstBankReceiptTime: m.time(name, d.EstBankReceiptTime),
	}
}

func each[A, B any](m *mapping, name string, from []A, to func(A) B) (all []B) {
	if len(from) > longestList {
		m.leave(name)
		from = from[:longestList]
	}
	for _, one := range from {
		all = append(all, to(one))
	}
	return all
}

// shareOf is which of the command's shares a royalty is about, by the accounts of
// both: certain only where one share alone fits it, and it alone that share.
func shareOf(i int, royalties []alipay.RefundRoyalty, shares []alipay.RoyaltyParameter) (n int, certain bool) {
	n = -1
	for at, share := range shares {
		switch {
		case !sameShare(royalties[i], share):
		case n >= 0:
			return 0, false
		default:
			n = at
		}
	}
	if n < 0 {
		return 0, false
	}
	for other := range royalties {
		if other != i && sameShare(royalties[other], shares[n]) {
			return 0, false
		}
	}
	return n, true
}

// sameShare reports whether an account that the share names, and everything
// else that both tell, is the royalty's.
func sameShare(r alipay.RefundRoyalty, share alipay.RoyaltyParameter) bool {
	is := func(account string, of ...alipay.Personal) bool {
		return account == "" || account == string(of[0]) || account == string(of[1])
	}
	named := share.TransOut != "" || share.TransIn != ""
	return named && is(share.TransOut, r.TransOut, r.TransOutEmail) && is(share.TransIn, r.TransIn, r.TransInEmail) &&
		(share.Amount == 0 || r.RefundAmount == nil || share.Amount == *r.RefundAmount)
}
