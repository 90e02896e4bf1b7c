package alipay

import (
	"context"
	"errors"
	"fmt"
)

// RefundRequest asks for a refund of one trade. It is a closed set of members:
// Alipay warns that unknown ones can fail a call or refund twice. Empty
// optional members are not sent. Lengths are Alipay's, in characters; they are
// not checked here.
type RefundRequest struct {
	// OutTradeNo is the merchant's order number, TradeNo is Alipay's; at least
	// one, up to 64. If both are given, Alipay goes by TradeNo.
	OutTradeNo string `json:"out_trade_no,omitempty"`
	TradeNo    string `json:"trade_no,omitempty"`
	// RefundAmount is what to give back now, 0.01 to 100000000.00 yuan.
	RefundAmount Amount `json:"refund_amount"`
	// OutRequestNo identifies the refund within its trade, up to 64. The same
	// number with the same amount is the same refund, carried out once. It is
	// required here although Alipay falls back to OutTradeNo without it: a
	// refund without its own number cannot be repeated safely.
	OutRequestNo string `json:"out_request_no"`
	// RefundReason is shown to the buyer, up to 256.
	RefundReason string `json:"refund_reason,omitempty"`
	// RefundCurrency must be the currency of the payment, up to 8.
	RefundCurrency    string        `json:"refund_currency,omitempty"`
	RefundGoodsDetail []RefundGoods `json:"refund_goods_detail,omitempty"`
	// GoodsDetail is the older form of RefundGoodsDetail.
	GoodsDetail             []Goods            `json:"goods_detail,omitempty"`
	RefundRoyaltyParameters []RoyaltyParameter `json:"refund_royalty_parameters,omitempty"`
	// QueryOptions asks for more members in the answer; see RefundOptions.
	QueryOptions []string `json:"query_options,omitempty"`
	// RelatedSettleConfirmNo belongs to trades with an account period, up to 64.
	RelatedSettleConfirmNo string `json:"related_settle_confirm_no,omitempty"`
	OperatorID             string `json:"operator_id,omitempty"` // up to 30
	StoreID                string `json:"store_id,omitempty"`    // up to 32
	TerminalID             string `json:"terminal_id,omitempty"` // up to 32
	// OrgPid is for institutions that connect banks, up to 16.
	OrgPid string `json:"org_pid,omitempty"`
	// RefundAdvanceAccount and RefundTransOut name accounts that pay instead of
	// the seller's; their types are userId or loginName.
	RefundAdvanceAccount     string `json:"refund_advance_account,omitempty"`
	RefundAdvanceAccountType string `json:"refund_advance_account_type,omitempty"`
	RefundTransOut           string `json:"refund_trans_out,omitempty"`
	RefundTransOutType       string `json:"refund_trans_out_type,omitempty"`
	// AppAuthToken calls in the name of another merchant who authorised the app.
	// It is a secret, and part of the refund's identity: the same number with
	// another token is another merchant's refund.
	AppAuthToken string `json:"-"`
}

// Format prints the number alone: the rest names accounts and may hold a token.
func (r RefundRequest) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "alipay.RefundRequest{OutRequestNo: %s}", r.OutRequestNo)
}

// RefundGoods is one kind of goods that come back.
type RefundGoods struct {
	GoodsID              string   `json:"goods_id,omitempty"`
	RefundAmount         Amount   `json:"refund_amount,omitempty"`
	OutItemID            string   `json:"out_item_id,omitempty"`
	OutSkuID             string   `json:"out_sku_id,omitempty"`
	OutCertificateNoList []string `json:"out_certificate_no_list,omitempty"`
}

// Goods is the older form of RefundGoods.
type Goods struct {
	GoodsID        string `json:"goods_id"`
	AlipayGoodsID  string `json:"alipay_goods_id,omitempty"`
	GoodsName      string `json:"goods_name,omitempty"`
	Quantity       int    `json:"quantity,omitempty"`
	Price          Amount `json:"price,omitempty"`
	GoodsCategory  string `json:"goods_category,omitempty"`
	CategoriesTree string `json:"categories_tree,omitempty"`
	Body           string `json:"body,omitempty"`
	ShowURL        string `json:"show_url,omitempty"`
}

// RoyaltyParameter takes a share of a split payment back.
type RoyaltyParameter struct {
	RoyaltyType      string `json:"royalty_type,omitempty"`
	TransOut         string `json:"trans_out,omitempty"`
	TransOutType     string `json:"trans_out_type,omitempty"`
	TransIn          string `json:"trans_in,omitempty"`
	TransInType      string `json:"trans_in_type,omitempty"`
	TransInName      string `json:"trans_in_name,omitempty"`
	Amount           Amount `json:"amount,omitempty"`
	AmountPercentage int    `json:"amount_percentage,omitempty"` // 1 to 100
	Desc             string `json:"desc,omitempty"`
	RoyaltyScene     string `json:"royalty_scene,omitempty"`
}

// RefundOptions are the query_options that Refund knows.
func RefundOptions() []string {
	return []string{"refund_detail_item_list", "deposit_back_info", "refund_voucher_detail_list"}
}

// RefundResponse is a verified answer to Refund. It does not say that the
// refund succeeded: that is FundChange "Y" alone. Alipay guarantees none of the
// members; amounts that were absent are nil.
type RefundResponse struct {
	// Code is 10000 over v2 and empty over V3.
	Code string
	// TradeNo and OutTradeNo say which trade was meant; compare them.
	TradeNo, OutTradeNo string
	// FundChange "Y": this call moved money. "N" or nothing: it did not, because
	// an earlier one had, or because it was not done; only a query can show.
	FundChange string
	// RefundFee is everything refunded of this trade so far, never this refund.
	RefundFee      *Amount
	RefundCurrency string
	// GmtRefundPay is the time of the refund; see ParseTime.
	GmtRefundPay string

	BuyerLogonID, BuyerUserID, BuyerOpenID Personal

	StoreName string
	Funds

	// TraceID is Alipay's number of the call.
	TraceID string
}

func (r *RefundResponse) fields() []field {
	return append(r.Funds.fields(),
		proof("code", &r.Code),
		proof("trade_no", &r.TradeNo),
		proof("out_trade_no", &r.OutTradeNo),
		proof("fund_change", &r.FundChange),
		proof("refund_fee", &r.RefundFee),
		detail("refund_currency", &r.RefundCurrency),
		detail("gmt_refund_pay", &r.GmtRefundPay),
		detail("buyer_logon_id", &r.BuyerLogonID),
		detail("buyer_user_id", &r.BuyerUserID),
		detail("buyer_open_id", &r.BuyerOpenID),
		detail("store_name", &r.StoreName),
	)
}

// Refund calls alipay.trade.refund once. A nil error means that Alipay answered
// and signed it, not that money moved: see RefundResponse.FundChange. Every
// error is an *Error, and its Class says what is known: after ClassUnknown the
// money may have moved, and the only safe next steps are QueryRefund and the
// same request again. The request is written at most once.
func (c *Client) Refund(ctx context.Context, req *RefundRequest) (*RefundResponse, error) {
	call := call{method: MethodRefund, token: req.AppAuthToken, biz: req}
	if err := req.check(); err != nil {
		return nil, call.notSent(err)
	}
	resp := &RefundResponse{}
	trace, err := c.tradeCall(ctx, pathRefund, call, resp)
	if err != nil {
		return nil, err
	}
	resp.TraceID = trace
	return resp, nil
}

func (r *RefundRequest) check() error {
	switch {
	case r.OutTradeNo == "" && r.TradeNo == "":
		return errors.New("neither out_trade_no nor trade_no")
	case r.OutRequestNo == "":
		return errors.New("no out_request_no")
	case r.RefundAmount < MinAmount || r.RefundAmount > MaxAmount:
		return errors.New("refund_amount is outside 0.01 to 100000000.00")
	}
	return nil
}
