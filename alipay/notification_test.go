package alipay

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

func testVerifier(t testing.TB, sellers ...string) *Verifier {
	t.Helper()
	v, err := NewVerifier(VerifierConfig{Keys: publicKeys(t, "keys/alipay_public.pem"), AppID: "2021000000000001", SellerIDs: sellers})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVectorsNotifyVerify(t *testing.T) {
	type row struct {
		Name, Why, Charset string
		RawBody            string `json:"raw_body"`
		Expected           struct {
			Verdict, Class, Scheme string
			StringToSign           string `json:"string_to_sign"`
			SHA256                 string `json:"string_to_sign_sha256"`
			Params                 map[string]string
		}
	}
	for _, r := range readVectors[row](t, "notify-verify.json") {
		t.Run(r.Name, func(t *testing.T) {
			want := r.Expected
			app := cmp.Or(want.Params["app_id"], "unnamed") // as coupon notifications do not name it
			v, err := NewVerifier(VerifierConfig{Keys: publicKeys(t, "keys/alipay_public.pem"), AppID: app})
			if err != nil {
				t.Fatal(err)
			}
			n, err := v.ParseNotification([]byte(r.RawBody))
			cause := map[string]error{
				"ok": nil, "malformed": ErrNotifyMalformed, "duplicate_key": ErrNotifyDuplicate, "bad_signature": ErrNotifySignature,
			}[want.Verdict]
			if !errors.Is(err, cause) {
				t.Fatalf("%s: %v, want %v", r.Why, err, cause)
			}
			if want.Verdict != "ok" {
				return
			}
			if n.Class.String() != want.Class || n.Scheme != want.Scheme {
				t.Errorf("%s: %s by %s, want %s by %s", r.Why, n.Class, n.Scheme, want.Class, want.Scheme)
			}
			params, err := parseForm([]byte(r.RawBody))
			if err != nil || len(params) != len(want.Params) {
				t.Fatalf("%s: %d parameters, %v; want %d", r.Why, len(params), err, len(want.Params))
			}
			if !strings.EqualFold(r.Charset, "gbk") {
				for _, p := range params {
					if p.value != want.Params[p.key] {
						t.Errorf("%s: %s is %q, want %q", r.Why, p.key, p.value, want.Params[p.key])
					}
				}
			}
			for _, s := range schemes() {
				if s.name != want.Scheme {
					continue
				}
				text := s.text(params)
				if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != want.SHA256 {
					t.Errorf("%s: signed text %q, want %q", r.Why, text, want.StringToSign)
				}
			}
		})
	}
}

// signedForm makes a notification as Alipay does (V1, empty values skipped).
func signedForm(t testing.TB, pairs ...string) []byte {
	t.Helper()
	values := url.Values{"notify_id": {"N1"}, "notify_time": {"2026-01-02 03:04:06"}, "app_id": {"2021000000000001"}, "sign_type": {"RSA2"}}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "-" {
			values.Del(pairs[i])
		}
	}
	params, err := parseForm([]byte(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := sign(privateKey(t, "keys/alipay_private_pkcs8.pem"), schemes()[0].text(params))
	if err != nil {
		t.Fatal(err)
	}
	values.Set("sign", sig)
	return []byte(values.Encode())
}

func TestNotificationMembers(t *testing.T) {
	v := testVerifier(t, "2088000000000001")
	t.Run("refund", func(t *testing.T) {
		n, err := v.ParseNotification(signedForm(t, "out_biz_no", "R1", "refund_fee", "3.00", "total_amount", "10", "trade_no", "A1",
			"out_trade_no", "T1", "seller_id", "2088000000000001", "gmt_refund", "2026-01-02 03:04:05.678", "trade_status", "TRADE_SUCCESS"))
		if err != nil {
			t.Fatal(err)
		}
		at, err := n.Time()
		if n.Class != NotificationRefund || n.OutRequestNo != "R1" || *n.RefundFee != 300 || *n.TotalAmount != 1000 ||
			n.TradeNo != "A1" || err != nil || at.Format(time.RFC3339) != "2026-01-02T03:04:06+08:00" {
			t.Errorf("%#v at %v, %v", *n, at, err)
		}
		if got := fmt.Sprintf("%v %+v", n, *n); got != "alipay.Notification{refund N1} alipay.Notification{refund N1}" {
			t.Error(got)
		}
	})
	t.Run("coupon refund", func(t *testing.T) {
		n, err := v.ParseNotification(signedForm(t, "auth_no", "AU1", "operation_id", "O1", "operation_type", "REFUND",
			"out_request_no", "R1", "out_order_no", "null", "amount", "1.00", "status", "SUCCESS", "app_id", "-"))
		if err != nil {
			t.Fatal(err)
		}
		if n.Class != NotificationCouponRefund || n.OutRequestNo != "R1" || *n.Amount != 100 || n.OutOrderNo != "" || n.Status != "SUCCESS" {
			t.Errorf("%#v", *n)
		}
	})
	const depositMethod = "alipay.trade.refund.depositback.completed"
	t.Run("deposit back", func(t *testing.T) {
		n, err := v.ParseNotification(signedForm(t, "msg_method", depositMethod, "notify_time", "-", "utc_timestamp", "1767294245678",
			"biz_content", `{"trade_no":"A1","out_trade_no":"T1","out_request_no":"R1","dback_status":"F","dback_amount":1.5,"bank_ack_time":"2026-01-03 00:00:00"}`))
		if err != nil {
			t.Fatal(err)
		}
		at, err := n.Time()
		if n.Class != NotificationDepositBack || n.OutRequestNo != "R1" || n.DbackStatus != "F" || *n.DbackAmount != 150 ||
			err != nil || at.UnixMilli() != 1767294245678 {
			t.Errorf("%#v at %v, %v", *n, at, err)
		}
	})
	t.Run("encrypted deposit back", func(t *testing.T) {
		key := aesKey(t, "keys/aes_key.txt")
		content, err := encrypt(key, []byte(`{"out_request_no":"R1","dback_status":"S"}`))
		if err != nil {
			t.Fatal(err)
		}
		body := signedForm(t, "msg_method", depositMethod, "encrypt_type", "AES", "biz_content", content)
		open := *v
		open.encryptKey = key
		if n, err := open.ParseNotification(body); err != nil || n.OutRequestNo != "R1" || n.DbackStatus != "S" {
			t.Errorf("%#v, %v", n, err)
		}
		if _, err := v.ParseNotification(body); !errors.Is(err, ErrNotifyMalformed) {
			t.Errorf("without the key: %v", err)
		}
		broken := signedForm(t, "msg_method", depositMethod, "encrypt_type", "AES", "biz_content", "AAAA")
		if _, err := open.ParseNotification(broken); !errors.Is(err, ErrNotifyMalformed) {
			t.Errorf("broken cipher text: %v", err)
		}
	})
	for _, r := range []struct {
		name  string
		pairs []string
		want  error
	}{
		{"another app", []string{"app_id", "2021000000000002", "seller_id", "2088000000000001"}, ErrNotifyApp},
		{"no app", []string{"app_id", "-", "out_biz_no", "R1", "refund_fee", "1", "seller_id", "2088000000000001"}, ErrNotifyApp},
		{"another app of a coupon refund", []string{"app_id", "2", "notify_type", "fund_stdtrustee_refund.success"}, ErrNotifyApp},
		{"another seller", []string{"seller_id", "2088000000000002"}, ErrNotifySeller},
		{"no seller", []string{"out_biz_no", "R1", "refund_fee", "1"}, ErrNotifySeller},
		{"another seller of a coupon refund", []string{"seller_id", "2", "notify_type", "fund_stdtrustee_refund.success"}, ErrNotifySeller},
		{"deposit back without content", []string{"msg_method", depositMethod}, ErrNotifyMalformed},
		{"deposit back with a number twice", []string{"msg_method", depositMethod, "biz_content", `{"out_request_no":"R1","out_request_no":"R2"}`}, ErrNotifyMalformed},
	} {
		t.Run(r.name, func(t *testing.T) {
			if n, err := v.ParseNotification(signedForm(t, r.pairs...)); n != nil || !errors.Is(err, r.want) {
				t.Errorf("%v, want %v", err, r.want)
			}
		})
	}
}

func TestNotificationSaysWhy(t *testing.T) {
	v := testVerifier(t)
	for name, r := range map[string]struct{ body, want string }{
		"empty":       {"", "empty"},
		"only marks":  {"&&&", "no parameter"},
		"too large":   {strings.Repeat("a", maxNotification+1), "64 KiB"},
		"no sign":     {"a=b", "no sign"},
		"plus signs":  {"a=b&sign=a+b/c", "base64"},
		"SHA-1":       {"a=b&sign=YWJj&sign_type=RSA", "not RSA2"},
		"another key": {"a=b&sign=YWJj", "not configured"},
	} {
		if _, err := v.ParseNotification([]byte(r.body)); err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: %v, want %q", name, err, r.want)
		}
	}
}

func TestNotificationTime(t *testing.T) {
	for _, n := range []Notification{{}, {UTCTimestamp: "soon"}, {UTCTimestamp: strings.Repeat("9", 40)}, {NotifyTime: "x", UTCTimestamp: "1"}} {
		if at, err := n.Time(); err == nil {
			t.Errorf("%q %q is %v", n.NotifyTime, n.UTCTimestamp, at)
		}
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	keys := publicKeys(t, "keys/alipay_public.pem")
	for name, cfg := range map[string]VerifierConfig{
		"no key": {AppID: "1"}, "nil key": {Keys: append(keys[:1:1], nil), AppID: "1"}, "no app": {Keys: keys},
	} {
		if _, err := NewVerifier(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzParseNotification(f *testing.F) {
	type row struct {
		RawBody string `json:"raw_body"`
	}
	for _, r := range readVectors[row](f, "notify-verify.json") {
		f.Add([]byte(r.RawBody))
	}
	v := testVerifier(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := v.ParseNotification(body)
		if (n == nil) == (err == nil) {
			t.Errorf("%v beside %v", n, err)
		}
		if params, err := parseForm(body); err == nil {
			for i := 1; i < len(params); i++ {
				if params[i-1].key >= params[i].key {
					t.Errorf("keys %q, %q", params[i-1].key, params[i].key)
				}
			}
		}
	})
}

func BenchmarkParseNotification(b *testing.B) {
	body := signedForm(b, "out_biz_no", "R1", "refund_fee", "3.00", "trade_no", "A1", "out_trade_no", "T1", "subject", "测试商品")
	v := testVerifier(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.ParseNotification(body); err != nil {
			b.Fatal(err)
		}
	}
}
