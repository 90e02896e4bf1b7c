package alipaytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// shape describes the members that a biz_content may have. encoding/json alone
// is too forgiving for a judge: it matches names without case, takes the last
// of two equal names, and drops what it does not know.
type shape struct {
	kind    kind
	members map[string]shape // of an object
	element *shape           // of a list
}

type kind int

const (
	textKind kind = iota
	wholeKind
	yuanKind // a string or a number: Alipay takes both
	listKind
	objectKind
)

func (k kind) String() string {
	return [...]string{"a string", "a whole number", "an amount", "a list", "an object"}[k]
}

func object(members map[string]shape) shape { return shape{kind: objectKind, members: members} }

func list(element shape) shape { return shape{kind: listKind, element: &element} }

// errSyntax marks a biz_content that is not one JSON object at all.
var errSyntax = errors.New("not one JSON object")

// decodeStrict holds text to the shape and then decodes it into v.
func decodeStrict(text string, s shape, v any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if err := s.check(d, "biz_content"); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: text after it", errSyntax)
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("%w: %w", errSyntax, err)
	}
	return nil
}

func (s shape) check(d *json.Decoder, path string) error {
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("%w: %w", errSyntax, err)
	}
	switch {
	case s.kind == objectKind && token == json.Delim('{'):
		return s.checkMembers(d, path)
	case s.kind == listKind && token == json.Delim('['):
		for i := 0; d.More(); i++ {
			if err := s.element.check(d, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return closing(d)
	case s.kind.scalar(token):
		return nil
	}
	return fmt.Errorf("%s: want %s", path, s.kind)
}

func (s shape) checkMembers(d *json.Decoder, path string) error {
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", errSyntax, err)
		}
		name, _ := token.(string)
		member, known := s.members[name]
		if !known {
			return fmt.Errorf("%s.%s: unknown member", path, name)
		}
		if seen[name] {
			return fmt.Errorf("%s.%s: given twice", path, name)
		}
		seen[name] = true
		if err := member.check(d, path+"."+name); err != nil {
			return err
		}
	}
	return closing(d)
}

// closing reads the bracket that ends a list or an object.
func closing(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("%w: %w", errSyntax, err)
	}
	return nil
}

// scalar reports whether token is a value of a kind without members.
func (k kind) scalar(token json.Token) bool {
	switch value := token.(type) {
	case string:
		return k == textKind || k == yuanKind
	case json.Number:
		_, err := value.Int64()
		return k == yuanKind || k == wholeKind && err == nil
	}
	return false
}

// yuanText is an amount as it stood in the request, without quotes.
type yuanText string

// UnmarshalJSON takes the text of a string or a number as it is.
func (y *yuanText) UnmarshalJSON(raw []byte) error {
	*y = yuanText(bytes.Trim(raw, `"`))
	return nil
}

// refundShape is the closed set of members of alipay.trade.refund.
func refundShape() shape {
	goods := object(map[string]shape{
		"goods_id": {}, "refund_amount": {kind: yuanKind}, "out_item_id": {}, "out_sku_id": {},
		"out_certificate_no_list": list(shape{}),
	})
	oldGoods := object(map[string]shape{
		"goods_id": {}, "alipay_goods_id": {}, "goods_name": {}, "quantity": {kind: wholeKind},
		"price": {kind: yuanKind}, "goods_category": {}, "categories_tree": {}, "body": {}, "show_url": {},
	})
	royalty := object(map[string]shape{
		"royalty_type": {}, "trans_out": {}, "trans_out_type": {}, "trans_in": {}, "trans_in_type": {},
		"trans_in_name": {}, "amount": {kind: yuanKind}, "amount_percentage": {kind: wholeKind},
		"desc": {}, "royalty_scene": {},
	})
	return object(map[string]shape{
		"out_trade_no": {}, "trade_no": {}, "out_request_no": {}, "refund_amount": {kind: yuanKind},
		"refund_reason": {}, "refund_currency": {}, "refund_goods_detail": list(goods), "goods_detail": list(oldGoods),
		"refund_royalty_parameters": list(royalty), "query_options": list(shape{}), "related_settle_confirm_no": {},
		"operator_id": {}, "store_id": {}, "terminal_id": {}, "org_pid": {}, "refund_advance_account": {},
		"refund_advance_account_type": {}, "refund_trans_out": {}, "refund_trans_out_type": {},
	})
}

// queryShape is the closed set of members of alipay.trade.fastpay.refund.query.
func queryShape() shape {
	return object(map[string]shape{
		"out_trade_no": {}, "trade_no": {}, "out_request_no": {}, "query_options": list(shape{}), "org_pid": {},
	})
}
