//go:build !race

// See adapter_test.go for the reason of the build constraint.

package consumer

import (
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	rmqconsumer "github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"

	"refundd/consumer/remoting"
	"refundd/producer"
)

// TestRealBroker does the main stories on Apache RocketMQ, where
// REFUNDD_TEST_NAMESERVERS names one: refunds that succeed at once, refunds
// that come back through the retry topic, and a stop under load after which
// another process does the rest.
func TestRealBroker(t *testing.T) {
	server := os.Getenv("REFUNDD_TEST_NAMESERVERS")
	if server == "" {
		t.Skip("REFUNDD_TEST_NAMESERVERS names no real broker")
	}
	name := fmt.Sprintf("adapter%d-%d", os.Getpid(), instances.Add(1))
	topic := func(which string) string { return name + "-" + which }
	prepare(t, server, name, topic("refund"), topic("retry"), topic("event"), topic("parked"))
	r := newRig(t, func(c *Config) {
		c.Topics = map[Kind]string{KindRefund: topic("refund")}
		c.RetryTopic, c.EventTopic, c.ParkedTopic = topic("retry"), topic("event"), topic("parked")
	})
	r.server, r.group = server, name
	sdk, err := rocketmq.NewProducer(
		rmqproducer.WithNsResolver(primitive.NewPassthroughResolver(NameServerURLs([]string{server}))),
		rmqproducer.WithGroupName(name), rmqproducer.WithInstanceName(name), rmqproducer.WithRetry(0),
	)
	check(t, err)
	check(t, sdk.Start())
	t.Cleanup(func() { _ = sdk.Shutdown() })
	r.tell = producer.New(sdk, producer.Config{EventTopic: topic("event"), RetryTopic: topic("retry"), ParkedTopic: topic("parked")})
	events := follow(t, server, name+"-reader", topic("event"))

	numbers, bodies := refunds("R", 90)
	later, more := refunds("fault-balance-", 10)
	numbers, bodies = append(numbers, later...), append(bodies, more...)
	for _, body := range bodies {
		await(t, "a confirmed send", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			res, err := sdk.SendSync(ctx, primitive.NewMessage(topic("refund"), []byte(body)))
			return err == nil && res.Status == primitive.SendOK
		})
	}
	r.gateway.pause.Store(int64(200 * time.Millisecond))
	p := r.start(8)
	await(t, "some calls", func() bool { return r.gateway.calls() >= 16 })
	begin := time.Now()
	r.stop(p)
	if n := r.gateway.after(begin.Add(time.Second)); n != 0 {
		t.Errorf("%d calls began after the stop", n)
	}
	before := r.gateway.calls()
	if before >= len(numbers) {
		t.Errorf("%d calls before the stop: it was not under load", before)
	}
	r.gateway.pause.Store(0)
	second := r.start(16)
	await(t, "the end of all refunds", func() bool { return len(events.finals()) == len(numbers) })
	r.stop(second)
	moved := map[string]int{}
	for _, m := range r.alipay.State().Refunds {
		moved[m.OutRequestNo] += m.Moved
	}
	calls := map[string]int{}
	for _, c := range r.alipay.Calls() {
		calls[c.OutRequestNo]++
	}
	for i, number := range numbers {
		if ids := events.finals()[number]; len(ids) != 1 || moved[number] != 1 {
			t.Errorf("%s: final events %v, moved %d times", number, ids, moved[number])
		}
		if i < 90 && calls[number] != 1 {
			t.Errorf("%s: %d calls, want one", number, calls[number])
		}
	}
}

// prepare makes topics and groups of the test's own, and deletes them after it.
func prepare(t *testing.T, server, group string, topics ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := remoting.WaitBroker(ctx, server)
	check(t, err)
	groups := []string{group, group + "-reader"}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, topic := range append(topics, "%RETRY%"+groups[0], "%RETRY%"+groups[1]) {
			_ = remoting.DeleteTopic(ctx, server, broker, topic)
		}
		for _, group := range groups {
			_ = remoting.DeleteGroup(ctx, broker, group)
		}
	})
	for _, group := range groups {
		check(t, remoting.CreateGroup(ctx, broker, group))
	}
	for _, topic := range topics {
		check(t, remoting.CreateTopic(ctx, broker, topic, 4))
		check(t, remoting.WaitRoute(ctx, server, topic))
	}
}

// follower collects the final events of a topic.
type follower struct {
	mu  sync.Mutex
	ids map[string]map[string]bool // by number
}

func follow(t *testing.T, server, group, topic string) *follower {
	t.Helper()
	f := &follower{ids: map[string]map[string]bool{}}
	sdk, err := rocketmq.NewPushConsumer(
		rmqconsumer.WithGroupName(group), rmqconsumer.WithInstance(group),
		rmqconsumer.WithNsResolver(primitive.NewPassthroughResolver(NameServerURLs([]string{server}))),
		rmqconsumer.WithConsumeFromWhere(rmqconsumer.ConsumeFromFirstOffset),
	)
	check(t, err)
	check(t, sdk.Subscribe(topic, rmqconsumer.MessageSelector{}, func(_ context.Context, ms ...*primitive.MessageExt) (rmqconsumer.ConsumeResult, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, m := range ms {
			e, err := producer.DecodeEvent(m.Body)
			if err != nil || e.Outcome != producer.Succeeded && e.Outcome != producer.Failed {
				continue
			}
			if f.ids[e.OutRequestNo] == nil {
				f.ids[e.OutRequestNo] = map[string]bool{}
			}
			f.ids[e.OutRequestNo][e.ID] = true
		}
		return rmqconsumer.ConsumeSuccess, nil
	}))
	check(t, sdk.Start())
	t.Cleanup(func() { _ = sdk.Shutdown() })
	return f
}

func (f *follower) finals() map[string]map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := map[string]map[string]bool{}
	for number, of := range f.ids {
		ids[number] = maps.Clone(of)
	}
	return ids
}
