//go:build !race

package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"refundd/cmd/internal/desk"
	"refundd/consumer"
	"refundd/consumer/rocketmqtest"
	"refundd/dedupe"
	"refundd/producer"
)

type listed struct {
	Messages int          `json:"messages"`
	Sums     []desk.Sum   `json:"sums"`
	Refunds  []desk.Short `json:"refunds"`
}

func (w *world) list(args ...string) listed {
	w.t.Helper()
	var l listed
	must(w.t, json.Unmarshal([]byte(w.ctl(exitDone, append([]string{"parked", "list", "-o", "json"}, args...)...)), &l))
	return l
}

func (l listed) stands(number string) desk.Standing {
	for _, r := range l.Refunds {
		if r.OutRequestNo == number && r.Stands != desk.StandsNewer {
			return r.Stands
		}
	}
	return ""
}

// TestParked walks through what an operator does with parked refunds, beside a
// service that runs.
func TestParked(t *testing.T) {
	w := startWorld(t, nil)
	w.commands(3, 4, "fault-frozen-1", "fault-frozen-2", "fault-frozen-3", "R-1")
	w.stop() // so that what is requeued stays where it is
	if _, err := w.broker.Append(rocketmqtest.Message{Topic: "refund-parked", Body: []byte("hello"), Properties: map[string]string{
		"KEYS": "M-1", "REFUNDD_REASON": "unreadable", "REFUNDD_TOPIC": "refund-command",
	}}); err != nil {
		t.Fatal(err)
	}

	l := w.list()
	if l.Messages != 4 || l.stands("fault-frozen-1") != desk.StandsOpen || l.stands("M-1") != desk.StandsRejected {
		t.Fatalf("at first: %+v", l)
	}
	if s := l.Sums[0]; s.Reason != "blocked_merchant" || s.Refunds != 3 || s.Amount != "3.00" {
		t.Errorf("sums %+v", l.Sums)
	}
	if got := w.list("--reason", "unreadable"); len(got.Refunds) != 1 || got.Sums[0].Refunds != 1 {
		t.Errorf("by reason: %+v", got)
	}
	for _, none := range [][]string{{"--merchant", "shop"}, {"--kind", "coupon_refund"}, {"--older", "1h"}, {"--number", "R-1"}} {
		if got := w.list(none...); len(got.Refunds) != 0 {
			t.Errorf("%v: %+v", none, got)
		}
	}
	if got := w.list("--newer", "1h", "--merchant", "", "--number", "fault-frozen-1,fault-frozen-2"); len(got.Refunds) != 2 {
		t.Errorf("two of them: %+v", got)
	}
	text := w.ctl(exitDone, "parked", "list")
	if !strings.Contains(text, "blocked_merchant  open") || strings.Contains(text, "out_trade_no") {
		t.Errorf("list says\n%s", text)
	}
	shown := w.ctl(exitDone, "parked", "show", "fault-frozen-1", "--kind", "refund")
	for _, want := range []string{`"out_trade_no":"T-fault-frozen-1"`, "REFUNDD_TRY=2", "ACQ.REASON_TRADE_BEEN_FREEZEN", "Alipay would be called"} {
		if !strings.Contains(shown, want) {
			t.Errorf("show lacks %q:\n%s", want, shown)
		}
	}
	w.ctl(exitFailed, "parked", "show", "R-1")

	w.says(exitDone, "fault-frozen-1", []string{"parked parked for a person: blocked_merchant, number 1", "do: mend the merchant's funds or account at Alipay (ACQ.REASON_TRADE_BEEN_FREEZEN), then: refundctl parked requeue"})

	// Without a plan that is agreed to, nothing moves.
	plan := w.ctl(exitDone, "parked", "requeue", "--every", "--plan")
	if !strings.Contains(plan, "found 4: 3 would be requeued, 1 skipped (1 rejected), 0 failed") {
		t.Errorf("plan:\n%s", plan)
	}
	w.ctl(exitUsage, "parked", "requeue", "--every", "--reason-text", "thawed")
	if n := len(w.broker.Messages("refund-retry")); n != 3 { // the tries
		t.Fatalf("%d messages in the retry topic", n)
	}

	drop := w.ctl(exitDone, "parked", "drop", "--number", "fault-frozen-3", "--reason-text", "paid by hand", "--yes")
	if !strings.Contains(drop, "found 1: 1 dropped, 0 skipped, 0 failed") {
		t.Errorf("drop:\n%s", drop)
	}
	if l := w.list(); l.stands("fault-frozen-3") != "" {
		t.Errorf("dropped, and listed: %+v", l)
	}
	if l := w.list("--all"); l.stands("fault-frozen-3") != desk.StandsDropped || !strings.Contains(w.ctl(exitDone, "parked", "list", "--all"), "dropped by ann at ") {
		t.Errorf("with --all: %+v", l)
	}
	w.says(exitDone, "fault-frozen-3", []string{"person dropped by ann: paid by hand", "next: nothing: dropped by ann", "do: nothing, or take the drop back"})
	w.alipay.Heal()
	requeue := w.ctl(exitDone, "parked", "requeue", "--reason", "blocked_merchant", "--reason-text", "thawed", "--actor", "bob", "--yes", "--rate", "0")
	if !strings.Contains(requeue, "found 3: 2 requeued, 1 skipped (1 dropped), 0 failed") {
		t.Errorf("requeue:\n%s", requeue)
	}
	again := w.ctl(exitDone, "parked", "requeue", "--reason", "blocked_merchant", "--reason-text", "thawed", "--yes", "-o", "json")
	if !strings.Contains(again, `{"found":3,"done":0,"skipped":{"dropped":1,"requeued":2},"failed":0}`) {
		t.Errorf("requeue twice:\n%s", again)
	}
	if l := w.list("--all"); l.stands("fault-frozen-1") != desk.StandsRequeued {
		t.Errorf("after requeueing: %+v", l)
	}
	w.says(exitDone, "fault-frozen-1", []string{"person requeued by bob: thawed", "next: its copy waits in the retry topic"})
	retries := w.broker.Messages("refund-retry")
	last := retries[len(retries)-1].Properties
	if len(retries) != 5 || last["REFUNDD_TRY"] != "0" || last["REFUNDD_PARK"] != "1" || last["REFUNDD_CLAIMED"] != "1" || last["REFUNDD_GEN"] == "0" {
		t.Errorf("%d retries, the last with %v", len(retries), last)
	}
	c, err := producer.CopyFromProperties(last, nil)
	must(t, err)
	if time.Since(c.First) > time.Minute || !c.First.After(c.Born) {
		t.Errorf("its age counts from %s, it was born %s", c.First, c.Born)
	}
	for name, value := range last {
		if strings.HasPrefix(name, "REFUNDD_") && c.Properties()[name] != value {
			t.Errorf("property %s=%s is not in the contract", name, value)
		}
	}

	w.run()
	w.until("the requeued are decided", func() bool {
		l := w.list("--all")
		return l.stands("fault-frozen-1") == desk.StandsDecided && l.stands("fault-frozen-2") == desk.StandsDecided
	})
	// A drop is no end: it can be taken back.
	w.ctl(exitDone, "parked", "requeue", "--number", "fault-frozen-3", "--reason-text", "not paid by hand", "--yes", "--again")
	w.until("the dropped one is decided", func() bool { return w.list("--all").stands("fault-frozen-3") == desk.StandsDecided })
	for _, r := range w.alipay.State().Refunds {
		if r.Moved != 1 {
			t.Errorf("%s moved %d times", r.OutRequestNo, r.Moved)
		}
	}
}

// TestParkedWithoutRecord: Redis has forgotten, and a requeue asks Alipay first.
func TestParkedWithoutRecord(t *testing.T) {
	w := startWorld(t, nil)
	w.commands(1, 1, "fault-frozen-1")
	w.redis.FlushAll()
	if l := w.list(); l.stands("fault-frozen-1") != desk.StandsForgotten {
		t.Fatalf("%+v", l)
	}
	drop := w.ctl(exitDone, "parked", "drop", "--every", "--reason-text", "x", "--yes")
	if !strings.Contains(drop, "1 dropped, 0 skipped") || w.list("--all").stands("fault-frozen-1") != desk.StandsDropped || len(w.list().Refunds) != 0 {
		t.Errorf("drop:\n%s", drop)
	}
	w.alipay.Heal()
	plan := w.ctl(exitDone, "parked", "requeue", "--every", "--again", "--plan")
	if !strings.Contains(plan, "again: dropped by ann at ") {
		t.Errorf("plan:\n%s", plan)
	}
	w.ctl(exitDone, "parked", "requeue", "--every", "--again", "--reason-text", "thawed", "--yes")
	w.says(exitDone, "fault-frozen-1", []string{"person requeued by ann: thawed"})
	w.until("taken up", func() bool { return w.list("--all").stands("fault-frozen-1") != desk.StandsForgotten })
}

// TestParkedStub: what the broker refused to store is shown, and not sent again.
func TestParkedStub(t *testing.T) {
	w := startWorld(t, nil)
	body := bytes.Repeat([]byte("退"), 3000)
	place := &producer.Place{Topic: "refund-command", Broker: "broker-a", Queue: 3, Offset: 17}
	for of, lies := range map[string]*producer.Place{producer.StubOfCommand: place, producer.StubOfEvent: nil} {
		text, err := producer.StubOf(of, body, lies).Encode()
		must(t, err)
		c := producer.Copy{Body: text, Keys: "R-1", Topic: "refund-command", MsgID: "M-1", Reason: "too_large", Park: 1}
		_, err = w.broker.Append(rocketmqtest.Message{Topic: "refund-parked", Body: c.Body, Properties: c.Properties()})
		must(t, err)
	}
	l := w.list()
	if len(l.Refunds) != 2 || l.Refunds[0].Stands != desk.StandsStub || l.Refunds[1].Stands != desk.StandsStub || l.Refunds[0].OutRequestNo != "R-1" {
		t.Fatalf("%+v", l)
	}
	shown := w.ctl(exitDone, "parked", "show", "R-1")
	for _, want := range []string{"stands for the command, 9000 bytes", "broker broker-a, queue 3, offset 17", "stands for the event", "its first 1024 bytes"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in\n%s", want, shown)
		}
	}
	requeue := w.ctl(exitDone, "parked", "requeue", "--number", "R-1", "--reason-text", "x", "--yes")
	if !strings.Contains(requeue, "there is no body to send") || !strings.Contains(requeue, "0 requeued, 2 skipped") {
		t.Errorf("requeue:\n%s", requeue)
	}
	w.ctl(exitDone, "parked", "drop", "--number", "R-1", "--reason-text", "sent again by its owner", "--yes")
	if l := w.list(); len(l.Refunds) != 0 {
		t.Errorf("%+v", l)
	}
}

// TestParkedStands: what the record says of a parked message.
func TestParkedStands(t *testing.T) {
	b, vars := cluster(t)
	b.CreateTopic("refund-parked", 1)
	b.CreateTopic("refund-retry", 1)
	store := records(t, vars)
	body := func(number, amount string) []byte {
		return []byte(`{"out_request_no":"` + number + `","out_trade_no":"T","refund_amount":"` + amount + `"}`)
	}
	note := func(number string) []byte {
		b, err := json.Marshal(map[string]any{"v": 1, "origin": map[string]any{"body": body(number, "1.00"), "topic": "refund-command"}, "last": struct{}{}})
		must(t, err)
		return b
	}
	park := func(number string, c producer.Copy) {
		c.Topic, c.MsgID, c.Keys = "refund-command", "M-"+number, number
		if _, err := b.Append(rocketmqtest.Message{Topic: "refund-parked", Body: body(number, "1.00"), Properties: c.Properties()}); err != nil {
			t.Fatal(err)
		}
	}
	// claim makes the record of a command with this amount, and returns how to go on.
	claim := func(number, amount string) dedupe.ReleaseRequest {
		cmd, err := consumer.DecodeCommand(consumer.KindRefund, body(number, amount))
		must(t, err)
		id := dedupe.Identity{AppID: worldApp, Kind: "refund", OutRequestNo: number}
		token := dedupe.NewToken()
		c, err := store.Claim(t.Context(), dedupe.ClaimRequest{ID: id, Fingerprint: cmd.Fingerprint(), Token: token, Note: note(number)})
		if err != nil || c.State != dedupe.Won {
			t.Fatalf("claim %s: %v, %v", number, c.State, err)
		}
		return dedupe.ReleaseRequest{ID: id, Token: token, Note: note(number), Fingerprint: cmd.Fingerprint()}
	}
	release := func(r dedupe.ReleaseRequest, parked bool) {
		r.Parked = parked
		if _, err := store.Release(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	settle := func(r dedupe.ReleaseRequest, succeeded bool) {
		if _, err := store.Settle(t.Context(), dedupe.SettleRequest{ID: r.ID, Fingerprint: r.Fingerprint, Token: r.Token, Succeeded: succeeded, Event: []byte("e")}); err != nil {
			t.Fatal(err)
		}
	}
	one := producer.Copy{Reason: "unknown_outcome", Park: 1, Generation: 1, Claimed: true}

	release(claim("open", "1.00"), true)
	claim("working", "1.00")
	release(claim("retrying", "1.00"), false)
	settle(claim("decided", "1.00"), false)
	release(claim("foreign", "2.00"), true)
	r := claim("contradiction", "1.00")
	settle(r, false)
	settle(r, true)
	for _, number := range []string{"open", "working", "decided", "foreign", "contradiction", "forgotten"} {
		park(number, one)
	}
	park("retrying", producer.Copy{Reason: "held", Park: 1, Claimed: true})
	park("open", producer.Copy{Reason: "unknown_outcome", Park: 2, Generation: 1, Claimed: true})
	damaged := one.Properties()
	damaged["REFUNDD_GEN"], damaged["KEYS"] = "x", "damaged"
	if _, err := b.Append(rocketmqtest.Message{Topic: "refund-parked", Body: body("damaged", "1.00"), Properties: damaged}); err != nil {
		t.Fatal(err)
	}

	var l listed
	must(t, json.Unmarshal([]byte(ctl(t.Context(), vars, "", "parked", "list", "--all", "-o", "json").stdout), &l))
	for _, number := range []string{"open", "working", "retrying", "decided", "foreign", "contradiction", "forgotten"} {
		if got := l.stands(number); got != desk.Standing(number) {
			t.Errorf("%s stands %q", number, got)
		}
	}
	if l.stands("damaged") != desk.StandsUnreadable {
		t.Errorf("damaged: %+v", l.Refunds)
	}
	older := slices.DeleteFunc(slices.Clone(l.Refunds), func(r desk.Short) bool { return r.Stands != desk.StandsNewer })
	if l.Messages != 9 || len(l.Refunds) != 9 || len(older) != 1 || older[0].OutRequestNo != "open" || older[0].Park != 1 {
		t.Errorf("%d messages, %d refunds, older %+v", l.Messages, len(l.Refunds), older)
	}
	plan := ctl(t.Context(), vars, "", "parked", "requeue", "--every", "--plan")
	if want := "found 8: 2 would be requeued, 6 skipped (1 contradiction, 1 decided, 1 foreign, 1 retrying, 1 unreadable, 1 working), 0 failed\n"; plan.code != 0 || !strings.HasSuffix(plan.stdout, want) {
		t.Errorf("plan: %+v", plan)
	}

	// What has no undecided record is dropped by a mark, and can only be dropped.
	drop := ctl(t.Context(), vars, "", "parked", "drop", "--every", "--reason-text", "told accounting", "--yes", "--actor", "ann")
	if want := "found 8: 5 dropped, 3 skipped (1 decided, 1 retrying, 1 working), 0 failed\n"; drop.code != 0 || !strings.HasSuffix(drop.stdout, want) {
		t.Errorf("drop: %+v", drop)
	}
	var left listed
	must(t, json.Unmarshal([]byte(ctl(t.Context(), vars, "", "parked", "list", "-o", "json").stdout), &left))
	if len(left.Refunds) != 0 {
		t.Errorf("left: %+v", left)
	}
	plan = ctl(t.Context(), vars, "", "parked", "requeue", "--every", "--again", "--plan")
	if want := "found 8: 2 would be requeued, 6 skipped (1 decided, 3 dropped, 1 retrying, 1 working), 0 failed\n"; plan.code != 0 || !strings.HasSuffix(plan.stdout, want) {
		t.Errorf("plan after the drop: %+v", plan)
	}

	// The broker does not confirm: the count says so, and so does the record.
	b.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code == rocketmqtest.CodeSend || r.Code == rocketmqtest.CodeSendV2 {
			return rocketmqtest.Action{Kind: rocketmqtest.Status, Code: rocketmqtest.SlaveNotAvailable}
		}
		return rocketmqtest.Action{}
	})
	failed := ctl(t.Context(), vars, "", "parked", "requeue", "--number", "open", "--reason-text", "x", "--yes", "--actor", "ann", "--again")
	if failed.code != exitFailed || !strings.Contains(failed.stdout, "found 1: 0 requeued, 0 skipped, 1 failed") || !strings.Contains(failed.stdout, "--again") {
		t.Errorf("not confirmed: %+v", failed)
	}
}

// records adds a Redis to an environment that has a broker, and no service.
func records(t *testing.T, vars map[string]string) *dedupe.Store {
	t.Helper()
	server := miniredis.RunT(t)
	vars["REFUNDD_REDIS_URL"], vars["REFUNDD_ALIPAY_APP_ID"] = "redis://"+server.Addr(), worldApp
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	store, err := dedupe.New(client, dedupe.Config{Prefix: "refundd:", Lease: time.Hour, Keep: time.Hour})
	must(t, err)
	return store
}
