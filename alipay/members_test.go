package alipay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// sample writes an object in which every member that is wanted has a value.
func sample(fields []field) string {
	parts := make([]string, 0, len(fields))
	for _, f := range fields {
		value := `"x"`
		switch dst := f.dst.(type) {
		case **Amount:
			value = `"1.00"`
		case *amountsPlace:
			value = `["1.00",2]`
		case nested:
			value = "[" + sample(inside(dst)) + "]"
			if !strings.HasSuffix(f.name, "_list") && f.name != "refund_royaltys" && f.name != "other_contribute_detail" {
				value = sample(inside(dst))
			}
		}
		parts = append(parts, fmt.Sprintf("%q:%s", f.name, value))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// inside lists the fields of what a place takes.
func inside(place nested) []field {
	v := reflect.ValueOf(place)
	if v.Kind() == reflect.Pointer {
		v = v.Elem() // a list
	} else {
		v = v.Field(0).Elem() // a struct that holds **T
	}
	return reflect.New(v.Type().Elem()).Interface().(answer).fields()
}

// TestEveryMember: what is listed is decoded, into a place of its own.
func TestEveryMember(t *testing.T) {
	for _, into := range []answer{&RefundResponse{}, &RefundQueryResponse{}, &CouponRefundResponse{}, &CouponOperationResponse{}} {
		v := reflect.ValueOf(into).Elem()
		t.Run(v.Type().Name(), func(t *testing.T) {
			if err := decode([]byte(sample(into.fields())), into); err != nil {
				t.Fatal(err)
			}
			empty(t, v)
			names := map[string]bool{}
			for _, f := range into.fields() {
				if names[f.name] {
					t.Errorf("%s is listed twice", f.name)
				}
				names[f.name] = true
			}
		})
	}
}

func empty(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		if f.IsZero() && name != "TraceID" && name != "LeftOut" {
			t.Errorf("%s.%s is empty", v.Type().Name(), name)
		}
		if f.Kind() == reflect.Slice && f.Len() > 0 {
			f = f.Index(0)
		}
		if f.Kind() == reflect.Pointer && !f.IsNil() {
			f = f.Elem()
		}
		if f.Kind() == reflect.Struct {
			empty(t, f)
		}
	}
}

// TestDetailsOfWrongShape: what cannot be read is left out and named, inner
// members one by one, and the proofs around it stand.
func TestDetailsOfWrongShape(t *testing.T) {
	for block, left := range map[string]string{
		`"refund_preset_paytool_list":{"assert_type_code":"a","amount":["x"]}`:                 "refund_preset_paytool_list",
		`"refund_preset_paytool_list":[1]`:                                                     "refund_preset_paytool_list",
		`"refund_detail_item_list":[{"amount":"1"},2]`:                                         "refund_detail_item_list",
		`"refund_detail_item_list":[],"refund_detail_item_list":[]`:                            "refund_detail_item_list",
		`"refund_voucher_detail_list":"x"`:                                                     "refund_voucher_detail_list",
		`"send_back_fee":-1`:                                                                   "send_back_fee",
		`"send_back_fee":"1.234"`:                                                              "send_back_fee",
		`"send_back_fee":""`:                                                                   "",
		`"send_back_fee":null,"has_deposit_back":true,"deposit_back_info":null`:                "",
		`"deposit_back_info":[1],"refund_hyb_amount":"1e2"`:                                    "refund_hyb_amount deposit_back_info",
		`"refund_royaltys":[{"trans_out":["x"],"refund_amount":"1"}]`:                          "",
		`"refund_royaltys":[{"trans_out":"1","trans_out":"2"}]`:                                "",
		`"refund_charge_info_list":{"refund_sub_fee_detail_list":[{"refund_charge_fee":"x"}]}`: "refund_charge_info_list",
		`"refund_charge_info_list":{"charge_type":"a","charge_type":"b"}`:                      "refund_charge_info_list",
		`"store_name":["x"]`:                                                                   "", `"buyer_user_id":{}`: "", `"gmt_refund_pay":1,"gmt_refund_pay":2`: "",
	} {
		var r RefundResponse
		if err := decode([]byte(`{"fund_change":"Y",`+block+`}`), &r); err != nil || r.FundChange != "Y" {
			t.Errorf("%s: %+v, %v", block, r, err)
		}
		if strings.Join(r.LeftOut, " ") != left {
			t.Errorf("%s: left out %v", block, r.LeftOut)
		}
		if r.RefundDetailItemList != nil || r.RefundVoucherDetailList != nil || r.StoreName != "" || r.BuyerUserID != "" || r.SendBackFee != nil {
			t.Errorf("%s: %+v", block, r)
		}
	}
	var r RefundResponse
	if err := decode([]byte(`{"refund_detail_item_list":[{"fund_channel":"A","amount":"x"},{"amount":2}]}`), &r); err != nil ||
		len(r.RefundDetailItemList) != 2 || r.RefundDetailItemList[0].FundChannel != "A" || *r.RefundDetailItemList[1].Amount != 200 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := decode([]byte(`{"fund_change":"Y","fund_change":"Y"}`), &r); err == nil {
		t.Error("a proof may stand twice")
	}
}

func TestErrorText(t *testing.T) {
	for _, r := range []struct {
		err  *Error
		want string
	}{
		{&Error{Method: MethodRefund}, "alipay.trade.refund: unknown"},
		{&Error{Method: MethodRefund, Class: ClassRefused, Code: "40004", SubCode: "ACQ.X", SubMsg: "secret"}, "alipay.trade.refund: refused, code 40004, sub_code ACQ.X"},
		{&Error{Method: MethodRefund, SubCode: "x", Err: ErrUnsigned}, "alipay.trade.refund: unknown, sub_code x: answer is not signed"},
	} {
		if got := r.err.Error(); got != r.want {
			t.Errorf("%s, want %s", got, r.want)
		}
	}
}

func TestWordAndClip(t *testing.T) {
	for s, want := range map[string]string{"a-b": "a-b", "": "", "a b": "", "a\n": "", "é": "", "\x7f": "", strings.Repeat("a", 129): ""} {
		if got := word(s); got != want {
			t.Errorf("word(%q) = %q", s, got)
		}
	}
	for s, want := range map[string]string{"abcdef": "abcd", "a\nb": "a b", "ab说": "ab", "说说": "说", "\x7f": " "} {
		if got := clip(s, 4); got != want {
			t.Errorf("clip(%q) = %q, want %q", s, got, want)
		}
	}
}

// TestDiscreet: known kinds stay recognisable, others lose their text.
func TestDiscreet(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := discreet(ended, errors.New("CANARY")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	reset := &net.OpError{Op: "read", Err: os.NewSyscallError("read", errors.New("reset"))}
	for _, known := range []error{
		reset, &net.DNSError{Err: "no such host", Name: "x"}, tls.AlertError(42), &tls.CertificateVerificationError{Err: errors.New("x")},
	} {
		if err := discreet(t.Context(), fmt.Errorf("CANARY: %w", known)); err.Error() != known.Error() {
			t.Errorf("%v, want %v", err, known)
		}
	}
	for _, other := range []error{errors.New("CANARY"), fmt.Errorf("CANARY: %w", timeoutError{})} {
		if err := discreet(t.Context(), other); strings.Contains(err.Error(), "CANARY") {
			t.Error(err)
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "CANARY" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return false }

func TestCertificateDates(t *testing.T) {
	c := testCertificates(t)
	early, late := *c.alipay[0], *c.alipay[0]
	early.NotAfter, late.NotAfter = c.app.NotBefore.Add(time.Hour), c.app.NotBefore.Add(48*time.Hour)
	c.alipay = append(c.alipay[:0:0], &early, &late)
	c.AlipaySNs = append(c.AlipaySNs, "second")
	if got := c.NotAfter(); !got.Equal(late.NotAfter) {
		t.Errorf("files must be exchanged before %v, want %v", got, late.NotAfter)
	}
	if err := c.ValidAt(c.app.NotBefore.Add(24 * time.Hour)); err != nil {
		t.Errorf("one of two is enough: %v", err)
	}
	if err := c.ValidAt(c.app.NotBefore.Add(72 * time.Hour)); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("both are over: %v", err)
	}
}

func TestQueryNotSent(t *testing.T) {
	cfg := testConfig(t, "http://127.0.0.1:1/")
	for name, req := range map[string]*RefundQueryRequest{"no trade": {OutRequestNo: "R1"}, "no number": {TradeNo: "A1"}} {
		_, err := testClient(t, cfg).QueryRefund(t.Context(), req)
		if e := asError(t, err); e.Class != ClassNotSent {
			t.Errorf("%s: %+v", name, e)
		}
	}
	cfg.V3URL = "http://127.0.0.1:1"
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := testClient(t, cfg).Refund(ended, refundOf("R1")); asError(t, err).Class != ClassNotSent || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := testClient(t, cfg).Refund(t.Context(), refundOf("\xff")); asError(t, err).Class != ClassNotSent {
		t.Error(err)
	}
	cfg.Signer = device{failing{cfg.Signer}}
	if _, err := testClient(t, cfg).Refund(t.Context(), refundOf("R1")); asError(t, err).Class != ClassNotSent {
		t.Error(err)
	}
}
