package alipay

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func benchmarkServer(b *testing.B) *httptest.Server {
	b.Helper()
	answer := []byte(envelopeOf(b, refundRoot, success))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	}))
	b.Cleanup(s.Close)
	return s
}

// BenchmarkRefund is one whole call; BenchmarkBareCost is what it cannot do
// without: one RSA signature, one HTTP round trip on a kept connection, one
// verification. The first should stay within a tenth of the second.
func BenchmarkRefund(b *testing.B) {
	c := testClient(b, testConfig(b, benchmarkServer(b).URL))
	req := refundOf("R1")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Refund(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareCost(b *testing.B) {
	cfg := testConfig(b, benchmarkServer(b).URL)
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	text := []byte("app_id=2021000000000001&biz_content={}")
	answered := []byte(success)
	signature, err := sign(privateKey(b, "keys/alipay_private_pkcs8.pem"), answered)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sign(cfg.Signer, text); err != nil {
			b.Fatal(err)
		}
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, cfg.Gateway, bytes.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if !verified(cfg.AlipayKeys, answered, signature) {
			b.Fatal("not verified")
		}
	}
}
