package notifyhttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"refundd/notifyhttp"
)

// TestCanary: of what came in, logs hold notify_id and class of verified notifications and no more; events hold no buyer, and no seller but the configured one.
func TestCanary(t *testing.T) {
	key := alipayKey(t)
	planted := []string{
		"buyer_id", "CANARY1", "buyer_logon_id", "CANARY2", "buyer_open_id", "CANARY3", "subject", "CANARY4", "body", "CANARY5",
		"passback_params", "CANARY6", "fund_bill_list", "CANARY7", "seller_email", "CANARY8", "payer_logon_id", "CANARY9", "CANARY10", "x",
	}
	with := func(more ...string) []string { return append(slices.Clone(planted), more...) }
	refuse := false
	b := start(t, setup{cfg: notifyhttp.Config{SellerID: sellerID}, refuse: func(context.Context) error {
		if refuse {
			return fmt.Errorf("broker is away")
		}
		return nil
	}})
	bodies := []string{
		form(t, key, with()...),
		coupon(t, key, with()...),
		deposit(t, key, `{"out_request_no":"R3","dback_status":"S","CANARY11":"x","buyer_id":"CANARY12","bank_ack_time":"CANARY13"}`, with()...),
		deposit(t, key, `{"out_request_no":"R3","CANARY14`, with()...),
		deposit(t, key, `{"CANARY15":1,"CANARY15":2}`, with()...),
		deposit(t, key, `{"out_request_no":"R3","dback_status":"CANARY16","dback_amount":"CANARY17"}`, with()...),
		form(t, key, with("notify_time", "CANARY18")...),
		form(t, key, with("app_id", "CANARY19")...),
		form(t, key, with("seller_id", "CANARY20")...),
		form(t, key, with("notify_id", "-")...),
		form(t, strangerKey(t), with("notify_id", "CANARY21")...),
		form(t, key, with()...) + "&CANARY22=1&CANARY22=2",
		form(t, key, with()...) + "&a=%CANARY23",
		form(t, key, with()...) + "&sign_type=CANARY24",
		"CANARY25=1&sign=CANARY26",
		"CANARY27=1&sign=CANARYX&sign_type=CANARY28",
		strings.Repeat("CANARY29", notifyhttp.MaxBody),
	}
	for _, body := range bodies[:len(bodies)-1] {
		b.post(t, body)
	}
	_, _ = b.do(t.Context(), "POST", b.url, strings.NewReader(bodies[len(bodies)-1])) // may be cut
	refuse = true
	b.post(t, form(t, key, with()...))
	waitFor(t, "the log", func() bool { return strings.Count(b.logs.String(), "\n") == len(bodies)+1 })

	logs := b.logs.String()
	for _, body := range bodies[:len(bodies)-1] {
		if v, err := url.ParseQuery(body); err == nil && len(v.Get("sign")) > 20 && strings.Contains(logs, v.Get("sign")[:20]) {
			t.Error("a signature is logged")
		}
	}
	for _, e := range b.book.told() {
		if strings.Contains(string(e.Body), "CANARY") || strings.Contains(strings.ReplaceAll(string(e.Body), `"seller_id":"2088000000000001"`, ""), "2088") {
			t.Errorf("event %s", e.Body)
		}
	}
	if strings.Contains(logs, "CANARY") || strings.Contains(logs, "2088") {
		t.Error(logs)
	}
	allowed := []string{"class", "error", "level", "msg", "notify_id", "result", "time"}
	for line := range strings.Lines(logs) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if !slices.Contains(allowed, name) {
				t.Errorf("log line has %s", name)
			}
		}
	}
}
