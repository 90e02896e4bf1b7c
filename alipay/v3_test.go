package alipay

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestVectorsV3RequestSign(t *testing.T) {
	type row struct {
		Name, Why, Nonce, Timestamp, Body string
		PrivateKeyFile                    string  `json:"private_key_file"`
		AppID                             string  `json:"app_id"`
		AppCertSN                         *string `json:"app_cert_sn"`
		Method                            string  `json:"http_method"`
		Path                              string  `json:"path_and_query"`
		Token                             *string `json:"app_auth_token"`
		Expected                          struct {
			AuthString    string `json:"auth_string"`
			StringToSign  string `json:"string_to_sign"`
			Sign          string
			Authorization string
		}
	}
	for _, r := range readVectors[row](t, "v3-request-sign.json") {
		t.Run(r.Name, func(t *testing.T) {
			req := requestV3{appID: r.AppID, nonce: r.Nonce, timestamp: r.Timestamp, method: r.Method, path: r.Path, body: r.Body}
			if r.AppCertSN != nil {
				req.certSN = *r.AppCertSN
			}
			if r.Token != nil {
				req.token = *r.Token
			}
			sig, err := sign(privateKey(t, r.PrivateKeyFile), []byte(req.signText()))
			if err != nil || req.authText() != r.Expected.AuthString || req.signText() != r.Expected.StringToSign || sig != r.Expected.Sign {
				t.Errorf("%s:\n got %q\nwant %q", r.Why, req.signText(), r.Expected.StringToSign)
			}
			if got := "ALIPAY-SHA256withRSA " + req.authText() + ",sign=" + sig; got != r.Expected.Authorization {
				t.Errorf("%s: %s", r.Why, got)
			}
		})
	}
}

func TestVectorsV3ResponseVerify(t *testing.T) {
	type row struct {
		Name, Why, Mode, Body string
		Encrypted             bool
		Status                int `json:"http_status"`
		Headers               map[string]string
		Expected              struct {
			Verdict, Plain string
			Code           *string
		}
	}
	keys := publicKeys(t, "keys/alipay_public.pem")
	for _, r := range readVectors[row](t, "v3-response-verify.json") {
		t.Run(r.Name, func(t *testing.T) {
			header := http.Header{}
			for k, v := range r.Headers {
				header.Set(k, v)
			}
			var key []byte
			if r.Encrypted {
				key = aesKey(t, "keys/aes_key.txt")
			}
			node, err := openV3(header, []byte(r.Body), keys, key)
			want := map[string]error{
				"ok": nil, "missing_signature": ErrUnsigned, "bad_signature": ErrBadSignature, "malformed": ErrMalformed,
			}[r.Expected.Verdict]
			if !errors.Is(err, want) {
				t.Fatalf("%s: %v, want %v", r.Why, err, want)
			}
			if r.Expected.Plain != "" && string(node) != r.Expected.Plain {
				t.Errorf("%s: plain %s", r.Why, node)
			}
			if r.Expected.Code != nil {
				var code string
				if _, err := decodeFields(node, []field{proof("code", &code)}); err != nil || code != *r.Expected.Code {
					t.Errorf("%s: code %q, %v", r.Why, code, err)
				}
			}
		})
	}
}

// signedV3 sets the header of a V3 answer.
func signedV3(t testing.TB, h http.Header, body string) {
	t.Helper()
	sig, err := sign(privateKey(t, "keys/alipay_private_pkcs8.pem"), []byte("1767294245123\nabc\n"+body+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	h.Set("alipay-timestamp", "1767294245123")
	h.Set("alipay-nonce", "abc")
	h.Set("alipay-signature", sig)
}

func TestV3Calls(t *testing.T) {
	const refunded = `{"trade_no":"A1","out_trade_no":"T1","fund_change":"Y","refund_fee":3}`
	refusal := func(code string) string {
		return fmt.Sprintf(`{"code":"%s","message":"说明","links":[{"link":"x","desc":"y"}],"details":{"a":1}}`, code)
	}
	for _, r := range []struct {
		name, body string
		status     int
		unsigned   bool
		want       Error
		cause      error
	}{
		{name: "success", body: refunded, status: 200},
		{name: "unsigned success", body: refunded, status: 200, unsigned: true, cause: ErrUnsigned},
		{name: "accepted is not done", body: refunded, status: 202, cause: ErrStatus},
		{name: "no content", body: "", status: 204, unsigned: true, cause: ErrMalformed},
		{name: "code under status 200", body: refusal("ACQ.TRADE_NOT_EXIST"), status: 200, want: Error{SubCode: "ACQ.TRADE_NOT_EXIST", SubMsg: "说明"}, cause: ErrMalformed},
		{name: "refusal", body: refusal("ACQ.TRADE_NOT_EXIST"), status: 400, want: Error{Class: ClassRefused, Signed: true, SubCode: "ACQ.TRADE_NOT_EXIST", SubMsg: "说明"}},
		{name: "system error under 400", body: refusal("ACQ.SYSTEM_ERROR"), status: 400, want: Error{Signed: true, SubCode: "ACQ.SYSTEM_ERROR", SubMsg: "说明"}},
		{name: "conflict", body: refusal("ACQ.DISCORDANT_REPEAT_REQUEST"), status: 400, want: Error{Class: ClassConflict, QueryFirst: true, Signed: true, SubCode: "ACQ.DISCORDANT_REPEAT_REQUEST", SubMsg: "说明"}},
		{name: "unsigned authorisation error", body: refusal("invalid-app-auth-token"), status: 401, unsigned: true, want: Error{Class: ClassBlockedConfiguration, SubCode: "invalid-app-auth-token", SubMsg: "说明"}, cause: ErrUnsigned},
		{name: "definite code under 500", body: refusal("ACQ.TRADE_NOT_EXIST"), status: 500, want: Error{SubCode: "ACQ.TRADE_NOT_EXIST", SubMsg: "说明"}, cause: ErrStatus},
		{name: "limit", body: refusal("app-call-limited"), status: 429, want: Error{Class: ClassLimited, Signed: true, SubCode: "app-call-limited", SubMsg: "说明"}},
		{name: "limit without a known code", body: refusal("x"), status: 429, unsigned: true, want: Error{Class: ClassLimited, SubCode: "x", SubMsg: "说明"}, cause: ErrUnsigned},
		{name: "limit of a proxy", body: "<html>", status: 429, unsigned: true, want: Error{Class: ClassLimited}, cause: ErrMalformed},
		{name: "proxy page", body: "<html>", status: 502, unsigned: true, cause: ErrMalformed},
		{name: "code that stands twice", body: `{"code":"x","code":"ACQ.TRADE_NOT_EXIST"}`, status: 400, cause: ErrMalformed},
		{name: "proof that stands twice", body: `{"fund_change":"N","fund_change":"Y"}`, status: 200, cause: ErrMalformed},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				w.Header().Set("alipay-trace-id", "21000000")
				if !r.unsigned {
					signedV3(t, w.Header(), r.body)
				}
				w.WriteHeader(r.status)
				_, _ = io.WriteString(w, r.body)
			}))
			defer s.Close()
			cfg := testConfig(t, "")
			cfg.V3URL = s.URL
			resp, err := testClient(t, cfg).Refund(t.Context(), refundOf("R1"))
			if r.name == "success" {
				if err != nil || resp.FundChange != "Y" || *resp.RefundFee != 300 || resp.TraceID != "21000000" || resp.Code != "" {
					t.Errorf("%+v, %v", resp, err)
				}
				return
			}
			got := asError(t, err)
			if (r.cause == nil) != (got.Err == nil) || (r.cause != nil && !errors.Is(err, r.cause)) {
				t.Errorf("cause %v, want %v", got.Err, r.cause)
			}
			r.want.Method, r.want.HTTPStatus, r.want.TraceID, r.want.Err = MethodRefund, r.status, "21000000", got.Err
			if *got != r.want {
				t.Errorf("\n got %+v\nwant %+v", *got, r.want)
			}
		})
	}
}

// TestV3Request looks at one request as it arrives, in the fullest mode.
func TestV3Request(t *testing.T) {
	app := privateKey(t, "keys/app_private_pkcs8.pem")
	key := aesKey(t, "keys/aes_key.txt")
	nonces := map[string]bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		h := req.Header
		rest, ok := strings.CutPrefix(h.Get("Authorization"), "ALIPAY-SHA256withRSA ")
		auth, sig, okSign := strings.Cut(rest, ",sign=")
		text := auth + "\nPOST\n" + req.RequestURI + "\n" + string(body) + "\n202601BBtoken\n"
		if !ok || !okSign || !verified([]*rsa.PublicKey{&app.PublicKey}, []byte(text), sig) {
			t.Errorf("signature of %q", text)
		}
		fields := map[string]string{}
		for f := range strings.SplitSeq(auth, ",") {
			k, v, _ := strings.Cut(f, "=")
			fields[k] = v
		}
		if nonces[fields["nonce"]] || len(fields["nonce"]) != 32 {
			t.Errorf("nonce %q", fields["nonce"])
		}
		nonces[fields["nonce"]] = true
		if fields["app_id"] != "2021000000000001" || fields["app_cert_sn"] != testCertificates(t).AppSN || len(fields["timestamp"]) != 13 {
			t.Errorf("authorization %v", fields)
		}
		if h.Get("alipay-root-cert-sn") != testCertificates(t).RootSN || h.Get("alipay-app-auth-token") != "202601BBtoken" ||
			h.Get("alipay-encrypt-type") != "AES" || h.Get("Content-Type") != "text/plain; charset=utf-8" || len(h.Get("alipay-request-id")) != 32 {
			t.Errorf("header %v", h)
		}
		plain, err := decrypt(key, string(body))
		if err != nil || !strings.Contains(string(plain), `"out_request_no":"R1"`) {
			t.Errorf("body %s, %v", plain, err)
		}
		node := `{"refund_status":"REFUND_SUCCESS","refund_amount":12.33,"out_request_no":"R1"}`
		if req.URL.Path == pathRefund {
			node = `{"fund_change":"Y"}`
		}
		answer, err := encrypt(key, []byte(node))
		if err != nil {
			t.Error(err)
		}
		signedV3(t, w.Header(), answer)
		_, _ = io.WriteString(w, answer)
	}))
	defer s.Close()
	cfg := certConfig(t, "")
	cfg.V3URL, cfg.EncryptKey = s.URL+"/", key
	c := testClient(t, cfg)
	req := refundOf("R1")
	req.AppAuthToken = "202601BBtoken"
	if resp, err := c.Refund(t.Context(), req); err != nil || resp.FundChange != "Y" {
		t.Errorf("%+v, %v", resp, err)
	}
	q, err := c.QueryRefund(t.Context(), &RefundQueryRequest{OutTradeNo: "T1", OutRequestNo: "R1", AppAuthToken: "202601BBtoken"})
	if err != nil || q.RefundStatus != RefundStatusSuccess || *q.RefundAmount != 1233 {
		t.Errorf("%+v, %v", q, err)
	}
	_, err = c.RefundCoupon(t.Context(), &CouponRefundRequest{AuthNo: "AU1", OutRequestNo: "R1", Amount: 1})
	if e := asError(t, err); e.Class != ClassNotSent {
		t.Errorf("a red packet without a v2 gateway: %+v", e)
	}
}

func TestV3NotSent(t *testing.T) {
	cfg := testConfig(t, "")
	cfg.V3URL = "http://127.0.0.1:1"
	_, err := testClient(t, cfg).Refund(t.Context(), refundOf("R1"))
	if e := asError(t, err); e.Class != ClassNotSent {
		t.Errorf("%+v", e)
	}
	for _, bad := range []string{"http://openapi.alipay.com", "https://openapi.alipay.com/v3", "x"} {
		cfg.V3URL = bad
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "V3 address") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestV3Sample decodes the V3 tutorial's answer, amounts as numbers and all.
func TestV3Sample(t *testing.T) {
	var q RefundQueryResponse
	err := decode([]byte(`{"trade_no":"2014112611001004680073956707","out_trade_no":"20150320010101001","out_request_no":"20150320010101001",
		"total_amount":100.20,"refund_amount":12.33,"refund_status":"REFUND_SUCCESS","refund_royaltys":[{"refund_amount":10,"royalty_type":"transfer",
		"result_code":"SUCCESS","trans_out":"2088102210397302","trans_out_email":"a@example.com","trans_in":"2088102210397302","trans_in_email":"b@example.com"}],
		"gmt_refund_pay":"2014-11-27 15:45:57","refund_detail_item_list":[{"fund_channel":"ALIPAYACCOUNT","amount":10,"real_amount":11.21,"fund_type":"DEBIT_CARD"}],
		"send_back_fee":"88","deposit_back_info":{"has_deposit_back":"true","dback_status":"S","dback_amount":1.01,"bank_ack_time":"2020-06-02 14:03:48",
		"est_bank_receipt_time":"2020-06-02 14:03:48"},"refund_hyb_amount":"10.24","refund_charge_info_list":[{"refund_charge_fee":0.01,"switch_fee_rate":"0.01",
		"charge_type":"trade","refund_sub_fee_detail_list":[{"refund_charge_fee":0.10,"switch_fee_rate":"0.01"}]}]}`), &q)
	if err != nil {
		t.Fatal(err)
	}
	if *q.TotalAmount != 10020 || *q.RefundAmount != 1233 || *q.SendBackFee != 8800 || *q.RefundHybAmount != 1024 ||
		*q.RefundRoyaltys[0].RefundAmount != 1000 || *q.RefundDetailItemList[0].RealAmount != 1121 || *q.DepositBackInfo.DbackAmount != 101 ||
		*q.RefundChargeInfoList[0].RefundSubFeeDetailList[0].RefundChargeFee != 10 || q.DepositBackInfo.DbackStatus != "S" {
		t.Errorf("%+v", q)
	}
}

// FuzzOpenV3: no header and no body panics, and nothing unsigned is an answer.
func FuzzOpenV3(f *testing.F) {
	f.Add("1767294245123", "abc", "", `{"a":1}`, false)
	f.Add("", "", "null", "", true)
	f.Add("\n", "\x00", "AAAA", "{", true)
	keys := publicKeys(f, "keys/alipay_public.pem")
	key := aesKey(f, "keys/aes_key.txt")
	f.Fuzz(func(t *testing.T, timestamp, nonce, sig, body string, encrypted bool) {
		header := http.Header{"Alipay-Timestamp": {timestamp}, "Alipay-Nonce": {nonce}, "Alipay-Signature": {sig}}
		k := key
		if !encrypted {
			k = nil
		}
		node, err := openV3(header, []byte(body), keys, k)
		if err == nil {
			t.Errorf("%q is signed", body)
		}
		if (node != nil) != errors.Is(err, ErrUnsigned) {
			t.Errorf("%q beside %v", node, err)
		}
	})
}
