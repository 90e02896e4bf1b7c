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
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"refundd/cmd/internal/config"
	"refundd/consumer/rocketmqtest"
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
	w := startWorld(t, nil)
	waitFor(t, "readiness", func() bool { status, _ := w.readiness(w.cfg); return status == http.StatusOK })
	_, parts := w.readiness(w.cfg)
	if got := slices.Sorted(maps.Keys(parts)); !slices.Equal(got, []string{"alipay", "draining", "paused", "redis", "rocketmq"}) {
		t.Errorf("parts %q", got)
	}
	if parts["alipay"] != "unknown" || parts["redis"] != "ok" || parts["rocketmq"] != "ok" || parts["draining"] != "no" {
		t.Errorf("before the first call: %q", parts)
	}
	w.command("refund-command", `{"out_request_no": "fault-frozen-1", "out_trade_no": "T1", "refund_amount": "1.00"}`)
	waitFor(t, "a call that ends badly", func() bool {
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
	w := startWorld(t, nil)
	used := w.cfg
	if err := w.stop(); err != nil { // so that its addresses are free
		t.Fatal(err)
	}
	topics := []string{"coupon-refund-command", "refund-event", "refund-retry", "refund-parked"}
	broker, _, hook := w.another(topics, []string{"refundd"}, func(c *config.Config) { c.TopicRefund, c.HTTPAddr, c.AdminAddr = "", "", "" })
	waitFor(t, "the consumer's start", func() bool { return len(broker.Members("refundd")) > 0 })
	if _, err := broker.Append(rocketmqtest.Message{
		Topic: "coupon-refund-command", Body: []byte(`{"out_request_no": "C1", "auth_no": "A1", "amount": "bad"}`),
	}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "an event of the kind that is on", func() bool { return len(broker.Messages("refund-event")) > 0 })
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
	w := startWorld(t, nil)
	topics := []string{"refund-command", "coupon-refund-command", "refund-event", "refund-retry", "refund-parked"}
	_, cfg, hook := w.another(topics, nil, func(c *config.Config) { c.HTTPAddr, c.AdminAddr = "", freeAddr(t) })
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
		return e.Level == logrus.ErrorLevel && e.Data["group"] == "refundd" && strings.Contains(e.Message, "REFUNDD_ROCKETMQ_GROUP")
	})
	if !said {
		t.Error("no line of the log names the group")
	}
}
