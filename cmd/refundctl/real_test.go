//go:build !race

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/desk"
	"refundd/cmd/internal/doctor"
	"refundd/consumer/remoting"
)

// TestOnARealStack walks through topics, doctor, explain and parked on Apache
// RocketMQ and Redis, where REFUNDD_TEST_NAMESERVERS and REFUNDD_TEST_REDIS name them.
func TestOnARealStack(t *testing.T) {
	server, redisURL := os.Getenv("REFUNDD_TEST_NAMESERVERS"), os.Getenv("REFUNDD_TEST_REDIS")
	if server == "" || redisURL == "" {
		t.Skip("REFUNDD_TEST_NAMESERVERS and REFUNDD_TEST_REDIS name no real stack")
	}
	name := fmt.Sprintf("ctl%d-%d", os.Getpid(), time.Now().UnixMilli())
	vars := map[string]string{
		"REFUNDD_ROCKETMQ_NAMESERVERS": server, "REFUNDD_REDIS_URL": redisURL, "REFUNDD_REDIS_PREFIX": name + ":",
		"REFUNDD_ROCKETMQ_GROUP": name, "REFUNDD_TOPIC_COUPON_REFUND": "",
	}
	for variable, which := range map[string]string{
		"REFUNDD_TOPIC_REFUND": "refund", "REFUNDD_TOPIC_EVENT": "event", "REFUNDD_TOPIC_RETRY": "retry", "REFUNDD_TOPIC_PARKED": "parked",
	} {
		vars[variable] = name + "-" + which
	}
	if got := ctl(t.Context(), vars, "", "topics", "create", "--print"); got.code != exitFailed || strings.Count(got.stdout, "mqadmin ") < 5 {
		t.Fatalf("--print: %+v", got)
	}
	if got := ctl(t.Context(), vars, "", "topics", "create", "--queues", "1"); got.code != exitDone || strings.Count(got.stdout, "created ") < 5 {
		t.Fatalf("create: %+v", got)
	}
	t.Cleanup(func() { removeTopics(t, server, name, vars) })
	if got := ctl(t.Context(), vars, "", "topics", "create"); got.code != exitDone || !strings.Contains(got.stdout, "nothing is missing") {
		t.Fatalf("again: %+v", got)
	}

	w := startWorld(t, vars)
	broker, err := remoting.WaitBroker(t.Context(), server)
	must(t, err)
	w.until("the service is in its group", func() bool {
		m, err := remoting.Members(t.Context(), broker, name)
		return err == nil && len(m.Clients) == 1 && len(m.Topics) == 2
	})
	got := ctl(t.Context(), w.vars, "", "doctor", "-o", "json", "--live")
	var d diagnosis
	must(t, json.Unmarshal([]byte(got.stdout), &d))
	for _, check := range []string{"topic", "group", "subscriptions", "delay levels", "redis clock", "redis mode", "redis role", "redis eviction", "redis persistence", "alipay"} {
		if !d.has(check, doctor.OK, "") {
			t.Errorf("%s is not ok: %+v", check, d.Findings)
		}
	}
	for _, f := range d.Findings {
		if f.Check == "lag" && f.Severity != doctor.OK || strings.Contains(f.Saw, "refuses") {
			t.Errorf("%+v", f)
		}
	}

	w.ctl(exitDone, "send", "--out-request-no", "fault-frozen-1", "--out-trade-no", "T", "--amount", "1.00")
	w.until("parked", func() bool { return w.list().stands("fault-frozen-1") == desk.StandsOpen })
	w.alipay.Heal()
	w.ctl(exitDone, "parked", "requeue", "--every", "--reason-text", "thawed", "--yes")
	w.until("decided", func() bool { return w.list("--all").stands("fault-frozen-1") == desk.StandsDecided })
	w.until("the index has the end", func() bool { return strings.Contains(w.ctl(exitDone, "explain", "fault-frozen-1"), "refund.succeeded") })
	if index, scan := w.ctl(exitDone, "explain", "fault-frozen-1"), w.ctl(exitDone, "explain", "fault-frozen-1", "--scan"); index != scan {
		t.Errorf("by the index:\n%s\nread whole:\n%s", index, scan)
	}
	w.says(exitDone, "fault-frozen-1", []string{"event refund.unresolved, blocked_merchant", "retry sent to come back", "parked parked for a person", "event refund.succeeded"})
}

func removeTopics(t *testing.T, server, group string, vars map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	broker, err := remoting.WaitBroker(ctx, server)
	for variable, topic := range vars {
		if strings.HasPrefix(variable, "REFUNDD_TOPIC_") && topic != "" {
			err = cmp.Or(err, remoting.DeleteTopic(ctx, server, broker, topic))
		}
	}
	for _, topic := range []string{"%RETRY%" + group, "%DLQ%" + group} {
		err = cmp.Or(err, remoting.DeleteTopic(ctx, server, broker, topic))
	}
	if err := cmp.Or(err, remoting.DeleteGroup(ctx, broker, group)); err != nil {
		t.Error(err)
	}
}
