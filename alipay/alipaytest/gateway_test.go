package alipaytest_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

func TestGatewayChecksParameters(t *testing.T) {
	type change = map[string]string // value "" removes the parameter
	tests := []struct {
		name   string
		before change // the signature
		after  change
		code   string
		sub    string
		signed string
	}{
		{"other app", nil, change{"app_id": "2021000000000002"}, "40002", "isv.invalid-app-id", "none"},
		{"no app", change{"app_id": ""}, nil, "40001", "isv.missing-app-id", "none"},
		{"no method", change{"method": ""}, nil, "40001", "isv.missing-method", "none"},
		{"no sign", nil, change{"sign": ""}, "40001", "isv.missing-signature", "none"},
		{"no sign type", change{"sign_type": ""}, nil, "40001", "isv.missing-signature-type", "none"},
		{"no timestamp", change{"timestamp": ""}, nil, "40001", "isv.missing-timestamp", "none"},
		{"no version", change{"version": ""}, nil, "40001", "isv.missing-version", "none"},
		{"RSA1", change{"sign_type": "RSA"}, nil, "40002", "isv.invalid-signature-type", "none"},
		{"changed after signing", nil, change{"biz_content": "{}"}, "40002", "isv.invalid-signature", "none"},
		{"sign is no base64", nil, change{"sign": "?"}, "40002", "isv.invalid-signature", "none"},
		{"added after signing", nil, change{"app_auth_token": "t"}, "40002", "isv.invalid-signature", "none"},
		{"unknown method", change{"method": "alipay.trade.pay"}, nil, "40002", "isv.invalid-method", "good"},
		{"UTC", change{"timestamp": time.Now().UTC().Format(time.DateTime)}, nil, "40002", "isv.invalid-timestamp", "good"},
		{"RFC 3339", change{"timestamp": time.Now().UTC().Format(time.RFC3339)}, nil, "40002", "isv.invalid-timestamp", "good"},
		{"no charset", change{"charset": ""}, nil, "40002", "isv.invalid-charset", "good"},
		{"GBK", change{"charset": "GBK"}, nil, "40002", "isv.invalid-charset", "good"},
		{"XML", change{"format": "XML"}, nil, "40002", "isv.invalid-format", "good"},
		{"version 2", change{"version": "2.0"}, nil, "40002", "isv.invalid-parameter", "good"},
		{"other encryption", change{"encrypt_type": "DES"}, nil, "40002", "isv.invalid-encrypt-type", "good"},
		{"not encrypted", change{"encrypt_type": "AES"}, nil, "40003", "isv.decryption-error-unknown", "good"},
		{"no content", change{"biz_content": ""}, nil, "40002", "isv.illegal-json", "good"},
		{"certificate numbers of others", change{"app_cert_sn": "1", "alipay_root_cert_sn": "2"}, nil, "40002", "isv.invalid-signature", "none"},
	}
	b := start(t, alipaytest.Config{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			params := b.params(refundMethod, biz(t, "out_trade_no", "T", "out_request_no", "R", "refund_amount", "1"))
			maps.Copy(params, tt.before)
			maps.DeleteFunc(params, func(_, value string) bool { return value == "" })
			params = b.signed(t, params)
			maps.Copy(params, tt.after)
			got := b.send(t.Context(), refundMethod, params)
			got.want(t, tt.code, tt.sub, tt.signed)
			if got.status != http.StatusOK {
				t.Errorf("HTTP %d, want 200", got.status)
			}
			calls := b.sim.Calls()
			if last := calls[len(calls)-1]; last.SubCode != tt.sub {
				t.Errorf("call on record = %+v", last)
			}
		})
	}
	if n := len(b.sim.State().Refunds); n != 0 {
		t.Errorf("%d refunds reached the ledger", n)
	}
}

func TestGatewayRefusesAmbiguousForms(t *testing.T) {
	b := start(t, alipaytest.Config{})
	params := url.Values{}
	for name, value := range b.signed(t, b.params(refundMethod, `{}`)) {
		params.Set(name, value)
	}
	for _, tt := range []struct{ name, query, body string }{
		{"in query and body", params.Encode(), "app_id=" + appID},
		{"twice in the body", "", params.Encode() + "&app_id=" + appID},
		{"broken percent", params.Encode(), "x=%zz"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.post(t.Context(), refundMethod, tt.query, tt.body).want(t, "40002", "isv.invalid-parameter", "none")
		})
	}
}

// The rows were sent by Alipay's official Java client.
func TestGatewayAcceptsTheOfficialClient(t *testing.T) {
	raw, err := os.ReadFile("testdata/v2-wire.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Name    string
		Call    struct{ Method, Mode string }
		Request struct{ Query, Body string }
		Params  map[string]string `json:"query_params"`
	}
	if err := json.Unmarshal(raw, &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			sent, err := time.ParseInLocation(time.DateTime, row.Params["timestamp"], time.FixedZone("", 8*60*60))
			if err != nil {
				t.Fatal(err)
			}
			b := start(t, alipaytest.Config{Now: func() time.Time { return sent }})
			got := b.post(t.Context(), row.Call.Method, row.Request.Query, row.Request.Body)
			if row.Name == "coupon-operation-query" {
				got.want(t, "40004", "AUTH_OPERATION_NOT_EXIST", "good")
				return
			}
			if row.Params["encrypt_type"] == "AES" {
				if plain := decrypted(t, b.keys.AES, got.encrypted); got.signed != "good" || !strings.HasPrefix(plain, `{"code":"10000"`) {
					t.Fatalf("signature %s of %s: %s", got.signed, got.raw, plain)
				}
				return
			}
			got.want(t, "10000", "", "good")
			if want := row.Call.Mode == "cert"; want != strings.Contains(got.raw, `"alipay_cert_sn":"`+b.keys.AlipayCertSN+`"`) {
				t.Errorf("mode %s: %s", row.Call.Mode, got.raw)
			}
		})
	}
}

// Whatever the seed, an answer is one JSON object with a good signature; the
// order of its members and the spelling of "/" vary.
func TestAnswersVaryInForm(t *testing.T) {
	forms := map[string]bool{}
	b := start(t, alipaytest.Config{})
	for range 60 {
		got := b.call(t, refundMethod, `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1"}`)
		got.want(t, "10000", "", "good")
		form := "node first"
		if strings.HasPrefix(got.raw, `{"sign"`) {
			form = "sign first"
		}
		forms[form] = true
		forms["escaped slash "+map[bool]string{true: "yes", false: "no"}[strings.Contains(got.raw, `店\/`)]] = true
	}
	if len(forms) != 4 {
		t.Errorf("forms = %v", forms)
	}
}

func TestPages(t *testing.T) {
	b := start(t, alipaytest.Config{})
	b.refund(t, "T", "R", "1")
	get := func(method, path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, b.base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for _, tt := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/sim/state", 200, `"out_request_no":"R","amount":"1.00","moved":1`},
		{"GET", "/sim/calls", 200, `"method":"alipay.trade.refund","out_request_no":"R","app_auth_token":""`},
		{"POST", "/sim/faults?spec=limited=1", 204, ""},
		{"POST", "/sim/faults?spec=nothing=1", 400, "not on the menu"},
		{"POST", "/sim/merchant?app_auth_token=another&fault=config-auth", 204, ""},
		{"POST", "/sim/merchant?app_auth_token=another&fault=nothing", 400, "on the menu"},
		{"POST", "/sim/balance?amount=x", 400, "amount"},
		{"POST", "/sim/balance?amount=0.00", 204, ""},
		{"GET", "/gateway.do", 405, ""},
		{"GET", "/", 404, ""},
	} {
		if status, body := get(tt.method, tt.path); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, status, body)
		}
	}
	b.refund(t, "T", "R2", "1").want(t, "40005", "isv.app-call-limited", "good")
	if _, body := get("GET", "/sim/faults"); !strings.Contains(body, `"limited":1`) {
		t.Errorf("fault counts: %s", body)
	}
	if status, _ := get("POST", "/sim/heal"); status != 204 {
		t.Errorf("heal: %d", status)
	}
	b.refund(t, "T", "R2", "1").want(t, "40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH", "good")
	if status, _ := get("POST", "/sim/balance?amount=1"); status != 204 {
		t.Errorf("balance: %d", status)
	}
	b.refund(t, "T", "R2", "1").want(t, "10000", "", "good")
}
