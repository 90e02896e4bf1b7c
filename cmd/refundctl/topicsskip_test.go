package main

import (
	"strings"
	"testing"

	"refundd/consumer/remoting"
	"refundd/consumer/rocketmqtest"
)

// TestTopicsSkip: only what is next, and only where nobody reads.
func TestTopicsSkip(t *testing.T) {
	b, err := rocketmqtest.Start(rocketmqtest.Config{Topics: map[string]int{"refund-command": 2}, Groups: []string{"refundd"}})
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	for range 3 {
		_, err := b.Append(rocketmqtest.Message{Topic: "refund-command", QueueID: 1, Body: []byte("x")})
		must(t, err)
	}
	must(t, remoting.SetPosition(t.Context(), b.Addr(), "refundd", "refund-command", 1, 1))
	vars := map[string]string{"REFUNDD_ROCKETMQ_NAMESERVERS": b.Addr()}
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{nil, exitDone, "rocketmqtest  0      has finished nothing\nrocketmqtest  1      1\n"},
		{[]string{"--broker", "rocketmqtest", "--queue", "1"}, exitUsage, "belong together"},
		{[]string{"--broker", "rocketmqtest", "--queue", "1", "--offset", "2"}, exitFailed, "is at offset 1, not 2"},
		{[]string{"--broker", "other", "--queue", "1", "--offset", "1"}, exitFailed, "no queue 1 at broker other"},
		{[]string{"--broker", "rocketmqtest", "--queue", "1", "--offset", "1"}, exitDone, "begins at offset 2 of queue 1"},
		{nil, exitDone, "rocketmqtest  1      2\n"},
		{[]string{"-o", "json"}, exitDone, `{"broker":"rocketmqtest","queue":1,"next_offset":2}`},
	} {
		got := ctl(t.Context(), vars, "", append([]string{"topics", "skip", "--topic", "refund-command"}, row.args...)...)
		if got.code != row.code || !strings.Contains(got.stdout+got.stderr, row.says) {
			t.Errorf("%v: %+v", row.args, got)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
