package events

import (
	"testing"
	"time"

	"refundd/producer"
)

func TestEventLine(t *testing.T) {
	ev := producer.Event{
		ID: "0123", Subject: "R-1", Time: time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC), Kind: producer.KindRefund,
		Outcome: producer.Failed, AmountFen: 1250, Reason: producer.ReasonRefused, Detail: "Alipay refused", ConfirmedBy: producer.ByQuery,
		Calls: 2, Metadata: map[string]string{"b": "2", "a": "\x1b[2J"},
	}
	want := `2026-01-31T08:00:00Z  refund.failed       R-1                            12.50  refused: Alipay refused  by query, calls and queries: 2  "a"="\x1b[2J"  "b"="2"  id=0123  (repeat)`
	if got := line(ev, true); got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
}

func TestRepeatsForgetTheOldestOnly(t *testing.T) {
	var r repeats
	id := func(i int) string { return time.Duration(i).String() }
	for i := range remembered + 10 {
		if r.seen(id(i)) {
			t.Fatalf("%d is new", i)
		}
	}
	for _, i := range []int{0, remembered - 1, remembered, remembered + 9} {
		if !r.seen(id(i)) {
			t.Errorf("%d was seen", i)
		}
	}
	for i := range remembered {
		r.seen(id(i + 10*remembered))
	}
	if r.seen(id(0)) {
		t.Error("a million later it is still known")
	}
}
