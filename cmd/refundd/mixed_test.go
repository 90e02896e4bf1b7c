//go:build !race

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/dedupe/dedupetest"
	"refundd/notifyhttp"
)

// TestMixed: commands of both kinds, of the app itself and of three merchants,
// all faults of the menu, two processes that are killed again and again, and
// notifications to whichever of them answers. In the end ledger, notifications
// and events agree.
func TestMixed(t *testing.T) {
	t.Parallel()
	receivers := []string{dedupetest.FreeAddr(t), dedupetest.FreeAddr(t)}
	front := httptest.NewServer(balancer(receivers))
	t.Cleanup(front.Close)
	w := newWorld(t, alipaytest.Config{
		Latency: 5 * time.Millisecond, KeepCalls: 100_000,
		NotifyURL: front.URL + notifyhttp.Path, NotifyDelays: shortDelays(),
	})
	// The last two make all calls of a merchant wait for some seconds.
	faults, err := alipaytest.ParseFaults("all=0.6,config-auth=0.002,limited-auth=0.002")
	check(t, err)
	check(t, w.alipay.SetFaults(faults))
	merchants := w.merchantsFile("north", "south", "west")
	c := chaos{count: 1000, kills: 5, spoil: func(*world) {}, command: w.mixedCommand, after: (*world).judgeNotices}
	c.environment = func(i int) map[string]string {
		return map[string]string{
			"REFUNDD_HTTP_ADDR": receivers[i], "REFUNDD_ALIPAY_NOTIFY_URL": front.URL + notifyhttp.Path,
			"REFUNDD_ALIPAY_SELLER_ID": alipaytest.SellerID(""), "REFUNDD_MERCHANTS_FILE": merchants,
		}
	}
	if !w.real() {
		c.count, c.kills = 200, 2
	}
	w.run(c)
}

// mixedCommand is the nth command: every third of a red packet, and each in turn
// of the app itself or of one of three merchants, which all use the same numbers
// for refunds of their own.
func (w *world) mixedCommand(n int) (name, topic, body string) {
	merchant := []string{"", "north", "south", "west"}[n%4]
	order := fmt.Sprintf("%s-%05d", merchant, n/12)
	number := fmt.Sprintf("N%05d", 2*(n/12)+n%3/2)
	if n == 1 || n == 3 { // soon enough for a forgery of either kind
		number = "fault-notify-bad-sign-" + number
	}
	extra := ""
	if merchant != "" {
		extra = fmt.Sprintf(`,"merchant":%q`, merchant)
	}
	amount, trade := fmt.Sprintf("%d.%02d", 1+n%7, n%100), "T"+order
	if n%3 > 0 {
		if n%6 == 1 { // notified once more, when the bank has it
			trade = "card" + order
		}
		return nameOf("refund", merchant, number), w.topic("refund"),
			fmt.Sprintf(`{"out_request_no":%q,"out_trade_no":%q,"refund_amount":%q%s}`, number, trade, amount, extra)
	}
	if n%2 > 0 { // else there is no way to ask before an answer told its operation_id
		extra += fmt.Sprintf(`,"out_order_no":%q`, alipaytest.OutTradeNo("A"+order))
	}
	return nameOf("coupon_refund", merchant, number), w.topic("coupon"),
		fmt.Sprintf(`{"out_request_no":%q,"auth_no":"A%s","amount":%q%s}`, number, order, amount, extra)
}

// shortDelays between deliveries of a notification outlast every restart.
func shortDelays() []time.Duration {
	delays := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond}
	for range 60 {
		delays = append(delays, time.Second)
	}
	return delays
}

// balancer passes a request on to one of several servers; 502 if that one is
// away just now.
func balancer(servers []string) http.Handler {
	var turn atomic.Uint64
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		to := *r.URL
		to.Scheme, to.Host = "http", servers[turn.Add(1)%uint64(len(servers))]
		req, err := http.NewRequestWithContext(r.Context(), r.Method, to.String(), r.Body)
		if err != nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		req.Header = r.Header.Clone()
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		rw.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(rw, resp.Body)
	})
}
