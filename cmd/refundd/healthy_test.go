//go:build !race

package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

// TestHealthyMerchant: one merchant's token is invalid and another is throttled.
// The third one's refunds keep at least 80 % of the rate that they have without
// the two.
//
// The rate is a ratio of stretches in one run, two undisturbed and two disturbed. The
// slow Alipay makes workers what merchants compete for, and not the processor. On
// a machine that is busy with something else stretches are added, up to twice.
func TestHealthyMerchant(t *testing.T) {
	w := newWorld(t, alipaytest.Config{Latency: 150 * time.Millisecond})
	h := &rivals{world: w}
	p := w.start(map[string]string{
		"REFUNDD_MERCHANTS_FILE": w.merchantsFile("healthy", "invalid", "throttled"),
		"REFUNDD_CONCURRENCY":    "16", "REFUNDD_LOG_LEVEL": "info",
	})
	p.waitReady()
	h.healthy() // connections and caches
	var alone, beside time.Duration
	kept := 0.0
	for round := 0; round < 3 && kept < 0.8; round++ {
		if round > 0 {
			h.spoil("", "")
			h.mended()
		}
		alone += h.healthy()
		alone += h.healthy()
		h.spoil("config-auth", "limited-auth")
		beside += h.disturbed()
		beside += h.disturbed()
		kept = alone.Seconds() / beside.Seconds()
	}
	counts := w.alipay.FaultCounts()
	t.Logf("%d refunds alone took %v, beside the two others %v: %.0f %% of the rate is kept; Alipay refused %d and limited %d calls of the two",
		h.sent, alone.Round(time.Millisecond), beside.Round(time.Millisecond), 100*kept, counts["config-auth"], counts["limited-auth"])
	if kept < 0.8 {
		t.Errorf("%.2f of the rate is kept, want 0.8", kept)
	}
	if counts["config-auth"] == 0 || counts["limited-auth"] == 0 {
		t.Errorf("the two were not disturbed themselves: %v", counts)
	}
	w.stop(p)
}

// rivals are a merchant that is well and two that are not.
type rivals struct {
	*world
	sent int
	ill  []string
}

// rivalBatch is how many refunds each merchant has in a stretch.
const rivalBatch = 160

func (h *rivals) spoil(invalid, throttled string) {
	h.t.Helper()
	check(h.t, h.alipay.SpoilMerchant(tokenOf("invalid"), invalid))
	check(h.t, h.alipay.SpoilMerchant(tokenOf("throttled"), throttled))
}

// batch sends a merchant's next refunds and returns their names.
func (h *rivals) batch(merchant string) (names, bodies []string) {
	for n := range rivalBatch {
		number := fmt.Sprintf("R%05d", h.sent+n)
		names = append(names, nameOf("refund", merchant, number))
		bodies = append(bodies, fmt.Sprintf(`{"out_request_no":%q,"out_trade_no":"T-%s","refund_amount":"1.00","merchant":%q}`, number, number, merchant))
	}
	return names, bodies
}

// healthy is how long the healthy merchant's refunds take.
func (h *rivals) healthy() time.Duration {
	h.t.Helper()
	names, bodies := h.batch("healthy")
	h.sent += rivalBatch
	begin := time.Now()
	h.send(bodies...)
	h.wait("the healthy merchant's refunds", 2*time.Minute, func() bool { return len(h.judge(names).missing) == 0 })
	return time.Since(begin)
}

// disturbed is how long they take while as many of each of the others come in.
func (h *rivals) disturbed() time.Duration {
	h.t.Helper()
	var sending sync.WaitGroup
	defer sending.Wait()
	for _, merchant := range []string{"invalid", "throttled"} {
		names, bodies := h.batch(merchant)
		h.ill = append(h.ill, names...)
		sending.Go(func() { h.send(bodies...) })
	}
	return h.healthy()
}

// mended waits until the other two's refunds are done, so that nothing of them
// disturbs any more.
func (h *rivals) mended() {
	h.t.Helper()
	h.wait("the other two's refunds, now that they are well", 4*time.Minute, func() bool { return len(h.judge(h.ill).missing) == 0 })
}
