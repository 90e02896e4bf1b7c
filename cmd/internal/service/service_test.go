//go:build !race

// The RocketMQ SDK has data races of its own, in its pull and push consumers.

package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/config"
	"refundd/consumer"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe/dedupetest"
	"refundd/notifyhttp"
	"refundd/producer"
)

// world is one service and everything around it, on loopback ports.
type world struct {
	t      *testing.T
	places places
	broker *rocketmqtest.Broker
	sim    *alipaytest.Server
	cfg    config.Config
	log    *test.Hook
	stop   func() error
	over   context.Context // done, with the cause, once the service has ended
}

// startWorld starts a service in key mode; more gives later lines of its
// environment, which win.
func startWorld(t *testing.T, more func(places) []string) *world {
	t.Helper()
	w := &world{t: t, places: newPlaces(t)}
	topics := map[string]int{
		"refund-command": 2, "coupon-refund-command": 2, "refund-event": 2, "refund-retry": 2, "refund-parked": 1,
	}
	var err error
	if w.broker, err = rocketmqtest.Start(rocketmqtest.Config{Addr: "127.0.0.1:0", Topics: topics, Groups: []string{"refundd"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.broker.Close() })
	w.places.write("merchants.json", fmt.Sprintf(`{"shop": {"app_auth_token": "token-1", "seller_id": %q}}`, alipaytest.SellerID("token-1")))

	keys, err := alipaytest.LoadOrCreateKeys(w.places.dir)
	if err != nil {
		t.Fatal(err)
	}
	receiver := dedupetest.FreeAddr(t)
	notify := "http://" + receiver + notifyhttp.Path
	w.sim, err = alipaytest.New(alipaytest.Config{
		AppID: appID, Keys: keys, NotifyURL: notify,
		NotifyDelays: []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, time.Second, time.Second, time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	url, err := w.sim.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.sim.Close() })

	environment := []string{
		"REFUNDD_ROCKETMQ_NAMESERVERS=" + w.broker.Addr(),
		"REFUNDD_REDIS_URL=redis://" + miniredis.RunT(t).Addr() + "/0",
		"REFUNDD_ALIPAY_GATEWAY=" + url + "/gateway.do", "REFUNDD_ALIPAY_V3_URL=" + url,
		"REFUNDD_ALIPAY_SELLER_ID=" + alipaytest.SellerID(""),
		"REFUNDD_ALIPAY_NOTIFY_URL=" + notify,
		"REFUNDD_HTTP_ADDR=" + receiver, "REFUNDD_ADMIN_ADDR=" + dedupetest.FreeAddr(t),
		"REFUNDD_DRAIN=10s",
	}
	if more != nil {
		environment = append(environment, more(w.places)...)
	}
	w.cfg = w.places.config(environment...)
	w.run()
	return w
}

// run starts the service and waits until it is a member of the group.
func (w *world) run() {
	w.t.Helper()
	w.begin()
	dedupetest.Until(w.t, "the consumer's start", func() bool {
		if w.over.Err() != nil {
			w.t.Fatal(context.Cause(w.over))
		}
		return len(w.broker.Members("refundd")) > 0
	})
}

// begin starts the service; w.stop stops it once, and so does the test's end.
func (w *world) begin() {
	w.t.Helper()
	var log *logrus.Logger
	log, w.log = test.NewNullLogger()
	consumer.RedirectSDK(log)
	ctx, cancel := context.WithCancel(w.t.Context())
	over, end := context.WithCancelCause(context.Background())
	w.over = over
	ended := make(chan error, 1)
	go func() {
		err := Run(ctx, w.cfg, nil, log)
		end(fmt.Errorf("the service ended: %w", err))
		ended <- err
	}()
	w.stop = func() error {
		cancel()
		return <-ended
	}
	w.t.Cleanup(func() {
		cancel()
		if w.t.Failed() {
			for _, e := range w.log.AllEntries() {
				if line, err := e.String(); err == nil {
					w.t.Log(line)
				}
			}
		}
	})
}

func (w *world) command(topic, body string) {
	w.t.Helper()
	if _, err := w.broker.Append(rocketmqtest.Message{Topic: topic, Body: []byte(body)}); err != nil {
		w.t.Fatal(err)
	}
}

// event waits for an event.
func (w *world) event(number string, outcome producer.Outcome) producer.Event {
	w.t.Helper()
	var found producer.Event
	dedupetest.Until(w.t, number+" "+string(outcome), func() bool {
		for _, m := range w.broker.Messages("refund-event") {
			e, err := producer.DecodeEvent(m.Body)
			if err != nil {
				w.t.Fatal(err)
			}
			if e.OutRequestNo == number && e.Outcome == outcome {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// metric is the line of one series.
func (w *world) metric(series string) string {
	w.t.Helper()
	return lineOf(w.get("http://"+w.cfg.AdminAddr+"/metrics"), series)
}

func (w *world) get(url string) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(body)
}

func lineOf(text, prefix string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func TestRefundsAndNotificationsOfBothKinds(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]func(p places) []string{
		"keys": nil,
		"certificates, AES, V3": func(p places) []string {
			return []string{
				"REFUNDD_ALIPAY_PUBLIC_KEY_FILE=", "REFUNDD_ALIPAY_APP_CERT_FILE=" + p.path("app_cert.pem"),
				"REFUNDD_ALIPAY_CERT_FILE=" + p.path("alipay_cert.pem"), "REFUNDD_ALIPAY_ROOT_CERT_FILE=" + p.path("root_cert.pem"),
				"REFUNDD_ALIPAY_ENCRYPT_KEY_FILE=" + p.path("aes_key.txt"), "REFUNDD_ALIPAY_PROTOCOL=v3",
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := startWorld(t, more)
			w.command("refund-command", `{"out_request_no": "R1", "out_trade_no": "T1", "refund_amount": "1.00"}`)
			w.command("refund-command", `{"out_request_no": "R2", "out_trade_no": "T2", "refund_amount": "2.00", "merchant": "shop"}`)
			w.command("coupon-refund-command", `{"out_request_no": "C1", "auth_no": "`+alipaytest.TradeNo("O1")+`", "amount": "3.00"}`)
			for number, merchant := range map[string]string{"R1": "", "R2": "shop", "C1": ""} {
				w.event(number, producer.Succeeded)
				if e := w.event(number, producer.Notified); e.Merchant != merchant {
					t.Errorf("%s is notified for merchant %q, want %q", number, e.Merchant, merchant)
				}
			}
			if line := w.metric(`refundd_notifications_total{result="published"}`); !strings.HasSuffix(line, " 3") {
				t.Errorf("metrics have %q", line)
			}
			for _, r := range w.sim.State().Refunds {
				if want := map[string]string{"R2": "token-1"}[r.OutRequestNo]; r.Moved != 1 || r.AppAuthToken != want {
					t.Errorf("%s moved %d times, for another merchant: %t", r.OutRequestNo, r.Moved, r.AppAuthToken != want)
				}
			}
			if err := w.stop(); err != nil {
				t.Error(err)
			}
			if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.cfg.HTTPAddr); err == nil {
				_ = conn.Close()
				t.Error("the receiver listens after the stop")
			}
		})
	}
}

// A notification that arrives while the keys are replaced is judged by the old
// or the new ones, and never dropped.
func TestKeysChangeUnderNotifications(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	other := newPlaces(t)
	own := w.places.read("alipay_public_key.pem")
	const n = 40
	for i := range n {
		w.command("refund-command", fmt.Sprintf(`{"out_request_no": "R%d", "out_trade_no": "T%d", "refund_amount": "1.00"}`, i, i))
		if i%10 == 0 {
			w.places.write("alipay_public_key.pem", own+other.read("alipay_public_key.pem")+strings.Repeat("\n", i))
		}
	}
	for i := range n {
		w.event(fmt.Sprintf("R%d", i), producer.Notified)
	}
	dedupetest.Until(t, "the keys' change", func() bool {
		for _, e := range w.log.AllEntries() {
			if e.Message == "files are read again" {
				return true
			}
		}
		return false
	})
	for _, notice := range w.sim.Notices() {
		if !notice.Accepted {
			t.Errorf("a notification of %s was answered %d", notice.OutRequestNo, notice.Status)
		}
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}

func TestATakenAddressEndsTheStart(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	log, _ := test.NewNullLogger()
	second := w.cfg
	second.AdminAddr = ""
	err := Run(t.Context(), second, nil, log)
	if err == nil || !strings.Contains(err.Error(), "REFUNDD_HTTP_ADDR") {
		t.Errorf("error is %v", err)
	}
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}

// TestStopIsBounded (R11): also one that hangs where nobody expects it.
func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	hangs := make(chan struct{})
	defer close(hangs)
	ended := make(chan error, 1)
	go func() {
		ended <- bounded(ctx, time.Millisecond, func() error {
			<-hangs
			return nil
		})
	}()
	select {
	case err := <-ended:
		t.Fatalf("it ended before it was asked to: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	stop()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "did not end within") {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}
	want := errors.New("said so")
	if err := bounded(ctx, time.Hour, func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v, want what it returned", err)
	}
}
