package alipay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func collect(object string) ([]string, error) {
	var out []string
	err := members([]byte(object), func(name, value []byte) error {
		out = append(out, string(name)+"="+string(value))
		return nil
	})
	return out, err
}

func TestMembers(t *testing.T) {
	got, err := collect(" {\"a\" : [1, {\"b\":2}] ,\"\\u0061\":\"}\\\"\",\"c\":-0.5e+7,\"d\":null}\r\n")
	want := `[a=[1, {"b":2}] a="}\"" c=-0.5e+7 d=null]`
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v; want %s", got, err, want)
	}
	if got, err := collect("{}"); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestMembersRefuses(t *testing.T) {
	for _, s := range []string{
		"", "{", "}", "{}{}", "{},", "[]", "null", `"a"`, "{a:1}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`,
		`{"a":01}`, `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":1e}`, `{"a":-}`, `{"a":NaN}`, `{"a":tru}`, `{"a":[1,]}`, `{"a":[1 2]}`,
		`{"a":[}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"\u12`, "{\"a\":\"\n\"}", `{"a":"`, `{"a":"\`, "\ufeff{}", "{}\x00", `{'a':1}`,
		`{"a":/*x*/1}`, "{\"a\":\u00a01}",
	} {
		if _, err := collect(s); !errors.Is(err, errJSON) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestNesting(t *testing.T) {
	nested := func(n int) string {
		return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}"
	}
	if _, err := collect(nested(100)); err != nil {
		t.Error(err)
	}
	for _, s := range []string{nested(maxDepth + 1), nested(500_000), `{"a":` + strings.Repeat("[", 1<<20)} {
		if _, err := collect(s); !errors.Is(err, errJSON) {
			t.Errorf("%d bytes: %v", len(s), err)
		}
	}
}

// FuzzMembers: our scanner accepts exactly the objects that encoding/json
// accepts, up to the nesting, and its values are the bytes of the text.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		"{}", `{"a":1}`, `{"a":"\u00e9\\\"","b":[{},[],null,true,-1.5e-3]}`, ` { "a" : "\/" } `, `{"a":01}`, `{"a":"}`, "{\"a\":\"\t\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !utf8.Valid(b) {
			return
		}
		n := 0
		err := members(b, func(name, value []byte) error {
			n++
			if !json.Valid(value) || !bytes.Contains(b, value) {
				t.Errorf("value %q", value)
			}
			return nil
		})
		isObject := json.Valid(b) && bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{"))
		if err == nil && !isObject {
			t.Errorf("accepted %q", b)
		}
		if err != nil && isObject && !strings.Contains(err.Error(), "nested") {
			t.Errorf("refused %q: %v", b, err)
		}
	})
}

// FuzzOpenEnvelope: no body panics or hangs, and what is found is a part of it.
func FuzzOpenEnvelope(f *testing.F) {
	type row struct{ Body string }
	for _, r := range readVectors[row](f, "v2-response-verify.json") {
		if len(r.Body) < 4096 {
			f.Add([]byte(r.Body), false)
			f.Add([]byte(r.Body), true)
		}
	}
	keys := publicKeys(f, "keys/alipay_public.pem")
	key := aesKey(f, "keys/aes_key.txt")
	f.Fuzz(func(t *testing.T, body []byte, encrypted bool) {
		e, err := openEnvelope(MethodRefund, body, encrypted)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Error(err)
			}
			return
		}
		if !bytes.Contains(body, e.node) || !json.Valid(e.node) {
			t.Errorf("node %q", e.node)
		}
		signed := e.verify(keys) == nil
		node, err := e.plain(key)
		if err != nil {
			return
		}
		var resp RefundResponse
		if err := decode(node, &resp); err == nil && resp.RefundFee != nil && *resp.RefundFee < 0 {
			t.Errorf("a negative amount, signed %v", signed)
		}
	})
}

func FuzzAmount(f *testing.F) {
	for _, s := range []string{"0", "1", "0.01", "100000000.00", "100000000.01", "01", "1.005", "-1", "1e2", "", ".", "1.", "92233720368547758.07", "92233720368547758.08"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseYuan(s)
		if err == nil {
			if a < 0 || !strings.HasPrefix(a.String(), strings.TrimRight(s, ".")) {
				t.Errorf("%q is %s", s, a)
			}
			if again, err := parseYuan(a.String()); err != nil || again != a {
				t.Errorf("%s does not come back: %v", a, err)
			}
		}
		strict, errStrict := ParseAmount(s)
		if (errStrict == nil) != (err == nil && a >= MinAmount && a <= MaxAmount) || (errStrict == nil && strict != a) {
			t.Errorf("%q: %v, %v against %v, %v", s, strict, errStrict, a, err)
		}
	})
}

func TestAmountText(t *testing.T) {
	for a, want := range map[Amount]string{0: "0.00", 1: "0.01", 1230: "12.30", MaxAmount: "100000000.00", -5: "-0.05", -9223372036854775808: "-92233720368547758.08"} {
		if got := a.String(); got != want {
			t.Errorf("%d is %s, want %s", int64(a), got, want)
		}
	}
	out, err := json.Marshal(struct{ A, B *Amount }{A: new(Amount)})
	if err != nil || string(out) != `{"A":"0.00","B":null}` {
		t.Errorf("%s, %v", out, err)
	}
	var in struct{ A, B, C *Amount }
	if err := json.Unmarshal([]byte(`{"A":"1.50","B":2,"C":null}`), &in); err != nil || *in.A != 150 || *in.B != 200 || in.C != nil {
		t.Errorf("%v, %v", in, err)
	}
	var limit Amount
	if err := limit.UnmarshalJSON([]byte("92233720368547758.07")); err != nil || limit.String() != "92233720368547758.07" {
		t.Errorf("%v, %v", limit, err)
	}
	if err := limit.UnmarshalJSON([]byte("92233720368547758.08")); err == nil {
		t.Error("an overflow is accepted")
	}
}

func TestParseTime(t *testing.T) {
	for s, want := range map[string]string{
		"2026-01-02 03:04:05":     "2026-01-02T03:04:05+08:00",
		"2026-01-02 03:04:05.678": "2026-01-02T03:04:05.678+08:00",
	} {
		got, err := ParseTime(s)
		if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%s is %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "null", "2026-01-02", "2026-13-02 03:04:05"} {
		if got, err := ParseTime(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

// TestSeedSamples decodes the answers that Alipay's tutorials print, whole.
func TestSeedSamples(t *testing.T) {
	var r RefundResponse
	err := decode([]byte(`{"code":"10000","msg":"Success","buyer_logon_id":"uqq***@sandbox.com","buyer_user_id":"2088102175794899","fund_change":"Y",`+
		`"gmt_refund_pay":"2019-03-19 14:02:42","out_trade_no":"sao201881610515614516","refund_detail_item_list":[{"amount":"3.00","fund_channel":"ALIPAYACCOUNT"}],`+
		`"refund_fee":"3.00","send_back_fee":"3.00","trade_no":"2019031922001494891000002604"}`), &r)
	if err != nil || *r.RefundFee != 300 || *r.SendBackFee != 300 || r.BuyerLogonID != "uqq***@sandbox.com" ||
		len(r.RefundDetailItemList) != 1 || *r.RefundDetailItemList[0].Amount != 300 || r.GmtRefundPay != "2019-03-19 14:02:42" {
		t.Errorf("%+v, %v", r, err)
	}
	var q RefundQueryResponse
	err = decode([]byte(`{"code":"10000","msg":"Success","out_request_no":"HZ01RF001","out_trade_no":"sao201881610515614516","refund_amount":"3.00",`+
		`"total_amount":"10.00","trade_no":"2019031922001494891000002604"}`), &q)
	if err != nil || *q.RefundAmount != 300 || *q.TotalAmount != 1000 || q.OutRequestNo != "HZ01RF001" || q.RefundStatus != "" {
		t.Errorf("%+v, %v", q, err)
	}
}
