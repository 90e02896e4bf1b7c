//go:build !race

// The RocketMQ client has data races of its own.

package producer_test

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"refundd/consumer/rocketmqtest"
	"refundd/producer"
)

// An event is published twice, as after a crash: readers see one id.
func Example() {
	rlog.SetLogLevel("error")
	broker, err := rocketmqtest.Start(rocketmqtest.Config{Topics: map[string]int{"refund-event": 1}})
	check(err)
	defer func() { _ = broker.Close() }()
	sender, err := rocketmq.NewProducer(
		rmqproducer.WithNsResolver(primitive.NewPassthroughResolver([]string{broker.Addr()})),
		rmqproducer.WithGroupName("example"), rmqproducer.WithInstanceName("example"),
		rmqproducer.WithRetry(0), // whoever calls decides what an unconfirmed publish means
	)
	check(err)
	check(sender.Start())
	defer func() { _ = sender.Shutdown() }()
	p := producer.New(sender, producer.Config{EventTopic: "refund-event", RetryTopic: "refund-retry", ParkedTopic: "refund-parked"})
	defer func() { _ = p.Close(context.Background()) }()

	identity := producer.Identity{AppID: "2021000000000001", Kind: producer.KindRefund, OutRequestNo: "R-1"}
	event, err := producer.Event{
		ID:      producer.DecidedID(identity, "T-1", 1250, producer.Succeeded),
		Subject: "R-1", Time: time.Date(2026, 11, 22, 6, 2, 47, 0, time.UTC),
		Kind: producer.KindRefund, Outcome: producer.Succeeded, AppID: "2021000000000001",
		OutRequestNo: "R-1", OutTradeNo: "T-1", AmountFen: 1250, ConfirmedBy: producer.ByResponse, Calls: 1,
	}.Encode()
	check(err)
	for range 2 {
		check(p.Publish(context.Background(), event))
	}
	for _, m := range broker.Messages("refund-event") {
		fmt.Println(m.Properties["ce_type"], m.Properties["ce_id"])
	}
	// Output:
	// refund.succeeded.v1 40bd1e925404e230ce55683fa29168a5
	// refund.succeeded.v1 40bd1e925404e230ce55683fa29168a5
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
