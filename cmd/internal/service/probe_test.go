//go:build !race

// See service_test.go for the reason of the build constraint.

package service

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/consumer"
	"refundd/consumer/remoting"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe/dedupetest"
	"refundd/producer"
)

// TestReadinessIsTrueInTime: what a probe finds is told within ten seconds,
// though the first answer may be as late as can be.
func TestReadinessIsTrueInTime(t *testing.T) {
	if late := brokersEvery + brokersTime + 3*time.Second; late > 10*time.Second {
		t.Errorf("%v", late)
	}
}

// unready waits for 503 and returns what readiness says of the part.
func (w *world) unready(part, words string) {
	w.t.Helper()
	var said string
	dedupetest.Until(w.t, "503 with "+part+": "+words, func() bool {
		status, parts := w.readiness(w.cfg)
		said = parts[part]
		return status == http.StatusServiceUnavailable && strings.Contains(said, words)
	})
}

func (w *world) ready() {
	w.t.Helper()
	dedupetest.Until(w.t, "readiness", func() bool { status, _ := w.readiness(w.cfg); return status == http.StatusOK })
}

// degraded waits for 200 and the words.
func (w *world) degraded(part, words string) {
	w.t.Helper()
	dedupetest.Until(w.t, part+" degraded: "+words, func() bool {
		status, parts := w.readiness(w.cfg)
		return status == http.StatusOK && strings.HasPrefix(parts[part], "degraded: ") && strings.Contains(parts[part], words)
	})
}

// logged waits for a line of the log about the part.
func (w *world) logged(part, words string) {
	w.t.Helper()
	dedupetest.Until(w.t, "a log line "+words, func() bool {
		for _, e := range w.log.AllEntries() {
			if line, err := e.String(); err == nil && e.Data["part"] == part && strings.Contains(line, words) {
				return true
			}
		}
		return false
	})
}

// TestBrokerAwayWithoutTraffic: nothing flows, and readiness knows.
func TestBrokerAwayWithoutTraffic(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	w.ready()
	w.broker.SetHook(func(rocketmqtest.Request) rocketmqtest.Action { return rocketmqtest.Action{Kind: rocketmqtest.Reset} })
	w.unready("rocketmq", "none can be reached")
	w.logged("rocketmq", "not ready")
	w.broker.SetHook(nil)
	w.ready()
	w.logged("rocketmq", "works again")
}

// TestDeafInstanceIsNotReady: with a wrong secret the client starts, and nothing
// ever arrives.
func TestDeafInstanceIsNotReady(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	w.ready()
	w.broker.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		switch r.Code {
		case rocketmqtest.CodeRoute, rocketmqtest.CodeClusterInfo:
			return rocketmqtest.Action{}
		}
		return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.NoPermission, Remark: "check signature failed"}
	})
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	w.begin()
	w.unready("rocketmq", "check signature failed")
	w.logged("rocketmq", "check signature failed")
	for _, e := range w.log.AllEntries() {
		if strings.Contains(e.Message, "refundd consumes") {
			t.Error("it says that it consumes")
		}
	}
	w.broker.SetHook(nil)
	w.ready()
	w.logged("rocketmq", "works again")
	if status, parts := w.readiness(w.cfg); status != http.StatusOK || parts["rocketmq"] != "ok" {
		t.Errorf("%d %q", status, parts)
	}
}

// TestTopicInTrouble: a topic that refuses is named although the others take
// what is published. Without events nothing may begin; what is to be parked can
// wait.
func TestTopicInTrouble(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	w.ready()
	refuse := func(code int, topics ...string) {
		w.broker.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
			if r.Code == code && slices.Contains(topics, r.Topic) {
				return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.NoPermission}
			}
			return rocketmqtest.Action{}
		})
	}
	refuse(rocketmqtest.CodeSend, "refund-parked")
	w.degraded("rocketmq", "publishing to refund-parked")
	w.command("refund-command", `{"out_request_no": "R1", "out_trade_no": "T1", "refund_amount": "1.00"}`)
	w.event("R1", producer.Succeeded)

	refuse(rocketmqtest.CodeSend, "refund-event")
	w.unready("rocketmq", "intake is suspended: publishing to refund-event")
	w.logged("rocketmq", "publishing to refund-event")
	calls := len(w.sim.Calls())
	w.command("refund-command", `{"out_request_no": "R2", "out_trade_no": "T2", "refund_amount": "1.00"}`)
	refuse(rocketmqtest.CodeSend, "refund-event", "refund-retry")
	w.unready("rocketmq", "publishing to refund-retry")
	if n := len(w.sim.Calls()); n != calls {
		t.Errorf("%d calls while no event could be published", n-calls)
	}
	refuse(rocketmqtest.CodeQueryOffset, "refund-command")
	w.unready("rocketmq", "in trouble: consuming refund-command")
	w.broker.SetHook(nil)
	w.ready()
	dedupetest.Until(t, "the second event", func() bool { return len(w.broker.Messages("refund-event")) > 1 })
	w.event("R2", producer.Succeeded)
}

// TestOneOfTwoBrokersIsEnough: what one of them does is no trouble, and the other
// is named.
func TestOneOfTwoBrokersIsEnough(t *testing.T) {
	t.Parallel()
	w := startWorld(t, nil)
	w.ready()
	config := rocketmqtest.Config{Groups: []string{"refundd"}, Topics: map[string]int{
		"refund-command": 1, "coupon-refund-command": 1, "refund-event": 1, "refund-retry": 1, "refund-parked": 1,
	}}
	other, err := rocketmqtest.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	_, instance, _ := strings.Cut(w.broker.Members("refundd")[0], consumerPrefix)
	s := &service{cfg: w.cfg, instance: instance}
	p := s.brokerProbe()
	look := func() (worst consumer.Grade, of []string, member bool) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		findings, member := p.look(ctx)
		for _, f := range findings {
			worst = max(worst, f.Grade)
			of = append(of, f.Of)
		}
		return worst, of, member
	}
	if _, of, member := look(); len(of) != 0 || !member {
		t.Fatalf("all is well: %q, member %v", of, member)
	}
	p.servers = []string{"127.0.0.1:1"} // or it would take the second broker away again
	for topic, queues := range p.routes {
		second := queues[0]
		second.Broker, second.Address = "second", other.Addr()
		p.routes[topic] = append(queues, second)
	}
	lacks := func(what, name string, want consumer.Grade) {
		t.Helper()
		worst, of, member := look()
		named := false
		for _, one := range of {
			named = named || one == name
		}
		if worst != want || !named || member != (want == consumer.Degraded) {
			t.Errorf("%s: grade %d, %q, member %v", what, worst, of, member)
		}
	}
	lacks("the second does not know us yet", "group refundd at "+other.Addr(), consumer.Degraded)
	lacks("no name server", "name server 127.0.0.1:1", consumer.Degraded)
	other.DeleteTopic("refund-event")
	lacks("the second lacks a topic", "publishing to refund-event at "+other.Addr(), consumer.Degraded)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	lacks("the second is down", "broker "+other.Addr(), consumer.Degraded)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	lacks("we have left the first, too", "group refundd", consumer.Unready)
	if err := w.broker.Close(); err != nil {
		t.Fatal(err)
	}
	lacks("both are down", "brokers", consumer.Unready)
}

// TestRedisThatDoesNotWrite answers each PING and every read. Nothing flows, and
// readiness knows; then commands come, and none is begun.
func TestRedisThatDoesNotWrite(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		begin, end func(context.Context, *dedupetest.Server) error
		words      string
	}{
		"no memory": {
			func(ctx context.Context, s *dedupetest.Server) error {
				return s.Do.ConfigSet(ctx, "maxmemory", "1").Err()
			},
			func(ctx context.Context, s *dedupetest.Server) error {
				return s.Do.ConfigSet(ctx, "maxmemory", "0").Err()
			}, "OOM",
		},
		"a replica": {
			func(ctx context.Context, s *dedupetest.Server) error {
				return s.Do.ReplicaOf(ctx, "127.0.0.1", "1").Err()
			},
			func(ctx context.Context, s *dedupetest.Server) error { return s.Do.ReplicaOf(ctx, "no", "one").Err() }, "READONLY",
		},
		"no right": {
			func(ctx context.Context, s *dedupetest.Server) error {
				return s.Do.Do(ctx, "ACL", "SETUSER", "default", "-evalsha").Err()
			},
			func(ctx context.Context, s *dedupetest.Server) error {
				return s.Do.Do(ctx, "ACL", "SETUSER", "default", "+evalsha").Err()
			}, "NOPERM",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := dedupetest.StartServer(t)
			w := startWorld(t, func(places) []string { return []string{"REFUNDD_REDIS_URL=redis://" + server.Addr} })
			w.ready()
			if err := row.begin(t.Context(), server); err != nil {
				t.Fatal(err)
			}
			w.unready("redis", row.words)
			w.logged("redis", "intake is suspended")
			w.logged("redis", row.words)
			w.command("refund-command", `{"out_request_no": "R1", "out_trade_no": "T1", "refund_amount": "1.00"}`)
			if status, parts := w.readiness(w.cfg); status != http.StatusServiceUnavailable || !strings.Contains(parts["redis"], "intake is suspended") {
				t.Errorf("with a command: %d %q", status, parts)
			}
			if n := len(w.sim.Calls()); n != 0 {
				t.Errorf("%d calls", n)
			}
			if err := row.end(t.Context(), server); err != nil {
				t.Fatal(err)
			}
			w.ready()
			dedupetest.Until(t, "the event", func() bool { return len(w.broker.Messages("refund-event")) > 0 })
			w.event("R1", producer.Succeeded)
		})
	}
}

// TestRedisIsGoneWithoutTraffic: killed, and nobody uses it.
func TestRedisIsGoneWithoutTraffic(t *testing.T) {
	t.Parallel()
	server := dedupetest.StartServer(t)
	w := startWorld(t, func(places) []string { return []string{"REFUNDD_REDIS_URL=redis://" + server.Addr} })
	w.ready()
	server.Kill()
	w.unready("redis", "in trouble")
}

// TestOneMasterDown: a Cluster without one of its masters is degraded; commands
// whose records are elsewhere go on.
func TestOneMasterDown(t *testing.T) {
	t.Parallel()
	all := dedupetest.StartCluster(t, 3)
	w := startWorld(t, func(places) []string {
		return []string{"REFUNDD_REDIS_URL=" + dedupetest.ClusterURL(all), "REFUNDD_REDIS_MODE=cluster"}
	})
	w.ready()
	all[1].Kill()
	w.degraded("redis", "master "+all[1].Addr)
	w.logged("redis", "degraded")
	for i := range 12 {
		number := "R" + strings.Repeat("x", i)
		w.command("refund-command", `{"out_request_no": "`+number+`", "out_trade_no": "T`+number+`", "refund_amount": "1.00"}`)
	}
	decided := 0
	dedupetest.Until(t, "commands of the other masters", func() bool {
		decided = 0
		for _, m := range w.broker.Messages("refund-event") {
			if m.Properties["ce_type"] == string(producer.TypeRefundSucceeded) {
				decided++
			}
		}
		return decided+len(w.broker.Scheduled("refund-retry")) >= 12 && decided > 0
	})
	if decided == 12 {
		t.Error("no record lies on the master that is down: this shows nothing")
	}
	if status, parts := w.readiness(w.cfg); status != http.StatusOK {
		t.Errorf("%d %q", status, parts)
	}
}

// TestProbeDoesNotInsist: a broker that stores what it had to refuse is asked no
// second time.
func TestProbeDoesNotInsist(t *testing.T) {
	broker, err := rocketmqtest.Start(rocketmqtest.Config{Topics: map[string]int{"refund-event": 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	broker.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code == rocketmqtest.CodeSend {
			return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.Success}
		}
		return rocketmqtest.Action{}
	})
	p := &brokerProbe{
		servers: []string{broker.Addr()}, group: "refundd", uses: []use{{topic: "refund-event", publish: true}},
		routes: map[string][]remoting.TopicQueues{},
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		p.look(ctx)
		cancel()
	}
	if n := broker.Count(rocketmqtest.CodeSend, rocketmqtest.Refuse); n != 1 {
		t.Errorf("sent %d times", n)
	}
}
