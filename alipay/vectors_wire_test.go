package alipay

import (
	"crypto/rsa"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestVectorsWire sends what the official client was asked to send and compares
// what arrives: the same parameters in the same places, and a signature that is
// right for them.
func TestVectorsWire(t *testing.T) {
	type row struct {
		Name, Why string
		Call      struct {
			Method, Mode string
			BizContent   string `json:"biz_content"`
			Encrypt      bool
			AppAuthToken string `json:"app_auth_token"`
			NotifyURL    string `json:"notify_url"`
		}
		QueryParams map[string]string `json:"query_params"`
		BodyParams  map[string]string `json:"body_params"`
		Expected    struct {
			StringToSign string `json:"string_to_sign"`
			Sign         string
		}
	}
	app := privateKey(t, "keys/app_private_pkcs8.pem")
	for _, r := range readVectors[row](t, "v2-wire.json") {
		t.Run(r.Name, func(t *testing.T) {
			var params []param
			for k, v := range r.QueryParams {
				if k != "sign" {
					params = append(params, param{k, v})
				}
			}
			for k, v := range r.BodyParams {
				params = append(params, param{k, v})
			}
			text := signText(params)
			sig, err := sign(app, text)
			if err != nil || string(text) != r.Expected.StringToSign || sig != r.Expected.Sign {
				t.Errorf("%s: signing what was sent gives %s", r.Why, text)
			}
			var query, form url.Values
			var contentType string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				query = req.URL.Query()
				body, _ := io.ReadAll(req.Body)
				form, _ = url.ParseQuery(string(body))
				contentType = req.Header.Get("Content-Type")
				w.WriteHeader(http.StatusBadGateway)
			}))
			defer server.Close()
			cfg := Config{
				Gateway:    server.URL + "/gateway.do",
				AppID:      r.QueryParams["app_id"],
				Signer:     app,
				AlipayKeys: publicKeys(t, "keys/alipay_public.pem"),
			}
			if r.Call.Encrypt {
				cfg.EncryptKey = aesKey(t, "keys/aes_key.txt")
			}
			if r.Call.Mode == "cert" {
				cfg.AlipayKeys, cfg.Certificates = nil, testCertificates(t)
			}
			c, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseIdleConnections()
			c.now = func() time.Time {
				at, err := ParseTime(r.QueryParams["timestamp"])
				if err != nil {
					t.Error(err)
				}
				return at.In(time.UTC)
			}
			wireCall(t, c, r.Call.Method, r.Call.BizContent, r.Call.AppAuthToken, r.Call.NotifyURL)

			wantQuery := maps.Clone(r.QueryParams)
			delete(wantQuery, "alipay_sdk") // the official client's own
			wantQuery["format"] = "JSON"    // it writes json; the documents say JSON
			delete(wantQuery, "sign")
			got := flatten(t, query)
			signature := got["sign"]
			delete(got, "sign")
			if !maps.Equal(got, wantQuery) {
				t.Errorf("%s: query\n got %v\nwant %v", r.Why, got, wantQuery)
			}
			if gotBody := flatten(t, form); !maps.Equal(gotBody, r.BodyParams) {
				t.Errorf("%s: form\n got %v\nwant %v", r.Why, gotBody, r.BodyParams)
			}
			if contentType != "application/x-www-form-urlencoded;charset=utf-8" {
				t.Errorf("content type %q", contentType)
			}
			params = params[:0]
			for k, v := range wantQuery {
				params = append(params, param{k, v})
			}
			for k, v := range r.BodyParams {
				params = append(params, param{k, v})
			}
			if !verified([]*rsa.PublicKey{&app.PublicKey}, signText(params), signature) {
				t.Errorf("%s: the signature that was sent does not verify", r.Why)
			}
		})
	}
}

func flatten(t *testing.T, v url.Values) map[string]string {
	t.Helper()
	out := map[string]string{}
	for k, values := range v {
		if len(values) != 1 {
			t.Errorf("%s is there %d times", k, len(values))
		}
		out[k] = strings.Join(values, "|")
	}
	return out
}

// wireCall makes the call whose JSON a row gives, through the typed requests.
func wireCall(t *testing.T, c *Client, method, biz, token, notifyURL string) {
	t.Helper()
	read := func(into any) {
		dec := json.NewDecoder(strings.NewReader(biz))
		dec.DisallowUnknownFields()
		if err := dec.Decode(into); err != nil {
			t.Fatalf("%s: %v", biz, err)
		}
	}
	var err error
	switch method {
	case MethodRefund:
		req := &RefundRequest{AppAuthToken: token}
		read(req)
		_, err = c.Refund(t.Context(), req)
	case MethodQueryRefund:
		req := &RefundQueryRequest{AppAuthToken: token}
		read(req)
		_, err = c.QueryRefund(t.Context(), req)
	case MethodRefundCoupon:
		req := &CouponRefundRequest{AppAuthToken: token, NotifyURL: notifyURL}
		read(req)
		_, err = c.RefundCoupon(t.Context(), req)
	case MethodQueryCouponOperation:
		req := &CouponOperationRequest{AppAuthToken: token}
		read(req)
		_, err = c.QueryCouponOperation(t.Context(), req)
	default:
		t.Errorf("no call for %s", method)
	}
	if err == nil {
		t.Error("a 502 gave no error")
	}
}
