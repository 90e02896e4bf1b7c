//go:build !race

// See adapter_test.go for the reason of the build constraint.

package consumer_test

import (
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/consumer"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe"
	"refundd/producer"
)

// A whole consumer, from its surroundings to its stop. One command is sent, and
// Alipay's answer to its call is lost after the money has moved: a query proves
// that the refund succeeded. In production broker, Redis and Alipay are real ones;
// cmd/refundd is this program with configuration, metrics and notifications.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	// What is a cluster in production.
	topics := map[string]int{"refund-command": 4, "refund-retry": 4, "refund-event": 4, "refund-parked": 4}
	broker := must(rocketmqtest.Start(rocketmqtest.Config{Topics: topics, Groups: []string{"refundd"}}))
	defer func() { _ = broker.Close() }()
	server := must(miniredis.Run())
	defer server.Close()
	keys := must(alipaytest.NewKeys())
	bank := must(alipaytest.New(alipaytest.Config{Keys: keys}))
	gateway := must(bank.Start("127.0.0.1:0"))
	defer func() { _ = bank.Close() }()

	// The three packages that it works with.
	client := must(alipay.New(alipay.Config{
		Gateway: gateway + "/gateway.do", AppID: "2021000000000001",
		Signer: keys.AppPrivate, AlipayKeys: []*rsa.PublicKey{keys.AlipayPublic},
	}))
	defer client.CloseIdleConnections()
	redisClient := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer func() { _ = redisClient.Close() }()
	records := must(dedupe.New(redisClient, dedupe.Config{Prefix: "refundd:", Lease: time.Minute, Keep: 168 * time.Hour}))
	sender := must(rocketmq.NewProducer(
		rmqproducer.WithNsResolver(primitive.NewPassthroughResolver(consumer.NameServerURLs([]string{broker.Addr()}))),
		rmqproducer.WithGroupName("refundd-producer"), rmqproducer.WithInstanceName("example-producer"), rmqproducer.WithRetry(0),
	))
	check(sender.Start())
	defer func() { _ = sender.Shutdown() }()
	publisher := producer.New(sender, producer.Config{EventTopic: "refund-event", RetryTopic: "refund-retry", ParkedTopic: "refund-parked"})
	defer func() { _ = publisher.Close(ctx) }()

	// The flow, and the consumer that feeds it.
	log := logrus.New()
	log.SetOutput(io.Discard)
	gate, health := consumer.NewGate(8), consumer.NewHealth(log)
	handler := consumer.NewHandler(consumer.Config{
		AppID:      "2021000000000001",
		Topics:     map[consumer.Kind]string{consumer.KindRefund: "refund-command"},
		RetryTopic: "refund-retry", EventTopic: "refund-event", ParkedTopic: "refund-parked",
		Lease: time.Minute, Keep: 168 * time.Hour, MaxAge: 72 * time.Hour, QueryAfter: 10 * time.Second, AlipayTimeout: 15 * time.Second,
		RetryDelays: []time.Duration{10 * time.Second, 30 * time.Second, time.Minute},
	}, consumer.Dependencies{
		Alipay: client, Records: records, Publisher: publisher, Gate: gate, Health: health, Metrics: noMetrics{}, Log: log,
	})
	intake := consumer.NewConsumer(consumer.RocketMQ{
		NameServers: []string{broker.Addr()}, Group: "refundd", Instance: "example-consumer",
		Topics: []string{"refund-command", "refund-retry"}, Concurrency: 8, Probe: records.Probe,
	}, handler, gate, health, log)
	check(intake.Start(ctx))
	go intake.Watch(ctx)

	command := `{"out_request_no": "fault-answer-lost-after-1", "out_trade_no": "T-1", "refund_amount": "16.00"}`
	must(sender.SendSync(ctx, primitive.NewMessage("refund-command", []byte(command))))
	for len(broker.Messages("refund-event")) == 0 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	check(intake.Stop(ctx, 10*time.Second))

	for _, m := range broker.Messages("refund-event") {
		event := must(producer.DecodeEvent(m.Body))
		fmt.Println(event.OutRequestNo, event.Outcome, "by", event.ConfirmedBy)
	}
	for _, r := range bank.State().Refunds {
		fmt.Println(r.Amount, "yuan, moved", r.Moved, "time; calls:", r.Calls, "queries:", r.Queries)
	}
	// Output:
	// fault-answer-lost-after-1 succeeded by query
	// 16.00 yuan, moved 1 time; calls: 1 queries: 1
}

// noMetrics is a consumer.Metrics that counts nothing.
type noMetrics struct{}

func (noMetrics) Command(string, string, time.Time)  {}
func (noMetrics) Inflight(int)                       {}
func (noMetrics) Call(string, string, time.Duration) {}
func (noMetrics) Published(string)                   {}
func (noMetrics) PublishFailed(string)               {}
func (noMetrics) Retried(string)                     {}
func (noMetrics) Parked(string)                      {}
func (noMetrics) Contradiction()                     {}
func (noMetrics) FundsCut()                          {}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
