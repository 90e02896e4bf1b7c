//go:build !race

// See adapter_test.go for the reason of the build constraint.

package consumer

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/consumer/rocketmqtest"
	"refundd/producer"
)

// living counts, by number, the messages that are still to be delivered.
func (r *rig) living() map[string]int {
	r.t.Helper()
	// In this order: what becomes due in between is seen twice, never not at all.
	messages := r.broker.Scheduled(retryTopic)
	messages = append(messages, r.broker.Messages(retryTopic)...)
	messages = append(messages, r.broker.Messages(refundTopic)...)
	living, seen := map[string]int{}, map[string]bool{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range messages {
		if r.ended[m.MsgID] || seen[m.MsgID] {
			continue
		}
		seen[m.MsgID] = true
		var cmd struct {
			OutRequestNo string `json:"out_request_no"`
		}
		check(r.t, json.Unmarshal(m.Body, &cmd))
		living[cmd.OutRequestNo]++
	}
	return living
}

func (r *rig) endedSoFar() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ended)
}

// newUndecided is a rig whose n commands stay undecided until they are healed.
func newUndecided(t *testing.T, n int) (r *rig, numbers, bodies []string) {
	t.Helper()
	r = newRig(t, func(c *Config) {
		c.Lease, c.AlipayTimeout = 4*time.Second, 2*time.Second
		c.RetryDelays = slices.Repeat([]time.Duration{5 * time.Second}, 1000) // 250 ms
	})
	r.openGateway(alipaytest.Config{FaultFor: time.Hour})
	numbers, bodies = refunds("fault-balance-", n)
	return r, numbers, bodies
}

// awaitOneEach stops the process whenever the copies seem to have merged, for
// only then can they be counted, and starts another if they have not.
func (r *rig) awaitOneEach(p *process, numbers []string) {
	r.t.Helper()
	for range 20 {
		before := r.endedSoFar()
		await(r.t, "merging", func() bool {
			if r.endedSoFar() < before+3*len(numbers) { // every copy had its turn
				return false
			}
			sum := 0
			for _, n := range r.living() {
				sum += n
			}
			return sum <= len(numbers)+len(numbers)/10
		})
		r.stop(p)
		living := r.living()
		more := 0
		for _, number := range numbers {
			switch {
			case living[number] == 0:
				r.t.Fatalf("%s is lost: no message of it lives", number)
			case living[number] > 1:
				more++
			}
		}
		if more == 0 {
			return
		}
		p = r.start(64)
	}
	r.t.Fatalf("copies never merge: %v", r.living())
}

// finish heals Alipay and sees every command to its end, with no copy left.
func (r *rig) finish(numbers []string) {
	r.t.Helper()
	r.alipay.Heal()
	r.start(64)
	r.awaitFinals(numbers)
	await(r.t, "the end of all copies", func() bool { return len(r.living()) == 0 })
}

// TestCopiesDoNotMultiply (R7): every retry is stored but confirmed late, not
// at all, or half, so each is published again and again. Of all these copies
// one per command remains.
func TestCopiesDoNotMultiply(t *testing.T) {
	t.Parallel()
	r, numbers, bodies := newUndecided(t, 30)
	var stored atomic.Int64
	r.broker.SetHook(func(q rocketmqtest.Request) rocketmqtest.Action {
		if q.Topic != retryTopic || q.Properties == nil {
			return rocketmqtest.Action{}
		}
		switch stored.Add(1) % 3 {
		case 0: // beyond the producer's time-out
			return rocketmqtest.Action{Delay: 2500 * time.Millisecond}
		case 1:
			return rocketmqtest.Action{Kind: rocketmqtest.StoreButStaySilent}
		default:
			return rocketmqtest.Action{Kind: rocketmqtest.Status, Code: rocketmqtest.FlushDiskTimeout}
		}
	})
	p := r.process(64)
	check(t, p.Start(t.Context()))
	r.post(bodies...)
	most := 0
	await(t, "too many copies", func() bool {
		sum := 0
		for _, n := range r.living() {
			sum += n
		}
		most = max(most, sum)
		return most > 4*len(numbers)
	})
	r.broker.SetHook(nil)
	r.awaitOneEach(p, numbers)
	t.Logf("at most %d messages of %d commands lived at once", most, len(numbers))
	r.finish(numbers)
}

// TestQueuesTakenAway (R7): again and again all queues are taken away and given
// back while handlers run, so what they did is done again elsewhere. The copies
// merge, nothing is lost, and what the SDK says of it has no message in it.
func TestQueuesTakenAway(t *testing.T) {
	t.Parallel()
	r, numbers, bodies := newUndecided(t, 30)
	const canary = "canary-of-a-body"
	for i := range bodies {
		bodies[i] = strings.TrimSuffix(bodies[i], "}") + fmt.Sprintf(`,"metadata":{"k":%q}}`, canary)
	}
	r.gateway.pause.Store(int64(100 * time.Millisecond))
	p := r.start(64)
	r.post(bodies...)
	for range 4 {
		await(t, "calls in flight", func() bool { return r.gateway.calls() >= len(numbers)/2 })
		r.takeQueuesAway()
	}
	r.gateway.pause.Store(0)
	r.awaitOneEach(p, numbers)
	r.finish(numbers)
	log := sdkOutput.String()
	for _, want := range []string{"remove unnecessary mq", "dropped without process consume result"} {
		if !strings.Contains(log, want) {
			t.Errorf("the SDK never said %q, so nothing is proven", want)
		}
	}
	if strings.Contains(log, canary) {
		t.Error("the SDK's log holds a message")
	}
	for _, e := range r.events() {
		if e.Outcome == producer.Unresolved {
			t.Errorf("%s is unresolved: %s", e.OutRequestNo, e.Reason)
		}
	}
}

// takeQueuesAway makes the consumer ask for the members while the broker
// refuses to name them, upon which the SDK gives all queues up, and then again.
func (r *rig) takeQueuesAway() {
	r.t.Helper()
	refused := r.broker.Count(rocketmqtest.CodeConsumerList, rocketmqtest.Refuse)
	r.broker.SetHook(func(q rocketmqtest.Request) rocketmqtest.Action {
		if q.Code == rocketmqtest.CodeConsumerList {
			return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.SystemError}
		}
		return rocketmqtest.Action{}
	})
	leave := r.join()
	topics := 3 // with the group's own retry topic
	await(r.t, "queues given up", func() bool {
		return r.broker.Count(rocketmqtest.CodeConsumerList, rocketmqtest.Refuse) >= refused+topics
	})
	r.broker.SetHook(nil)
	passed := r.broker.Count(rocketmqtest.CodeConsumerList, rocketmqtest.Pass)
	leave()
	await(r.t, "queues taken again", func() bool {
		return r.broker.Count(rocketmqtest.CodeConsumerList, rocketmqtest.Pass) >= passed+topics
	})
}

// join makes one more member of the group, which consumes nothing; the broker
// tells all others when it comes and when it leaves.
func (r *rig) join() (leave func()) {
	r.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(r.t.Context(), "tcp", r.broker.Addr())
	check(r.t, err)
	body := fmt.Sprintf(`{"clientID":"passer-by","consumerDataSet":[{"groupName":%q}]}`, testGroup)
	header := fmt.Sprintf(`{"code":%d,"language":"GO","version":317,"opaque":1,"flag":0}`, rocketmqtest.CodeHeartbeat)
	var frame []byte
	frame = binary.BigEndian.AppendUint32(frame, uint32(4+len(header)+len(body)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	_, err = conn.Write(append(append(frame, header...), body...))
	check(r.t, err)
	await(r.t, "one more member", func() bool { return len(r.broker.Members(testGroup)) == 2 })
	return func() {
		check(r.t, conn.Close())
		await(r.t, "one member less", func() bool { return len(r.broker.Members(testGroup)) == 1 })
	}
}
