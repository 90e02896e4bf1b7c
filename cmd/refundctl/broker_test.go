//go:build !race

// The RocketMQ SDK's pull consumer has data races of its own.

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/cmd/internal/cli"
	"refundd/consumer"
	"refundd/consumer/rocketmqtest"
	"refundd/producer"
)

// TestMain silences the SDK's log, once: it is a global of the SDK's.
func TestMain(m *testing.M) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	consumer.RedirectSDK(log)
	os.Exit(m.Run())
}

// cluster is a broker on which clients can create nothing, as in production.
func cluster(t *testing.T) (*rocketmqtest.Broker, map[string]string) {
	t.Helper()
	b, err := rocketmqtest.Start(rocketmqtest.Config{
		Topics: map[string]int{"refund-command": 2, "coupon-refund-command": 1, "refund-event": 2}, Groups: []string{"refundd"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, map[string]string{"REFUNDD_ROCKETMQ_NAMESERVERS": b.Addr()}
}

func TestSendOneCommand(t *testing.T) {
	b, vars := cluster(t)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	got := ctl(t.Context(), vars, "", "send", "--out-request-no", "R-1", "--trade-no", "T", "--amount", "1", "--traceparent", trace)
	sent := b.Messages("refund-command")
	if got.code != 0 || len(sent) != 1 {
		t.Fatalf("%+v, %d messages", got, len(sent))
	}
	m := sent[0]
	if want := "sent R-1 to refund-command as message " + m.MsgID + "\n"; got.stdout != want {
		t.Errorf("%q, want %q", got.stdout, want)
	}
	if m.Properties["KEYS"] != "R-1" || m.Properties["traceparent"] != trace ||
		string(m.Body) != `{"out_request_no":"R-1","trade_no":"T","refund_amount":"1"}` {
		t.Errorf("sent %s %v", m.Body, m.Properties)
	}
	if got := ctl(t.Context(), vars, "", "send", "--kind", "coupon_refund", "--out-request-no", "R-2", "--auth-no", "A", "--amount", "1"); got.code != 0 ||
		len(b.Messages("coupon-refund-command")) != 1 {
		t.Errorf("coupon refund: %+v", got)
	}
	if got := ctl(t.Context(), vars, "", "send", "--topic", "nothing", "--out-request-no", "R", "--trade-no", "T", "--amount", "1"); got.code != 2 ||
		!strings.Contains(got.stderr, "--topic: topic does not exist: nothing") {
		t.Errorf("missing topic: %+v", got)
	}
}

func TestSendManyCountsWhatTheBrokerRefuses(t *testing.T) {
	b, vars := cluster(t)
	var lines strings.Builder
	for i := range 50 {
		_, _ = fmt.Fprintf(&lines, `{"out_request_no":"R-%d","trade_no":"T","refund_amount":"1.00"}`+"\n", i)
	}
	lines.WriteString("no command\n")
	b.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code == rocketmqtest.CodeSend && strings.HasSuffix(r.Properties["KEYS"], "7") {
			return rocketmqtest.Action{Kind: rocketmqtest.Status, Code: rocketmqtest.SlaveNotAvailable}
		}
		return rocketmqtest.Action{}
	})
	got := ctl(t.Context(), vars, lines.String(), "send", "--file", "-", "--concurrency", "4")
	if want := "51 commands: 45 sent, 1 invalid, 5 failed\n"; got.code != 1 || !strings.Contains(got.stderr, want) {
		t.Errorf("%+v, want %q", got, want)
	}
	if n := strings.Count(got.stderr, "did not confirm"); n != 5 {
		t.Errorf("%d lines say what the broker said, want 5:\n%s", n, got.stderr)
	}
}

// event publishes as the service does; the id follows from the number.
func event(t *testing.T, b *rocketmqtest.Broker, number string, outcome producer.Outcome) string {
	t.Helper()
	ev := producer.Event{
		ID:      producer.DecidedID(producer.Identity{AppID: "A", Kind: producer.KindRefund, OutRequestNo: number}, "T", 100, outcome),
		Subject: number, Time: time.UnixMilli(1), Kind: producer.KindRefund, Outcome: outcome, AppID: "A", OutRequestNo: number,
		RefundKey: producer.RefundKey(producer.Identity{AppID: "A", Kind: producer.KindRefund, OutRequestNo: number}),
		TradeNo:   "T", AmountFen: 100, ConfirmedBy: producer.ByQuery, Calls: 1,
	}
	if outcome == producer.Failed {
		ev.Reason, ev.Detail = producer.ReasonRefused, "no"
	}
	encoded, err := ev.Encode()
	if err != nil {
		t.Fatal(err)
	}
	// One queue, so that the order is known.
	if _, err := b.Append(rocketmqtest.Message{Topic: "refund-event", QueueID: 1, Body: encoded.Body}); err != nil {
		t.Fatal(err)
	}
	return string(encoded.Body)
}

func TestEventsFiltersAndMarksRepeats(t *testing.T) {
	b, vars := cluster(t)
	one := event(t, b, "R-1", producer.Succeeded)
	two := event(t, b, "R-2", producer.Failed)
	event(t, b, "R-1", producer.Succeeded)
	if _, err := b.Append(rocketmqtest.Message{Topic: "refund-event", Body: []byte("no event")}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string // standard output
	}{
		"all":              {[]string{"--from", "beginning"}, 0, one + "\n" + two + "\n" + one + "\n"},
		"without repeats":  {[]string{"--from", "1h", "--unique"}, 0, one + "\n" + two + "\n"},
		"from now":         {nil, 0, ""},
		"from the future":  {[]string{"--from", "2999-01-01T00:00:00Z"}, 0, ""},
		"one number":       {[]string{"--from", "beginning", "--number", "R-2"}, 0, two + "\n"},
		"an outcome":       {[]string{"--from", "beginning", "--type", "failed"}, 0, two + "\n"},
		"a type":           {[]string{"--from", "beginning", "--type", "refund.failed.v1"}, 0, two + "\n"},
		"so many":          {[]string{"--from", "beginning", "-n", "1"}, 0, one + "\n"},
		"more than so":     {[]string{"--from", "beginning", "-n", "4"}, 1, one + "\n" + two + "\n" + one + "\n"},
		"of another kind":  {[]string{"--from", "beginning", "--type", "coupon_refund.failed"}, 0, ""},
		"a missing group":  {[]string{"--group", "nobody"}, 1, ""},
		"nothing of these": {[]string{"--from", "beginning", "--number", "R-3", "-n", "1"}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ctl(t.Context(), vars, "", append([]string{"events", "--until-now", "-o", "json"}, c.args...)...)
			if got.code != c.code || got.stdout != c.want {
				t.Errorf("%+v, want code %d and %s", got, c.code, c.want)
			}
		})
	}
	got := ctl(t.Context(), vars, "", "events", "--until-now", "--from", "beginning")
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	if len(lines) != 3 || strings.Contains(lines[0]+lines[1], "(repeat)") || !strings.HasSuffix(lines[2], "(repeat)") {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(got.stderr, "is no event") {
		t.Errorf("the message that is no event is not named: %q", got.stderr)
	}
	if offsets := b.Committed("refundd", "refund-event"); len(offsets) > 0 {
		t.Errorf("offsets of the service's group: %v", offsets)
	}
}

func TestEventsWaitsForOne(t *testing.T) {
	b, vars := cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs terminal
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"events", "--number", "R-1", "-n", "1", "--timeout", "50s"}, cli.Env{
			Getenv: func(name string) string { return vars[name] }, Stdout: &out, Stderr: &errs, Redirect: func(logrus.FieldLogger) {},
		})
	}()
	for !strings.Contains(errs.String(), "following") && ctx.Err() == nil {
		<-time.After(5 * time.Millisecond)
	}
	event(t, b, "R-0", producer.Succeeded)
	event(t, b, "R-1", producer.Succeeded)
	if got := <-code; got != 0 || strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), "R-1") {
		t.Errorf("exit code %d, %q, %q", got, out.String(), errs.String())
	}
}

func TestEventsEndsAtItsTimeout(t *testing.T) {
	_, vars := cluster(t)
	if got := ctl(t.Context(), vars, "", "events", "--timeout", "100ms"); got.code != 0 {
		t.Errorf("without -n: %+v", got)
	}
	if got := ctl(t.Context(), vars, "", "events", "--timeout", "100ms", "-n", "1"); got.code != 1 || !strings.Contains(got.stderr, "0 of 1 events") {
		t.Errorf("with -n: %+v", got)
	}
}

func TestEventsEndsWhenAsked(t *testing.T) {
	_, vars := cluster(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if got := ctl(ctx, vars, "", "events"); got.code != 0 {
		t.Errorf("%+v", got)
	}
}
