package consumer

import (
	"strings"
	"testing"
	"time"

	"refundd/producer"
)

// TestActs: what a person did stays in the record through further tries, and
// changes nothing that is judged.
func TestActs(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RetryDelays = []time.Duration{time.Second} })
	number := "fault-frozen-1"
	b.handle(b.command(refundBody(number, "T1", "3.00")))
	b.settleAll()
	before, err := b.store.Read(t.Context(), identityOf(number))
	if err != nil || !before.Parked {
		t.Fatalf("%+v, %v", before, err)
	}
	act := Act{Deed: Requeued, By: "ann", Why: "topped up\n" + strings.Repeat("x", 2*mostWhy), At: time.Now(), Park: 1}
	noted, err := WithAct(before.Note, act)
	if err != nil {
		t.Fatal(err)
	}
	now, amended, err := b.store.Amend(t.Context(), identityOf(number), before, noted)
	if err != nil || !amended {
		t.Fatalf("amended %t, %v", amended, err)
	}
	was, err := Summarize(KindRefund, before.Note, time.Now(), time.Second)
	if err != nil || was.Command.OutRequestNo != number || was.Calls == 0 || was.Next != "call" || was.SubCode != "ACQ.REASON_TRADE_BEEN_FREEZEN" || was.Acts != nil {
		t.Errorf("remembered %+v, %v", was, err)
	}
	c := b.parked()[0]
	c.Try, c.First, c.Generation = 0, act.At, now.Generation
	b.handle(Delivery{Topic: retryTopic, MsgID: "X", Body: c.Body, Properties: c.Properties(), Born: time.Now()})
	b.settleAll()
	after, err := b.store.Read(t.Context(), identityOf(number))
	if err != nil {
		t.Fatal(err)
	}
	is, err := Summarize(KindRefund, after.Note, time.Now(), time.Second)
	switch {
	case err != nil || !after.Parked || len(b.parked()) != 2 || is.Calls <= was.Calls:
		t.Fatalf("parked again: %t, %+v, %v", after.Parked, is, err)
	case len(is.Acts) != 1 || is.Acts[0].By != "ann" || is.Acts[0].Park != 1 || len(is.Acts[0].Why) != mostWhy || strings.Contains(is.Acts[0].Why, "\n"):
		t.Errorf("acts %+v", is.Acts)
	case is.First.Before(was.First) || is.First.UnixMilli() != act.At.UnixMilli():
		t.Errorf("the age counts from %s, want %s", is.First, act.At)
	}
}

// TestActsAreBounded: a record does not grow with every deed.
func TestActsAreBounded(t *testing.T) {
	stored, err := note{Origin: origin{Body: []byte(refundBody("R1", "T1", "3.00")), Topic: refundTopic}}.encode()
	for i := range 3 * mostActs {
		if err != nil {
			t.Fatal(err)
		}
		stored, err = WithAct(stored, Act{Deed: Dropped, By: "ann", Why: "w", At: time.UnixMilli(int64(i + 1)), Park: 1})
	}
	r, err := Summarize(KindRefund, stored, time.Now(), time.Second)
	if err != nil || len(r.Acts) != mostActs || r.Acts[mostActs-1].At.UnixMilli() != 3*mostActs {
		t.Errorf("%d acts, %v", len(r.Acts), err)
	}
	if _, err := WithAct([]byte("{"), Act{}); err == nil || !strings.Contains(err.Error(), "decode note") {
		t.Errorf("a note that cannot be read: %v", err)
	}
	if _, err := Summarize(KindRefund, []byte(`{"v":99}`), time.Now(), time.Second); err == nil {
		t.Error("a note of a later version was read")
	}
}

// TestRememberNext: what a delivery would do first, in a person's words.
func TestRememberNext(t *testing.T) {
	rows := []struct {
		name string
		note note
		next string
	}{
		{"never called", note{}, "call"},
		{"called, end unknown", note{Calls: 1, LastCall: 1, Ended: endedUnknown}, "query"},
		{"proven", note{Proof: provenByQuery}, "succeed"},
		{"too old", note{QueryOnly: true, LastQuery: 1, Found: foundAbsent}, "query"},
		{"another amount there", note{Calls: 1, LastCall: 1, Ended: endedUnknown, LastQuery: 2, Found: foundOther}, "query"},
		{"closed", note{Found: foundClosed, LastQuery: 1}, "fail"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			row.note.Origin = origin{Body: []byte(refundBody("R1", "T1", "3.00")), Topic: refundTopic}
			stored, err := row.note.encode()
			if err != nil {
				t.Fatal(err)
			}
			r, err := Summarize(producer.KindRefund, stored, time.Now(), time.Second)
			if err != nil || r.Next != row.next {
				t.Errorf("next %q, want %q; %v", r.Next, row.next, err)
			}
		})
	}
}
