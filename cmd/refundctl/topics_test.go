//go:build !race

package main

import (
	"strings"
	"testing"

	"refundd/consumer/rocketmqtest"
)

func TestTopicsCreate(t *testing.T) {
	b, vars := cluster(t)
	b.DeleteTopic("coupon-refund-command")
	vars["REFUNDD_TOPIC_COUPON_REFUND"], vars["REFUNDD_ROCKETMQ_GROUP"] = "", "refunders"

	printed := ctl(t.Context(), vars, "", "topics", "create", "--print")
	want := []string{"-t refund-retry -r 8 -w 8 -p 6", "-t refund-parked", "mqadmin updateSubGroup -b " + b.Addr() + " -g refunders"}
	for _, part := range want {
		if !strings.Contains(printed.stdout, part) {
			t.Errorf("--print lacks %q: %+v", part, printed)
		}
	}
	if printed.code != exitFailed || strings.Count(printed.stdout, "\n") != len(want) {
		t.Errorf("--print: %+v", printed)
	}

	b.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code == rocketmqtest.CodeCreateTopic && r.ExtFields["topic"] == "refund-retry" {
			return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.NoPermission}
		}
		return rocketmqtest.Action{}
	})
	refused := ctl(t.Context(), vars, "", "topics", "create", "--queues", "2")
	if refused.code != exitFailed || !strings.Contains(refused.stderr, "broker "+b.Addr()+": create topic refund-retry: refused with code 16") ||
		!strings.Contains(refused.stderr, "somebody who may can do it by: mqadmin updateTopic") ||
		!strings.Contains(refused.stdout, "created topic refund-parked on broker ") || !strings.Contains(refused.stderr, "1 of 3 could not be created") {
		t.Errorf("refused: %+v", refused)
	}
	b.SetHook(nil)
	if got := ctl(t.Context(), vars, "", "topics", "create"); got.code != exitDone || got.stdout != "created topic refund-retry on broker "+b.Addr()+"\n" {
		t.Errorf("create: %+v", got)
	}
	if got := ctl(t.Context(), vars, "", "topics", "create"); got.code != exitDone || got.stdout != "nothing is missing: 4 topics and group refunders on 1 brokers\n" {
		t.Errorf("again: %+v", got)
	}
	if got := ctl(t.Context(), vars, "", "topics", "create", "--queues", "0"); got.code != exitUsage || !strings.Contains(got.stderr, "--queues") {
		t.Errorf("no queues: %+v", got)
	}
}
