package consumer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/consumer/rocketmqtest"
	"refundd/dedupe"
	"refundd/dedupe/dedupetest"
	"refundd/producer"
)

func quietLog() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// TestHealth: a part is in trouble when it has failed for three seconds
// without a break.
func TestHealth(t *testing.T) {
	fails, works, wait := func(h *Health) { h.Fails(PartRedis, errors.New("down")) }, func(h *Health) { h.Works(PartRedis) },
		func(d time.Duration) func(*Health) { return func(*Health) { <-time.After(d) } }
	type steps []func(*Health)
	rows := []struct {
		name             string
		steps            steps
		failing, trouble bool
	}{
		{"nothing known", steps{}, false, false},
		{"first failure", steps{fails}, true, false},
		{"shortly before", steps{fails, wait(troubleAfter - 1)}, true, false},
		{"long enough", steps{fails, wait(troubleAfter)}, true, true},
		{"repeated", steps{fails, wait(2 * time.Second), fails, wait(time.Second)}, true, true},
		{"with a break", steps{fails, wait(2 * time.Second), works, fails, wait(2 * time.Second)}, true, false},
		{"works again", steps{fails, wait(time.Minute), fails, works}, false, false},
		{"in trouble for long", steps{fails, wait(20 * time.Second), fails, wait(20 * time.Second), fails}, true, true},
		// Nobody is at it any more, so nobody would report success either.
		{"last seen long ago", steps{fails, wait(forgottenAfter)}, false, false},
		{"seen anew", steps{fails, wait(forgottenAfter), fails, wait(troubleAfter - 1)}, true, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHealth(quietLog())
				for _, step := range row.steps {
					step(h)
				}
				if got := h.Failing(PartRedis); got != row.failing {
					t.Errorf("failing is %v", got)
				}
				if got := h.Trouble(PartRedis); got != row.trouble {
					t.Errorf("trouble is %v", got)
				}
				if h.Failing(PartRocketMQ) || h.Trouble(PartRocketMQ) {
					t.Error("another part is touched")
				}
			})
		})
	}
}

// TestHealthTells once that a part is in trouble, and once that it works again.
func TestHealthTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := logrus.New()
		log.SetOutput(&out)
		h := NewHealth(log)
		h.Fails(PartRedis, errors.New("first"))
		h.Works(PartRedis)
		if out.Len() != 0 {
			t.Errorf("a short failure was told: %s", &out)
		}
		for range 10 {
			h.Fails(PartRedis, errors.New("connection refused"))
			<-time.After(time.Second)
		}
		h.Works(PartRedis)
		h.Works(PartRedis)
		for _, want := range []string{"in trouble", "connection refused", "works again"} {
			if n := strings.Count(out.String(), want); n != 1 {
				t.Errorf("%q stands %d times in the log:\n%s", want, n, &out)
			}
		}
	})
}

// TestHealthGrades: what is said, whether the instance is ready, and whether
// intake is suspended.
func TestHealthGrades(t *testing.T) {
	down := errors.New("down")
	topic := func(name string, g Grade, err error) func(*Health) {
		return func(h *Health) { h.Published(name, g, err) }
	}
	found := func(f ...Finding) func(*Health) { return func(h *Health) { h.Found(PartRocketMQ, f) } }
	long := func(*Health) { <-time.After(troubleAfter) }
	type steps []func(*Health)
	rows := []struct {
		name           string
		steps          steps
		words          string
		ready, trouble bool
	}{
		{"nothing", steps{}, "ok", true, false},
		{"one topic refuses", steps{topic("events", Suspended, down), long}, "in trouble: intake is suspended: topic events: down", false, true},
		{
			"one topic refuses and another accepts",
			steps{topic("events", Suspended, down), long, topic("retries", Suspended, nil)},
			"in trouble: intake is suspended: topic events: down", false, true,
		},
		{
			"it accepts again",
			steps{topic("events", Suspended, down), long, topic("events", Suspended, nil)},
			"ok", true, false,
		},
		{"a topic that few need", steps{topic("parked", Degraded, down), long}, "degraded: topic parked: down", true, false},
		{"a moment", steps{found(Finding{"brokers", Unready, down})}, "ok", true, false},
		{"deaf", steps{found(Finding{"group g", Unready, down}), long}, "in trouble: group g: down", false, false},
		{
			"the gravest first",
			steps{found(Finding{"broker a", Degraded, down}, Finding{"publishing to e", Suspended, down}, Finding{"group g", Unready, down}), long},
			"in trouble: intake is suspended: publishing to e, group g, broker a: down", false, true,
		},
		{
			"another probe finds less",
			steps{found(Finding{"broker a", Degraded, down}, Finding{"group g", Unready, down}), long, found(Finding{"broker a", Degraded, down})},
			"degraded: broker a: down", true, false,
		},
		{
			"one trouble takes the place of another",
			steps{found(Finding{"brokers", Unready, down}), long, found(Finding{"group g", Unready, down})},
			"in trouble: group g: down", false, false,
		},
		{
			"a graver one begins",
			steps{found(Finding{"broker a", Degraded, down}), long, found(Finding{"group g", Unready, down})},
			"ok", true, false,
		},
		{
			"a probe does not refute a publish",
			steps{topic("events", Suspended, down), long, found()},
			"in trouble: intake is suspended: topic events: down", false, true,
		},
		{
			"nor a publish a probe",
			steps{found(Finding{"topic events", Unready, down}), long, topic("events", Suspended, nil)},
			"in trouble: topic events: down", false, false,
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHealth(quietLog())
				for _, step := range row.steps {
					step(h)
				}
				if words, ready := h.State(PartRocketMQ); words != row.words || ready != row.ready {
					t.Errorf("%q, ready %v", words, ready)
				}
				if got := h.Trouble(PartRocketMQ); got != row.trouble {
					t.Errorf("trouble is %v", got)
				}
				if words, ready := h.State(PartRedis); words != "ok" || !ready || h.Trouble(PartRedis) {
					t.Errorf("redis is touched: %q", words)
				}
			})
		})
	}
}

// TestHealthOfMasters: intake goes on as long as one master of a Cluster takes a
// write, whatever the commands of another meet.
func TestHealthOfMasters(t *testing.T) {
	lost := errors.New("lost")
	rows := []struct {
		name                    string
		masters                 map[string]error
		words                   string
		ready, trouble, partial bool
	}{
		{"all", map[string]error{"a": nil, "b": nil}, "ok", true, false, false},
		{"one of two", map[string]error{"a": nil, "b": lost}, "degraded: master b: lost", true, false, true},
		{"none", map[string]error{"a": lost, "b": lost}, "in trouble: intake is suspended: lost; lost", false, true, false},
		{"the only one", map[string]error{"": lost}, "in trouble: intake is suspended: lost", false, true, false},
		{"nobody could be asked", map[string]error{}, "in trouble: intake is suspended: no master was asked", false, true, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHealth(quietLog())
				for range 5 {
					h.Wrote(row.masters)
					if row.partial {
						h.Fails(PartRedis, lost) // a command of the lost one
					}
					<-time.After(probeTime + watchEvery)
				}
				if words, ready := h.State(PartRedis); words != row.words || ready != row.ready {
					t.Errorf("%q, ready %v", words, ready)
				}
				if h.Trouble(PartRedis) != row.trouble || h.Partly(PartRedis) != row.partial {
					t.Errorf("trouble %v, partly %v", h.Trouble(PartRedis), h.Partly(PartRedis))
				}
				h.Wrote(map[string]error{"a": nil})
				if words, ready := h.State(PartRedis); words != "ok" || !ready {
					t.Errorf("works again: %q", words)
				}
			})
		})
	}
}

// TestReadinessIsTrueInTime: what Redis' probe finds suspends intake and is told
// within ten seconds.
func TestReadinessIsTrueInTime(t *testing.T) {
	if late := watchEvery + probeEvery + probeTime + troubleAfter; late > 10*time.Second {
		t.Errorf("%v", late)
	}
	if probeTime+watchEvery >= troubleAfter {
		t.Error("one silent master makes all of them look silent")
	}
}

// TestTopicsFailApart: while the parked topic refuses, what has to be parked
// waits, and the other commands go on; the event topic is everybody's.
func TestTopicsFailApart(t *testing.T) {
	b := newBench(t, nil)
	refuse := func(topic string) {
		b.broker.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
			if r.Code == rocketmqtest.CodeSend && r.Topic == topic {
				return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.NoPermission}
			}
			return rocketmqtest.Action{}
		})
	}
	var pending sync.WaitGroup
	defer pending.Wait()
	waiting := func(d Delivery) {
		pending.Go(func() { b.handler.Handle(context.Background(), d) })
	}
	refuse(parkedTopic)
	waiting(b.command("no command at all"))
	waitFor(t, "the parked topic's trouble", func() bool { words, _ := b.health.State(PartRocketMQ); return strings.Contains(words, parkedTopic) })
	if words, ready := b.health.State(PartRocketMQ); !ready || b.health.Trouble(PartRocketMQ) {
		t.Errorf("parking alone fails: %q", words)
	}
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	refuse(eventTopic)
	waiting(b.command(refundBody("R2", "T2", "3.00")))
	waitFor(t, "suspension", func() bool { return b.health.Trouble(PartRocketMQ) })
	if words, ready := b.health.State(PartRocketMQ); ready || !strings.Contains(words, "topic "+eventTopic) {
		t.Errorf("no event can be published: %q", words)
	}
	b.broker.SetHook(nil)
	waitFor(t, "the end", func() bool { words, _ := b.health.State(PartRocketMQ); return words == "ok" })
}

// TestReadsDoNotCountAsWorks: Redis answers what only reads and refuses to write.
// Copies of what was decided are answered all the time, and that is no reason to
// think that a new command could be claimed.
func TestReadsDoNotCountAsWorks(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Patience = time.Millisecond })
	memory := dedupetest.NewRedis(time.Now)
	client := memory.Client(nil)
	t.Cleanup(func() { _ = client.Close() })
	var err error
	b.store, err = dedupe.New(client, dedupe.Config{Lease: b.cfg.Lease, Keep: b.cfg.Keep})
	check(t, err)
	b.reopen()
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	if e := b.final("R1"); e.Outcome != producer.Succeeded {
		t.Fatalf("got %s", e.Outcome)
	}
	memory.Refuse(errors.New("OOM command not allowed"))
	b.handle(b.command(refundBody("R2", "T2", "3.00")))
	if !b.health.Failing(PartRedis) {
		t.Fatal("the claim was taken")
	}
	published := len(b.events())
	b.handle(b.command(refundBody("R1", "T1", "3.00")))
	if len(b.events()) == published {
		t.Fatal("the copy was not answered from what is stored")
	}
	if !b.health.Failing(PartRedis) {
		t.Error("what only read has reported that Redis works")
	}
	memory.Refuse(nil)
	b.handle(b.command(refundBody("R3", "T3", "3.00")))
	if b.health.Failing(PartRedis) {
		t.Error("a claim that was won has not")
	}
}
