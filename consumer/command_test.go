package consumer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"refundd/alipay"
	"refundd/producer"
)

const (
	refundText = `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3"}`
	couponText = `{"out_request_no":"R1","auth_no":"A1","amount":"3"}`
)

// with is a valid command of either kind with more members, ahead of the others.
func with(members string) string { return "{" + members + "," + refundText[1:] }

func withCoupon(members string) string { return "{" + members + "," + couponText[1:] }

func TestDecodeCommandRefuses(t *testing.T) {
	const (
		unreadable = producer.ReasonUnreadable
		invalid    = producer.ReasonInvalid
		tooLarge   = producer.ReasonTooLarge
	)
	long := strings.Repeat
	for _, row := range []struct {
		name   string
		kind   Kind
		body   string
		reason producer.Reason
		detail string // all of it
	}{
		{"too large", KindRefund, with(`"refund_reason":"` + long("a", 64<<10) + `"`), tooLarge, "the body has more than 65536 bytes"},
		{"size comes before syntax", KindRefund, long("x", 64<<10+1), tooLarge, "the body has more than 65536 bytes"},
		{"size comes before encoding", KindRefund, long("\xff", 64<<10+1), tooLarge, "the body has more than 65536 bytes"},

		{"no body", KindRefund, "", unreadable, "the body is empty"},
		{"white space only", KindRefund, " \r\n\t", unreadable, "the body is empty"},
		{"byte order mark", KindRefund, "\uFEFF" + refundText, unreadable, "the body begins with a byte order mark"},
		{"UTF-16", KindRefund, "\xff\xfe{\x00}\x00", unreadable, "the body is not UTF-8 at byte 0"},
		{"GBK in a value", KindRefund, with("\"refund_reason\":\"\xd5\xfd\""), unreadable, "the body is not UTF-8 at byte 18"},
		{"encoded surrogate", KindRefund, with("\"refund_reason\":\"\xed\xa0\x80\""), unreadable, "the body is not UTF-8 at byte 18"},
		{"overlong encoding", KindRefund, with("\"refund_reason\":\"\xc0\xaf\""), unreadable, "the body is not UTF-8 at byte 18"},
		{"null", KindRefund, "null", unreadable, "the body is not a JSON object"},
		{"array", KindRefund, "[" + refundText + "]", unreadable, "the body is not a JSON object"},
		{"string", KindRefund, `"R1"`, unreadable, "the body is not a JSON object"},
		{"number", KindRefund, "1", unreadable, "the body is not a JSON object"},
		{"cut off", KindRefund, refundText[:30], unreadable, "the body is not one JSON text: it goes wrong at byte 30"},
		{"trailing text", KindRefund, refundText + "x", unreadable, "the body is not one JSON text: it goes wrong at byte 64"},
		{"trailing NUL", KindRefund, refundText + "\x00", unreadable, "the body is not one JSON text: it goes wrong at byte 64"},
		{"two objects", KindRefund, refundText + refundText, unreadable, "the body is not one JSON text: it goes wrong at byte 64"},
		{"two lines", KindRefund, refundText + "\n" + refundText, unreadable, "the body is not one JSON text: it goes wrong at byte 65"},
		{"single quotes", KindRefund, "{'a':1}", unreadable, "the body is not one JSON text: it goes wrong at byte 2"},
		{"comment", KindRefund, "{/**/}", unreadable, "the body is not one JSON text: it goes wrong at byte 2"},
		{"trailing comma", KindRefund, `{"a":1,}`, unreadable, "the body is not one JSON text: it goes wrong at byte 8"},
		{"NaN", KindRefund, `{"a":NaN}`, unreadable, "the body is not one JSON text: it goes wrong at byte 6"},
		{"leading zero", KindRefund, `{"a":01}`, unreadable, "the body is not one JSON text: it goes wrong at byte 7"},
		{"raw control character", KindRefund, "{\"a\":\"\n\"}", unreadable, "the body is not one JSON text: it goes wrong at byte 7"},
		{"bad escape", KindRefund, `{"a":"\x"}`, unreadable, "the body is not one JSON text: it goes wrong at byte 8"},
		{"syntax comes before members", KindRefund, `{"colour":1,"refund_amount":}`, unreadable, "the body is not one JSON text: it goes wrong at byte 29"},
		{"deeper than the parser goes", KindRefund, with(`"a":` + long("[", 10001) + long("]", 10001)), unreadable, "the body is not one JSON text: it goes wrong at byte 10005"},

		{"empty object", KindRefund, "{}", invalid, `"out_request_no" is missing`},
		{"no number", KindRefund, `{"out_trade_no":"T1","refund_amount":"3"}`, invalid, `"out_request_no" is missing`},
		{"no trade", KindRefund, `{"out_request_no":"R1","refund_amount":"3"}`, invalid, `"out_trade_no" or "trade_no" is missing`},
		{"no amount", KindRefund, `{"out_request_no":"R1","trade_no":"T1"}`, invalid, `"refund_amount" is missing`},
		{"missing comes last", KindRefund, `{"colour":"red"}`, invalid, `"colour" is not a known member`},
		{"a nested missing one also comes last", KindRefund, `{"goods_detail":[{}],"colour":1}`, invalid, `"colour" is not a known member`},
		{"a nested missing one comes before those of the whole", KindRefund, `{"goods_detail":[{}]}`, invalid, `"goods_detail[0].goods_id" is missing`},
		{"a wrong trade is not a missing one", KindRefund, `{"out_request_no":"R1","refund_amount":"3","out_trade_no":""}`, invalid, `"out_trade_no" is empty`},
		{"the first of two", KindRefund, with(`"refund_reason":"","colour":1`), invalid, `"refund_reason" is empty`},
		{"the first of two, turned round", KindRefund, with(`"colour":1,"refund_reason":""`), invalid, `"colour" is not a known member`},
		{"the text's order, not the schema's", KindRefund, `{"refund_amount":3,"out_request_no":3}`, invalid, `"refund_amount" is not a string`},

		{"other case", KindRefund, with(`"Refund_Reason":"a"`), invalid, `"Refund_Reason" is not a known member`},
		{"other kind's member", KindRefund, with(`"auth_no":"A1"`), invalid, `"auth_no" is not a known member`},
		{"empty name", KindRefund, with(`"":1`), invalid, `"" is not a known member`},
		{"nested unknown", KindRefund, with(`"goods_detail":[{"goods_id":"1","colour":{"a":[1,"]}"]}}]`), invalid, `"goods_detail[0].colour" is not a known member`},
		{"unknown with much inside", KindRefund, with(`"a":{"b":[{"c":"\"}]"},true,null,-1e9]}`), invalid, `"a" is not a known member`},
		{"deep", KindRefund, with(`"a":` + long("[", 9000) + long("]", 9000)), invalid, `"a" is not a known member`},
		{"deep in a known one", KindRefund, with(`"refund_reason":` + long(`{"a":`, 9000) + "1" + long("}", 9000)), invalid, `"refund_reason" is not a string`},
		{"control characters in a name", KindRefund, with(`"a\u0000\n\u001b[31m\u202e\"":1`), invalid, `"a\x00\n\x1b[31m\u202e\"" is not a known member`},
		{"long name", KindRefund, with(`"` + long("n", 65) + `":1`), invalid, `"` + long("n", 64) + `" is not a known member`},
		{"long name of characters", KindRefund, with(`"` + long("退", 65) + `":1`), invalid, `"` + long("退", 64) + `" is not a known member`},
		{"cut after escaping, never within", KindRefund, with(`"` + long("n", 62) + `\u0000` + `":1`), invalid, `"` + long("n", 62) + `" is not a known member`},

		{"twice", KindRefund, with(`"out_request_no":"R1"`), invalid, `"out_request_no" is given twice`},
		{"twice, the second spelled with an escape", KindRefund, with(`"out_request\u005fno":"R2"`), invalid, `"out_request_no" is given twice`},
		{"three times", KindRefund, with(`"operator_id":"1","operator_id":"1","operator_id":"1"`), invalid, `"operator_id" is given twice`},
		{"twice, nested", KindRefund, with(`"goods_detail":[{"goods_id":"1","price":"1","price":"1"}]`), invalid, `"goods_detail[0].price" is given twice`},
		{"the first one's offence comes first", KindRefund, with(`"operator_id":1,"operator_id":"1"`), invalid, `"operator_id" is not a string`},

		{"needed number is null", KindRefund, `{"out_request_no":null,"out_trade_no":"T1","refund_amount":"3"}`, invalid, `"out_request_no" is not a string`},
		{"both numbers are null", KindRefund, `{"out_request_no":"R1","out_trade_no":null,"trade_no":null,"refund_amount":"3"}`, invalid, `"out_trade_no" or "trade_no" is missing`},
		{"null twice", KindRefund, with(`"trade_no":null,"trade_no":null`), invalid, `"trade_no" is given twice`},
		{"null, then a value", KindRefund, with(`"trade_no":null,"trade_no":"1"`), invalid, `"trade_no" is given twice`},
		{"null of an unknown member", KindRefund, with(`"x":null`), invalid, `"x" is not a known member`},
		{"nested null that is needed", KindRefund, with(`"goods_detail":[{"goods_id":null}]`), invalid, `"goods_detail[0].goods_id" is not a string`},
		{"item is null", KindRefund, with(`"query_options":[null]`), invalid, `"query_options[0]" is not a string`},
		{"object in a list is null", KindRefund, with(`"goods_detail":[null]`), invalid, `"goods_detail[0]" is not an object`},
		{"number is a JSON number", KindRefund, with(`"trade_no":1`), invalid, `"trade_no" is not a string`},
		{"number is empty", KindRefund, with(`"trade_no":""`), invalid, `"trade_no" is empty`},
		{"number with a space", KindRefund, with(`"trade_no":"a b"`), invalid, `"trade_no" holds a character that is not printable ASCII`},
		{"number with a line end", KindRefund, with(`"trade_no":"a\n"`), invalid, `"trade_no" holds a character that is not printable ASCII`},
		{"number with DEL", KindRefund, with(`"trade_no":"a\u007f"`), invalid, `"trade_no" holds a character that is not printable ASCII`},
		{"number in full width", KindRefund, with(`"trade_no":"１"`), invalid, `"trade_no" holds a character that is not printable ASCII`},
		{"number too long", KindRefund, with(`"trade_no":"` + long("1", 65) + `"`), invalid, `"trade_no" has more than 64 characters`},
		{"high half alone", KindRefund, with(`"refund_reason":"\ud83d"`), invalid, `"refund_reason" holds half of a surrogate pair`},
		{"low half alone", KindRefund, with(`"refund_reason":"\ude00"`), invalid, `"refund_reason" holds half of a surrogate pair`},
		{"halves in the wrong order", KindRefund, with(`"refund_reason":"\ude00\ud83d"`), invalid, `"refund_reason" holds half of a surrogate pair`},
		{"high half before another escape", KindRefund, with(`"refund_reason":"\ud83d\u0041"`), invalid, `"refund_reason" holds half of a surrogate pair`},
		{"half in a name", KindRefund, with(`"refund_reason\ud83d":"a"`), invalid, "\"refund_reason\uFFFD\" is not a known member"},

		{"amount is a JSON number", KindRefund, `{"out_request_no":"R1","out_trade_no":"T1","refund_amount":3.00}`, invalid, `"refund_amount" is not a string`},
		{"amount is zero", KindRefund, `{"refund_amount":"0.00"}`, invalid, `"refund_amount"` + notAmount},
		{"amount is too much", KindRefund, `{"refund_amount":"100000000.01"}`, invalid, `"refund_amount"` + notAmount},
		{"amount with three decimals", KindRefund, `{"refund_amount":"1.000"}`, invalid, `"refund_amount"` + notAmount},
		{"amount is empty", KindRefund, `{"refund_amount":""}`, invalid, `"refund_amount" is empty`},
		{"currency in small letters", KindRefund, with(`"refund_currency":"cny"`), invalid, `"refund_currency" is not three capital letters`},
		{"currency of four letters", KindRefund, with(`"refund_currency":"CNYX"`), invalid, `"refund_currency" is not three capital letters`},
		{"unknown query option", KindRefund, with(`"query_options":["deposit_back_info","a"]`), invalid, `"query_options[1]" is not a known query option`},
		{"no query options", KindRefund, with(`"query_options":[]`), invalid, `"query_options" is empty`},
		{"query options in an object", KindRefund, with(`"query_options":{"a":1}`), invalid, `"query_options" is not an array`},
		{"too many items", KindRefund, with(`"query_options":["` + long(`deposit_back_info","`, 100) + `deposit_back_info"]`), invalid, `"query_options" has more than 100 items`},
		{"item is not an object", KindRefund, with(`"refund_goods_detail":[{},"a"]`), invalid, `"refund_goods_detail[1]" is not an object`},
		{"nested amount is a number", KindRefund, with(`"goods_detail":[{"goods_id":"1","price":1}]`), invalid, `"goods_detail[0].price" is not a string`},
		{"nested amount is zero", KindRefund, with(`"refund_royalty_parameters":[{},{"amount":"0"}]`), invalid, `"refund_royalty_parameters[1].amount"` + notAmount},
		{"nested list", KindRefund, with(`"refund_goods_detail":[{"out_certificate_no_list":["1",""]}]`), invalid, `"refund_goods_detail[0].out_certificate_no_list[1]" is empty`},
		{"whole number as string", KindRefund, with(`"goods_detail":[{"goods_id":"1","quantity":"1"}]`), invalid, `"goods_detail[0].quantity" is not a number`},
		{"whole number is true", KindRefund, with(`"goods_detail":[{"goods_id":"1","quantity":true}]`), invalid, `"goods_detail[0].quantity" is not a number`},
		{"whole number is zero", KindRefund, with(`"refund_royalty_parameters":[{"amount_percentage":0}]`), invalid, `"refund_royalty_parameters[0].amount_percentage" is not a whole number from 1 to 100`},
		{"whole number is negative", KindRefund, with(`"refund_royalty_parameters":[{"amount_percentage":-1}]`), invalid, `"refund_royalty_parameters[0].amount_percentage" is not a whole number from 1 to 100`},
		{"whole number is not whole", KindRefund, with(`"refund_royalty_parameters":[{"amount_percentage":1.5}]`), invalid, `"refund_royalty_parameters[0].amount_percentage" is not a whole number from 1 to 100`},
		{"whole number is too large", KindRefund, with(`"refund_royalty_parameters":[{"amount_percentage":101}]`), invalid, `"refund_royalty_parameters[0].amount_percentage" is not a whole number from 1 to 100`},
		{"whole number is absurd", KindRefund, with(`"refund_royalty_parameters":[{"amount_percentage":1e999999999999}]`), invalid, `"refund_royalty_parameters[0].amount_percentage" is not a whole number from 1 to 100`},

		{"metadata value is null", KindRefund, with(`"metadata":{"a":null}`), invalid, `"metadata.a" is not a string`},
		{"metadata value is a number", KindRefund, with(`"metadata":{"a":"b","order":1}`), invalid, `"metadata.order" is not a string`},
		{"metadata value is an object", KindRefund, with(`"metadata":{"order":{"a":"b"}}`), invalid, `"metadata.order" is not a string`},
		{"metadata name twice", KindRefund, with(`"metadata":{"a":"b","a":"b"}`), invalid, `"metadata.a" is given twice`},
		{"metadata value with half a pair", KindRefund, with(`"metadata":{"a":"\ud800"}`), invalid, `"metadata.a" holds half of a surrogate pair`},
		{"metadata name with half a pair", KindRefund, with(`"metadata":{"\ud800":"a"}`), invalid, "\"metadata.\uFFFD\" holds half of a surrogate pair"},
		{"metadata of 33 entries", KindRefund, with(`"metadata":` + entries(33)), invalid, `"metadata" has more than 32 entries`},
		{"metadata of 2049 bytes", KindRefund, with(`"metadata":{"a":"` + long("退", 682) + `bc"}`), invalid, `"metadata" has more than 2048 bytes of names and values`},

		{"coupon: empty object", KindCouponRefund, "{}", invalid, `"out_request_no" is missing`},
		{"coupon: no auth_no", KindCouponRefund, `{"out_request_no":"R1","amount":"1"}`, invalid, `"auth_no" is missing`},
		{"coupon: no amount", KindCouponRefund, `{"out_request_no":"R1","auth_no":"A1"}`, invalid, `"amount" is missing`},
		{"coupon: other kind's member", KindCouponRefund, withCoupon(`"trade_no":"1"`), invalid, `"trade_no" is not a known member`},
		{"coupon: empty remark", KindCouponRefund, withCoupon(`"remark":""`), invalid, `"remark" is empty`},
		{"coupon: long remark", KindCouponRefund, withCoupon(`"remark":"` + long("退", 101) + `"`), invalid, `"remark" has more than 100 characters`},
		{"coupon: amount is a number", KindCouponRefund, `{"amount":1}`, invalid, `"amount" is not a string`},
		{"coupon: currency", KindCouponRefund, withCoupon(`"refund_currency":"CNY"`), invalid, `"refund_currency" is not a known member`},
		{"no such kind", "refunds", refundText, invalid, "the kind of the command is not known"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := DecodeCommand(row.kind, []byte(row.body))
			var bad *BadCommand
			if !errors.As(err, &bad) {
				t.Fatalf("error is %v, not a *BadCommand", err)
			}
			if bad.Reason != row.reason || bad.Detail != row.detail {
				t.Errorf("got %s: %s\nwant %s: %s", bad.Reason, bad.Detail, row.reason, row.detail)
			}
		})
	}
}

const notAmount = " is not an amount in yuan from 0.01 to 100000000.00 with at most two decimals"

func entries(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`"k%d":""`, i)
	}
	return "{" + strings.Join(all, ",") + "}"
}

func TestDecodeCommandExamples(t *testing.T) {
	refund := Command{
		Kind: KindRefund, OutRequestNo: "HZ01RF001", OutTradeNo: "sao201881610515614516", Amount: 300,
		Metadata: map[string]string{"order": "8816", "shop": "hz-01"},
		Refund: alipay.RefundRequest{
			OutRequestNo: "HZ01RF001", OutTradeNo: "sao201881610515614516", RefundAmount: 300, RefundReason: "正常退款",
		},
	}
	coupon := Command{
		Kind: KindCouponRefund, OutRequestNo: "refund20171228254", AuthNo: "2018081710002001860231318890", Amount: 1,
		Remark: "支付后,剩余红包退款", OutOrderNo: "hb20171228001", Merchant: "shop-a",
	}
	for _, row := range []struct {
		file  string
		want  Command
		trade string
	}{
		{examples + "refund-command.json", refund, "sao201881610515614516"},
		{examples + "coupon-refund-command.json", coupon, "2018081710002001860231318890"},
	} {
		t.Run(string(row.want.Kind), func(t *testing.T) {
			got, err := DecodeCommand(row.want.Kind, readFile(t, row.file))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, row.want) {
				t.Errorf("got  %+v\nwant %+v", got, row.want)
			}
			if got.Trade() != row.trade {
				t.Errorf("Trade() = %q, want %q", got.Trade(), row.trade)
			}
		})
	}
}

func TestDecodeCommandTakes(t *testing.T) {
	for _, row := range []struct {
		name string
		kind Kind
		body string
		want func(c *Command) // what differs from the plain command
	}{
		{"plain", KindRefund, refundText, func(*Command) {}},
		{"white space all over", KindRefund, " {\n\t\"out_request_no\" : \"R1\" ,\r\n \"out_trade_no\":\"T1\", \"refund_amount\":\"3\" } \n", func(*Command) {}},
		{"escapes in name and value", KindRefund, `{"out\u005frequest_no":"\u00521","out_trade_no":"T1","refund_amount":"\u0033.00"}`, func(*Command) {}},
		{"every escape", KindRefund, with(`"refund_reason":"\"\\\/\b\f\n\r\t\u9000\ud83d\ude00\u0000"`), func(c *Command) {
			c.Refund.RefundReason = "\"\\/\b\f\n\r\t退\U0001F600\x00"
		}},
		{"a replacement character is a character", KindRefund, with(`"refund_reason":"�\ufffd"`), func(c *Command) { c.Refund.RefundReason = "��" }},
		{"limits count characters", KindRefund, with(`"refund_reason":"` + strings.Repeat("😀", 256) + `"`), func(c *Command) {
			c.Refund.RefundReason = strings.Repeat("😀", 256)
		}},
		{"both trade numbers", KindRefund, with(`"trade_no":"!~"`), func(c *Command) { c.TradeNo, c.Refund.TradeNo = "!~", "!~" }},
		{"currency", KindRefund, with(`"refund_currency":"HKD"`), func(c *Command) { c.Currency, c.Refund.RefundCurrency = "HKD", "HKD" }},
		{"empty metadata", KindRefund, with(`"metadata":{}`), func(c *Command) { c.Metadata = map[string]string{} }},
		{"empty name and value in metadata", KindRefund, with(`"metadata":{"":""}`), func(c *Command) { c.Metadata = map[string]string{"": ""} }},
		{"metadata of 2048 bytes", KindRefund, with(`"metadata":{"aa":"` + strings.Repeat("退", 682) + `"}`), func(c *Command) {
			c.Metadata = map[string]string{"aa": strings.Repeat("退", 682)}
		}},
		{"whole numbers in any spelling", KindRefund, with(`"goods_detail":[{"goods_id":"1","quantity":1.20e1},{"goods_id":"2","quantity":300e-2}]`), func(c *Command) {
			c.Refund.GoodsDetail = []alipay.Goods{{GoodsID: "1", Quantity: 12}, {GoodsID: "2", Quantity: 3}}
		}},
		{"an object without members", KindRefund, with(`"refund_goods_detail":[{}]`), func(c *Command) { c.Refund.RefundGoodsDetail = []alipay.RefundGoods{{}} }},
		{"same name in two items", KindRefund, with(`"refund_goods_detail":[{"goods_id":"1"},{"goods_id":"1"}]`), func(c *Command) {
			c.Refund.RefundGoodsDetail = []alipay.RefundGoods{{GoodsID: "1"}, {GoodsID: "1"}}
		}},
		{"coupon with the default remark", KindCouponRefund, couponText, func(c *Command) {
			*c = Command{Kind: KindCouponRefund, OutRequestNo: "R1", AuthNo: "A1", Amount: 300, Remark: "红包退回"}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := Command{
				Kind: KindRefund, OutRequestNo: "R1", OutTradeNo: "T1", Amount: 300,
				Refund: alipay.RefundRequest{OutRequestNo: "R1", OutTradeNo: "T1", RefundAmount: 300},
			}
			row.want(&want)
			got, err := DecodeCommand(row.kind, []byte(row.body))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestDecodeCommandKeepsWhatIsValid(t *testing.T) {
	for _, row := range []struct {
		name, body string
		want       Command
	}{
		{
			"members around an unknown one", with(`"colour":1,"merchant":"m","metadata":{"a":"b"}`),
			Command{OutRequestNo: "R1", OutTradeNo: "T1", Amount: 300, Merchant: "m", Metadata: map[string]string{"a": "b"}},
		},
		{"not a duplicate, even if equal", with(`"out_request_no":"R1"`), Command{OutTradeNo: "T1", Amount: 300}},
		{"not a duplicate after a bad one", with(`"out_request_no":1`), Command{OutTradeNo: "T1", Amount: 300}},
		{"not a bad one", with(`"trade_no":""`), Command{OutRequestNo: "R1", OutTradeNo: "T1", Amount: 300}},
		{"not metadata with a bad entry", with(`"metadata":{"a":"b","c":1}`), Command{OutRequestNo: "R1", OutTradeNo: "T1", Amount: 300}},
		{"not an array with a bad item", with(`"query_options":["deposit_back_info","a"]`), Command{OutRequestNo: "R1", OutTradeNo: "T1", Amount: 300}},
		{"not an object without its need", with(`"goods_detail":[{"price":"1"}]`), Command{OutRequestNo: "R1", OutTradeNo: "T1", Amount: 300}},
		{"nothing of what is unreadable", refundText + "x", Command{}},
		{"the rest when one is missing", `{"out_trade_no":"T1","refund_amount":"7"}`, Command{OutTradeNo: "T1", Amount: 700}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := DecodeCommand(KindRefund, []byte(row.body))
			if err == nil {
				t.Fatal("no error")
			}
			row.want.Kind = KindRefund
			row.want.Refund = alipay.RefundRequest{OutRequestNo: row.want.OutRequestNo, OutTradeNo: row.want.OutTradeNo, RefundAmount: row.want.Amount}
			if !reflect.DeepEqual(got, row.want) {
				t.Errorf("got  %+v\nwant %+v", got, row.want)
			}
		})
	}
}

func TestDecodeCommandAmounts(t *testing.T) {
	var rows []struct {
		Name, Why string
		JSON      string `json:"json"`
		Expected  struct {
			Cents int64
			Error bool
		}
	}
	if err := json.Unmarshal(readFile(t, "amounts.json"), &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			got, err := DecodeCommand(KindRefund, []byte(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":`+row.JSON+`}`))
			if (err != nil) != row.Expected.Error || int64(got.Amount) != row.Expected.Cents {
				t.Errorf("%s (%s): amount %d, error %v", row.JSON, row.Why, got.Amount, err)
			}
		})
	}
}

func readFile(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile("testdata/commands/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}
