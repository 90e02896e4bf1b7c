package producer

import "encoding/json"

// Funds is where a refund's money went, as Alipay told it, in Alipay's names.
// It is a closed set: there is no place for an account, a buyer or a log-on id.
// A member at its zero value was not told; amounts are pointers, because 0.00 is
// something that was told.
type Funds struct {
	SendBackFee                  *Fen          `json:"send_back_fee,omitempty"`
	RefundDetailItemList         []FundChannel `json:"refund_detail_item_list,omitempty"`
	RefundChargeAmount           *Fen          `json:"refund_charge_amount,omitempty"`
	RefundChargeInfoList         []FundCharge  `json:"refund_charge_info_list,omitempty"`
	RefundVoucherDetailList      []FundVoucher `json:"refund_voucher_detail_list,omitempty"`
	RefundRoyaltys               []FundRoyalty `json:"refund_royaltys,omitempty"`
	RefundPresetPaytoolList      []FundPaytool `json:"refund_preset_paytool_list,omitempty"`
	RefundHybAmount              *Fen          `json:"refund_hyb_amount,omitempty"`
	PreAuthCancelFee             *Fen          `json:"pre_auth_cancel_fee,omitempty"`
	RefundSettlementID           string        `json:"refund_settlement_id,omitempty"`
	RefundChannelStatus          string        `json:"refund_channel_status,omitempty"`
	PresentRefundBuyerAmount     *Fen          `json:"present_refund_buyer_amount,omitempty"`
	PresentRefundDiscountAmount  *Fen          `json:"present_refund_discount_amount,omitempty"`
	PresentRefundMdiscountAmount *Fen          `json:"present_refund_mdiscount_amount,omitempty"`
	HasDepositBack               string        `json:"has_deposit_back,omitempty"`
	DepositBackInfo              *FundDeposit  `json:"deposit_back_info,omitempty"`
	DepositBackInfoList          []FundDeposit `json:"deposit_back_info_list,omitempty"`
	RefundChannelList            string        `json:"refund_channel_list,omitempty"`
}

// FundChannel is one channel that money went back through.
type FundChannel struct {
	FundChannel string `json:"fund_channel,omitempty"`
	BankCode    string `json:"bank_code,omitempty"`
	FundType    string `json:"fund_type,omitempty"`
	Amount      *Fen   `json:"amount,omitempty"`
	RealAmount  *Fen   `json:"real_amount,omitempty"`
}

// FundCharge is a service fee that was given back, FundSubFee a part of it.
type FundCharge struct {
	ChargeType             string       `json:"charge_type,omitempty"`
	RefundChargeFee        *Fen         `json:"refund_charge_fee,omitempty"`
	SwitchFeeRate          string       `json:"switch_fee_rate,omitempty"`
	RefundSubFeeDetailList []FundSubFee `json:"refund_sub_fee_detail_list,omitempty"`
}

// FundSubFee is a part of a FundCharge.
type FundSubFee struct {
	RefundChargeFee *Fen   `json:"refund_charge_fee,omitempty"`
	SwitchFeeRate   string `json:"switch_fee_rate,omitempty"`
}

// FundVoucher is a voucher of the payment, at face value.
type FundVoucher struct {
	ID                         string             `json:"id,omitempty"`
	Name                       string             `json:"name,omitempty"`
	Type                       string             `json:"type,omitempty"`
	Memo                       string             `json:"memo,omitempty"`
	TemplateID                 string             `json:"template_id,omitempty"`
	Amount                     *Fen               `json:"amount,omitempty"`
	MerchantContribute         *Fen               `json:"merchant_contribute,omitempty"`
	OtherContribute            *Fen               `json:"other_contribute,omitempty"`
	PurchaseBuyerContribute    *Fen               `json:"purchase_buyer_contribute,omitempty"`
	PurchaseMerchantContribute *Fen               `json:"purchase_merchant_contribute,omitempty"`
	PurchaseAntContribute      *Fen               `json:"purchase_ant_contribute,omitempty"`
	OtherContributeDetail      []FundContribution `json:"other_contribute_detail,omitempty"`
}

// FundContribution is what somebody other than the merchant paid of a voucher.
type FundContribution struct {
	ContributeType   string `json:"contribute_type,omitempty"`
	ContributeAmount *Fen   `json:"contribute_amount,omitempty"`
}

// FundRoyalty is a share of a split payment that was taken back.
type FundRoyalty struct {
	RefundAmount *Fen   `json:"refund_amount,omitempty"`
	RoyaltyType  string `json:"royalty_type,omitempty"`
	ResultCode   string `json:"result_code,omitempty"`
	Parameter    *int   `json:"parameter,omitempty"` // of the command's refund_royalty_parameters, from 0, where that is certain
}

// FundPaytool is a prepaid asset that went back.
type FundPaytool struct {
	AssertTypeCode string `json:"assert_type_code,omitempty"` // Alipay's spelling
	Amount         []Fen  `json:"amount,omitempty"`
}

// FundDeposit is what a bank did with the refund; times are RFC 3339 in +08:00.
type FundDeposit struct {
	HasDepositBack     string `json:"has_deposit_back,omitempty"`
	DbackStatus        string `json:"dback_status,omitempty"`
	DbackAmount        *Fen   `json:"dback_amount,omitempty"`
	BankAckTime        string `json:"bank_ack_time,omitempty"`
	EstBankReceiptTime string `json:"est_bank_receipt_time,omitempty"`
}

const (
	maxFunds   = 16 << 10 // bytes of JSON
	maxEntries = 100      // of a list
)

// wire is the funds in JSON within their limits, and whether something had to be
// left out for that: the ends of lists, those of vouchers first, because what
// was paid with explains least.
func (f *Funds) wire() (text json.RawMessage, cut bool) {
	if f == nil {
		return nil, false
	}
	kept := *f
	vouchers := func(limit int) bool { return keep(&kept.RefundVoucherDetailList, limit) }
	cut = kept.shorten(maxEntries)
	for _, shorten := range []func(limit int) bool{vouchers, kept.shorten} {
		for limit := maxEntries; ; limit /= 2 {
			cut = shorten(limit) || cut
			text, err := compact(kept)
			switch {
			case err != nil: // an amount that has no text
				return nil, true
			case string(text) == "{}":
				return nil, cut
			case len(text) <= maxFunds:
				return text, cut
			}
			if limit == 0 {
				break
			}
		}
	}
	return nil, true
}

// shorten keeps at most so many entries of every list but that of vouchers.
func (f *Funds) shorten(limit int) (cut bool) {
	for _, one := range []bool{
		keep(&f.RefundDetailItemList, limit), keep(&f.RefundChargeInfoList, limit), keep(&f.RefundRoyaltys, limit),
		keep(&f.RefundPresetPaytoolList, limit), keep(&f.DepositBackInfoList, limit),
	} {
		cut = cut || one
	}
	return cut
}

func keep[T any](list *[]T, limit int) (cut bool) {
	if len(*list) <= limit {
		return false
	}
	*list = (*list)[:limit]
	return true
}
