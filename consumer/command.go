package consumer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"

	"refundd/alipay"
	"refundd/producer"
)

// Kind says which of Alipay's two refunds a command asks for.
type Kind = producer.Kind

// The kinds of CONTRACT §3, each with a topic of its own.
const (
	KindRefund       = producer.KindRefund
	KindCouponRefund = producer.KindCouponRefund
)

// defaultRemark is sent with a coupon refund whose command gives none.
const defaultRemark = "红包退回"

// Command is one refund that upstream wants, CONTRACT §3. Members that were not given are empty; none is empty when given.
type Command struct {
	Kind         Kind
	OutRequestNo string
	OutTradeNo   string // kind refund: this or TradeNo, or both
	TradeNo      string
	AuthNo       string // kind coupon_refund
	OutOrderNo   string // kind coupon_refund; for queries only
	Remark       string // kind coupon_refund; the default where the command gives none
	Amount       alipay.Amount
	Currency     string // as given; empty stands for CNY
	Merchant     string
	Metadata     map[string]string    // nil if not given, empty if given as {}
	Refund       alipay.RefundRequest // kind refund: everything that is passed through; AppAuthToken is not a command's to give
}

// BadCommand is why a body is no command.
type BadCommand struct {
	Reason producer.Reason // unreadable, invalid or too_large
	Detail string          // one sentence that names the first offending member, and never a value
}

func (e *BadCommand) Error() string {
	return fmt.Sprintf("command is %s: %s", e.Reason, e.Detail)
}

// DecodeCommand reads a message body exactly as CONTRACT §3 and the published schema of its kind say. An error is a *BadCommand;
// the Command then holds the members that are valid by themselves.
func DecodeCommand(kind Kind, body []byte) (Command, error) {
	c := Command{Kind: kind}
	if len(body) > maxBody {
		return c, &BadCommand{producer.ReasonTooLarge, fmt.Sprintf("the body has more than %d bytes", maxBody)}
	}
	if wrong := checkJSON(body); wrong != "" {
		return c, &BadCommand{producer.ReasonUnreadable, wrong}
	}
	d := decoder{jsonCursor: jsonCursor{text: body}}
	switch kind {
	case KindRefund:
		d.object("", refundMembers(&c), refundNeeds())
		c.Refund.OutRequestNo, c.Refund.OutTradeNo, c.Refund.TradeNo = c.OutRequestNo, c.OutTradeNo, c.TradeNo
		c.Refund.RefundAmount, c.Refund.RefundCurrency = c.Amount, c.Currency
	case KindCouponRefund:
		d.object("", couponMembers(&c), couponNeeds())
		if c.Remark == "" {
			c.Remark = defaultRemark
		}
	default:
		return c, &BadCommand{producer.ReasonInvalid, "the kind of the command is not known"}
	}
	if detail := d.offence(); detail != "" {
		return c, &BadCommand{producer.ReasonInvalid, detail}
	}
	return c, nil
}

func refundNeeds() []need {
	return []need{{"out_request_no"}, {"out_trade_no", "trade_no"}, {"refund_amount"}}
}

func refundMembers(c *Command) []member {
	return []member{
		{"out_request_no", number(&c.OutRequestNo)},
		{"out_trade_no", number(&c.OutTradeNo)},
		{"trade_no", number(&c.TradeNo)},
		{"refund_amount", amount(&c.Amount)},
		{"refund_reason", text(&c.Refund.RefundReason, 256)},
		{"refund_currency", currency(&c.Currency)},
		{"refund_goods_detail", objects(&c.Refund.RefundGoodsDetail, refundGoodsMembers)},
		{"goods_detail", objects(&c.Refund.GoodsDetail, goodsMembers, need{"goods_id"})},
		{"refund_royalty_parameters", objects(&c.Refund.RefundRoyaltyParameters, royaltyMembers)},
		{"query_options", texts(&c.Refund.QueryOptions, queryOption)},
		{"related_settle_confirm_no", text(&c.Refund.RelatedSettleConfirmNo, 64)},
		{"operator_id", text(&c.Refund.OperatorID, 30)},
		{"store_id", text(&c.Refund.StoreID, 32)},
		{"terminal_id", text(&c.Refund.TerminalID, 32)},
		{"org_pid", text(&c.Refund.OrgPid, 16)},
		{"refund_advance_account", text(&c.Refund.RefundAdvanceAccount, 128)},
		{"refund_advance_account_type", text(&c.Refund.RefundAdvanceAccountType, 32)},
		{"refund_trans_out", text(&c.Refund.RefundTransOut, 128)},
		{"refund_trans_out_type", text(&c.Refund.RefundTransOutType, 32)},
		{"merchant", text(&c.Merchant, 64)},
		{"metadata", metadata(&c.Metadata)},
	}
}

func refundGoodsMembers(g *alipay.RefundGoods) []member {
	return []member{
		{"goods_id", text(&g.GoodsID, 64)},
		{"refund_amount", amount(&g.RefundAmount)},
		{"out_item_id", text(&g.OutItemID, 64)},
		{"out_sku_id", text(&g.OutSkuID, 64)},
		{"out_certificate_no_list", texts(&g.OutCertificateNoList, func(into *string) reading { return text(into, 64) })},
	}
}

func goodsMembers(g *alipay.Goods) []member {
	return []member{
		{"goods_id", text(&g.GoodsID, 64)},
		{"alipay_goods_id", text(&g.AlipayGoodsID, 32)},
		{"goods_name", text(&g.GoodsName, 256)},
		{"quantity", whole(&g.Quantity, maxQuantity)},
		{"price", amount(&g.Price)},
		{"goods_category", text(&g.GoodsCategory, 24)},
		{"categories_tree", text(&g.CategoriesTree, 128)},
		{"body", text(&g.Body, 400)},
		{"show_url", text(&g.ShowURL, 400)},
	}
}

func royaltyMembers(r *alipay.RoyaltyParameter) []member {
	return []member{
		{"royalty_type", text(&r.RoyaltyType, 32)},
		{"trans_out", text(&r.TransOut, 64)},
		{"trans_out_type", text(&r.TransOutType, 64)},
		{"trans_in", text(&r.TransIn, 64)},
		{"trans_in_type", text(&r.TransInType, 64)},
		{"trans_in_name", text(&r.TransInName, 64)},
		{"amount", amount(&r.Amount)},
		{"amount_percentage", whole(&r.AmountPercentage, 100)},
		{"desc", text(&r.Desc, 1000)},
		{"royalty_scene", text(&r.RoyaltyScene, 256)},
	}
}

func couponNeeds() []need { return []need{{"out_request_no"}, {"auth_no"}, {"amount"}} }

func couponMembers(c *Command) []member {
	return []member{
		{"out_request_no", number(&c.OutRequestNo)},
		{"auth_no", number(&c.AuthNo)},
		{"amount", amount(&c.Amount)},
		{"remark", text(&c.Remark, 100)},
		{"out_order_no", number(&c.OutOrderNo)},
		{"merchant", text(&c.Merchant, 64)},
		{"metadata", metadata(&c.Metadata)},
	}
}

// Trade is what the refund is taken from: trade_no where given, else out_trade_no; for a coupon refund auth_no.
func (c Command) Trade() string {
	switch {
	case c.Kind == KindCouponRefund:
		return c.AuthNo
	case c.TradeNo != "":
		return c.TradeNo
	}
	return c.OutTradeNo
}

// Fingerprint says whether two commands with one identity ask for the same refund, CONTRACT §3: a digest of everything that is
// sent in the refund call besides the identity, after its version "1:". The order of members does not matter; the order of arrays
// does; an amount counts in fen however it was written. It is remembered for as long as a refund is, so a version never changes.
func (c Command) Fingerprint() string {
	d := digest{sha256.New()}
	d.token("refundd command " + string(c.Kind))
	switch c.Kind {
	case KindRefund:
		d.refund(c.Refund)
	case KindCouponRefund:
		d.text("auth_no", c.AuthNo)
		d.amount("amount", c.Amount)
		d.text("remark", c.Remark)
	}
	return "1:" + hex.EncodeToString(d.Sum(nil)[:16])
}

// digest takes tokens, each after its length, so that no two commands give the same bytes: names with values, and lists as a name,
// a count and the items in braces. Members that were not given are left out.
type digest struct{ hash.Hash }

func (d digest) refund(r alipay.RefundRequest) {
	d.text("out_trade_no", r.OutTradeNo)
	d.text("trade_no", r.TradeNo)
	d.amount("refund_amount", r.RefundAmount)
	d.text("refund_reason", r.RefundReason)
	d.text("refund_currency", r.RefundCurrency)
	d.list("refund_goods_detail", len(r.RefundGoodsDetail), func(i int) {
		g := r.RefundGoodsDetail[i]
		d.text("goods_id", g.GoodsID)
		d.amount("refund_amount", g.RefundAmount)
		d.text("out_item_id", g.OutItemID)
		d.text("out_sku_id", g.OutSkuID)
		d.list("out_certificate_no_list", len(g.OutCertificateNoList), func(i int) { d.token(g.OutCertificateNoList[i]) })
	})
	d.list("goods_detail", len(r.GoodsDetail), func(i int) {
		g := r.GoodsDetail[i]
		d.text("goods_id", g.GoodsID)
		d.text("alipay_goods_id", g.AlipayGoodsID)
		d.text("goods_name", g.GoodsName)
		d.number("quantity", int64(g.Quantity))
		d.amount("price", g.Price)
		d.text("goods_category", g.GoodsCategory)
		d.text("categories_tree", g.CategoriesTree)
		d.text("body", g.Body)
		d.text("show_url", g.ShowURL)
	})
	d.list("refund_royalty_parameters", len(r.RefundRoyaltyParameters), func(i int) {
		p := r.RefundRoyaltyParameters[i]
		d.text("royalty_type", p.RoyaltyType)
		d.text("trans_out", p.TransOut)
		d.text("trans_out_type", p.TransOutType)
		d.text("trans_in", p.TransIn)
		d.text("trans_in_type", p.TransInType)
		d.text("trans_in_name", p.TransInName)
		d.amount("amount", p.Amount)
		d.number("amount_percentage", int64(p.AmountPercentage))
		d.text("desc", p.Desc)
		d.text("royalty_scene", p.RoyaltyScene)
	})
	d.list("query_options", len(r.QueryOptions), func(i int) { d.token(r.QueryOptions[i]) })
	d.text("related_settle_confirm_no", r.RelatedSettleConfirmNo)
	d.text("operator_id", r.OperatorID)
	d.text("store_id", r.StoreID)
	d.text("terminal_id", r.TerminalID)
	d.text("org_pid", r.OrgPid)
	d.text("refund_advance_account", r.RefundAdvanceAccount)
	d.text("refund_advance_account_type", r.RefundAdvanceAccountType)
	d.text("refund_trans_out", r.RefundTransOut)
	d.text("refund_trans_out_type", r.RefundTransOutType)
}

func (d digest) token(s string) {
	d.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
	d.Write([]byte(s))
}

func (d digest) text(name, value string) {
	if value != "" {
		d.token(name)
		d.token(value)
	}
}

func (d digest) number(name string, value int64) {
	if value != 0 {
		d.text(name, strconv.FormatInt(value, 10))
	}
}

func (d digest) amount(name string, value alipay.Amount) { d.number(name, int64(value)) }

func (d digest) list(name string, count int, item func(i int)) {
	if count == 0 {
		return
	}
	d.token(name)
	d.token(strconv.Itoa(count))
	for i := range count {
		d.token("{")
		item(i)
		d.token("}")
	}
}
