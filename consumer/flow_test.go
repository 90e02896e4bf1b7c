package consumer

import (
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe"
	"refundd/producer"
)

// The topics of every test.
const (
	refundTopic = "refund-command"
	couponTopic = "coupon-refund-command"
	retryTopic  = "refund-retry"
	eventTopic  = "refund-event"
	parkedTopic = "refund-parked"
	testApp     = "2021000000000001"
)

// bench is the real flow over real transports: the SDK's producer on the
// embedded broker, miniredis, and the local Alipay. Deliveries are handed to
// the Handler directly, so that a test decides when which one arrives.
type bench struct {
	t       *testing.T
	broker  *rocketmqtest.Broker
	alipay  *alipaytest.Server
	url     string // of alipay
	redis   *miniredis.Miniredis
	store   *dedupe.Store
	client  *alipay.Client
	publish *producer.Producer
	cfg     Config
	gate    *Gate
	health  *Health
	log     *bytes.Buffer
	trips   atomic.Int64 // exchanges with Redis
	metrics *countedMetrics
	handler *Handler
	number  int
	pumped  int // retry messages handed to the handler
}

const benchScale = 20 // a delay of 1s takes 50 ms

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, metrics: &countedMetrics{outcomes: map[string]int{}}, log: &bytes.Buffer{}}
	var err error
	b.broker, err = rocketmqtest.Start(rocketmqtest.Config{
		Topics:     map[string]int{refundTopic: 4, couponTopic: 4, retryTopic: 4, eventTopic: 4, parkedTopic: 1},
		Groups:     []string{"refundd"},
		DelayScale: benchScale,
	})
	check(t, err)
	t.Cleanup(func() { check(t, b.broker.Close()) })
	b.redis = miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: b.redis.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = client.Close() })
	b.cfg = Config{
		AppID: testApp, Topics: map[Kind]string{KindRefund: refundTopic, KindCouponRefund: couponTopic},
		RetryTopic: retryTopic, EventTopic: eventTopic, ParkedTopic: parkedTopic,
		Lease: 5 * time.Second, Keep: 24 * time.Hour, MaxAge: time.Hour, QueryAfter: 100 * time.Millisecond,
		AlipayTimeout: 1500 * time.Millisecond,
		RetryDelays:   []time.Duration{time.Second, time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second},
		Patience:      500 * time.Millisecond,
	}
	if change != nil {
		change(&b.cfg)
	}
	if b.cfg.AlipayTimeout > b.cfg.Lease {
		b.cfg.AlipayTimeout = b.cfg.Lease * 2 / 5
	}
	b.startAlipay(alipaytest.Config{})
	b.store, err = dedupe.New(client, dedupe.Config{
		Prefix: "test:", Lease: b.cfg.Lease, Keep: b.cfg.Keep,
		Observe: func(op string, _ time.Duration) {
			if !strings.HasPrefix(op, "probe") { // no command's
				b.trips.Add(1)
			}
		},
	})
	check(t, err)
	sdk, err := rocketmq.NewProducer(
		rmqproducer.WithNsResolver(primitive.NewPassthroughResolver(NameServerURLs([]string{b.broker.Addr()}))),
		rmqproducer.WithGroupName("test"), rmqproducer.WithInstanceName(t.Name()), rmqproducer.WithRetry(0),
	)
	check(t, err)
	check(t, sdk.Start())
	t.Cleanup(func() { _ = sdk.Shutdown() })
	b.publish = producer.New(sdk, producer.Config{EventTopic: eventTopic, RetryTopic: retryTopic, ParkedTopic: parkedTopic, Timeout: 5 * time.Second})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = b.publish.Close(ctx)
	})
	b.reopen()
	return b
}

// sharedKeys: making them takes a while, and no test changes them.
var sharedKeys = sync.OnceValues(alipaytest.NewKeys) //nolint:gochecknoglobals // see above

// startAlipay begins with a new ledger.
func (b *bench) startAlipay(cfg alipaytest.Config) {
	b.t.Helper()
	keys, err := sharedKeys()
	check(b.t, err)
	cfg.Keys = keys
	b.alipay, err = alipaytest.New(cfg)
	check(b.t, err)
	b.url, err = b.alipay.Start("127.0.0.1:0")
	check(b.t, err)
	server := b.alipay
	b.t.Cleanup(func() { _ = server.Close() })
	b.client, err = alipay.New(alipay.Config{
		Gateway: b.url + "/gateway.do", AppID: testApp, Signer: keys.AppPrivate,
		AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic}, Timeout: b.cfg.AlipayTimeout,
	})
	check(b.t, err)
	b.t.Cleanup(b.client.CloseIdleConnections)
}

// reopen is a new process over the same stores: a new gate, a new handler.
func (b *bench) reopen() {
	log := logrus.New()
	log.SetLevel(logrus.DebugLevel)
	log.SetOutput(io.MultiWriter(&lockedWriter{w: b.log}))
	b.gate = NewGate(64)
	b.health = NewHealth(log)
	b.handler = NewHandler(b.cfg, Dependencies{b.client, b.store, b.publish, b.gate, b.health, b.metrics, log})
}

// command is a fresh delivery of the body on the refund topic.
func (b *bench) command(body string) Delivery {
	b.number++
	return Delivery{Topic: refundTopic, MsgID: fmt.Sprintf("MSG%06d", b.number), Body: []byte(body), Born: time.Now()}
}

func refundBody(number, trade, amount string) string {
	return fmt.Sprintf(`{"out_request_no":%q,"out_trade_no":%q,"refund_amount":%q}`, number, trade, amount)
}

func (b *bench) handle(d Delivery) {
	b.t.Helper()
	if !b.handler.Handle(context.Background(), d).Acknowledged() {
		b.t.Fatalf("delivery %s was not acknowledged; log:\n%s", d.MsgID, b.log)
	}
}

// retry hands the next retry message over; false if there is none at all.
func (b *bench) retry() bool {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		// In this order: a message that becomes due in between is seen twice, never not at all.
		scheduled := len(b.broker.Scheduled(retryTopic))
		messages := b.broker.Messages(retryTopic)
		if len(messages) > b.pumped {
			m := messages[b.pumped]
			b.pumped++
			b.handle(Delivery{Topic: m.Topic, MsgID: m.MsgID, Body: m.Body, Born: time.UnixMilli(m.BornTimestamp), Properties: m.Properties})
			return true
		}
		if scheduled == 0 {
			return false
		}
		if time.Now().After(deadline) {
			b.t.Fatal("a scheduled retry never became visible")
		}
		pause()
	}
}

// settleAll hands retries over until there are none.
func (b *bench) settleAll() {
	b.t.Helper()
	for n := 0; b.retry(); n++ {
		if n > 500 {
			b.t.Fatalf("retries never end; log:\n%s", b.log)
		}
	}
}

// pause lets another goroutine go on; the loop around it has a deadline.
func pause() { <-time.After(2 * time.Millisecond) }

func (b *bench) events() []producer.Event {
	b.t.Helper()
	var events []producer.Event
	for _, m := range b.broker.Messages(eventTopic) {
		e, err := producer.DecodeEvent(m.Body)
		check(b.t, err)
		events = append(events, e)
	}
	return events
}

// final is the one final event of the number, or fails the test.
func (b *bench) final(number string) producer.Event {
	b.t.Helper()
	var found []producer.Event
	ids := map[string]bool{}
	for _, e := range b.events() {
		if e.OutRequestNo == number && (e.Outcome == producer.Succeeded || e.Outcome == producer.Failed) {
			found = append(found, e)
			ids[e.ID] = true
		}
	}
	if len(ids) != 1 {
		b.t.Fatalf("%s has %d final events, want one id; all: %+v\nlog:\n%s", number, len(ids), b.events(), b.log)
	}
	return found[0]
}

// moved is how often the ledger moved the money of the number.
func (b *bench) moved(number string) int {
	n := 0
	for _, r := range b.alipay.State().Refunds {
		if r.OutRequestNo == number {
			n += r.Moved
		}
	}
	return n
}

func (b *bench) parked() []producer.Copy {
	b.t.Helper()
	var copies []producer.Copy
	for _, m := range b.broker.Messages(parkedTopic) {
		c, err := producer.CopyFromProperties(m.Properties, m.Body)
		check(b.t, err)
		copies = append(copies, c)
	}
	return copies
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// countedMetrics counts command outcomes.
type countedMetrics struct {
	mu             sync.Mutex
	outcomes       map[string]int
	contradictions int
	fundsCut       int
}

func (m *countedMetrics) Command(_, outcome string, _ time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outcomes[outcome]++
}
func (m *countedMetrics) Inflight(int)                       {}
func (m *countedMetrics) Call(string, string, time.Duration) {}
func (m *countedMetrics) Published(string)                   {}
func (m *countedMetrics) PublishFailed(string)               {}
func (m *countedMetrics) Retried(string)                     {}
func (m *countedMetrics) Parked(string)                      {}
func (m *countedMetrics) FundsCut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fundsCut++
}

func (m *countedMetrics) Contradiction() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.contradictions++
}

func (m *countedMetrics) count(outcome string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.outcomes[outcome]
}

// TestPlainRefund: one event, one call, two exchanges with Redis.
func TestPlainRefund(t *testing.T) {
	b := newBench(t, nil)
	d := b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3","metadata":{"order":"8816"}}`)
	d.Properties = map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	b.handle(d)
	if got := b.trips.Load(); got != 2 {
		t.Errorf("%d exchanges with Redis, want 2", got)
	}
	e := b.final("R1")
	if e.Outcome != producer.Succeeded || e.AmountFen != 300 || e.ConfirmedBy != producer.ByResponse || e.Calls != 1 ||
		e.Metadata["order"] != "8816" || e.TotalRefundedFen != 300 || e.TradeNo == "" || e.Traceparent == "" {
		t.Errorf("event is %+v", e)
	}
	if b.moved("R1") != 1 || b.broker.Scheduled(retryTopic) != nil {
		t.Errorf("moved %d times, retries %v", b.moved("R1"), b.broker.Scheduled(retryTopic))
	}
}

// TestDuplicate: the same bytes again, and no second call.
func TestDuplicate(t *testing.T) {
	b := newBench(t, nil)
	b.handle(b.command(`{"out_request_no":"R1","out_trade_no":"T1","refund_amount":"3.00","metadata":{"n":"first"}}`))
	b.handle(b.command(`{"metadata":{"n":"second"},"refund_amount":"3","out_trade_no":"T1","out_request_no":"R1"}`))
	m := b.broker.Messages(eventTopic)
	if len(m) != 2 || !bytes.Equal(m[0].Body, m[1].Body) {
		t.Fatalf("want the same event twice, got %d", len(m))
	}
	if calls := len(b.alipay.Calls()); calls != 1 {
		t.Errorf("%d calls at Alipay, want 1", calls)
	}
}

// TestConflict: the same number with another amount is rejected, the first
// refund is undisturbed.
func TestConflict(t *testing.T) {
	b := newBench(t, nil)
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	b.handle(b.command(refundBody("R1", "T1", "4.00")))
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	events := b.events()
	if len(events) != 3 || events[1].Outcome != producer.Rejected && events[0].Outcome != producer.Rejected && events[2].Outcome != producer.Rejected {
		t.Fatalf("events: %+v", events)
	}
	if b.final("R1").AmountFen != 300 || b.moved("R1") != 1 || len(b.alipay.Calls()) != 1 {
		t.Errorf("the first refund was disturbed: %+v", b.alipay.Calls())
	}
}

// TestFaultMenu runs every fault of the local Alipay to its end: the events
// say exactly what the ledger did.
func TestFaultMenu(t *testing.T) {
	couponOnly := map[string]bool{}
	for _, name := range []string{"refused-MONEY_NOT_ENOUGH", "refused-AUTH_ORDER_NOT_EXIST", "refused-ILLEGAL_ARGUMENT", "query-pay-operation"} {
		couponOnly[name] = true
	}
	for _, fault := range alipaytest.Menu() {
		of, _, _ := strings.Cut(fault.Name, "-")
		if couponOnly[fault.Name] || of == "coupon" || of == "operation" || of == "notify" || of == "deposit" {
			continue // not a fault of trade refunds
		}
		t.Run(fault.Name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			number := "fault-" + fault.Name + "-1"
			if strings.HasPrefix(fault.Name, "query-") {
				// A query is made only after a call that proves nothing.
				number = "R1"
				check(t, b.alipay.SetFaults(map[string]float64{"gw-20000-after": 1, fault.Name: 1}))
			}
			b.handle(b.command(refundBody(number, "T-"+fault.Name, "5.00")))
			if number == "R1" {
				for b.alipay.FaultCounts()[fault.Name] == 0 && b.retry() { // a busy machine may not have got that far
				}
				b.alipay.Heal()
				check(t, b.alipay.SetFaults(nil))
			}
			b.settleAll()
			e := b.onlyEvent(number)
			moved := b.moved(number)
			switch e.Outcome {
			case producer.Succeeded:
				if moved != 1 {
					t.Errorf("succeeded, but moved %d times", moved)
				}
			case producer.Failed:
				if moved != 0 {
					t.Errorf("failed, but moved %d times", moved)
				}
			case producer.Unresolved:
				b.wantParkedOnce()
			case producer.Rejected, producer.Notified, producer.DepositBack:
				t.Errorf("outcome %s", e.Outcome)
			}
			if moved > 1 {
				t.Errorf("moved %d times", moved)
			}
			if counts := b.alipay.FaultCounts(); counts[fault.Name] == 0 {
				t.Errorf("the fault never happened: %v", counts)
			}
		})
	}
}

// wantParkedOnce: there is exactly one parking. A publish that was confirmed
// too late leaves a second copy of it, equal in every member; anything else
// that differs is a second parking.
func (b *bench) wantParkedOnce() {
	b.t.Helper()
	copies := b.parked()
	if len(copies) == 0 {
		b.t.Error("unresolved, but not parked")
	}
	for _, c := range copies {
		if !reflect.DeepEqual(c, copies[0]) {
			b.t.Errorf("parked twice: %+v and %+v", copies[0], c)
		}
	}
}

// onlyEvent is the one event of the number; a repeat with the same id, which a
// publish that was confirmed too late leaves, does not count.
func (b *bench) onlyEvent(number string) producer.Event {
	b.t.Helper()
	var found []producer.Event
	seen := map[string]producer.Event{}
	for _, e := range b.events() {
		if e.OutRequestNo != number {
			continue
		}
		first, again := seen[e.ID]
		switch {
		case !again:
			seen[e.ID] = e
			found = append(found, e)
		case !reflect.DeepEqual(e, first):
			b.t.Errorf("one id, two events: %+v and %+v", first, e)
		}
	}
	if len(found) != 1 {
		b.t.Fatalf("%s has %d events, want 1: %+v\nlog:\n%s", number, len(found), found, b.log)
	}
	return found[0]
}
