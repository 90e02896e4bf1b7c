package history

import "testing"

// What looks broken and is not. Each was a false alarm of the simulation once.
func TestExcused(t *testing.T) {
	of := func(f Fact) Fact {
		f.AppID, f.Kind, f.Number = "app", "refund", "R1"
		return f
	}
	delivery := func(id, copied, topic string) Fact {
		return of(Fact{What: Delivery, Process: "p1", Delivery: id, Copy: copied, Topic: topic})
	}
	retry := func(delivery, copied, result string) Fact {
		return of(Fact{What: Publish, Process: "p1", Delivery: delivery, Topic: TopicRetry, Result: result, Copy: copied})
	}
	told := func(outcome, trade string) Fact {
		return of(Fact{What: Publish, Topic: TopicEvent, Result: Confirmed, Outcome: outcome, Event: outcome, Trade: trade, Amount: 100})
	}
	for name, test := range map[string]struct {
		invariant string
		facts     []Fact
	}{
		"a copy whose successor is stored, and that is not acknowledged yet": {"R7", []Fact{
			of(Fact{What: Command, Message: "m1"}),
			delivery("d1", "m1", TopicCommand), retry("d1", "k1", Stored), retry("d1", "k2", Confirmed),
			of(Fact{What: Ack, Process: "p1", Delivery: "d1", Copy: "m1"}),
			delivery("d2", "k1", TopicRetry), delivery("d3", "k2", TopicRetry), retry("d2", "k3", Confirmed), retry("d3", "k4", Confirmed),
		}},
		"a rollback that left the holder": {"I9", []Fact{
			of(Fact{What: Claim, Token: "t1", Result: Won, Lease: 60}),
			{What: Redis, Result: "rolled_back"},
			of(Fact{What: Claim, Token: "t2", Result: "held"}),
			of(Fact{What: Release, Token: "t1", Result: Released}),
			of(Fact{What: Release, Token: "t1", Result: Released}),
		}},
		"a release that a rollback left, and that is sent again": {"I9", []Fact{
			of(Fact{What: Claim, Token: "t1", Result: Won, Lease: 60}),
			of(Fact{What: Release, Token: "t1", Result: Released}),
			{What: Redis, Result: "rolled_back"},
			of(Fact{What: Claim, Token: "t2", Result: Won, Clock: 70, Lease: 130}),
			of(Fact{What: Release, Token: "t1", Result: Released}),
			of(Fact{What: Release, Token: "t2", Result: Released}),
		}},
		"a release that nobody answered, and another holder": {"I9", []Fact{
			of(Fact{What: Claim, Token: "t1", Result: Won, Lease: 60}),
			of(Fact{What: Release, Token: "t1", Result: Unknown}),
			of(Fact{What: Claim, Token: "t2", Result: Won, Clock: 10, Lease: 70}),
		}},
		"a release that nobody answered, and that was not made": {"I9", []Fact{
			of(Fact{What: Claim, Token: "t1", Result: Won, Lease: 60}),
			of(Fact{What: Release, Token: "t1", Result: Unknown}),
			of(Fact{What: Settle, Token: "t1", Result: Settled, Outcome: Failed}),
		}},
		"a rollback that brought a holder back": {"I9", []Fact{
			of(Fact{What: Claim, Token: "t1", Result: Won, Lease: 60}),
			of(Fact{What: Claim, Token: "t2", Result: Won, Clock: 70, Lease: 130}),
			{What: Redis, Result: "rolled_back"},
			of(Fact{What: Settle, Token: "t1", Result: Settled, Outcome: Failed}),
		}},
		"a conflict that was found before Redis forgot it": {"R9", []Fact{
			of(Fact{What: Claim, Delivery: "d1", Token: "t1", Result: "conflict", Message: "m1"}),
			{What: Redis, Result: "wiped"},
			of(Fact{What: Claim, Delivery: "d2", Token: "t2", Result: Won, Message: "m1"}),
			of(Fact{What: Publish, Delivery: "d1", Topic: TopicEvent, Result: Confirmed, Outcome: Rejected, Event: "e1", Message: "m1"}),
		}},
		"a call that was made after Redis had forgotten its claim": {"I8", []Fact{
			of(Fact{What: Command, Message: "m1", Fingerprint: "a", Trade: "T1", Amount: 100}),
			of(Fact{What: Command, Message: "m2", Fingerprint: "b", Trade: "T1", Amount: 200}),
			of(Fact{What: Claim, Delivery: "d1", Token: "t1", Result: Won}),
			{What: Redis, Result: "rolled_back"},
			of(Fact{What: Call, Delivery: "d1", Method: MethodRefund, Trade: "T1", Amount: 100}),
			of(Fact{What: Claim, Delivery: "d2", Token: "t2", Result: Won}),
			of(Fact{What: Call, Delivery: "d2", Method: MethodRefund, Trade: "T1", Amount: 200}),
		}},
		"a decision that Redis forgot before it was told, and another command came first": {"I5", []Fact{
			of(Fact{What: Settle, Token: "t1", Result: Settled, Outcome: Succeeded, Event: "e1"}),
			{What: Redis, Result: "wiped"},
			of(Fact{What: Publish, Topic: TopicEvent, Result: Confirmed, Outcome: Rejected, Reason: "conflict", Event: "e2", Message: "m1"}),
			{What: End},
		}},
		"a failure that Redis forgot before it was told, and the next try succeeded": {"I5", []Fact{
			of(Fact{What: Settle, Token: "t1", Result: Settled, Outcome: Failed, Event: "e1"}),
			{What: Redis, Result: "rolled_back"},
			told(Succeeded, "T1"),
			{What: End},
		}},
		"a failure that Redis forgot before it was told, and then the money moved": {"I3", []Fact{
			of(Fact{What: Command, Message: "m1", Trade: "T1", Amount: 100}),
			of(Fact{What: Settle, Token: "t1", Result: Settled, Outcome: Failed, Event: "e1"}),
			{What: Redis, Result: "rolled_back"},
			of(Fact{What: Publish, Topic: TopicEvent, Result: Confirmed, Outcome: Failed, Event: "e1", Trade: "T1", Amount: 100}),
			of(Fact{What: Money, Trade: "T1", Amount: 100}),
			of(Fact{What: Publish, Topic: TopicEvent, Result: Confirmed, Outcome: Succeeded, Event: "e2", Trade: "T1", Amount: 100}),
			{What: End},
		}},
		"a failure that Redis forgot before it was told, and a late copy was carried out": {"I2", []Fact{
			of(Fact{What: Command, Message: "m1", Trade: "T1", Amount: 100}),
			of(Fact{What: Settle, Token: "t1", Result: Settled, Outcome: Failed, Event: "e1"}),
			{What: Redis, Result: "rolled_back"},
			of(Fact{What: Publish, Topic: TopicEvent, Result: Confirmed, Outcome: Failed, Event: "e1", Trade: "T1"}),
			of(Fact{What: Settle, Token: "t2", Result: Settled, Outcome: Succeeded, Event: "e2"}),
			of(Fact{What: Publish, Topic: TopicEvent, Result: Confirmed, Outcome: Succeeded, Event: "e2", Trade: "T1"}),
			{What: End},
		}},
		"outcomes of two contents, where Redis forgot the first": {"I2", []Fact{
			of(Fact{What: Command, Message: "m1", Trade: "T1", Amount: 100}),
			of(Fact{What: Command, Message: "m2", Trade: "T2", Amount: 100}),
			{What: Redis, Result: "wiped"},
			told(Succeeded, "T1"), told(Failed, "T2"),
		}},
		"money of another content than the one that failed": {"I3", []Fact{
			of(Fact{What: Command, Message: "m1", Trade: "T1", Amount: 100}),
			of(Fact{What: Command, Message: "m2", Trade: "T2", Amount: 100}),
			told(Failed, "T1"),
			of(Fact{What: Money, Trade: "T2", Amount: 100}),
			told(Succeeded, "T2"),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if r := Check(test.facts, Options{Only: []string{test.invariant}}); len(r.Held) != 1 {
				t.Errorf("does not hold:\n%s", r)
			}
		})
	}
	stranger := []Fact{
		of(Fact{What: Claim, Token: "t1", Result: Won, Lease: 60}),
		{What: Redis, Result: "rolled_back"},
		of(Fact{What: Release, Token: "t2", Result: Released}),
	}
	if r := Check(stranger, Options{Only: []string{"I9"}}); r.Clean() {
		t.Error("a token that never won released the record, and that is fine")
	}
	again := []Fact{
		of(Fact{What: Command, Message: "m1", Trade: "T1", Amount: 100}),
		of(Fact{What: Settle, Token: "t1", Result: Settled, Outcome: Failed, Event: "e1"}),
		{What: Redis, Result: "rolled_back"},
		of(Fact{What: Settle, Token: "t2", Result: Settled, Outcome: Failed, Event: "e1"}),
		of(Fact{What: Publish, Topic: TopicEvent, Result: Confirmed, Outcome: Failed, Event: "e1", Trade: "T1", Amount: 100}),
		of(Fact{What: Money, Trade: "T1", Amount: 100}),
	}
	if r := Check(again, Options{Only: []string{"I3"}}); r.Clean() {
		t.Error("a failure that was decided again behind the rollback excuses the money that moved then")
	}
}

// TestUnansweredOfAnother: only its holder may have given a record up unheard.
func TestUnansweredOfAnother(t *testing.T) {
	of := func(f Fact) Fact {
		f.AppID, f.Kind, f.Number = "app", "refund", "R1"
		return f
	}
	report := Check([]Fact{
		{What: Run, Settings: &Settings{Lease: 60}},
		of(Fact{What: Claim, Token: "t1", Result: Won, Lease: 60}),
		of(Fact{What: Release, Token: "t9", Result: Unknown}),
		of(Fact{What: Claim, Token: "t2", Result: Won, Clock: 10, Lease: 70}),
	}, Options{Only: []string{"I9"}})
	if report.Clean() {
		t.Error("two hold one record, and it is clean")
	}
}
