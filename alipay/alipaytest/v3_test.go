package alipaytest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

const (
	v3Refund = "/v3/alipay/trade/refund"
	v3Query  = "/v3/alipay/trade/fastpay/refund/query"
)

// v3Header is the Authorization of a request and what else belongs to it.
func (b *bench) v3Header(t *testing.T, path, body, nonce string) http.Header {
	t.Helper()
	auth := "app_id=" + appID + ",nonce=" + nonce + ",timestamp=" + strconv.FormatInt(b.now().UnixMilli(), 10)
	signature := rsaSign(t, b.keys.AppPrivate, auth+"\nPOST\n"+path+"\n"+body+"\n")
	return http.Header{
		"Authorization": {"ALIPAY-SHA256withRSA " + auth + ",sign=" + signature},
		"Content-Type":  {"application/json"},
	}
}

func (b *bench) v3(ctx context.Context, path, body string, header http.Header) reply {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.base+path, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	req.Header = header
	resp, err := b.http.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	r := reply{err: err, status: resp.StatusCode, raw: string(raw), header: resp.Header}
	if err != nil {
		return r
	}
	signature := resp.Header.Get("alipay-signature")
	if signature == "null" {
		signature = ""
	}
	r.signed = rsaVerdict(b.keys.AlipayPublic, resp.Header.Get("alipay-timestamp")+"\n"+resp.Header.Get("alipay-nonce")+"\n"+r.raw+"\n", signature)
	if resp.Header.Get("alipay-encrypt-type") == "" {
		r.err = json.Unmarshal(inUTF8(resp, raw), &r.fields)
	}
	r.code, r.subCode = strconv.Itoa(r.status), r.text("code")
	return r
}

func (b *bench) v3Call(t *testing.T, path, body string) reply {
	t.Helper()
	return b.v3(t.Context(), path, body, b.v3Header(t, path, body, b.nextNonce()))
}

func TestV3SharesTheLedgerWithV2(t *testing.T) {
	b := start(t, alipaytest.Config{})
	first := b.v3Call(t, v3Refund, `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1.00"}`)
	first.want(t, "200", "", "good")
	if first.text("fund_change") != "Y" || first.text("out_trade_no") != "T" || first.header.Get("alipay-trace-id") == "" || first.fields["msg"] != nil {
		t.Fatalf("first = %s", first.raw)
	}
	if got := b.refund(t, "T", "R", "1"); got.text("fund_change") != "N" {
		t.Fatalf("replay by v2 = %s", got.raw)
	}
	found := b.v3Call(t, v3Query, `{"out_trade_no":"T","out_request_no":"R"}`)
	found.want(t, "200", "", "good")
	if found.text("refund_status") != "REFUND_SUCCESS" {
		t.Fatalf("query = %s", found.raw)
	}
	b.v3Call(t, v3Query, `{"out_trade_no":"T","out_request_no":"R2"}`).want(t, "200", "", "good")
	b.v3Call(t, v3Refund, `{"out_trade_no":"nosuch","out_request_no":"R","refund_amount":"1.00"}`).want(t, "400", "ACQ.TRADE_NOT_EXIST", "good")
}

func TestV3Faults(t *testing.T) {
	b := start(t, alipaytest.Config{})
	for _, tt := range []struct{ name, status, code, signed string }{
		{"system-error-after", "400", "ACQ.SYSTEM_ERROR", "good"},
		{"limited", "429", "app-call-limited", "good"},
		{"config", "400", "invalid-signature", "none"},
		{"config-auth", "401", "invalid-app-auth-token", "good"},
		{"refused-TRADE_STATUS_ERROR", "400", "ACQ.TRADE_STATUS_ERROR", "good"},
		{"no-sign", "200", "", "none"},
		{"bad-sign", "200", "", "bad"},
		{"success-gbk", "200", "", "good"},
		{"refused-gbk", "400", "ACQ.TRADE_STATUS_ERROR", "good"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.v3Call(t, v3Refund, biz(t, "out_trade_no", "T", "out_request_no", "fault-"+tt.name+"-1", "refund_amount", "1")).
				want(t, tt.status, tt.code, tt.signed)
		})
	}
	got := b.v3Call(t, v3Refund, biz(t, "out_trade_no", "T", "out_request_no", "fault-gw-20000-before-1", "refund_amount", "1"))
	if got.status != 500 || got.subCode != "unknow-error" && got.subCode != "ACQ.SYSTEM_ERROR" {
		t.Errorf("gw-20000-before: %d %s", got.status, got.raw)
	}
}

func TestV3AmountsAreStringsOrNumbers(t *testing.T) {
	b := start(t, alipaytest.Config{})
	forms := map[string]bool{}
	for range 40 {
		got := b.v3Call(t, v3Refund, `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1.00"}`)
		got.want(t, "200", "", "good")
		forms["text"] = forms["text"] || strings.Contains(got.raw, `"refund_fee":"1.00"`)
		forms["number"] = forms["number"] || strings.Contains(got.raw, `"refund_fee":1.00`)
	}
	if !forms["text"] || !forms["number"] {
		t.Errorf("forms = %v", forms)
	}
}

func TestV3ChecksRequests(t *testing.T) {
	const body = `{"out_trade_no":"T","out_request_no":"R","refund_amount":"1.00"}`
	tests := []struct {
		name   string
		change func(http.Header)
		status string
		code   string
		signed string
	}{
		{"no Authorization", func(h http.Header) { h.Del("Authorization") }, "400", "missing-timestamp", "none"},
		{"other scheme", func(h http.Header) { h.Set("Authorization", "Bearer x") }, "400", "missing-timestamp", "none"},
		{"no nonce", change("nonce=", "x="), "400", "missing-nonce", "none"},
		{"other app", change("app_id=2", "app_id=3"), "400", "invalid-app-id", "none"},
		{"given twice", change("nonce=", "app_id=1,nonce="), "400", "invalid-parameter", "none"},
		{"changed after signing", change("timestamp=1", "timestamp=2"), "400", "invalid-signature", "none"},
		{"token that is not signed", func(h http.Header) { h.Set("alipay-app-auth-token", "t") }, "400", "invalid-signature", "none"},
		{"content type", func(h http.Header) { h.Set("Content-Type", "text/plain") }, "400", "invalid-parameter", "good"},
		{"not encrypted", func(h http.Header) { h.Set("alipay-encrypt-type", "AES"); h.Set("Content-Type", "text/plain") }, "400", "decryption-error-unknown", "good"},
	}
	b := start(t, alipaytest.Config{})
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := b.v3Header(t, v3Refund, body, "case"+strconv.Itoa(i))
			tt.change(header)
			b.v3(t.Context(), v3Refund, body, header).want(t, tt.status, tt.code, tt.signed)
		})
	}
	t.Run("nonce twice", func(t *testing.T) {
		header := b.v3Header(t, v3Refund, body, "once")
		b.v3(t.Context(), v3Refund, body, header.Clone()).want(t, "200", "", "good")
		b.v3(t.Context(), v3Refund, body, header).want(t, "400", "invalid-nonce", "good")
	})
	t.Run("old", func(t *testing.T) {
		late := *b
		late.now = func() time.Time { return time.Now().Add(-11 * time.Minute) }
		late.v3(t.Context(), v3Refund, body, late.v3Header(t, v3Refund, body, "old")).want(t, "400", "illegal-timestamp", "good")
	})
}

func change(from, to string) func(http.Header) {
	return func(h http.Header) { h.Set("Authorization", strings.Replace(h.Get("Authorization"), from, to, 1)) }
}

// The rows were signed or sent by Alipay's official V3 client.
func TestV3AcceptsTheOfficialClient(t *testing.T) {
	raw, err := os.ReadFile("testdata/v3-request-sign.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Name      string
		Method    string `json:"http_method"`
		Path      string `json:"path_and_query"`
		Timestamp string
		Body      string
		Token     string `json:"app_auth_token"`
		Headers   map[string]string
		Expected  struct{ Authorization string }
	}
	if err := json.Unmarshal(raw, &rows); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, row := range rows {
		if row.Path != v3Refund && row.Path != v3Query || row.Body == "" || row.Name == "aes-body" {
			continue
		}
		tried++
		t.Run(row.Name, func(t *testing.T) {
			ms, err := strconv.ParseInt(row.Timestamp, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			b := start(t, alipaytest.Config{Now: func() time.Time { return time.UnixMilli(ms) }})
			header := http.Header{"Authorization": {row.Expected.Authorization}, "Content-Type": {"application/json"}}
			for name, value := range row.Headers {
				header.Set(name, value)
			}
			if row.Token != "" {
				header.Set("alipay-app-auth-token", row.Token)
			}
			got := b.v3(t.Context(), row.Path, row.Body, header)
			if got.signed != "good" || strings.Contains(got.subCode, "signature") {
				t.Fatalf("%d %s, signature %s", got.status, got.raw, got.signed)
			}
			if row.Headers["alipay-encrypt-type"] == "AES" {
				if plain := decrypted(t, b.keys.AES, got.raw); got.header.Get("alipay-encrypt-type") != "AES" || !strings.Contains(plain, `"fund_change":"Y"`) {
					t.Fatalf("answer %s: %s", got.raw, plain)
				}
			}
			if cert := strings.Contains(row.Expected.Authorization, "app_cert_sn"); cert != (got.header.Get("alipay-sn") == b.keys.AlipayCertSN) {
				t.Errorf("alipay-sn = %q", got.header.Get("alipay-sn"))
			}
		})
	}
	if tried < 8 {
		t.Errorf("%d rows tried", tried)
	}
}
