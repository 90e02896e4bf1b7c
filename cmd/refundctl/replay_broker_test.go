//go:build !race

// The RocketMQ SDK's pull consumer has data races of its own.

package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"refundd/cmd/internal/replay"
	"refundd/cmd/internal/tape"
	"refundd/consumer"
	"refundd/consumer/rocketmqtest"
	"refundd/producer"
)

// stage is a broker with recorded commands and a topic to replay them to.
func stage(t *testing.T) (*rocketmqtest.Broker, map[string]string) {
	t.Helper()
	b, vars := cluster(t)
	b.CreateTopic("load-command", 2)
	for i := range 30 {
		putCommand(t, b, fmt.Sprintf("R-%d", i), "1.00")
	}
	putCommand(t, b, "R-3", "1.0")  // a repeat
	putCommand(t, b, "R-4", "2.00") // a conflict
	if _, err := b.Append(rocketmqtest.Message{Topic: "refund-command", QueueID: -1, Body: []byte("no command")}); err != nil {
		t.Fatal(err)
	}
	return b, vars
}

func putCommand(t *testing.T, b *rocketmqtest.Broker, number, yuan string) {
	t.Helper()
	body := fmt.Sprintf(`{"out_request_no": %q, "out_trade_no": "T-%s", "refund_amount": %q, "refund_reason": "损坏"}`, number, number, yuan)
	if _, err := b.Append(rocketmqtest.Message{
		Topic: "refund-command", QueueID: -1, Body: []byte(body), Properties: map[string]string{"KEYS": number, "tenant": "a", "REFUNDD_TRY": "3"},
	}); err != nil {
		t.Fatal(err)
	}
}

// answer publishes an event for each message of load-command until ctx ends;
// change may alter it, or return false to leave it out.
func answer(ctx context.Context, t *testing.T, b *rocketmqtest.Broker, change func(*producer.Event) bool) (done <-chan struct{}) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		contents := map[string]string{}
		for seen := 0; ctx.Err() == nil; <-time.After(5 * time.Millisecond) {
			messages := b.Messages("load-command")
			for _, m := range messages[seen:] {
				ev := eventOf(m, contents)
				if change != nil && !change(&ev) {
					continue
				}
				publish(t, b, ev)
			}
			seen = len(messages)
		}
	}()
	return ended
}

func publish(t *testing.T, b *rocketmqtest.Broker, ev producer.Event) {
	t.Helper()
	encoded, err := ev.Encode()
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := b.Append(rocketmqtest.Message{Topic: "refund-event", QueueID: -1, Body: encoded.Body}); err != nil && !errors.Is(err, rocketmqtest.ErrClosed) {
		t.Error(err)
	}
}

// eventOf decides as the service would whose every refund succeeds.
func eventOf(m rocketmqtest.Message, contents map[string]string) producer.Event {
	cmd, err := consumer.DecodeCommand(consumer.KindRefund, m.Body)
	ev := producer.Event{
		Subject: cmd.OutRequestNo, Time: time.UnixMilli(1), Kind: producer.KindRefund, AppID: "A", OutRequestNo: cmd.OutRequestNo,
		Outcome: producer.Rejected,
	}
	switch {
	case err != nil:
		ev.Subject, ev.Reason, ev.Detail = m.MsgID, producer.ReasonUnreadable, "no"
		ev.ID = producer.RejectedID(m.MsgID, m.Body, ev.Reason)
		return ev
	case contents[cmd.OutRequestNo] != "" && contents[cmd.OutRequestNo] != cmd.Fingerprint():
		ev.Reason, ev.Detail = producer.ReasonConflict, "no"
		ev.ID = producer.RejectedID(m.MsgID, m.Body, ev.Reason)
		return ev
	}
	contents[cmd.OutRequestNo] = cmd.Fingerprint()
	ev.Outcome, ev.OutTradeNo, ev.AmountFen, ev.ConfirmedBy, ev.Calls = producer.Succeeded, cmd.OutTradeNo, int64(cmd.Amount), producer.ByResponse, 1
	ev.ID, ev.RefundKey = decidedID(ev), strings.Repeat("0", 32)
	return ev
}

func readTape(t *testing.T, name string) (all []tape.Message) {
	t.Helper()
	r, err := tape.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for {
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
}

func TestRecordAndReplay(t *testing.T) {
	b, vars := stage(t)
	file := filepath.Join(t.TempDir(), "commands.jsonl.gz")
	got := ctl(t.Context(), vars, "", "record", "--topic", "refund-command", "--file", file)
	if got.code != 0 || !strings.Contains(got.stdout, "recorded 33 messages of refund-command in "+file) {
		t.Fatalf("%+v", got)
	}
	stored := b.Messages("refund-command")
	recorded := readTape(t, file)
	for _, m := range recorded {
		same := slices.ContainsFunc(stored, func(s rocketmqtest.Message) bool {
			return string(s.Body) == string(m.Body) && s.Properties["KEYS"] == m.Properties["KEYS"]
		})
		if !same || m.Topic != "refund-command" || m.Queue == "" || m.Born.IsZero() {
			t.Errorf("recorded %+v", m)
		}
	}
	if len(recorded) != len(stored) {
		t.Fatalf("%d messages in the file, %d in the topic", len(recorded), len(stored))
	}

	ctx, cancel := context.WithCancel(t.Context())
	answering := answer(ctx, t, b, nil)
	for round, source := range [][]string{{"--file", file}, {"--source", "refund-command"}} {
		got = ctl(t.Context(), vars, "", append([]string{
			"replay", "--topic", "load-command", "--renumber", "LT1-", "--renumber-trades", "--rate", "2000", "--yes", "-o", "json",
		}, source...)...)
		var v replay.Verdict
		if err := json.Unmarshal([]byte(got.stdout), &v); err != nil || got.code != 0 {
			t.Fatalf("%v %+v", err, got)
		}
		r := v.Result
		if v.Verdict != "all matched" || v.Sent != 33 || v.Bad != 1 || r.Commands != 33 || r.Matched != 33 || r.Rejected != 2 || r.Again != 1 || r.Events != 33 {
			t.Errorf("round %d: %s", round, got.stdout)
		}
		if !strings.Contains(got.stderr, "NEW REFUND") {
			t.Errorf("the plan says %q", got.stderr)
		}
	}
	cancel()
	<-answering
	sent := b.Messages("load-command")
	numbers := map[string]int{}
	for _, m := range sent {
		cmd, err := consumer.DecodeCommand(consumer.KindRefund, m.Body)
		if err != nil {
			continue
		}
		numbers[string(m.Body)]++
		if !strings.HasPrefix(cmd.OutRequestNo, "LT1-R-") || !strings.HasPrefix(cmd.OutTradeNo, "LT1-T-") || cmd.Refund.RefundReason != "损坏" {
			t.Errorf("sent %s", m.Body)
		}
		if m.Properties["KEYS"] != cmd.OutRequestNo || m.Properties["tenant"] != "a" || m.Properties["REFUNDD_TRY"] != "" {
			t.Errorf("sent with %v", m.Properties)
		}
	}
	for body, n := range numbers {
		if n != 2 {
			t.Errorf("%s came %d times in two rounds", body, n)
		}
	}
	if offsets := b.Committed("refundd", "refund-command"); len(offsets) > 0 {
		t.Errorf("offsets of the service's group: %v", offsets)
	}
}

func TestReplayFindsWhatIsWrong(t *testing.T) {
	b, vars := stage(t)
	ctx, cancel := context.WithCancel(t.Context())
	answering := answer(ctx, t, b, func(ev *producer.Event) bool {
		switch ev.OutRequestNo {
		case "X-R-10", "X-R-11":
			return false // lost
		case "X-R-12":
			publish(t, b, *ev) // twice, which is fine
		case "X-R-13":
			other := *ev
			other.Outcome, other.Reason, other.Detail = producer.Failed, producer.ReasonRefused, "no"
			other.ID = decidedID(other)
			publish(t, b, other) // both truths
		case "X-R-14":
			ev.AmountFen = 101
			ev.ID = decidedID(*ev)
		case "X-R-15":
			ev.Outcome, ev.Reason, ev.Detail, ev.ConfirmedBy = producer.Unresolved, producer.ReasonBlockedMerchant, "no", ""
			ev.ID = producer.UnresolvedID(producer.Identity{AppID: "A", Kind: ev.Kind, OutRequestNo: ev.OutRequestNo}, 1)
		}
		return true
	})
	report := filepath.Join(t.TempDir(), "rows.csv")
	got := ctl(t.Context(), vars, "", "replay", "--source", "refund-command", "--topic", "load-command", "--renumber", "X-", "--wait", "2s",
		"--report", report, "--yes")
	cancel()
	<-answering
	for _, want := range []string{
		"commands       33\n", "matched      28  succeeded 26, failed 0, rejected 2\n", "missing      2\n", "unresolved   1\n",
		"conflicting  2\n", "2 repeats of an id", "verdict: NOT ALL MATCHED\n", "sent to event stored: p50 ",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("no %q in\n%s", want, got.stdout)
		}
	}
	if got.code != 1 {
		t.Errorf("%+v", got)
	}
	file, err := os.Open(report)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, row := range rows[1:] {
		states = append(states, row[1]+" "+row[0])
	}
	slices.Sort(states)
	want := "X-R-10 missing, X-R-11 missing, X-R-13 conflicting, X-R-14 conflicting, X-R-15 unresolved"
	if strings.Join(states, ", ") != want {
		t.Errorf("the report has %s", states)
	}
}

func TestReplayCountsWhatTheBrokerRefuses(t *testing.T) {
	b, vars := stage(t)
	b.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code == rocketmqtest.CodeSend && strings.HasSuffix(r.Properties["KEYS"], "R-7") {
			return rocketmqtest.Action{Kind: rocketmqtest.Status, Code: rocketmqtest.SlaveNotAvailable}
		}
		return rocketmqtest.Action{}
	})
	got := ctl(t.Context(), vars, "", "replay", "--source", "refund-command", "--topic", "load-command", "--same-numbers", "--reconcile=false", "--yes")
	if got.code != 1 || !strings.Contains(got.stdout, "not confirmed by the broker: 1\n") || !strings.Contains(got.stdout, "sent 32 messages") {
		t.Errorf("%+v", got)
	}
}

func TestReplayAsksFirst(t *testing.T) {
	b, vars := stage(t)
	args := []string{"replay", "--source", "refund-command", "--topic", "load-command", "--renumber", "X-"}
	if got := ctl(t.Context(), vars, "", args...); got.code != 2 || !strings.Contains(got.stderr, "--yes is required") {
		t.Errorf("without a terminal: %+v", got)
	}
	if got := ctl(t.Context(), vars, "", append(args, "--dry-run")...); got.code != 0 ||
		!strings.Contains(got.stderr, "plan: send the 33 messages of topic refund-command to load-command") {
		t.Errorf("dry run: %+v", got)
	}
	if n := len(b.Messages("load-command")); n > 0 {
		t.Errorf("%d messages were sent", n)
	}
	for name, c := range map[string]struct{ args, want string }{
		"a missing source":      {"--source nothing --topic load-command --renumber X- --yes", "--source: topic does not exist"},
		"a missing event topic": {"--source refund-command --topic load-command --renumber X- --event-topic nothing --yes", "--event-topic: topic does not exist"},
		"a missing topic":       {"--source refund-command --topic nothing --renumber X- --yes", "--topic: topic does not exist"},
		"a missing file":        {"--file nothing --topic load-command --renumber X- --yes", "--file: open nothing"},
	} {
		if got := ctl(t.Context(), vars, "", append([]string{"replay"}, strings.Fields(c.args)...)...); got.code != 2 || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestReplayStopsSafely(t *testing.T) {
	b, vars := stage(t)
	answered, stop := context.WithCancel(t.Context())
	answering := answer(answered, t, b, nil)
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		defer interrupt()
		for len(b.Messages("load-command")) < 3 && t.Context().Err() == nil {
			<-time.After(time.Millisecond)
		}
	}()
	got := ctl(ctx, vars, "", "replay", "--source", "refund-command", "--topic", "load-command", "--renumber", "X-", "--rate", "10", "--yes", "-o", "json")
	stop()
	<-answering
	var v replay.Verdict
	if err := json.Unmarshal([]byte(got.stdout), &v); err != nil {
		t.Fatalf("%v %+v", err, got)
	}
	if got.code != 0 || !v.Stopped || v.Sent < 3 || v.Sent == 33 || v.Result.Matched != v.Sent || v.Sent != int64(len(b.Messages("load-command"))) {
		t.Errorf("%d messages, %+v", len(b.Messages("load-command")), got)
	}
}

func TestRecordStopsSafely(t *testing.T) {
	_, vars := stage(t)
	file := filepath.Join(t.TempDir(), "some.jsonl.gz")
	if got := ctl(t.Context(), vars, "", "record", "--topic", "refund-command", "--file", file, "-n", "7", "-o", "json"); got.code != 0 ||
		!strings.Contains(got.stdout, `"messages":7,`) || !strings.Contains(got.stdout, `"stopped":true`) {
		t.Errorf("%+v", got)
	}
	if n := len(readTape(t, file)); n != 7 {
		t.Errorf("%d messages", n)
	}
	if got := ctl(t.Context(), vars, "", "record", "--topic", "refund-command", "--file", file); got.code != 2 || !strings.Contains(got.stderr, "exists") {
		t.Errorf("written over: %+v", got)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := ctl(ended, vars, "", "record", "--topic", "refund-command", "--file", file+"2"); got.code != 1 {
		t.Errorf("interrupted before it began: %+v", got)
	}
}
