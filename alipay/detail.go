package alipay

// Funds is where the money of a refund went, as far as Alipay told it. Nothing
// of it is guaranteed, most of it comes only when the query options ask for it,
// and none of it says that the refund succeeded.
type Funds struct {
	// SendBackFee is what the merchant gave back in this refund.
	SendBackFee          *Amount
	RefundDetailItemList []FundBill
	// RefundChargeAmount is the service fee given back, between institutions;
	// elsewhere RefundChargeInfoList tells it.
	RefundChargeAmount      *Amount
	RefundChargeInfoList    []RefundCharge
	RefundVoucherDetailList []Voucher
	// RefundRoyaltys comes only with a query.
	RefundRoyaltys               []RefundRoyalty
	RefundPresetPaytoolList      []PresetPayTool
	RefundHybAmount              *Amount
	PreAuthCancelFee             *Amount
	RefundSettlementID           string
	RefundChannelStatus          string // SUCCESS, FAIL or PART_SUCCESS
	PresentRefundBuyerAmount     *Amount
	PresentRefundDiscountAmount  *Amount
	PresentRefundMdiscountAmount *Amount
	// HasDepositBack "true": a bank takes it later. The answer to a refund has
	// it alone, the one to a query has DepositBackInfo.
	HasDepositBack      string
	DepositBackInfo     *DepositBackInfo
	DepositBackInfoList []DepositBackInfo
	RefundChannelList   string
	// LeftOut names the members that were malformed: they are empty above, or
	// empty in part.
	LeftOut []string
}

func (f *Funds) funds() *Funds { return f }

func (f *Funds) fields() []field {
	return []field{
		fund("send_back_fee", &f.SendBackFee),
		fund("refund_detail_item_list", list(&f.RefundDetailItemList)),
		fund("refund_charge_amount", &f.RefundChargeAmount),
		fund("refund_charge_info_list", list(&f.RefundChargeInfoList)),
		fund("refund_voucher_detail_list", list(&f.RefundVoucherDetailList)),
		fund("refund_royaltys", list(&f.RefundRoyaltys)),
		fund("refund_preset_paytool_list", list(&f.RefundPresetPaytoolList)),
		fund("refund_hyb_amount", &f.RefundHybAmount),
		fund("pre_auth_cancel_fee", &f.PreAuthCancelFee),
		fund("refund_settlement_id", &f.RefundSettlementID),
		fund("refund_channel_status", &f.RefundChannelStatus),
		fund("present_refund_buyer_amount", &f.PresentRefundBuyerAmount),
		fund("present_refund_discount_amount", &f.PresentRefundDiscountAmount),
		fund("present_refund_mdiscount_amount", &f.PresentRefundMdiscountAmount),
		fund("has_deposit_back", &f.HasDepositBack),
		fund("deposit_back_info", object(&f.DepositBackInfo)),
		fund("deposit_back_info_list", list(&f.DepositBackInfoList)),
		fund("refund_channel_list", &f.RefundChannelList),
	}
}

// FundBill is one channel that a refund went through.
type FundBill struct {
	FundChannel string
	BankCode    string
	FundType    string
	Amount      *Amount
	RealAmount  *Amount
}

func (b *FundBill) fields() []field {
	return []field{
		fund("fund_channel", &b.FundChannel),
		fund("bank_code", &b.BankCode),
		fund("fund_type", &b.FundType),
		fund("amount", &b.Amount),
		fund("real_amount", &b.RealAmount),
	}
}

// RefundCharge is a service fee that was given back.
type RefundCharge struct {
	ChargeType             string // trade, hbfq or charge
	RefundChargeFee        *Amount
	SwitchFeeRate          string
	RefundSubFeeDetailList []RefundSubFee
}

func (c *RefundCharge) fields() []field {
	return []field{
		fund("charge_type", &c.ChargeType),
		fund("refund_charge_fee", &c.RefundChargeFee),
		fund("switch_fee_rate", &c.SwitchFeeRate),
		fund("refund_sub_fee_detail_list", list(&c.RefundSubFeeDetailList)),
	}
}

// RefundSubFee is the part of one channel in a RefundCharge.
type RefundSubFee struct {
	RefundChargeFee *Amount
	SwitchFeeRate   string
}

func (f *RefundSubFee) fields() []field {
	return []field{
		fund("refund_charge_fee", &f.RefundChargeFee),
		fund("switch_fee_rate", &f.SwitchFeeRate),
	}
}

// Voucher is a voucher that was used in the payment.
type Voucher struct {
	ID                         string
	Name                       string
	Type                       string
	Memo                       string
	TemplateID                 string
	Amount                     *Amount
	MerchantContribute         *Amount
	OtherContribute            *Amount
	PurchaseBuyerContribute    *Amount
	PurchaseMerchantContribute *Amount
	PurchaseAntContribute      *Amount
	OtherContributeDetail      []Contribution
}

func (v *Voucher) fields() []field {
	return []field{
		fund("id", &v.ID),
		fund("name", &v.Name),
		fund("type", &v.Type),
		fund("memo", &v.Memo),
		fund("template_id", &v.TemplateID),
		fund("amount", &v.Amount),
		fund("merchant_contribute", &v.MerchantContribute),
		fund("other_contribute", &v.OtherContribute),
		fund("purchase_buyer_contribute", &v.PurchaseBuyerContribute),
		fund("purchase_merchant_contribute", &v.PurchaseMerchantContribute),
		fund("purchase_ant_contribute", &v.PurchaseAntContribute),
		fund("other_contribute_detail", list(&v.OtherContributeDetail)),
	}
}

// Contribution is what somebody other than the merchant paid of a voucher.
type Contribution struct {
	ContributeType   string
	ContributeAmount *Amount
}

func (c *Contribution) fields() []field {
	return []field{
		fund("contribute_type", &c.ContributeType),
		fund("contribute_amount", &c.ContributeAmount),
	}
}

// PresetPayTool is a prepaid asset that went back. assert_type_code is Alipay's
// own spelling.
type PresetPayTool struct {
	AssertTypeCode string
	Amount         []Amount
}

func (p *PresetPayTool) fields() []field {
	return []field{
		fund("assert_type_code", &p.AssertTypeCode),
		fund("amount", amounts(&p.Amount)),
	}
}

// DepositBackInfo is what a bank did with a refund to one of its cards. On F
// the money is in the buyer's Alipay balance: the refund itself stands.
type DepositBackInfo struct {
	HasDepositBack     string // "true" or "false"
	DbackStatus        string // S done, F failed, P in process
	DbackAmount        *Amount
	BankAckTime        string
	EstBankReceiptTime string
}

func (d *DepositBackInfo) fields() []field {
	return []field{
		fund("has_deposit_back", &d.HasDepositBack),
		fund("dback_status", &d.DbackStatus),
		fund("dback_amount", &d.DbackAmount),
		fund("bank_ack_time", &d.BankAckTime),
		fund("est_bank_receipt_time", &d.EstBankReceiptTime),
	}
}

// RefundRoyalty is what was taken back of one share of a split payment.
type RefundRoyalty struct {
	RefundAmount            *Amount
	RoyaltyType             string
	ResultCode              string
	TransOut, TransOutEmail Personal
	TransIn, TransInEmail   Personal
	OriginalTransOut        Personal // ori_trans_out
	OriginalTransIn         Personal // ori_trans_in
}

func (r *RefundRoyalty) fields() []field {
	return []field{
		fund("refund_amount", &r.RefundAmount),
		fund("royalty_type", &r.RoyaltyType),
		fund("result_code", &r.ResultCode),
		detail("trans_out", &r.TransOut),
		detail("trans_out_email", &r.TransOutEmail),
		detail("trans_in", &r.TransIn),
		detail("trans_in_email", &r.TransInEmail),
		detail("ori_trans_out", &r.OriginalTransOut),
		detail("ori_trans_in", &r.OriginalTransIn),
	}
}

// EnterprisePay is the part that a company paid for its employee.
type EnterprisePay struct {
	BizInfo            Personal
	InvoiceAmount      *Amount
	IsUseEnterprisePay string // "true" or "false"
}

func (e *EnterprisePay) fields() []field {
	return []field{
		detail("biz_info", &e.BizInfo),
		detail("invoice_amount", &e.InvoiceAmount),
		detail("is_use_enterprise_pay", &e.IsUseEnterprisePay),
	}
}
