//go:build !race

// See service_test.go for the reason of the build constraint.

package service

import (
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"refundd/dedupe/dedupetest"
	"refundd/producer"
)

// TestPageOfARunningService: what happens is on the page, a refund can be looked
// up in whatever state it is, nothing of upstream's or the buyer's own is told, and
// a Redis that is away is said to be.
func TestPageOfARunningService(t *testing.T) {
	redis := miniredis.RunT(t)
	w := startWorld(t, func(places) []string { return []string{"REFUNDD_REDIS_URL=redis://" + redis.Addr() + "/0"} })
	const own = `, "refund_reason": "CANARY-reason", "operator_id": "CANARY-operator", "metadata": {"CANARY": "CANARY"}}`
	w.command("refund-command", `{"out_request_no": "R1", "out_trade_no": "T1", "refund_amount": "12.34", "merchant": "shop"`+own)
	w.command("refund-command", `{"out_request_no": "fault-frozen-1", "out_trade_no": "T2", "refund_amount": "5.00"`+own)
	w.command("refund-command", `{"out_request_no": "fault-discordant-1", "out_trade_no": "T3", "refund_amount": "7.00"`+own)
	w.command("refund-command", `{"out_request_no": "R2", "refund_amount": 1`+own)
	w.event("R1", producer.Succeeded)
	w.event("fault-discordant-1", producer.Unresolved)

	var seen strings.Builder
	look := func(query string) string {
		body := w.get("http://" + w.cfg.AdminAddr + "/?" + query)
		seen.WriteString(body)
		return body
	}
	for query, wants := range map[string][]string{
		"number=R1&merchant=shop": {"<span>succeeded</span>", "refund of shop", "12.34 CNY", "response", "The money moved, proven by response", "nothing: this is final"},
		"number=R1":               {"<span>succeeded</span>", "every merchant (1)"},
		"number=fault-frozen-1":   {"<span>retrying</span>", "5.00 yuan", "1 of 20", "blocked", "its next try is due at", "then Alipay is called"},
		"number=fault-discordant-1&merchant=-&kind=refund": {`<span class="bad">parked</span>`, "refundctl parked requeue", "7.00 yuan", "other"},
		"number=R2":                            {"Nothing is remembered"},
		"number=R1&kind=coupon_refund":         {"Nothing is remembered", "Looked for coupon_refund"},
		"number=R1&merchant=-":                 {"Nothing is remembered", "of the app itself."},
		"number=" + url.QueryEscape("R1\x00x"): {"cannot be the number"},
	} {
		dedupetest.Until(t, query, func() bool {
			body := look(query)
			for _, want := range wants {
				if !strings.Contains(body, want) {
					return false
				}
			}
			return true
		})
	}
	dedupetest.Until(t, "the page", func() bool {
		body := look("")
		for _, want := range []string{
			`<td>succeeded</td><td class="n">1</td>`, "blocked_<wbr>merchant", "conflict_<wbr>at_<wbr>alipay", `<td>refused</td>`,
			"refundd-", "Alipay refuses until the merchant", "command rejected kind=refund out_request_no=R2 reason=invalid",
		} {
			if !strings.Contains(body, want) {
				return false
			}
		}
		return true
	})
	for _, secret := range []string{"CANARY", "token-1", "example.com", w.places.read("app_private_key.pem")[100:140]} {
		if strings.Contains(seen.String(), secret) {
			t.Errorf("the page tells %q", secret)
		}
	}

	redis.Close()
	dedupetest.Until(t, "a look-up that says that Redis is away", func() bool {
		body := look("number=R1")
		return strings.Contains(body, "Redis does not answer") || strings.Contains(body, "Redis did not answer in time")
	})
	for together, refused := range map[int]bool{4: false, 60: true} {
		var many sync.WaitGroup
		bodies := make(chan string, together)
		for range together {
			many.Go(func() { bodies <- look("number=R1") })
		}
		many.Wait()
		close(bodies)
		some := false
		for body := range bodies {
			some = some || strings.Contains(body, "Too many look-ups")
		}
		if some != refused {
			t.Errorf("%d look-ups at once: refused %t", together, some)
		}
	}
	if err := redis.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}
