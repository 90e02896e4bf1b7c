//go:build !race

// The RocketMQ SDK's pull consumer has data races of its own.

package tap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/consumer/rocketmqtest"
)

// TestMain silences the SDK's log, once: it is a global of the SDK's.
func TestMain(m *testing.M) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	consumer.RedirectSDK(log)
	os.Exit(m.Run())
}

func start(t *testing.T, cfg rocketmqtest.Config) (*rocketmqtest.Broker, tap.Cluster) {
	t.Helper()
	b, err := rocketmqtest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, tap.Cluster{NameServers: []string{b.Addr()}}
}

// closed is a broker as production has it: nothing is created by a client.
func closed(t *testing.T) (*rocketmqtest.Broker, tap.Cluster) {
	t.Helper()
	return start(t, rocketmqtest.Config{Topics: map[string]int{"events": 3}, Groups: []string{"refundd", tap.ToolsGroup}})
}

func put(t *testing.T, b *rocketmqtest.Broker, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if _, err := b.Append(rocketmqtest.Message{Topic: "events", QueueID: -1, Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
}

// collect follows in the background; wait returns when so many were told.
func collect(t *testing.T, c tap.Cluster, f tap.Following) (wait func(n int) []string, ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	var mu sync.Mutex
	var got []string
	more := make(chan struct{}, 1000)
	ready := make(chan struct{})
	end := make(chan error, 1)
	f.Ready = func() { close(ready) }
	go func() {
		end <- tap.Follow(ctx, c, f, func(m tap.Message) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, string(m.Body))
			more <- struct{}{}
		})
	}()
	select {
	case <-ready:
	case err := <-end:
		t.Fatalf("cannot follow: %v", err)
	}
	return func(n int) []string {
		t.Helper()
		for range n {
			select {
			case <-more:
			case <-ctx.Done():
				t.Fatalf("not %d messages in time, but %q", n, got)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), got...)
	}, end
}

func TestFollowFromNowOn(t *testing.T) {
	b, c := closed(t)
	put(t, b, "old 1", "old 2", "old 3", "old 4")
	wait, _ := collect(t, c, tap.Following{Topic: "events"})
	put(t, b, "new 1", "new 2")
	for _, body := range wait(2) {
		if !strings.HasPrefix(body, "new") {
			t.Errorf("was told %q", body)
		}
	}
	if offsets := b.Committed(tap.ToolsGroup, "events"); len(offsets) != 0 {
		t.Errorf("offsets of the tools group were written: %v", offsets)
	}
	if members := b.Members("refundd"); len(members) != 0 {
		t.Errorf("the service's group has members: %v", members)
	}
}

func TestFollowFromTheBeginningUntilNow(t *testing.T) {
	b, c := closed(t)
	want := map[string]bool{}
	for i := range 100 {
		body := fmt.Sprintf("message %d", i)
		want[body] = true
		put(t, b, body)
	}
	wait, ended := collect(t, c, tap.Following{Topic: "events", Beginning: true, UntilNow: true})
	for _, body := range wait(100) {
		delete(want, body)
	}
	if err := <-ended; err != nil || len(want) > 0 {
		t.Errorf("ended with %v, %d messages missing", err, len(want))
	}
}

func TestFollowSinceATime(t *testing.T) {
	b, c := closed(t)
	put(t, b, "old 1", "old 2", "old 3", "old 4", "old 5", "old 6")
	var last int64
	for _, m := range b.Messages("events") {
		last = max(last, m.StoreTimestamp)
	}
	since := time.Now()
	for tick := time.NewTicker(time.Millisecond); since.UnixMilli() <= last; { // the broker's clock has milliseconds
		since = <-tick.C
	}
	put(t, b, "new 1", "new 2", "new 3", "new 4")
	wait, ended := collect(t, c, tap.Following{Topic: "events", Since: since, UntilNow: true})
	for _, body := range wait(4) {
		if !strings.HasPrefix(body, "new") {
			t.Errorf("was told %q", body)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestFollowGoesOnAfterTrouble(t *testing.T) {
	b, c := closed(t)
	trouble := make(chan error, 100)
	wait, _ := collect(t, c, tap.Following{Topic: "events", Trouble: func(err error) { trouble <- err }})
	b.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code == rocketmqtest.CodePull {
			return rocketmqtest.Action{Kind: rocketmqtest.Refuse, Code: rocketmqtest.SystemError, Remark: "broken"}
		}
		return rocketmqtest.Action{}
	})
	put(t, b, "one") // wakes a pull that waits already; the next one is refused
	select {
	case err := <-trouble:
		if !strings.Contains(err.Error(), "broken") {
			t.Errorf("trouble is %v", err)
		}
	case <-time.After(25 * time.Second):
		t.Fatal("nobody was told of the trouble")
	}
	b.SetHook(nil)
	put(t, b, "two")
	wait(2)
}

func TestFollowSaysThatTheGroupIsMissing(t *testing.T) {
	_, c := start(t, rocketmqtest.Config{Topics: map[string]int{"events": 1}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := tap.Follow(ctx, c, tap.Following{Topic: "events", Group: "nobody"}, func(tap.Message) {})
	if err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("error is %v", err)
	}
}

func TestCheckTopic(t *testing.T) {
	_, c := closed(t)
	if err := c.CheckTopic(t.Context(), "events"); err != nil {
		t.Error(err)
	}
	if err := c.CheckTopic(t.Context(), "nothing"); !errors.Is(err, tap.ErrNoTopic) {
		t.Errorf("missing topic: %v", err)
	}
	nobody := tap.Cluster{NameServers: []string{"127.0.0.1:1"}}
	if err := nobody.CheckTopic(t.Context(), "events"); err == nil || errors.Is(err, tap.ErrNoTopic) {
		t.Errorf("no name server: %v", err)
	}
	both := tap.Cluster{NameServers: append(nobody.NameServers, c.NameServers...)}
	if err := both.CheckTopic(t.Context(), "events"); err != nil {
		t.Errorf("one of two name servers: %v", err)
	}
}

func TestSendTellsWhatTheBrokerConfirmed(t *testing.T) {
	b, c := closed(t)
	s, err := tap.NewSender(c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	id, err := s.Send(t.Context(), tap.Outgoing{
		Topic: "events", Keys: "R-1", Properties: map[string]string{"traceparent": "x", "empty": ""}, Body: []byte("body"),
	})
	if err != nil {
		t.Fatal(err)
	}
	stored := b.Messages("events")
	if len(stored) != 1 || stored[0].MsgID != id || string(stored[0].Body) != "body" || stored[0].Properties["KEYS"] != "R-1" ||
		stored[0].Properties["traceparent"] != "x" {
		t.Errorf("id %s, stored %+v", id, stored)
	}
	if _, err := s.Send(t.Context(), tap.Outgoing{Topic: "events", Keys: "two words", Body: []byte("body")}); err != nil {
		t.Error(err)
	}
	if stored = b.Messages("events"); stored[len(stored)-1].Properties["KEYS"] != "" {
		t.Errorf("a key with a space was sent: %q", stored[1].Properties["KEYS"])
	}

	b.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code == rocketmqtest.CodeSend {
			return rocketmqtest.Action{Kind: rocketmqtest.Status, Code: rocketmqtest.FlushDiskTimeout}
		}
		return rocketmqtest.Action{}
	})
	if _, err := s.Send(t.Context(), tap.Outgoing{Topic: "events", Body: []byte("body")}); err == nil || !strings.Contains(err.Error(), "did not confirm") {
		t.Errorf("not flushed: %v", err)
	}
}

func TestFollowAPart(t *testing.T) {
	b, c := closed(t)
	for i := range 9 { // three in each of three queues
		if _, err := b.Append(rocketmqtest.Message{Topic: "events", QueueID: i % 3, Body: []byte{'0' + byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	two, three := int64(2), int64(3)
	for name, f := range map[string]tap.Following{
		"from an offset": {From: &two, UntilNow: true},
		"to an offset":   {Beginning: true, To: &three},
		"between":        {From: &two, To: &three},
		"beyond the end": {From: &two, To: new(int64(99))},
		"nothing":        {From: &three, To: &two},
		"until a time":   {Beginning: true, Until: time.Now().Add(-time.Hour)},
		"merged":         {Beginning: true, UntilNow: true, Merged: true},
	} {
		t.Run(name, func(t *testing.T) {
			f.Topic = "events"
			var spans []tap.Span
			f.Spans = func(s []tap.Span) { spans = s }
			got := 0
			last := time.Time{}
			if err := tap.Follow(t.Context(), c, f, func(m tap.Message) {
				got++
				if f.Merged && m.Stored.Before(last) {
					t.Errorf("%s stored at %s after %s", m.Body, m.Stored, last)
				}
				last = m.Stored
			}); err != nil {
				t.Fatal(err)
			}
			want := map[string]int{"from an offset": 3, "to an offset": 9, "between": 3, "beyond the end": 3, "nothing": 0, "until a time": 0, "merged": 9}[name]
			announced := int64(0)
			for _, s := range spans {
				announced += s.End - s.Next
			}
			if got != want || announced != int64(want) || len(spans) != 3 {
				t.Errorf("%d messages, want %d; announced %v", got, want, spans)
			}
		})
	}
	t.Run("one queue", func(t *testing.T) {
		seen := map[string]int{}
		f := tap.Following{Topic: "events", Beginning: true, UntilNow: true}
		if err := tap.Follow(t.Context(), c, f, func(m tap.Message) { seen[m.Queue]++ }); err != nil {
			t.Fatal(err)
		}
		for queue := range seen {
			f.Queue = queue
			got := 0
			if err := tap.Follow(t.Context(), c, f, func(tap.Message) { got++ }); err != nil || got != seen[queue] {
				t.Errorf("%s: %d messages, want %d, %v", queue, got, seen[queue], err)
			}
		}
		f.Queue = "nobody/1"
		if err := tap.Follow(t.Context(), c, f, func(tap.Message) {}); err == nil || !strings.Contains(err.Error(), "there is no queue nobody/1") {
			t.Errorf("a queue that is not there: %v", err)
		}
	})
}

func TestSendOutlivesANameServerThatFailsForAMoment(t *testing.T) {
	b, c := closed(t)
	asked := 0
	b.SetHook(func(r rocketmqtest.Request) rocketmqtest.Action {
		if r.Code != rocketmqtest.CodeRoute {
			return rocketmqtest.Action{}
		}
		if asked++; asked > 6 {
			return rocketmqtest.Action{}
		}
		return rocketmqtest.Action{Kind: rocketmqtest.Status, Code: rocketmqtest.SystemError}
	})
	s, err := tap.NewSender(c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Send(t.Context(), tap.Outgoing{Topic: "events", Body: []byte("x")}); err != nil {
		t.Error(err)
	}
	if n := len(b.Messages("events")); n != 1 || asked < 7 {
		t.Errorf("%d messages, the name server was asked %d times", n, asked)
	}
	// A topic that really is not there is still told soon.
	if _, err := s.Send(t.Context(), tap.Outgoing{Topic: "nothing", Body: []byte("x")}); err == nil {
		t.Error("sent to a topic that does not exist")
	}
}
