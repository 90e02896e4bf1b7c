//go:build !race

// See service_test.go for the reason of the build constraint.

package service

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"refundd/cmd/internal/config"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe/dedupetest"
	"refundd/producer"
)

// These tests hold lines of the contract that no other test of this package
// does; cmd/internal/contract says which.

// readiness is GET /readyz: its status, 0 if nobody answers, and its parts.
func (w *world) readiness(cfg config.Config) (status int, parts map[string]string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+cfg.AdminAddr+"/readyz", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&parts); err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, parts
}

// TestReadinessNamesEachPart: what each says, and that Alipay's last calls make
// nothing unready.
func TestReadinessNamesEachPart(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	dedupetest.Until(t, "readiness", func() bool { status, _ := w.readiness(w.cfg); return status == http.StatusOK })
	_, parts := w.readiness(w.cfg)
	if got := slices.Sorted(maps.Keys(parts)); !slices.Equal(got, []string{"alipay", "draining", "paused", "redis", "rocketmq"}) {
		t.Errorf("parts %q", got)
	}
	if parts["alipay"] != "unknown" || parts["redis"] != "ok" || parts["rocketmq"] != "ok" || parts["draining"] != "no" {
		t.Errorf("before the first call: %q", parts)
	}
	w.command("refund-command", `{"out_request_no": "fault-frozen-1", "out_trade_no": "T1", "refund_amount": "1.00"}`)
	dedupetest.Until(t, "a call that ends badly", func() bool {
		status, parts := w.readiness(w.cfg)
		if status != http.StatusOK {
			t.Fatalf("status %d: %q", status, parts)
		}
		return strings.HasPrefix(parts["alipay"], "blocked")
	})
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}

// another starts a service with other topics and groups than w's, beside it.
func (w *world) another(topics []string, groups []string, change func(*config.Config)) (*rocketmqtest.Broker, config.Config, *test.Hook) {
	w.t.Helper()
	of := map[string]int{}
	for _, topic := range topics {
		of[topic] = 1
	}
	broker, err := rocketmqtest.Start(rocketmqtest.Config{Addr: "127.0.0.1:0", Topics: of, Groups: groups})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = broker.Close() })
	cfg := w.cfg
	cfg.RocketMQNameservers = []string{broker.Addr()}
	change(&cfg)
	log, hook := test.NewNullLogger()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg, nil, log) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	return broker, cfg, hook
}

// TestWhatIsOffNeedsNothing: a kind whose topic is empty needs no topic, and
// neither HTTP address is listened on when it is empty.
func TestWhatIsOffNeedsNothing(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	used := w.cfg
	if err := w.stop(); err != nil { // so that its addresses are free
		t.Fatal(err)
	}
	topics := []string{"coupon-refund-command", "refund-event", "refund-retry", "refund-parked"}
	broker, _, hook := w.another(topics, []string{"refundd"}, func(c *config.Config) { c.TopicRefund, c.HTTPAddr, c.AdminAddr = "", "", "" })
	dedupetest.Until(t, "the consumer's start", func() bool { return len(broker.Members("refundd")) > 0 })
	if _, err := broker.Append(rocketmqtest.Message{
		Topic: "coupon-refund-command", Body: []byte(`{"out_request_no": "C1", "auth_no": "A1", "amount": "bad"}`),
	}); err != nil {
		t.Fatal(err)
	}
	dedupetest.Until(t, "an event of the kind that is on", func() bool { return len(broker.Messages("refund-event")) > 0 })
	e, err := producer.DecodeEvent(broker.Messages("refund-event")[0].Body)
	if err != nil || e.Kind != producer.KindCouponRefund || e.Reason != producer.ReasonInvalid {
		t.Errorf("got %+v, %v", e, err)
	}
	for _, url := range []string{"http://" + used.AdminAddr + "/livez", "http://" + used.HTTPAddr + "/alipay/notify"} {
		if body := w.get(url); body != "" {
			t.Errorf("%s answers %q", url, body)
		}
	}
	for _, entry := range hook.AllEntries() {
		if strings.Contains(entry.Message, "notifications are received") {
			t.Error("the receiver says that it listens")
		}
	}
}

// TestMissingGroup: the broker takes the heartbeats of a group that it does not
// know and delivers nothing, so the service asks, and says so.
func TestMissingGroup(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	topics := []string{"refund-command", "coupon-refund-command", "refund-event", "refund-retry", "refund-parked"}
	_, cfg, hook := w.another(topics, nil, func(c *config.Config) { c.HTTPAddr, c.AdminAddr = "", dedupetest.FreeAddr(t) })
	for deadline := time.Now().Add(time.Minute); ; <-time.After(100 * time.Millisecond) {
		status, parts := w.readiness(cfg)
		if status == http.StatusServiceUnavailable && strings.Contains(parts["rocketmq"], "group") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute readiness is %d %q", status, parts)
		}
	}
	said := slices.ContainsFunc(hook.AllEntries(), func(e *logrus.Entry) bool {
		why, _ := e.Data[logrus.ErrorKey].(error)
		return e.Level == logrus.ErrorLevel && e.Data["of"] == "group refundd" && why != nil && strings.Contains(why.Error(), "REFUNDD_ROCKETMQ_GROUP")
	})
	if !said {
		t.Error("no line of the log names the group")
	}
}

// TestBrokerAccessControl: what is sent to the broker and taken from it is
// signed with the configured key, and the secret stays here.
func TestBrokerAccessControl(t *testing.T) {
	t.Parallel()
	const secret = "secret-of-a-test"
	var mu sync.Mutex
	signed, unsigned, told := map[int]int{}, map[int]int{}, false
	w := startWorld(t, func(p places) []string {
		p.write("secret", secret+"\n")
		return []string{"REFUNDD_ROCKETMQ_ACCESS_KEY=ak", "REFUNDD_ROCKETMQ_SECRET_KEY_FILE=" + p.path("secret")}
	})
	w.broker.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		mu.Lock()
		defer mu.Unlock()
		if r.ExtFields["AccessKey"] == "ak" && r.ExtFields["Signature"] != "" {
			signed[r.Code]++
		} else {
			unsigned[r.Code]++
		}
		for _, value := range r.ExtFields {
			told = told || strings.Contains(value, secret)
		}
		return rocketmqtest.Action{}
	})
	w.command("refund-command", `{"out_request_no": "R1", "out_trade_no": "T1", "refund_amount": "1.00"}`)
	w.event("R1", producer.Notified)
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, code := range []int{rocketmqtest.CodeSend, rocketmqtest.CodePull} {
		if signed[code] == 0 || unsigned[code] != 0 {
			t.Errorf("requests of code %d: %d signed, %d not", code, signed[code], unsigned[code])
		}
	}
	if told {
		t.Error("a request has the secret")
	}
}

// TestGaugesOfTheGroup: what is undecided, and how far the group is behind,
// without a command in hand.
func TestGaugesOfTheGroup(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	w.command("refund-command", `{"out_request_no": "fault-frozen-1", "out_trade_no": "T1", "refund_amount": "12.34"}`)
	dedupetest.Until(t, "the undecided sum", func() bool { return w.metric("refundd_undecided_amount_yuan") == "refundd_undecided_amount_yuan 12.34" })
	if line := w.metric("refundd_oldest_undecided_seconds"); line == "" || strings.HasSuffix(line, " 0") {
		t.Errorf("the age is %q", line)
	}
	body := w.get("http://" + w.cfg.AdminAddr + "/")
	for _, want := range []string{"1</span> refund, 12.34 yuan", "None is parked", "<td>refund-command</td>", "<td>refund-retry</td>"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not tell %q", want)
		}
	}
	for _, series := range []string{
		`refundd_consumer_lag{topic="refund-command"}`, `refundd_commands_total{kind="refund",outcome="retried"}`,
		`refundd_retries_total{reason="blocked_merchant"}`, `refundd_alipay_call_seconds_count{class="blocked",method="alipay.trade.refund"}`,
		`refundd_redis_call_seconds_count{op="claim"}`,
	} {
		if line := w.metric(series); line == "" || strings.HasSuffix(line, " 0") && !strings.Contains(series, "lag") {
			t.Errorf("%s: %q", series, line)
		}
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}
