package alipaytest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

// receiver takes notifications and answers the nth with replies[n], the rest
// with success.
type receiver struct {
	url string

	mu    sync.Mutex
	forms []url.Values
}

func newReceiver(t *testing.T, replies ...string) *receiver {
	t.Helper()
	r := &receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		form, err := url.ParseQuery(string(body))
		if err != nil || req.Header.Get("Content-Type") != "application/x-www-form-urlencoded; charset=utf-8" {
			t.Errorf("form %q: %v, %s", body, err, req.Header.Get("Content-Type"))
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.forms = append(r.forms, form)
		reply := "success"
		if n := len(r.forms); n <= len(replies) {
			reply = replies[n-1]
		}
		if reply == "redirect" {
			http.Redirect(w, req, "/success", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, reply)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/notify"
	return r
}

func (r *receiver) got() []url.Values {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]url.Values(nil), r.forms...)
}

func (r *receiver) wait(t *testing.T, n int) []url.Values {
	t.Helper()
	waitFor(t, "notifications", func() bool { return len(r.got()) >= n })
	got := r.got()
	if len(got) != n {
		t.Fatalf("%d notifications, want %d: %v", len(got), n, got)
	}
	return got
}

// scheme tells how a form is signed: v1, v2 or bad.
func scheme(keys *alipaytest.Keys, form url.Values) string {
	text := func(skip ...string) string {
		var pairs []string
		for name := range form {
			if form.Get(name) != "" && !strings.Contains(strings.Join(skip, " "), name) {
				pairs = append(pairs, name+"="+form.Get(name))
			}
		}
		sort.Strings(pairs)
		return strings.Join(pairs, "&")
	}
	for _, try := range []struct{ name, text string }{{"v1", text("sign_type", "sign")}, {"v2", text("sign")}} {
		if rsaVerdict(keys.AlipayPublic, try.text, form.Get("sign")) == "good" {
			return try.name
		}
	}
	return "bad"
}

func TestRefundIsNotified(t *testing.T) {
	r := newReceiver(t)
	b := start(t, alipaytest.Config{NotifyURL: r.url, TradeTotal: 300})
	b.refund(t, "T", "R1", "1").want(t, "10000", "", "good")
	part := r.wait(t, 1)[0]
	b.refund(t, "T", "R1", "1").want(t, "10000", "", "good") // a replay is not notified
	b.refund(t, "T", "R2", "2").want(t, "10000", "", "good")
	full := r.wait(t, 2)[1]
	for _, tt := range []struct {
		form url.Values
		want map[string]string
	}{
		{part, map[string]string{
			"notify_type": "trade_status_sync", "out_trade_no": "T", "trade_no": alipaytest.TradeNo("T"), "out_biz_no": "R1",
			"refund_fee": "1.00", "total_amount": "3.00", "trade_status": "TRADE_SUCCESS", "gmt_close": "",
			"app_id": appID, "seller_id": alipaytest.SellerID(""), "subject": "测试 100% a+b", "charset": "utf-8",
		}},
		{full, map[string]string{"out_biz_no": "R2", "refund_fee": "3.00", "trade_status": "TRADE_CLOSED"}},
	} {
		for name, want := range tt.want {
			if got := tt.form.Get(name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if got := scheme(b.keys, tt.form); got != "v1" {
			t.Errorf("signature: %s", got)
		}
		if len(tt.form.Get("gmt_refund")) != len("2006-01-02 15:04:05.000") || !tt.form.Has("passback_params") {
			t.Errorf("form = %v", tt.form)
		}
	}
	if full.Get("gmt_close") == "" || full.Get("notify_id") == part.Get("notify_id") {
		t.Errorf("full = %v", full)
	}
}

func TestNotificationIsRepeatedUntilSuccess(t *testing.T) {
	r := newReceiver(t, "fail", "SUCCESS", "success\n", "redirect")
	delays := []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond}
	b := start(t, alipaytest.Config{NotifyURL: r.url, NotifyDelays: delays})
	b.refund(t, "T", "R", "1")
	forms := r.wait(t, 5)
	for _, form := range forms {
		if form.Get("notify_id") != forms[0].Get("notify_id") || scheme(b.keys, form) != "v1" {
			t.Errorf("form = %v", form)
		}
	}
	waitFor(t, "the record", func() bool { return len(b.sim.Notices()) == 5 })
	for i, n := range b.sim.Notices() {
		if n.Accepted != (i == 4) || n.OutRequestNo != "R" || n.Forged {
			t.Errorf("delivery %d = %+v", i, n)
		}
	}
}

func TestNotificationIsGivenUpAfterEightDeliveries(t *testing.T) {
	r := newReceiver(t, strings.Split(strings.Repeat("fail,", 20), ",")...)
	b := start(t, alipaytest.Config{NotifyURL: r.url, NotifyDelays: make([]time.Duration, 7)})
	b.refund(t, "T", "R", "1")
	waitFor(t, "the record", func() bool { return len(b.sim.Notices()) == 8 })
	if err := b.sim.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(r.got()); n != 8 {
		t.Errorf("%d deliveries, want 8", n)
	}
}

func TestCouponRefundIsNotifiedAtItsOwnURL(t *testing.T) {
	r := newReceiver(t)
	b := start(t, alipaytest.Config{LateBy: time.Millisecond})
	for _, number := range []string{"R", "fault-coupon-init-1"} {
		params := b.params(couponMethod, biz(t, "auth_no", alipaytest.TradeNo("O"), "out_request_no", number, "amount", "1", "remark", "r"))
		params["notify_url"] = r.url
		b.send(t.Context(), couponMethod, b.signed(t, params)).want(t, "10000", "", "good")
	}
	b.coupon(t, alipaytest.TradeNo("O"), "without", "1").want(t, "10000", "", "good")
	forms := r.wait(t, 2)
	numbers := map[string]bool{}
	for _, form := range forms {
		numbers[form.Get("out_request_no")] = true
		if form.Get("notify_type") != "fund_stdtrustee_refund.success" || form.Get("out_order_no") != alipaytest.OutTradeNo(alipaytest.TradeNo("O")) ||
			form.Get("operation_type") != "REFUND" || form.Get("amount") != "1.00" || form.Get("status") != "SUCCESS" || scheme(b.keys, form) != "v1" {
			t.Errorf("form = %v", form)
		}
	}
	if !numbers["R"] || !numbers["fault-coupon-init-1"] {
		t.Errorf("numbers = %v", numbers)
	}
}

func TestNotificationFaults(t *testing.T) {
	r := newReceiver(t)
	b := start(t, alipaytest.Config{NotifyURL: r.url, NotifyDelays: []time.Duration{}})
	for _, name := range []string{"notify-never", "notify-twice", "notify-bad-sign"} {
		b.refund(t, "T", "fault-"+name+"-1", "1").want(t, "10000", "", "good")
	}
	const bounced = "fault-deposit-bounced-1"
	deposit := `{"out_trade_no":"T","out_request_no":"` + bounced + `","refund_amount":"1","query_options":["deposit_back_info"]}`
	b.call(t, refundMethod, deposit).want(t, "10000", "", "good")
	seen := map[string]int{}
	for _, form := range r.wait(t, 5) {
		if form.Get("msg_method") == "" {
			seen[form.Get("out_biz_no")+" "+scheme(b.keys, form)]++
			continue
		}
		var content struct {
			Number string `json:"out_request_no"`
			Status string `json:"dback_status"`
			Amount string `json:"dback_amount"`
		}
		if err := json.Unmarshal([]byte(form.Get("biz_content")), &content); err != nil {
			t.Fatal(err)
		}
		if scheme(b.keys, form) == "bad" || form.Get("msg_method") != "alipay.trade.refund.depositback.completed" ||
			content.Number != bounced || content.Status != "F" || content.Amount != "1.00" {
			t.Errorf("deposit back = %v", form)
		}
		seen["deposit"]++
	}
	if seen["fault-notify-twice-1 v1"] != 2 || seen["fault-notify-bad-sign-1 bad"] != 1 || seen[bounced+" v1"] != 1 || seen["deposit"] != 1 {
		t.Errorf("seen = %v", seen)
	}
	got := b.call(t, queryMethod, `{"out_trade_no":"T","out_request_no":"`+bounced+`","query_options":["deposit_back_info"]}`)
	if back, _ := got.fields["deposit_back_info"].(map[string]any); back["dback_status"] != "F" {
		t.Errorf("query = %v", got.fields)
	}
	for _, name := range []string{"notify-never", "notify-twice", "notify-bad-sign", "deposit-bounced"} {
		if n := b.sim.FaultCounts()[name]; n != 1 {
			t.Errorf("%s counted %d times", name, n)
		}
	}
}
