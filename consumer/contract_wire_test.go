package consumer

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"refundd/alipay"
)

// TestCopiesCarryOnlyOurs: of a message's properties, a retried and a parked
// copy have KEYS, the traceparent and ours.
func TestCopiesCarryOnlyOurs(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Second} })
	d := b.command(refundBody("fault-frozen-1", "T1", "3.00"))
	d.Properties = map[string]string{
		"KEYS": "other", "TAGS": "x", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"tracestate": "a=b", "buyer": "2088", "REFUNDD_TRY": "7", "REFUNDD_REASON": "forged",
	}
	b.handle(d)
	b.settleAll()
	copies := append(b.broker.Messages(retryTopic), b.broker.Messages(parkedTopic)...)
	if len(copies) < 2 {
		t.Fatalf("%d copies", len(copies))
	}
	ours := map[string]bool{
		"KEYS": true, "traceparent": true, "REFUNDD_REASON": true, "REFUNDD_TRY": true, "REFUNDD_TOPIC": true, "REFUNDD_MSGID": true,
		"REFUNDD_BORN": true, "REFUNDD_FIRST": true, "REFUNDD_GEN": true, "REFUNDD_PARK": true, "REFUNDD_CLAIMED": true,
		// The client's and the broker's own.
		"UNIQ_KEY": true, "WAIT": true, "DELAY": true, "REAL_TOPIC": true, "REAL_QID": true, "CLUSTER": true, "TRACE_ON": true, "MSG_REGION": true,
	}
	for _, m := range copies {
		for name := range m.Properties {
			if !ours[name] {
				t.Errorf("%s carries %s", m.Topic, name)
			}
		}
		if m.Properties["KEYS"] != "fault-frozen-1" || m.Properties["REFUNDD_TOPIC"] != refundTopic || m.Properties["REFUNDD_MSGID"] != d.MsgID ||
			m.Properties["REFUNDD_REASON"] != "blocked_merchant" || m.Properties["REFUNDD_TRY"] == "7" || !bytes.Equal(m.Body, d.Body) {
			t.Errorf("%s: %v", m.Topic, m.Properties)
		}
	}
}

// TestSpacingSpendsNoTry: who has to wait longer than a worker should goes back
// to the retry topic as if nothing had been.
func TestSpacingSpendsNoTry(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.Spacing = 2 * waitInPlace })
	b.handle(b.command(refundBody("R1", "T1", "1.00")))
	b.handle(b.command(refundBody("R2", "T1", "1.00")))
	if calls := b.alipay.Calls(); len(calls) != 1 {
		t.Errorf("%d calls", len(calls))
	}
	m := append(b.broker.Scheduled(retryTopic), b.broker.Messages(retryTopic)...)
	if len(m) != 1 || m[0].Properties["REFUNDD_TRY"] != "0" || m[0].Properties["KEYS"] != "R2" {
		t.Errorf("retries %+v", m)
	}
}

// TestMembersArePassedThrough: Alipay is sent every member of a command, as it
// is but for the spelling of amounts, and neither merchant nor metadata.
func TestMembersArePassedThrough(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Merchant = func(string) (Merchant, bool) { return Merchant{AppAuthToken: "token"}, true }
	})
	sent := make(chan string, 10)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("method") == "alipay.trade.refund" {
			sent <- r.FormValue("biz_content")
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer gateway.Close()
	keys, err := sharedKeys()
	check(t, err)
	b.client, err = alipay.New(alipay.Config{
		Gateway: gateway.URL + "/gateway.do", AppID: testApp, Signer: keys.AppPrivate, AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic},
		Timeout: b.cfg.AlipayTimeout,
	})
	check(t, err)
	defer b.client.CloseIdleConnections()
	b.reopen()
	command := readFile(t, "full-refund-command.json")
	b.handle(b.command(string(command)))
	var want, got map[string]any
	check(t, json.Unmarshal(command, &want))
	check(t, json.Unmarshal([]byte(<-sent), &got))
	delete(want, "merchant")
	delete(want, "metadata")
	if !reflect.DeepEqual(inFen(got), inFen(want)) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// inFen makes amounts comparable that are spelled differently.
func inFen(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			if text, ok := member.(string); ok && (strings.HasSuffix(name, "amount") || name == "price") {
				yuan, fen, _ := strings.Cut(text, ".")
				v[name] = yuan + "." + (fen + "00")[:2]
				continue
			}
			v[name] = inFen(member)
		}
	case []any:
		for i := range v {
			v[i] = inFen(v[i])
		}
	}
	return value
}

// TestNoBuyerIsTold: Alipay's answers name the buyer; events and logs do not.
func TestNoBuyerIsTold(t *testing.T) {
	b := newBench(t, nil)
	for _, number := range []string{"R1", "fault-timeout-after-1", "fault-unknown-code-1", "fault-no-sign-1", "fault-refused-TRADE_STATUS_ERROR-1"} {
		b.handle(b.command(refundBody(number, "T1", "1.00")))
	}
	b.handle(b.coupon(couponBody("C1", "T1", "1.00", true)))
	b.settleAll()
	answer, err := b.client.Refund(t.Context(), &alipay.RefundRequest{OutTradeNo: "T1", OutRequestNo: "R1", RefundAmount: 100})
	check(t, err)
	buyer, logon := string(answer.BuyerUserID), string(answer.BuyerLogonID)
	if buyer == "" || logon == "" {
		t.Fatal("the local Alipay names no buyer, so nothing is proven")
	}
	var told strings.Builder
	for _, m := range b.broker.Messages(eventTopic) {
		told.Write(m.Body)
	}
	for where, text := range map[string]string{"event": told.String(), "log": b.log.String()} {
		if text == "" || strings.Contains(text, buyer) || strings.Contains(text, logon) {
			t.Errorf("the %ss name the buyer", where)
		}
	}
}
