//go:build !race

// See service_test.go for the reason of the build constraint.

package service

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"refundd/alipay/alipaytest"
	"refundd/consumer/rocketmqtest"
	"refundd/producer"
)

// collected is what an OTLP collector was sent.
type collected struct {
	mu    sync.Mutex
	raw   bytes.Buffer
	spans []*tracev1.Span
}

func hexBytes(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func startCollector(t *testing.T) (*collected, string) {
	t.Helper()
	c := &collected{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unzipped
		}
		raw, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
		}
		var request collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(raw, &request); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(raw)
		for _, of := range request.GetResourceSpans() {
			for _, scope := range of.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(server.Close)
	return c, server.URL
}

// TestTracesOverTheWire: a command's traceparent leads through its deliveries
// and calls to its event, whose own is left as it was; the last spans arrive with
// the stop; and nothing personal or secret is in any byte (R13).
func TestTracesOverTheWire(t *testing.T) {
	spans, url := startCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=CANARY-header")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "600000") // only the stop sends
	t.Setenv("OTEL_SERVICE_NAME", "refunds-of-a-shop")
	w := startWorld(t, func(p places) []string {
		p.write("merchants.json", `{"shop": {"app_auth_token": "CANARY-token", "seller_id": "`+alipaytest.SellerID("CANARY-token")+`"}}`)
		return []string{"OTEL_TRACES_EXPORTER=otlp", "REFUNDD_RETRY_DELAYS=1s,1s,1s,1s", "REFUNDD_QUERY_AFTER=1s"}
	})
	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	const traceparent = "00-" + trace + "-" + parent + "-01"
	for number, topic := range map[string]string{"fault-html-502-before-1": "refund-command", "R2": "refund-command", "C1": "coupon-refund-command"} {
		body := `{"out_request_no": "` + number + `", "out_trade_no": "T-` + number + `", "refund_amount": "1.00", "merchant": "shop",
			"refund_reason": "CANARY-reason", "operator_id": "CANARY-operator", "metadata": {"CANARY-key": "CANARY-value"}}`
		if number == "C1" {
			body = `{"out_request_no": "C1", "auth_no": "` + alipaytest.TradeNo("O1") + `", "amount": "3.00", "remark": "CANARY-remark"}`
		}
		if _, err := w.broker.Append(rocketmqtest.Message{
			Topic: topic, Body: []byte(body),
			Properties: map[string]string{"traceparent": traceparent, "KEYS": "CANARY-keys", "tracestate": "CANARY-state"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	w.command("refund-command", `{"out_request_no": "bad", "buyer_id": "CANARY-buyer"}`)
	for _, number := range []string{"fault-html-502-before-1", "R2", "C1"} {
		if e := w.event(number, producer.Succeeded); e.Traceparent != traceparent {
			t.Errorf("the event of %s has traceparent %q", number, e.Traceparent)
		}
	}
	w.event("bad", producer.Rejected)
	if err := w.stop(); err != nil {
		t.Error(err)
	}

	spans.mu.Lock()
	defer spans.mu.Unlock()
	var names []string
	for _, s := range spans.spans {
		if string(s.GetTraceId()) == string(hexBytes(t, trace)) {
			names = append(names, s.GetName())
			if strings.HasPrefix(s.GetName(), "process ") && string(s.GetParentSpanId()) != string(hexBytes(t, parent)) {
				t.Errorf("%s is not below the command's own span", s.GetName())
			}
		}
	}
	slices.Sort(names)
	for _, want := range []string{
		"alipay.trade.refund", "alipay.trade.fastpay.refund.query", "alipay.fund.coupon.order.refund",
		"process refund-command", "process coupon-refund-command", "process refund-retry", "send refund-event", "send refund-retry",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("no span %q in the command's trace: %q", want, names)
		}
	}
	raw := spans.raw.String()
	if !strings.Contains(raw, "refunds-of-a-shop") {
		t.Error("OTEL_SERVICE_NAME does not count")
	}
	key := w.places.read("app_private_key.pem")
	for _, secret := range []string{"CANARY", "example.com", "buyer", "app_auth_token", "sign=", key[100:140]} {
		if strings.Contains(raw, secret) {
			t.Errorf("the spans hold %q", secret)
		}
	}
}
