//go:build !race

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/desk"
	"refundd/consumer/rocketmqtest"
)

// says runs explain and holds what it tells of one refund to what it must.
func (w *world) says(code int, number string, want []string, args ...string) {
	w.t.Helper()
	out := strings.Join(strings.Fields(w.ctl(code, append([]string{"explain", number}, args...)...)), " ")
	for _, part := range want {
		if !strings.Contains(out, part) {
			w.t.Errorf("explain %s %v lacks %q:\n%s", number, args, part, out)
		}
	}
}

func TestExplain(t *testing.T) {
	w := startWorld(t, map[string]string{"REFUNDD_RETRY_DELAYS": "2h"})
	w.commands(0, 1, "R-1")
	w.ctl(exitDone, "send", "--out-request-no", "R-1", "--out-trade-no", "T-R-1", "--amount", "2.00") // a conflict
	w.ctl(exitDone, "send", "--out-request-no", "fault-frozen-1", "--out-trade-no", "T", "--amount", "1.00", "--merchant", "shop")
	w.until("the conflict is told, the other waits", func() bool {
		return len(w.broker.Messages("refund-event")) == 2 && len(w.broker.Scheduled("refund-retry")) == 1
	})

	w.says(exitDone, "R-1", []string{
		"refund R-1", "event refund.succeeded, proven by response", "event refund.rejected, conflict",
		"true: the money moved, proven by response", "next: nothing: this is final", "do: nothing",
	})
	if index, scan := w.ctl(exitDone, "explain", "R-1"), w.ctl(exitDone, "explain", "R-1", "--scan"); index != scan {
		t.Errorf("by the index:\n%s\nread whole:\n%s", index, scan)
	}
	w.says(exitDone, "R-1", []string{"Alipay the refund is there: the money moved, amount 1.00"}, "--live")
	w.says(exitDone, "fault-frozen-1", []string{
		"of shop, 1.00 yuan", "newest refund call (of 1) began; it ended: blocked: ACQ.REASON_TRADE_BEEN_FREEZEN",
		"next: its next try is due at ", "then Alipay is called",
	})
	w.says(exitDone, "fault-frozen-1", []string{"there is no such refund"}, "--live", "--merchant", "shop")
	w.ctl(exitDone, "pause", "--reason", "price list", "--merchant", "shop")
	w.says(exitDone, "fault-frozen-1", []string{"paused by ann", "price list", "refundctl resume"})
	w.says(exitFailed, "R-2", []string{"nothing here knows this number"})
	w.says(exitFailed, "R-1", []string{"nothing here knows this number"}, "--kind", "coupon_refund")
	w.says(exitFailed, "R-2", []string{"there is no such refund"}, "--live", "--trade", "T-R-1")

	var told struct {
		Refunds []struct {
			Stands string `json:"stands"`
			Due    string `json:"due"`
			Live   *desk.LiveAnswer
		} `json:"refunds"`
	}
	must(t, json.Unmarshal([]byte(w.ctl(exitDone, "explain", "fault-frozen-1", "-o", "json", "--live")), &told))
	if r := told.Refunds; len(r) != 1 || r[0].Stands != "retrying" || r[0].Due == "" || r[0].Live == nil || r[0].Live.Found != "absent" {
		t.Errorf("as JSON: %+v", told)
	}
	if offsets := w.broker.Committed("TOOLS_CONSUMER", "refund-event"); len(offsets) > 0 {
		t.Errorf("offsets were written: %v", offsets)
	}

	// As after a death between settling and telling.
	_, err := w.redis.ZAdd("refundd:u:"+worldApp, float64(time.Now().UnixMilli()), "1:100:refundd:r:"+worldApp+":-:refund:R-1")
	must(t, err)
	w.says(exitDone, "R-1", []string{"next: nothing: this is final"})
	w.says(exitDone, "R-1", []string{"true: the money moved", "next: its event may not have been published: two hours after it was decided"}, "--from", "1ms")

	// What Redis forgot is told by the events, and by what was parked.
	w.stop()
	w.redis.FlushAll()
	w.says(exitDone, "R-1", []string{"the record has expired or was lost, and the event stands"})
	retry := w.broker.Scheduled("refund-retry")[0]
	if _, err := w.broker.Append(rocketmqtest.Message{Topic: "refund-parked", Body: retry.Body, Properties: map[string]string{
		"KEYS": "fault-frozen-1", "REFUNDD_TOPIC": "refund-command", "REFUNDD_REASON": "held", "REFUNDD_PARK": "1", "REFUNDD_CLAIMED": "1",
	}}); err != nil {
		t.Fatal(err)
	}
	w.says(exitDone, "fault-frozen-1", []string{"Redis has no record of it", "do: ask Alipay with --live, then requeue it: refundctl parked requeue --number fault-frozen-1"})
}

// TestExplainByTrade: under scope trade the number is not enough, and the
// messages tell the rest.
func TestExplainByTrade(t *testing.T) {
	w := startWorld(t, map[string]string{"REFUNDD_DEDUPE_SCOPE": "trade"})
	for _, trade := range []string{"T-1", "T-2"} {
		w.ctl(exitDone, "send", "--out-request-no", "R-1", "--out-trade-no", trade, "--amount", "1.00")
	}
	w.until("both are decided", func() bool { return len(w.broker.Messages("refund-event")) == 2 })
	out := w.ctl(exitDone, "explain", "R-1")
	if strings.Count(out, "true:  the money moved") != 2 || strings.Contains(out, "expired") {
		t.Errorf("explain says\n%s", out)
	}
}
