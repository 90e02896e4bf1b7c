//go:build !race

// The tests in this file run the real SDK. It has data races of its own (flow
// control reads its tree without the lock, client.close is a plain bool), which
// the race detector would report here; wire_test.go covers the broker with it.

package rocketmqtest_test

import (
	"context"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	rmqconsumer "github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	rmqproducer "github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"refundd/consumer/rocketmqtest"
)

func TestMain(m *testing.M) {
	rlog.SetLogLevel("fatal")
	os.Exit(m.Run())
}

func start(t *testing.T, cfg rocketmqtest.Config) *rocketmqtest.Broker {
	t.Helper()
	b, err := rocketmqtest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// instances makes names unique, as two SDK objects with one name share a client.
var instances atomic.Int64 //nolint:gochecknoglobals // the SDK's client table is global too

func instance() string { return "rocketmqtest-" + strconv.FormatInt(instances.Add(1), 10) }

func newProducer(t *testing.T, b *rocketmqtest.Broker) rocketmq.Producer {
	t.Helper()
	p, err := rocketmq.NewProducer(
		rmqproducer.WithNameServer([]string{b.Addr()}),
		rmqproducer.WithGroupName("test-producer"),
		rmqproducer.WithInstanceName(instance()),
		rmqproducer.WithRetry(0),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

func send(t *testing.T, p rocketmq.Producer, m *primitive.Message) *primitive.SendResult {
	t.Helper()
	res, err := p.SendSync(t.Context(), m)
	if err != nil {
		t.Fatalf("send to %s: %v", m.Topic, err)
	}
	if res.Status != primitive.SendOK {
		t.Fatalf("send to %s: status %d", m.Topic, res.Status)
	}
	return res
}

type handler func(*primitive.MessageExt) rmqconsumer.ConsumeResult

func newConsumer(t *testing.T, b *rocketmqtest.Broker, group, topic string, h handler) rocketmq.PushConsumer {
	t.Helper()
	c, err := rocketmq.NewPushConsumer(
		rmqconsumer.WithNameServer([]string{b.Addr()}),
		rmqconsumer.WithGroupName(group),
		rmqconsumer.WithInstance(instance()),
		rmqconsumer.WithConsumeFromWhere(rmqconsumer.ConsumeFromFirstOffset),
		rmqconsumer.WithMaxReconsumeTimes(2),
	)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Subscribe(topic, rmqconsumer.MessageSelector{}, func(_ context.Context, msgs ...*primitive.MessageExt) (rmqconsumer.ConsumeResult, error) {
		for _, m := range msgs {
			if result := h(m); result != rmqconsumer.ConsumeSuccess {
				return result, nil
			}
		}
		return rmqconsumer.ConsumeSuccess, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Shutdown() })
	return c
}

// inbox collects what consumers were given.
type inbox struct {
	mu   sync.Mutex
	seen map[string]int // by body
	by   map[string]int // by receiver
	msgs []*primitive.MessageExt
}

func newInbox() *inbox { return &inbox{seen: map[string]int{}, by: map[string]int{}} }

func (in *inbox) receiver(name string) handler {
	return func(m *primitive.MessageExt) rmqconsumer.ConsumeResult {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.seen[string(m.Body)]++
		in.by[name]++
		in.msgs = append(in.msgs, m)
		return rmqconsumer.ConsumeSuccess
	}
}

func (in *inbox) distinct() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.seen)
}

// count is the number of deliveries whose body begins so.
func (in *inbox) count(prefix string) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := 0
	for body, times := range in.seen {
		if strings.HasPrefix(body, prefix) {
			n += times
		}
	}
	return n
}

func (in *inbox) receivers() map[string]int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return maps.Clone(in.by)
}

func (in *inbox) all() []*primitive.MessageExt {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.msgs)
}

func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func TestSendAndConsume(t *testing.T) {
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 4}, Groups: []string{"G"}})
	p := newProducer(t, b)
	in := newInbox()
	newConsumer(t, b, "G", "T", in.receiver("one"))

	large := strings.Repeat("compressed by the SDK ", 500)
	m := primitive.NewMessage("T", []byte(large))
	m.WithKeys([]string{"key"}).WithTag("tag").WithProperty("own", "value")
	res := send(t, p, m)

	eventually(t, "message consumed", 10*time.Second, func() bool { return in.distinct() == 1 })
	got := in.all()[0]
	if string(got.Body) != large || got.MsgId != res.MsgID || got.OffsetMsgId != res.OffsetMsgID {
		t.Errorf("consumed id %s, offset id %s, %d bytes; sent %s, %s, %d bytes",
			got.MsgId, got.OffsetMsgId, len(got.Body), res.MsgID, res.OffsetMsgID, len(large))
	}
	if got.GetKeys() != "key" || got.GetTags() != "tag" || got.GetProperty("own") != "value" {
		t.Errorf("properties %v", got.GetProperties())
	}
	stored := b.Messages("T")
	if len(stored) != 1 {
		t.Fatalf("%d messages stored", len(stored))
	}
	s := stored[0]
	if string(s.Body) != large || s.MsgID != res.MsgID || s.OffsetMsgID != res.OffsetMsgID || s.SysFlag&1 == 0 {
		t.Errorf("stored id %s, offset id %s, %d bytes, flags %d", s.MsgID, s.OffsetMsgID, len(s.Body), s.SysFlag)
	}
	if s.StoreTimestamp < s.BornTimestamp || s.BornTimestamp != got.BornTimestamp {
		t.Errorf("born %d, stored %d, consumed as born %d", s.BornTimestamp, s.StoreTimestamp, got.BornTimestamp)
	}
}

func TestNothingIsLostAcrossQueues(t *testing.T) {
	const messages, senders = 5000, 16
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 8}, Groups: []string{"G"}})
	p := newProducer(t, b)
	in := newInbox()
	newConsumer(t, b, "G", "T", in.receiver("one"))

	var sending sync.WaitGroup
	for sender := range senders {
		sending.Go(func() {
			for i := sender; i < messages; i += senders {
				if _, err := p.SendSync(t.Context(), primitive.NewMessage("T", []byte(strconv.Itoa(i)))); err != nil {
					t.Errorf("send %d: %v", i, err)
				}
			}
		})
	}
	sending.Wait()
	eventually(t, "all consumed", 60*time.Second, func() bool { return in.distinct() == messages })
	if n := len(in.all()); n != messages {
		t.Errorf("%d deliveries of %d messages", n, messages)
	}
	perQueue := map[int]int64{}
	for _, m := range b.Messages("T") {
		if m.QueueOffset != perQueue[m.QueueID] {
			t.Fatalf("queue %d: offset %d after %d", m.QueueID, m.QueueOffset, perQueue[m.QueueID])
		}
		perQueue[m.QueueID]++
	}
	if len(perQueue) != 8 {
		t.Errorf("queues used: %v", perQueue)
	}
}

func TestDelayLevels(t *testing.T) {
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}, DelayScale: 10})
	p := newProducer(t, b)
	in := newInbox()
	newConsumer(t, b, "G", "T", in.receiver("one"))

	delays := map[string]struct {
		property, value string
		least           int64 // milliseconds, a tenth of the real delay
	}{
		"none":   {"own", "value", 0},
		"level":  {"DELAY", "2", 500},
		"millis": {"TIMER_DELAY_MS", "4000", 400},
		"second": {"TIMER_DELAY_SEC", "3", 300},
		"both":   {"DELAY", "1", 100},
	}
	for body, delay := range delays {
		m := primitive.NewMessage("T", []byte(body))
		m.WithProperty(delay.property, delay.value)
		if body == "both" { // DELAY wins
			m.WithProperty("TIMER_DELAY_SEC", "3600")
		}
		send(t, p, m)
	}
	eventually(t, "all consumed", 20*time.Second, func() bool { return in.distinct() == len(delays) })
	for _, m := range b.Messages("T") {
		if waited, least := m.StoreTimestamp-m.BornTimestamp, delays[string(m.Body)].least; waited < least {
			t.Errorf("%s: stored after %d ms, want at least %d", m.Body, waited, least)
		}
		if m.Properties["DELAY"] != "" && (m.Properties["REAL_TOPIC"] != "T" || m.Properties["REAL_QID"] != "0") {
			t.Errorf("%s: properties %v", m.Body, m.Properties)
		}
	}
	if n := len(b.Scheduled("T")); n != 0 {
		t.Errorf("%d still scheduled", n)
	}
}
