package alipay

import (
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
)

// TestCanary: neither what is sent nor what comes back nor a key reaches the
// text of an error or of a printed value.
func TestCanary(t *testing.T) {
	const canary = "CANARY"
	cfg := testConfig(t, "")
	key := cfg.Signer.(*rsa.PrivateKey)
	req := &RefundRequest{
		OutTradeNo: canary + "1", OutRequestNo: "R1", RefundAmount: 300, RefundReason: canary + "2",
		RefundTransOut: canary + "3", AppAuthToken: canary + "4",
	}
	secrets := []string{canary, url.QueryEscape(canary), key.D.String(), key.Primes[0].String()}
	check := func(t *testing.T, where string, values ...any) {
		t.Helper()
		for _, v := range values {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				text := fmt.Sprintf(verb, v)
				for _, s := range secrets {
					if strings.Contains(text, s) {
						t.Errorf("%s, %s: %s", where, verb, text)
					}
				}
			}
		}
	}
	for name, body := range map[string]string{
		"html":             "HTTP/1.1 500 x\r\nContent-Length: 12\r\n\r\n<CANARY></a>",
		"status line":      "HTTP/1.1 CANARY\r\n\r\n",
		"protocol":         "CANARY\r\n\r\n",
		"header":           "HTTP/1.1 200 OK\r\nCANARY\r\n\r\n",
		"length":           "HTTP/1.1 200 OK\r\nContent-Length: CANARY\r\n\r\n",
		"transfer":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: CANARY\r\n\r\n",
		"chunk":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nCANARY\r\n",
		"location":         "HTTP/1.1 302 OK\r\nLocation: http://CANARY\r\nContent-Length: 0\r\n\r\n",
		"trace id":         "HTTP/1.1 500 OK\r\nTrace_id: a CANARY\r\nContent-Length: 0\r\n\r\n",
		"unreadable JSON":  "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"CANARY\":",
		"unsigned refusal": "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + `{"error_response":{"code":"40004","sub_code":"x CANARY","buyer_user_id":"CANARY"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			addr := rawServer(t, func(c net.Conn) {
				if readRequest(c) {
					_, _ = io.WriteString(c, body)
				}
			})
			cfg.Gateway = "http://" + addr
			_, err := testClient(t, cfg).Refund(t.Context(), req)
			check(t, name, asError(t, err).Error(), err)
		})
	}
	t.Run("values", func(t *testing.T) {
		check(t, "request", req, *req, cfg, &cfg, RefundQueryRequest{OutRequestNo: "R1", AppAuthToken: canary},
			CouponRefundRequest{OutRequestNo: "R1", AppAuthToken: canary, NotifyURL: canary}, CouponOperationRequest{AppAuthToken: canary})
		s := served(t, 200, envelopeOf(t, refundRoot, `{"code":"10000","buyer_user_id":"CANARY","buyer_logon_id":"CANARY","buyer_open_id":"CANARY"}`))
		cfg.Gateway = s.URL
		resp, err := testClient(t, cfg).Refund(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if string(resp.BuyerUserID) != canary {
			t.Errorf("buyer_user_id is not kept")
		}
		asJSON, err := json.Marshal(resp)
		if err != nil {
			t.Fatal(err)
		}
		check(t, "response", resp, *resp, string(asJSON))
	})
}

func TestNewRefuses(t *testing.T) {
	for _, r := range []struct {
		name string
		edit func(*Config)
		want string
	}{
		{"no gateway", func(c *Config) { c.Gateway = "" }, "gateway"},
		{"plain http", func(c *Config) { c.Gateway = "http://openapi.alipay.com/gateway.do" }, "loopback"},
		{"plain http to a name like loopback", func(c *Config) { c.Gateway = "http://localhost.example/gateway.do" }, "loopback"},
		{"another scheme", func(c *Config) { c.Gateway = "ftp://127.0.0.1/" }, "https"},
		{"password in the address", func(c *Config) { c.Gateway = "https://u:p@host/" }, "user"},
		{"query in the address", func(c *Config) { c.Gateway = "https://host/?a=b" }, "query"},
		{"no app id", func(c *Config) { c.AppID = "" }, "app id"},
		{"no signer", func(c *Config) { c.Signer = nil }, "private key is missing"},
		{"no key of Alipay", func(c *Config) { c.AlipayKeys = nil }, "missing"},
		{"a nil key", func(c *Config) { c.AlipayKeys = []*rsa.PublicKey{nil} }, "no RSA key"},
		{"the app's own key", func(c *Config) { c.AlipayKeys = publicKeys(t, "keys/app_public.pem") }, "app's own"},
		{"a short encrypt key", func(c *Config) { c.EncryptKey = []byte("short") }, "encrypt key"},
		{"negative time-out", func(c *Config) { c.Timeout = -1 }, "negative"},
	} {
		t.Run(r.name, func(t *testing.T) {
			cfg := testConfig(t, "https://openapi.alipay.com/gateway.do")
			r.edit(&cfg)
			c, err := New(cfg)
			if c != nil || err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("error %v, want one about %q", err, r.want)
			}
		})
	}
	for _, gateway := range []string{"https://openapi.alipay.com/gateway.do", "http://127.0.0.1:9800/gateway.do", "http://[::1]:9800/", "http://localhost/"} {
		if _, err := New(testConfig(t, gateway)); err != nil {
			t.Errorf("%s: %v", gateway, err)
		}
	}
}
