package history

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	second = int64(1000)
	hour   = 3600 * second
)

// good is a history in which every invariant can be checked, and holds: R1 succeeds
// on its second try after an answer was lost, R2 is refused, a third command
// conflicts with R1.
func good() []Fact {
	of := func(number string, f Fact) Fact {
		f.AppID, f.Kind, f.Number = "app", "refund", number
		return f
	}
	facts := []Fact{
		{What: Run, Settings: &Settings{
			Seed: 7, Lease: 60 * second, Keep: 200 * hour, MaxAge: 72 * hour, Retention: 72 * hour, Timeout: 15 * second, QueryAfter: 10 * second,
			Drain: 25 * second, Rate: 100, Bound: hour,
		}},
		{What: Process, Process: "p1", Result: "started"},
		{What: Canary, Name: "token", Result: Planted},
		{What: Trade, AppID: "app", Kind: "refund", Trade: "T1", Amount: 500},
		{What: Trade, AppID: "app", Kind: "refund", Trade: "T2", Amount: 500},
		of("R1", Fact{What: Command, Message: "m1", Fingerprint: "a", Trade: "T1", Amount: 100}),
		of("R2", Fact{What: Command, Message: "m2", Fingerprint: "b", Trade: "T2", Amount: 100}),
		of("R1", Fact{What: Command, Message: "m3", Fingerprint: "c", Trade: "T1", Amount: 300}),
		// R1, first try: the money moves, the answer is lost.
		of("R1", Fact{What: Delivery, Process: "p1", Delivery: "d1", Copy: "m1", Message: "m1", Topic: TopicCommand}),
		of("R1", Fact{What: Claim, Process: "p1", Delivery: "d1", Message: "m1", Token: "t1", Result: Won, Fresh: true, Clock: 1, Lease: 60*second + 1, Sent: 0}),
		of("R1", Fact{What: Call, Process: "p1", Delivery: "d1", Call: "c1", Method: MethodRefund, Authorised: "app", Trade: "T1", Amount: 100}),
		of("R1", Fact{What: Money, Trade: "T1", Amount: 100}),
		{What: Fault, Name: "answer lost", Result: Injected},
		{What: Fault, Name: "answer lost", Result: Happened},
		of("R1", Fact{What: Answer, Process: "p1", Call: "c1", Method: MethodRefund, Result: "unknown"}),
		of("R1", Fact{What: Release, Process: "p1", Delivery: "d1", Token: "t1", Result: Released, Generation: 1}),
		of("R1", Fact{What: Index, Result: Entered}),
		of("R1", Fact{What: Publish, Process: "p1", Delivery: "d1", Topic: TopicRetry, Result: Confirmed, Copy: "k1", Message: "m1", Generation: 1, Claimed: true}),
		of("R1", Fact{What: Ack, Process: "p1", Delivery: "d1", Copy: "m1"}),
		// R2 is refused, and a query agrees.
		of("R2", Fact{What: Delivery, Process: "p1", Delivery: "d2", Copy: "m2", Message: "m2", Topic: TopicCommand}),
		of("R2", Fact{What: Claim, Process: "p1", Delivery: "d2", Message: "m2", Token: "t2", Result: Won, Fresh: true, Clock: 1, Lease: 60*second + 1}),
		of("R2", Fact{What: Call, Process: "p1", Delivery: "d2", Call: "c2", Method: MethodRefund, Authorised: "app", Trade: "T2", Amount: 100}),
		of("R2", Fact{What: Answer, Process: "p1", Call: "c2", Method: MethodRefund, Result: Refused, Signed: true}),
		of("R2", Fact{What: Call, Process: "p1", Delivery: "d2", Call: "c3", Method: MethodQuery, Authorised: "app", Trade: "T2", Amount: 100}),
		of("R2", Fact{What: Answer, Process: "p1", Call: "c3", Method: MethodQuery, Result: Absent}),
		of("R2", Fact{What: Settle, Process: "p1", Delivery: "d2", Token: "t2", Result: Settled, Outcome: Failed, Event: "e2", Clock: 2, Expires: 200*hour + 2}),
		of("R2", Fact{What: Publish, Process: "p1", Delivery: "d2", Topic: TopicEvent, Result: Confirmed, Outcome: Failed, Event: "e2", Body: "2", Trade: "T2", Amount: 100}),
		of("R2", Fact{What: Ack, Process: "p1", Delivery: "d2", Copy: "m2"}),
		// The conflict.
		of("R1", Fact{What: Delivery, Process: "p1", Delivery: "d3", Copy: "m3", Message: "m3", Topic: TopicCommand}),
		of("R1", Fact{What: Claim, Process: "p1", Delivery: "d3", Message: "m3", Token: "t3", Result: "conflict"}),
		of("R1", Fact{What: Publish, Process: "p1", Delivery: "d3", Topic: TopicEvent, Result: Confirmed, Outcome: Rejected, Reason: "conflict", Event: "e3", Body: "3", Message: "m3"}),
		of("R1", Fact{What: Ack, Process: "p1", Delivery: "d3", Copy: "m3"}),
		// A notification.
		{What: Notification, Process: "p1", Notify: "n1", Result: Genuine},
		of("R1", Fact{What: Publish, Process: "p1", Topic: TopicEvent, Result: Confirmed, Outcome: "notified", Event: "e4", Notify: "n1"}),
		{What: Reply, Process: "p1", Notify: "n1", Result: Success},
		{What: Quiet},
		// R1, second try.
		of("R1", Fact{What: Delivery, Process: "p1", Delivery: "d4", Copy: "k1", Message: "m1", Topic: TopicRetry, Generation: 1, Claimed: true}),
		of("R1", Fact{What: Claim, Process: "p1", Delivery: "d4", Message: "m1", Token: "t4", Result: Won, Clock: 20 * second, Lease: 80 * second, Sent: 20 * second}),
		of("R1", Fact{What: Call, Process: "p1", Delivery: "d4", Call: "c4", Method: MethodQuery, Authorised: "app", Trade: "T1", Amount: 100, At: 20 * second}),
		of("R1", Fact{What: Answer, Process: "p1", Call: "c4", Method: MethodQuery, Result: "ours", At: 20 * second}),
		of("R1", Fact{What: Settle, Process: "p1", Delivery: "d4", Token: "t4", Result: Settled, Outcome: Succeeded, Event: "e1", Clock: 2, Expires: 200*hour + 2, At: 20 * second}),
		of("R1", Fact{What: Publish, Process: "p1", Delivery: "d4", Topic: TopicEvent, Result: Confirmed, Outcome: Succeeded, Event: "e1", Body: "1", Trade: "T1", Amount: 100, At: 20 * second}),
		of("R1", Fact{What: Index, Result: Left, At: 20 * second}),
		of("R1", Fact{What: Ack, Process: "p1", Delivery: "d4", Copy: "k1", At: 20 * second}),
		{What: Process, Process: "p1", Result: Stopping, At: 21 * second},
		{What: Process, Process: "p1", Result: Stopped, At: 22 * second},
		{What: Counter, Name: "events", Value: 4, At: 22 * second},
		{What: End, At: 22 * second},
	}
	return facts
}

// find returns the index of the first fact that fits.
func find(t *testing.T, facts []Fact, fits func(Fact) bool) int {
	t.Helper()
	i := slices.IndexFunc(facts, fits)
	if i < 0 {
		t.Fatal("the history has no such fact")
	}
	return i
}

func is(w What, id string) func(Fact) bool {
	return func(f Fact) bool {
		return f.What == w && slices.Contains([]string{f.Delivery, f.Event, f.Call, f.Number, f.Copy, f.Process, f.Notify, f.Name}, id)
	}
}

// broken are the smallest changes to the good history that break one promise each.
func broken() map[string]func(t *testing.T, h []Fact) []Fact {
	remove := func(w What, id string) func(*testing.T, []Fact) []Fact {
		return func(t *testing.T, h []Fact) []Fact {
			t.Helper()
			i := find(t, h, is(w, id))
			return slices.Delete(h, i, i+1)
		}
	}
	change := func(w What, id string, f func(*Fact)) func(*testing.T, []Fact) []Fact {
		return func(t *testing.T, h []Fact) []Fact {
			t.Helper()
			f(&h[find(t, h, is(w, id))])
			return h
		}
	}
	again := func(w What, id string, f func(*Fact)) func(*testing.T, []Fact) []Fact {
		return func(t *testing.T, h []Fact) []Fact {
			t.Helper()
			i := find(t, h, is(w, id))
			second := h[i]
			f(&second)
			return slices.Insert(h, i+1, second)
		}
	}
	return map[string]func(*testing.T, []Fact) []Fact{
		"I1: the money moves twice":           again(Money, "R1", func(*Fact) {}),
		"I2: a command without an end":        remove(Publish, "e2"),
		"I2: decided again":                   again(Settle, "d4", func(f *Fact) { f.Event = "e9" }),
		"I2: both outcomes":                   again(Publish, "e1", func(f *Fact) { f.Outcome, f.Event = Failed, "e9" }),
		"I3: succeeded without money":         remove(Money, "R1"),
		"I3: failed, and the money had moved": change(Publish, "e1", func(f *Fact) { f.Outcome = Failed }),
		"I3: money after failed": again(Publish, "e2", func(f *Fact) {
			*f = Fact{What: Money, AppID: "app", Kind: "refund", Number: "R2", Trade: "T2", Amount: 100}
		}),
		"I4: more than was paid":                change(Trade, "", func(f *Fact) { f.Amount = 99 }),
		"I5: other bytes":                       again(Publish, "e1", func(f *Fact) { f.Body = "other" }),
		"I5: two keys":                          again(Publish, "e1", func(f *Fact) { f.Key = "k9" }),
		"I5: two ids":                           again(Publish, "e1", func(f *Fact) { f.Event = "e9" }),
		"I5: settled and never told":            remove(Publish, "e1"),
		"I6: an event nobody commanded":         again(Publish, "e1", func(f *Fact) { f.Number = "R9" }),
		"I6: a record nobody commanded":         again(Claim, "d1", func(f *Fact) { f.Number = "R9" }),
		"I6: a call without a claim":            remove(Claim, "d2"),
		"I7: acknowledged for nothing":          change(Publish, "k1", func(f *Fact) { f.Result = Stored }),
		"I8: a call with another amount":        again(Call, "c1", func(f *Fact) { f.Amount = 300 }),
		"I8: a conflict that nobody is told of": remove(Publish, "e3"),
		"I9: two holders":                       again(Claim, "d1", func(f *Fact) { f.Token, f.Clock = "t9", 2 }),
		"I9: a stale failure":                   change(Settle, "d2", func(f *Fact) { f.Token = "t9" }),
		"I9: a stale release":                   change(Release, "d1", func(f *Fact) { f.Token = "t9" }),
		"I10: failed by time alone":             change(Answer, "c2", func(f *Fact) { f.Result = "unknown" }),
		"I10: failed without a query":           change(Answer, "c3", func(f *Fact) { f.Result = "unknown" }),
		"I10: an unsigned refusal alone":        change(Answer, "c2", func(f *Fact) { f.Signed = false }),
		"I10: it may have been made before":     change(Answer, "c2", func(f *Fact) { f.QueryFirst = true }),
		"I10: refused on a later delivery":      change(Delivery, "d2", func(f *Fact) { f.Topic = TopicRetry }),
		"I11: forgotten too early":              change(Settle, "d2", func(f *Fact) { f.Expires = hour }),
		"I11: an undecided record expires":      change(Release, "d1", func(f *Fact) { f.Expires = hour }),
		"I11: keep is too short":                func(_ *testing.T, h []Fact) []Fact { h[0].Settings.Retention = 190 * hour; return h },
		"I12: success for nothing":              remove(Publish, "n1"),
		"I12: a forged one is told":             change(Notification, "n1", func(f *Fact) { f.Result = Forged }),
		"I12: one id, two events":               again(Publish, "n1", func(f *Fact) { f.Event = "e9" }),
		"I13: a call after the signal": func(_ *testing.T, h []Fact) []Fact {
			return slices.Insert(h, len(h)-3, Fact{What: Call, Process: "p1", Number: "R1", AppID: "app", Kind: "refund", Call: "c9", Method: MethodQuery, At: 23 * second})
		},
		"I13: a stop that takes too long": func(t *testing.T, h []Fact) []Fact { h[len(h)-3].At = 60 * second; return h },
		"I14: something never ends":       change(End, "", func(f *Fact) { f.Value = 1 }),
		"I14: it takes too long":          change(End, "", func(f *Fact) { f.At = 2 * hour }),
		"I16: too many calls": func(_ *testing.T, h []Fact) []Fact {
			i := slices.IndexFunc(h, is(Call, "c1"))
			for range 1100 {
				h = slices.Insert(h, i, h[i])
			}
			return h
		},
		"I17: a wrong counter":              change(Counter, "events", func(f *Fact) { f.Value = 5 }),
		"I18: a secret in a log":            again(Canary, "token", func(f *Fact) { f.Result = Found }),
		"I20: a fault that never happened":  change(Fault, "answer lost", func(f *Fact) { f.Name = "another" }),
		"R2: a query for another":           change(Call, "c4", func(f *Fact) { f.Authorised = "shop" }),
		"R10i: a claim that no index knows": remove(Index, "R1"),
		"R10q: too old, and called":         change(Command, "R1", func(f *Fact) { f.At = -200 * hour }),
		"R7: copies multiply": func(t *testing.T, h []Fact) []Fact {
			i := find(t, h, is(Publish, "k1"))
			for _, k := range []string{"k2", "k3", "k4", "k5"} {
				f := h[i]
				f.Copy = k
				h = slices.Insert(h, i, f)
			}
			return h
		},
		"R8: a call that does not fit": change(Call, "c1", func(f *Fact) { f.At = 46 * second }),
		"R8: a query after its lease":  change(Call, "c4", func(f *Fact) { f.At = 81 * second }),
		"R9: claimed, and rejected":    change(Claim, "d3", func(f *Fact) { f.Result, f.Clock = Won, 90*second }),
		"R10: nothing carries it any more": func(t *testing.T, h []Fact) []Fact {
			h = slices.DeleteFunc(h, func(f Fact) bool {
				return f.Delivery == "d4" || f.Delivery == "d3" || f.Event == "e4" || f.What == Command && f.Message == "m3"
			})
			i := find(t, h, is(Publish, "k1"))
			return slices.Insert(h, i+1, Fact{What: Lost, Copy: "k1", AppID: "app", Kind: "refund", Number: "R1"})
		},
	}
}

func TestGoodHistory(t *testing.T) {
	r := Check(good(), Options{Repeat: Hash(good())})
	if !r.Clean() || len(r.Unchecked) > 0 || len(r.Held) != len(Invariants()) {
		t.Fatalf("want every invariant to hold:\n%s", r)
	}
}

// TestEveryInvariantFails: each is broken by some history, and then says so with
// the refund's story.
func TestEveryInvariantFails(t *testing.T) {
	failed := map[string]bool{}
	for name, breakIt := range broken() {
		t.Run(name, func(t *testing.T) {
			want, _, _ := strings.Cut(name, ":")
			r := Check(breakIt(t, good()), Options{Only: []string{want}})
			if len(r.Violations) == 0 {
				t.Fatalf("%s holds:\n%s", want, r)
			}
			v := r.Violations[0]
			if v.Text == "" || v.Fact < 1 || v.Refund != "" && len(v.Story) < 3 {
				t.Errorf("the violation explains too little: %+v", v)
			}
			failed[want] = true
		})
	}
	for _, inv := range Invariants() {
		if !failed[inv.Name] && inv.Name != "I19" {
			t.Errorf("no history breaks %s", inv.Name)
		}
	}
}

func TestRepeatMustBeEqual(t *testing.T) {
	if r := Check(good(), Options{Repeat: Hash(good()[1:])}); len(r.Violations) != 1 || r.Violations[0].Invariant != "I19" {
		t.Errorf("want I19 broken alone:\n%s", r)
	}
}

// TestLacking: what a history cannot show is not said to hold.
func TestLacking(t *testing.T) {
	r := Check([]Fact{{What: End}}, Options{})
	if len(r.Held) > 0 || !r.Clean() || len(r.Unchecked) != len(Invariants()) {
		t.Errorf("an empty history shows nothing, and yet:\n%s", r)
	}
	if text := r.String(); !strings.Contains(text, "I1 not checked: lacks facts of kind money") {
		t.Errorf("the report does not say what is lacking:\n%s", text)
	}
}

func TestWriteAndRead(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file)
	want := good()
	for _, f := range want {
		if err := w.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadAll(&file)
	if err != nil {
		t.Fatal(err)
	}
	if Hash(got) != Hash(want) || len(got) != len(want) {
		t.Errorf("%d facts with another hash, want %d", len(got), len(want))
	}
}

func TestConcurrentWriter(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if err := w.Add(Fact{What: Quiet}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	facts, err := ReadAll(&file)
	if err != nil || len(facts) != 200 {
		t.Errorf("%d facts, %v", len(facts), err)
	}
}

func TestReadErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":         {"{\"at\":1,\"what\":\"quiet\"}\nhello\n", "line 2: not a JSON object"},
		"unknown field":   {`{"at":1,"what":"quiet","wat":1}`, `line 1: field "wat" is not known`},
		"unknown kind":    {`{"at":1,"what":"miracle"}`, `field "what": "miracle" is no kind of fact`},
		"a wrong type":    {`{"at":"soon","what":"quiet"}`, `field "at": a string cannot stand here`},
		"a missing field": {`{"at":1,"what":"money","out_request_no":"R1","trade":"T"}`, `field "amount": a money needs it`},
		"two objects":     {`{"at":1,"what":"quiet"}{}`, "more than one JSON object"},
		"too long":        {strings.Repeat("x", 2<<20), "line 1: bufio.Scanner: token too long"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadAll(strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestWriterRefuses(t *testing.T) {
	w := NewWriter(&bytes.Buffer{})
	if err := w.Add(Fact{What: "miracle"}); err == nil || !strings.Contains(err.Error(), "miracle") {
		t.Errorf("got %v", err)
	}
	if err := w.Add(Fact{What: Money}); err == nil || !strings.Contains(err.Error(), "out_request_no") {
		t.Errorf("got %v", err)
	}
}
