//go:build !race

// See sdk_test.go for the reason of the build constraint.

package rocketmqtest_test

import (
	"context"
	"testing"
	"time"

	rmqconsumer "github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"refundd/consumer/rocketmqtest"
)

// once gives the first request with this code the action, and passes the rest.
func once(code int, act rocketmqtest.Action) func(rocketmqtest.Request) rocketmqtest.Action {
	used := false // hooks are called one at a time
	return func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code != code || used {
			return rocketmqtest.Action{}
		}
		used = true
		return act
	}
}

func TestHookOnSend(t *testing.T) {
	const wait = 400 * time.Millisecond // for answers that do not come
	for _, tc := range []struct {
		name   string
		act    rocketmqtest.Action
		stored int
		fails  bool
		status primitive.SendStatus
	}{
		{"pass", rocketmqtest.Action{}, 1, false, primitive.SendOK},
		{"refuse", rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.SystemBusy, Remark: "busy"}, 0, true, 0},
		{"silent", rocketmqtest.Action{Kind: rocketmqtest.Silent}, 0, true, 0},
		{"store but stay silent", rocketmqtest.Action{Kind: rocketmqtest.StoreButStaySilent}, 1, true, 0},
		{"reset", rocketmqtest.Action{Kind: rocketmqtest.Reset}, 0, true, 0},
		{"reset after", rocketmqtest.Action{Kind: rocketmqtest.ResetAfter}, 1, true, 0},
		{"duplicate", rocketmqtest.Action{Kind: rocketmqtest.Duplicate}, 2, false, primitive.SendOK},
		{"flush timeout", rocketmqtest.Action{Kind: rocketmqtest.Status, Code: rocketmqtest.FlushDiskTimeout}, 1, false, primitive.SendFlushDiskTimeout},
		{"late", rocketmqtest.Action{Delay: 2 * wait}, 1, true, 0},
		{"a little late", rocketmqtest.Action{Delay: wait / 10}, 1, false, primitive.SendOK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 1}})
			p := newProducer(t, b)
			var seen rocketmqtest.Request
			act := once(rocketmqtest.CodeSend, tc.act)
			b.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
				if r.Code == rocketmqtest.CodeSend {
					seen = r
				}
				return act(r)
			})
			m := primitive.NewMessage("T", []byte("x"))
			m.WithProperty("own", "value")
			patience := 20 * time.Second
			if tc.fails {
				patience = wait
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			res, err := p.SendSync(ctx, m)
			if (err != nil) != tc.fails {
				t.Fatalf("error %v", err)
			}
			if err == nil && res.Status != tc.status {
				t.Errorf("status %d, want %d", res.Status, tc.status)
			}
			eventually(t, "counted", 5*time.Second, func() bool { return b.Count(rocketmqtest.CodeSend, tc.act.Kind) == 1 })
			if n := len(b.Messages("T")); n != tc.stored {
				t.Errorf("%d stored, want %d", n, tc.stored)
			}
			b.SetHook(nil)
			if seen.Topic != "T" || seen.Group != "test-producer" || seen.Properties["own"] != "value" || string(seen.Body) != "x" {
				t.Errorf("hook saw topic %s, group %s, properties %v, %d bytes", seen.Topic, seen.Group, seen.Properties, len(seen.Body))
			}
			if delayed := b.Delayed(rocketmqtest.CodeSend) == 1; delayed != (tc.act.Delay > 0) {
				t.Errorf("delay carried out: %v", delayed)
			}
			eventually(t, "the next send works", 20*time.Second, func() bool {
				_, err := p.SendSync(t.Context(), primitive.NewMessage("T", []byte("next")))
				return err == nil
			})
		})
	}
}

// The SDK takes any answer to a send-back for success, which is why the
// product must not use it; this is the fault that shows it.
func TestRefusedSendBackLosesMessage(t *testing.T) {
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}})
	b.SetHook(once(rocketmqtest.CodeSendBack, rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.SystemError}))
	in := newInbox()
	keep := in.receiver("one")
	newConsumer(t, b, "G", "T", func(m *primitive.MessageExt) rmqconsumer.ConsumeResult {
		keep(m)
		if string(m.Body) == "lost" {
			return rmqconsumer.ConsumeRetryLater
		}
		return rmqconsumer.ConsumeSuccess
	})
	send(t, newProducer(t, b), primitive.NewMessage("T", []byte("lost")))
	eventually(t, "send-back refused", 10*time.Second, func() bool { return b.Count(rocketmqtest.CodeSendBack, rocketmqtest.Refuse) == 1 })
	awaitCommit(t, b, "G", "T")
	if n := len(b.Scheduled("%RETRY%G")) + len(b.Messages("%RETRY%G")); n != 0 {
		t.Errorf("%d retry copies", n)
	}
}

func TestRestartKeepsStoreAndOffsets(t *testing.T) {
	b := start(t, rocketmqtest.Config{Topics: map[string]int{"T": 1}, Groups: []string{"G"}})
	p := newProducer(t, b)
	first := newInbox()
	c := newConsumer(t, b, "G", "T", first.receiver("first"))
	send(t, p, primitive.NewMessage("T", []byte("before")))
	eventually(t, "consumed", 10*time.Second, func() bool { return first.distinct() == 1 })
	awaitCommit(t, b, "G", "T")
	if err := c.Shutdown(); err != nil {
		t.Fatal(err)
	}

	if err := b.Restart(200 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if ids := b.Members("G"); len(ids) != 0 {
		t.Errorf("members after restart: %v", ids)
	}
	eventually(t, "the producer reconnects", 20*time.Second, func() bool {
		_, err := p.SendSync(t.Context(), primitive.NewMessage("T", []byte("after")))
		return err == nil
	})
	second := newInbox()
	newConsumer(t, b, "G", "T", second.receiver("second"))
	eventually(t, "consumed", 10*time.Second, func() bool { return second.count("after") == 1 })
	if n := second.count("before"); n != 0 || string(b.Messages("T")[0].Body) != "before" {
		t.Errorf("%d deliveries of a committed message, stored first: %s", n, b.Messages("T")[0].Body)
	}
}
