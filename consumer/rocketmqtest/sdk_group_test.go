//go:build !race

// See sdk_test.go for the reason of the build constraint.

package rocketmqtest_test

import (
	"context"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	rmqconsumer "github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"refundd/consumer/rocketmqtest"
)

// awaitCommit waits until all messages now in the topic are committed. The SDK
// notes a message as done only after its handler has returned, and commits with
// the next pull; further messages, called nudge, make the suspended pull return.
func awaitCommit(t *testing.T, b *rocketmqtest.Broker, group, topic string) {
	t.Helper()
	want := map[int]int64{}
	for _, m := range b.Messages(topic) {
		want[m.QueueID] = m.QueueOffset + 1
	}
	eventually(t, "all committed", 10*time.Second, func() bool {
		done := true
		for q, offset := range want {
			if b.Committed(group, topic)[q] >= offset {
				continue
			}
			done = false
			if _, err := b.Append(rocketmqtest.Message{Topic: topic, QueueID: q, Body: []byte("nudge")}); err != nil {
				t.Fatal(err)
			}
		}
		return done
	})
}

func TestMembersShareQueues(t *testing.T) {
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 6}, Groups: []string{"G"}})
	in := newInbox()
	consumers := map[string]rocketmq.PushConsumer{}
	for _, name := range []string{"one", "two", "three"} {
		consumers[name] = newConsumer(t, b, "G", "T", in.receiver(name))
	}
	eventually(t, "three members", 10*time.Second, func() bool { return len(b.Members("G")) == 3 })

	sent := 0
	post := func() {
		if _, err := b.Append(rocketmqtest.Message{Topic: "T", QueueID: sent % 6, Body: []byte(strconv.Itoa(sent))}); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	eventually(t, "each member gets messages", 60*time.Second, func() bool {
		post()
		return len(in.receivers()) == 3
	})

	if err := consumers["three"].Shutdown(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two members", 10*time.Second, func() bool { return len(b.Members("G")) == 2 })
	for range 30 {
		post()
	}
	eventually(t, "the others take over", 60*time.Second, func() bool { return in.distinct() == sent })
}

func TestCommittedOffsetsSurviveConsumerRestart(t *testing.T) {
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 2}, Groups: []string{"G"}})
	p := newProducer(t, b)
	first := newInbox()
	c := newConsumer(t, b, "G", "T", first.receiver("first"))
	for i := range 20 {
		send(t, p, primitive.NewMessage("T", []byte("early "+strconv.Itoa(i))))
	}
	eventually(t, "all consumed", 10*time.Second, func() bool { return first.count("early") == 20 })
	awaitCommit(t, b, "G", "T")
	if err := c.Shutdown(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "member gone", 10*time.Second, func() bool { return len(b.Members("G")) == 0 })

	second := newInbox()
	newConsumer(t, b, "G", "T", second.receiver("second"))
	for i := range 5 {
		send(t, p, primitive.NewMessage("T", []byte("later "+strconv.Itoa(i))))
	}
	eventually(t, "later messages consumed", 20*time.Second, func() bool { return second.count("later") == 5 })
	if n := second.count("early"); n != 0 {
		t.Errorf("%d messages that the first consumer had committed came again", n)
	}
}

func TestRetryCopyAndDeadLetter(t *testing.T) {
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}, DelayScale: 100})
	p := newProducer(t, b)
	var runs atomic.Int64
	in := newInbox()
	keep := in.receiver("one")
	newConsumer(t, b, "G", "T", func(m *primitive.MessageExt) rmqconsumer.ConsumeResult {
		runs.Add(1)
		keep(m)
		return rmqconsumer.ConsumeRetryLater
	})
	res := send(t, p, primitive.NewMessage("T", []byte("always fails")))
	eventually(t, "dead letter", 20*time.Second, func() bool { return len(b.Messages("%DLQ%G")) == 1 })
	if n := runs.Load(); n != 3 { // once, and 2 retries
		t.Errorf("%d runs, want 3", n)
	}
	for i, m := range in.all() {
		if m.Topic != "T" || m.MsgId != res.MsgID || int(m.ReconsumeTimes) != i {
			t.Errorf("run %d: topic %s, id %s, reconsumed %d", i, m.Topic, m.MsgId, m.ReconsumeTimes)
		}
	}
	retries := b.Messages("%RETRY%G")
	if len(retries) != 2 {
		t.Fatalf("%d retry copies", len(retries))
	}
	for i, m := range retries {
		if m.ReconsumeTimes != i+1 || m.Properties["DELAY"] != strconv.Itoa(3+i) || m.Properties["RETRY_TOPIC"] != "T" ||
			m.Properties["ORIGIN_MESSAGE_ID"] != res.OffsetMsgID {
			t.Errorf("copy %d: reconsumed %d, properties %v", i, m.ReconsumeTimes, m.Properties)
		}
	}
}

func TestUnknownGroupIsIgnored(t *testing.T) {
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 1}})
	in := newInbox()
	newConsumer(t, b, "nobody", "T", in.receiver("one"))
	eventually(t, "heartbeat answered", 10*time.Second, func() bool {
		return b.Count(rocketmqtest.CodeHeartbeat, rocketmqtest.Pass) > 0 && b.Count(rocketmqtest.CodeConsumerList, rocketmqtest.Pass) > 0
	})
	if ids := b.Members("nobody"); len(ids) != 0 {
		t.Errorf("members %v", ids)
	}
}

func TestAutoCreate(t *testing.T) {
	b := start(t, rocketmqtest.Config{AutoCreate: true})
	send(t, newProducer(t, b), primitive.NewMessage("fresh", []byte("x")))
	in := newInbox()
	newConsumer(t, b, "fresh-group", "fresh", in.receiver("one"))
	eventually(t, "consumed", 10*time.Second, func() bool { return in.distinct() == 1 })
}

func TestSendToAbsentTopicFails(t *testing.T) {
	b := start(t, rocketmqtest.Config{})
	_, err := newProducer(t, b).SendSync(t.Context(), primitive.NewMessage("absent", []byte("x")))
	if err == nil {
		t.Error("no error")
	}
}

func TestPullConsumerReadsRange(t *testing.T) {
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 2}, Groups: []string{"replay"}})
	for i := range 10 {
		if _, err := b.Append(rocketmqtest.Message{Topic: "T", QueueID: 1, Body: []byte(strconv.Itoa(i))}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := rocketmq.NewPullConsumer(
		rmqconsumer.WithNameServer([]string{b.Addr()}),
		rmqconsumer.WithGroupName("replay"),
		rmqconsumer.WithInstance(instance()),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Subscribe("T", rmqconsumer.MessageSelector{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Shutdown() })
	queue := &primitive.MessageQueue{Topic: "T", BrokerName: rocketmqtest.BrokerName, QueueId: 1}
	pull := func(offset int64, n int) (*primitive.PullResult, []string) {
		t.Helper()
		res, err := c.PullFrom(context.Background(), queue, offset, n)
		if err != nil {
			t.Fatal(err)
		}
		var bodies []string
		for _, m := range res.GetMessageExts() {
			bodies = append(bodies, string(m.Body))
		}
		return res, bodies
	}

	res, bodies := pull(3, 4)
	if res.Status != primitive.PullFound || res.NextBeginOffset != 7 || res.MaxOffset != 10 || !slices.Equal(bodies, []string{"3", "4", "5", "6"}) {
		t.Errorf("%v, bodies %v", res, bodies)
	}
	res, _ = pull(99, 4)
	if res.Status != primitive.PullOffsetIllegal || res.NextBeginOffset != 10 {
		t.Errorf("past the end: %v", res)
	}

	b.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code == rocketmqtest.CodePull && r.ExtFields["maxMsgNums"] == "3" {
			return rocketmqtest.Action{Kind: rocketmqtest.Reorder}
		}
		return rocketmqtest.Action{}
	})
	if _, bodies = pull(0, 3); !slices.Equal(bodies, []string{"2", "1", "0"}) {
		t.Errorf("reordered: %v", bodies)
	}
	if n := b.Count(rocketmqtest.CodePull, rocketmqtest.Reorder); n != 1 {
		t.Errorf("%d pulls reordered", n)
	}
	if offsets := b.Committed("replay", "T"); offsets[1] != 0 {
		t.Errorf("reading committed %v", offsets)
	}
}

func TestAdmin(t *testing.T) {
	b := start(t, rocketmqtest.Config{Groups: []string{"G"}})
	a, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{b.Addr()})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	ctx := t.Context()
	if err := a.CreateTopic(ctx, admin.WithTopicCreate("made"), admin.WithBrokerAddrCreate(b.Addr()), admin.WithReadQueueNums(3), admin.WithWriteQueueNums(3)); err != nil {
		t.Fatal(err)
	}
	queues, err := a.FetchPublishMessageQueues(ctx, "made")
	if err != nil || len(queues) != 3 {
		t.Errorf("%d queues, error %v", len(queues), err)
	}
	topics, err := a.FetchAllTopicList(ctx)
	if err != nil || !slices.Equal(topics.TopicList, []string{"%RETRY%G", "%RETRY%TOOLS_CONSUMER", "made"}) {
		t.Errorf("topics %v, error %v", topics, err)
	}
	groups, err := a.GetAllSubscriptionGroup(ctx, b.Addr(), 3*time.Second)
	if err != nil || len(groups.SubscriptionGroupTable) != 2 {
		t.Errorf("groups %v, error %v", groups, err)
	}
	if err := a.DeleteTopic(ctx, admin.WithTopicDelete("made"), admin.WithBrokerAddrDelete(b.Addr()), admin.WithNameSrvAddr([]string{b.Addr()})); err != nil {
		t.Fatal(err)
	}
	topics, err = a.FetchAllTopicList(ctx)
	if err != nil || !slices.Equal(topics.TopicList, []string{"%RETRY%G", "%RETRY%TOOLS_CONSUMER"}) {
		t.Errorf("topics after deletion %v, error %v", topics, err)
	}
}

func TestOddMessages(t *testing.T) {
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}})
	in := newInbox()
	newConsumer(t, b, "G", "T", in.receiver("one"))
	plain, err := b.Append(rocketmqtest.Message{Topic: "T", Body: []byte("no UNIQ_KEY"), BornTimestamp: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(rocketmqtest.Message{Topic: "T", Body: []byte("not zlib"), SysFlag: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Append(rocketmqtest.Message{Topic: "absent"}); err == nil {
		t.Error("append to an absent topic succeeded")
	}
	eventually(t, "both consumed", 10*time.Second, func() bool { return len(in.all()) == 2 })
	for _, m := range in.all() {
		if m.QueueOffset == 0 && (m.MsgId != plain.OffsetMsgID || m.BornTimestamp != 1) {
			t.Errorf("without UNIQ_KEY: id %s, want %s; born %d", m.MsgId, plain.OffsetMsgID, m.BornTimestamp)
		}
	}
	if got := string(b.Messages("T")[1].Body); got != "not zlib" {
		t.Errorf("broken body listed as %q", got)
	}
}
