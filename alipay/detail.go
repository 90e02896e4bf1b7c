package alipay

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
		detail("fund_channel", &b.FundChannel),
		detail("bank_code", &b.BankCode),
		detail("fund_type", &b.FundType),
		detail("amount", &b.Amount),
		detail("real_amount", &b.RealAmount),
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
		detail("charge_type", &c.ChargeType),
		detail("refund_charge_fee", &c.RefundChargeFee),
		detail("switch_fee_rate", &c.SwitchFeeRate),
		detail("refund_sub_fee_detail_list", list(&c.RefundSubFeeDetailList)),
	}
}

// RefundSubFee is the part of one channel in a RefundCharge.
type RefundSubFee struct {
	RefundChargeFee *Amount
	SwitchFeeRate   string
}

func (f *RefundSubFee) fields() []field {
	return []field{
		detail("refund_charge_fee", &f.RefundChargeFee),
		detail("switch_fee_rate", &f.SwitchFeeRate),
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
		detail("id", &v.ID),
		detail("name", &v.Name),
		detail("type", &v.Type),
		detail("memo", &v.Memo),
		detail("template_id", &v.TemplateID),
		detail("amount", &v.Amount),
		detail("merchant_contribute", &v.MerchantContribute),
		detail("other_contribute", &v.OtherContribute),
		detail("purchase_buyer_contribute", &v.PurchaseBuyerContribute),
		detail("purchase_merchant_contribute", &v.PurchaseMerchantContribute),
		detail("purchase_ant_contribute", &v.PurchaseAntContribute),
		detail("other_contribute_detail", list(&v.OtherContributeDetail)),
	}
}

// Contribution is what somebody other than the merchant paid of a voucher.
type Contribution struct {
	ContributeType   string
	ContributeAmount *Amount
}

func (c *Contribution) fields() []field {
	return []field{
		detail("contribute_type", &c.ContributeType),
		detail("contribute_amount", &c.ContributeAmount),
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
		detail("assert_type_code", &p.AssertTypeCode),
		detail("amount", amounts(&p.Amount)),
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
		detail("has_deposit_back", &d.HasDepositBack),
		detail("dback_status", &d.DbackStatus),
		detail("dback_amount", &d.DbackAmount),
		detail("bank_ack_time", &d.BankAckTime),
		detail("est_bank_receipt_time", &d.EstBankReceiptTime),
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
		detail("refund_amount", &r.RefundAmount),
		detail("royalty_type", &r.RoyaltyType),
		detail("result_code", &r.ResultCode),
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
