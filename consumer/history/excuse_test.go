package history

import (
	"slices"
	"testing"
)

// TestExcuses: each excuse, what it excuses, and what looks much like it and is broken.
func TestExcuses(t *testing.T) {
	of := func(f Fact) Fact {
		f.AppID, f.Kind, f.Number = "app", "refund", "R1"
		return f
	}
	other := func(f Fact) Fact {
		f.AppID, f.Kind, f.Number = "app", "refund", "R2"
		return f
	}
	settings := Fact{What: Run, Settings: &Settings{Keep: 100 * hour, QueryAfter: 10 * second, Rate: 10}}
	command := func(message string, amount int64) Fact {
		return of(Fact{What: Command, Message: message, Fingerprint: message, Trade: "T1", Amount: amount})
	}
	won := func(delivery, message string) Fact {
		return of(Fact{What: Claim, Delivery: delivery, Token: delivery, Result: Won, Message: message})
	}
	fresh := func(f Fact) Fact {
		f.Fresh = true
		return f
	}
	call := func(delivery string, amount int64) Fact {
		return of(Fact{What: Call, Delivery: delivery, Call: delivery, Method: MethodRefund, Trade: "T1", Amount: amount, Authorised: "app"})
	}
	settled := func(outcome, event string) Fact {
		return of(Fact{What: Settle, Token: "t", Result: Settled, Outcome: outcome, Event: event})
	}
	published := func(outcome, event, body string) Fact {
		return of(Fact{
			What: Publish, Topic: TopicEvent, Result: Confirmed, Outcome: outcome, Event: event, Body: body, Trade: "T1", Amount: 100, Message: "m1",
		})
	}
	rejected := func(delivery string) Fact {
		return of(Fact{What: Publish, Delivery: delivery, Topic: TopicEvent, Result: Confirmed, Outcome: Rejected, Reason: "invalid", Event: "r1", Message: "m1"})
	}
	because := func(reason string, f Fact) Fact {
		f.Reason = reason
		return f
	}
	ended := func(delivery string) Fact {
		return of(Fact{What: Publish, Delivery: delivery, Topic: TopicEvent, Result: Confirmed, Outcome: Failed, Event: "e1"})
	}
	answered := func(delivery string, signed bool) Fact {
		return of(Fact{What: Answer, Call: delivery, Delivery: delivery, Method: MethodRefund, Result: Refused, Signed: signed})
	}
	absent := func(delivery string) []Fact {
		return []Fact{
			of(Fact{What: Call, Delivery: delivery, Call: delivery + "q", Method: MethodQuery}),
			of(Fact{What: Answer, Delivery: delivery, Call: delivery + "q", Method: MethodQuery, Result: Absent}),
		}
	}
	delivered := func(delivery, copied, topic string, claimed bool) Fact {
		return of(Fact{What: Delivery, Process: "p1", Delivery: delivery, Copy: copied, Message: "m1", Topic: topic, Claimed: claimed})
	}
	retried := func(delivery, copied string, claimed bool) Fact {
		return of(Fact{
			What: Publish, Delivery: delivery, Topic: TopicRetry, Result: Confirmed, Copy: copied, Message: "m1", Claimed: claimed,
		})
	}
	acknowledged := func(delivery, copied string) Fact {
		return of(Fact{What: Ack, Process: "p1", Delivery: delivery, Copy: copied, Message: "m1"})
	}
	lostCopy := func(copied string) Fact { return of(Fact{What: Lost, Copy: copied}) }
	stale := of(Fact{What: Settle, Token: "d1", Result: Settled, Outcome: Failed})
	loss, its, anothers := Fact{What: Redis, Result: RolledBack}, of(Fact{What: Redis, Result: Wiped}), other(Fact{What: Redis, Result: Wiped})
	money := of(Fact{What: Money, Trade: "T1", Amount: 100})
	end := Fact{What: End}
	at := func(ms int64, f Fact) Fact {
		f.At = ms
		return f
	}
	calls := func(n int) []Fact { return slices.Repeat([]Fact{call("d1", 100)}, n) }
	list := func(parts ...any) []Fact {
		facts := []Fact{settings}
		for _, p := range parts {
			switch p := p.(type) {
			case Fact:
				facts = append(facts, p)
			case []Fact:
				facts = append(facts, p...)
			}
		}
		return facts
	}
	failedThen := func(between ...any) []Fact {
		return list(append(append([]any{command("m1", 100), won("d1", "m1"), settled(Failed, "e1")}, between...),
			settled(Succeeded, "e2"), published(Failed, "e1", "1"), published(Succeeded, "e2", "2"))...)
	}
	for name, test := range map[string]struct {
		invariant string
		excused   []Fact
		broken    map[string][]Fact
	}{
		"a failure whose record was lost is carried out": {
			"I2", failedThen(its),
			map[string][]Fact{
				"another's record was lost": failedThen(anothers),
				"it was lost before": list(command("m1", 100), won("d1", "m1"), loss, settled(Failed, "e1"), settled(Succeeded, "e2"),
					published(Failed, "e1", "1"), published(Succeeded, "e2", "2")),
				"it was lost before it was there": list(command("m1", 100), loss, won("d1", "m1"), settled(Failed, "e1"), settled(Succeeded, "e2"),
					published(Failed, "e1", "1"), published(Succeeded, "e2", "2")),
				"a success that failed then": list(command("m1", 100), won("d1", "m1"), settled(Succeeded, "e2"), loss, settled(Failed, "e1"),
					published(Failed, "e1", "1"), published(Succeeded, "e2", "2")),
				"what calls share was lost": failedThen(Fact{What: Redis, Result: RolledBack, Name: Limits}),
			},
		},
		"a decided record is over": {
			"I2", list(settled(Failed, "e1"), at(100*hour, settled(Succeeded, "e2")), command("m1", 100), published(Failed, "e1", "1")),
			map[string][]Fact{
				"and one that is not quite": list(settled(Failed, "e1"), at(100*hour-1, settled(Succeeded, "e2")), command("m1", 100), published(Failed, "e1", "1")),
			},
		},
		"a decided record is over, by Redis' clock": {
			"R9", list(won("d1", "m1"), of(Fact{What: Settle, Token: "t", Result: Settled, Outcome: Failed, Event: "e1", Clock: 5, Expires: 9}),
				of(Fact{What: Claim, Delivery: "d2", Token: "d2", Result: Conflict, Clock: 9}), rejected("d2")),
			map[string][]Fact{
				"an undecided one never is": list(won("d1", "m1"), of(Fact{What: Claim, Delivery: "d2", Token: "d2", Result: Conflict, At: 200 * hour}), rejected("d2")),
			},
		},
		"money that a call moved which was made after the loss": {
			"I3", list(command("m1", 100), won("d1", "m1"), settled(Failed, "e1"), its, published(Failed, "e1", "1"), call("d2", 100), money,
				published(Succeeded, "e2", "2")),
			map[string][]Fact{
				"a call from before it, that arrives late": list(command("m1", 100), won("d1", "m1"), call("d1", 100), settled(Failed, "e1"), its,
					published(Failed, "e1", "1"), money, published(Succeeded, "e2", "2")),
				"a call before the loss, and one behind the money": list(command("m1", 100), won("d1", "m1"), settled(Failed, "e1"), call("d1", 100), its,
					published(Failed, "e1", "1"), money, call("d2", 100), published(Succeeded, "e2", "2")),
			},
		},
		"a decision that is made anew has other bytes": {
			"I5", list(command("m1", 100), won("d1", "m1"), settled(Succeeded, "e1"), loss, published(Succeeded, "e1", "1"), published(Succeeded, "e1", "2"),
				published(Succeeded, "e1", "1")),
			map[string][]Fact{
				"a third form": list(command("m1", 100), won("d1", "m1"), settled(Succeeded, "e1"), loss, published(Succeeded, "e1", "1"),
					published(Succeeded, "e1", "2"), published(Succeeded, "e1", "3")),
				"a loss before the decision": list(command("m1", 100), won("d1", "m1"), loss, settled(Succeeded, "e1"), published(Succeeded, "e1", "1"),
					published(Succeeded, "e1", "2")),
				"a rejected command": list(command("m1", 100), won("d1", "m1"), rejected("d1"), loss, func() Fact { f := rejected("d1"); f.Body = "2"; return f }()),
			},
		},
		"a decision is lost before it is told, and there is another end": {
			"I5", list(settled(Failed, "e1"), loss, published(Unresolved, "u1", "1"), end),
			map[string][]Fact{
				"lost before":   list(won("d1", "m1"), loss, settled(Failed, "e1"), published(Unresolved, "u1", "1"), end),
				"no other end":  list(published(Unresolved, "u1", "1"), settled(Failed, "e1"), loss, end),
				"another's end": list(settled(Failed, "e1"), loss, other(published(Unresolved, "u1", "1")), end),
			},
		},
		"a decision is lost, and a person was called before": {
			"I5", list(settled(Failed, "e1"), published(Unresolved, "u1", "1"), loss, end),
			map[string][]Fact{
				"nothing was lost":          list(settled(Failed, "e1"), published(Unresolved, "u1", "1"), end),
				"called before it was made": list(published(Unresolved, "u1", "1"), settled(Failed, "e1"), loss, end),
			},
		},
		"calls of two contents, claimed before and after the loss": {
			"I8", list(command("m1", 100), won("d1", "m1"), loss, call("d1", 100), won("d2", "m2"), call("d2", 200)),
			map[string][]Fact{
				"both were claimed before it": list(command("m1", 100), won("d1", "m1"), call("d1", 100), won("d2", "m2"), loss, call("d2", 200)),
			},
		},
		"commands of two contents, claimed before and after the loss": {
			"I8", list(command("m1", 100), command("m2", 200), won("d1", "m1"), call("d1", 100), its, won("d2", "m2"), end),
			map[string][]Fact{
				"both behind it":               list(command("m1", 100), command("m2", 200), won("d0", "m1"), loss, won("d1", "m1"), call("d1", 100), won("d2", "m2"), end),
				"one was only forgotten about": list(command("m1", 100), command("m2", 200), won("d1", "m1"), call("d1", 100), its, won("d2", "m1"), end),
			},
		},
		"a conflict behind the loss of the claim": {
			"R9", list(command("m1", 100), won("d1", "m1"), loss, of(Fact{What: Claim, Delivery: "d2", Token: "d2", Result: Conflict}), rejected("d2")),
			map[string][]Fact{
				"before the loss":        list(command("m1", 100), won("d1", "m1"), of(Fact{What: Claim, Delivery: "d2", Token: "d2", Result: Conflict}), loss, rejected("d2")),
				"claimed anew since":     list(command("m1", 100), won("d1", "m1"), loss, won("d3", "m1"), of(Fact{What: Claim, Delivery: "d2", Token: "d2", Result: Conflict}), rejected("d2")),
				"another's was lost":     list(command("m1", 100), won("d1", "m1"), anothers, of(Fact{What: Claim, Delivery: "d2", Token: "d2", Result: Conflict}), rejected("d2")),
				"rejected for no reason": list(command("m1", 100), won("d1", "m1"), rejected("d2")),
			},
		},
		"a holder that a rollback brought back": {
			"I9", list(won("d1", "m1"), won("d2", "m1"), loss, stale),
			map[string][]Fact{
				"a rollback of another": list(won("d1", "m1"), anothers, won("d2", "m1"), stale),
			},
		},
		"two holders while Redis is divided": {
			"I9", list(at(1000, won("d1", "m1")), at(1010, won("d2", "m1")), at(1020, stale), at(1200, Fact{What: Redis, Result: Divided, Value: 250})),
			map[string][]Fact{
				"it had become one again": list(at(700, Fact{What: Redis, Result: Divided, Value: 250}), at(1000, won("d1", "m1")), at(1010, won("d2", "m1")), at(1020, stale)),
				"it became divided later": list(at(1000, won("d1", "m1")), at(1010, won("d2", "m1")), at(1020, stale), at(1300, Fact{What: Redis, Result: Divided, Value: 250})),
			},
		},
		"one more burst where the grants were lost": {
			"I16", list(calls(104), loss, calls(2)),
			map[string][]Fact{
				"two more bursts": list(calls(104), loss, calls(3)),
				"a loss of long ago": list(loss, at(20*second, calls(1)[0]), func() (late []Fact) {
					for range 104 {
						late = append(late, at(20*second, call("d1", 100)))
					}
					return late
				}()),
				"only a record was lost": list(calls(104), its, calls(1)),
			},
		},
		"another authorisation where the record was lost": {
			"R2", list(won("d1", "m1"), call("d1", 100), loss, won("d2", "m1"), func() Fact { f := call("d2", 100); f.Authorised = "shop"; return f }()),
			map[string][]Fact{
				"lost behind both claims": list(won("d1", "m1"), call("d1", 100), won("d2", "m1"), loss, func() Fact { f := call("d2", 100); f.Authorised = "shop"; return f }()),
				"lost before both":        list(won("d0", "m1"), loss, won("d1", "m1"), call("d1", 100), won("d2", "m1"), func() Fact { f := call("d2", 100); f.Authorised = "shop"; return f }()),
			},
		},
		"what the broker and Redis lost has no end": {
			"I2", list(command("m1", 100), won("d1", "m1"), retried("d1", "k1", true), acknowledged("d1", "m1"), lostCopy("k1"), loss, end),
			map[string][]Fact{
				"only the broker":   list(command("m1", 100), won("d1", "m1"), retried("d1", "k1", true), acknowledged("d1", "m1"), lostCopy("k1"), end),
				"only Redis":        list(command("m1", 100), won("d1", "m1"), retried("d1", "k1", true), acknowledged("d1", "m1"), loss, end),
				"Redis, of another": list(command("m1", 100), won("d1", "m1"), retried("d1", "k1", true), acknowledged("d1", "m1"), lostCopy("k1"), anothers, end),
			},
		},
		"the broker lost what nobody had acknowledged as claimed": {
			"R10", list(command("m1", 100), delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), retried("d2", "k1", false),
				acknowledged("d2", "m1"), lostCopy("k1"), end),
			map[string][]Fact{
				"acknowledged as claimed": list(command("m1", 100), delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), retried("d2", "k1", true),
					acknowledged("d2", "m1"), lostCopy("k1"), end),
			},
		},
		"rejected by a version that no record told of the claim": {
			"R10", list(command("m1", 100), delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), its, rejected("d2"), acknowledged("d2", "m1"), end),
			map[string][]Fact{
				"the record was there": list(command("m1", 100), delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), rejected("d2"), acknowledged("d2", "m1"), end),
				"another's was lost":   list(command("m1", 100), delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), anothers, rejected("d2"), acknowledged("d2", "m1"), end),
			},
		},
		"money of what a version rejected that no record told of the claim": {
			"I3", list(command("m1", 100), won("d1", "m1"), call("d1", 100), money, its, rejected("d2"), end),
			map[string][]Fact{
				"the record was there":   list(command("m1", 100), won("d1", "m1"), call("d1", 100), money, rejected("d2"), end),
				"another's was lost":     list(command("m1", 100), won("d1", "m1"), call("d1", 100), money, anothers, rejected("d2"), end),
				"it is another message":  list(command("m1", 100), command("m2", 100), won("d1", "m2"), call("d1", 100), money, its, rejected("d2"), end),
				"for what it was before": list(command("m1", 100), won("d1", "m1"), call("d1", 100), money, its, because("conflict", rejected("d2")), end),
			},
		},
		"money of what was rejected without its merchant, when no record told of the claim": {
			"I3", list(command("m1", 100), won("d1", "m1"), call("d1", 100), money, its, because("unknown_merchant", rejected("d2")), end),
			map[string][]Fact{
				"the record was there": list(command("m1", 100), won("d1", "m1"), call("d1", 100), money, because("unknown_merchant", rejected("d2")), end),
			},
		},
		"money that moves late, behind the loss": {
			"I3", list(command("m1", 100), won("d1", "m1"), call("d1", 100), its, money, rejected("d2"), end),
			map[string][]Fact{
				"lost before it was claimed": list(command("m1", 100), its, won("d1", "m1"), call("d1", 100), money, rejected("d2"), end),
				"claimed anew since":         list(command("m1", 100), won("d1", "m1"), call("d1", 100), its, won("d3", "m1"), money, rejected("d2"), end),
			},
		},
		"an entry that left with the end that was published": {
			"R10i", list(delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), of(Fact{What: Index, Result: Entered}),
				ended("d0"), of(Fact{What: Index, Delivery: "d0", Result: Left}), retried("d1", "k1", true), acknowledged("d1", "m1")),
			map[string][]Fact{
				"nothing was published": list(delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), of(Fact{What: Index, Result: Entered}),
					of(Fact{What: Index, Delivery: "d0", Result: Left}), retried("d1", "k1", true), acknowledged("d1", "m1")),
				"by another delivery": list(delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), of(Fact{What: Index, Result: Entered}),
					ended("d2"), of(Fact{What: Index, Delivery: "d0", Result: Left}), retried("d1", "k1", true), acknowledged("d1", "m1")),
			},
		},
		"money of what the broker alone knew": {
			"I3", list(command("m1", 100), won("d1", "m1"), call("d1", 100), money, retried("d2", "k1", false), acknowledged("d2", "m1"), lostCopy("k1"), end),
			map[string][]Fact{
				"acknowledged as claimed": list(command("m1", 100), won("d1", "m1"), call("d1", 100), money, retried("d2", "k1", true),
					acknowledged("d2", "m1"), lostCopy("k1"), end),
			},
		},
		"an index entry that was lost behind the claim": {
			"R10i", list(other(Fact{What: Index, Result: Entered}), delivered("d1", "m1", TopicCommand, false), won("d1", "m1"),
				of(Fact{What: Index, Result: Entered}), its, of(Fact{What: Index, Result: Left}), retried("d1", "k1", true), acknowledged("d1", "m1")),
			map[string][]Fact{
				"lost before the claim": list(delivered("d1", "m1", TopicCommand, false), won("d0", "m1"), of(Fact{What: Index, Result: Entered}), its,
					of(Fact{What: Index, Result: Left}), won("d1", "m1"), retried("d1", "k1", true), acknowledged("d1", "m1")),
				"another's was lost": list(delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), other(Fact{What: Index, Result: Entered}), anothers,
					retried("d1", "k1", true), acknowledged("d1", "m1")),
			},
		},
		"who does not know of the claim": {
			"R10i", list(other(Fact{What: Index, Result: Entered}), delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), retried("d1", "k1", false), acknowledged("d1", "m1")),
			map[string][]Fact{
				"who found it held": list(other(Fact{What: Index, Result: Entered}), delivered("d2", "m1", TopicCommand, false), won("d1", "m1"),
					of(Fact{What: Claim, Delivery: "d2", Token: "d2", Result: Held}), retried("d2", "k1", true), acknowledged("d2", "m1")),
			},
		},
		"a decided command needs no index": {
			"R10i", list(other(Fact{What: Index, Result: Entered}), delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), settled(Succeeded, "e1"),
				retried("d1", "k1", true), acknowledged("d1", "m1")),
			map[string][]Fact{
				"its decision was lost": list(other(Fact{What: Index, Result: Entered}), delivered("d1", "m1", TopicCommand, false), won("d1", "m1"), settled(Succeeded, "e1"),
					loss, won("d1", "m1"), retried("d1", "k1", true), acknowledged("d1", "m1")),
			},
		},
		"calls from before the loss": {
			"I10", list(won("d0", "m1"), call("d0", 100), loss, delivered("d1", "m1", TopicCommand, false), fresh(won("d1", "m1")), call("d1", 100),
				answered("d1", true), absent("d1"), settled(Failed, "e1")),
			map[string][]Fact{
				"the copy says that it was claimed": list(won("d0", "m1"), call("d0", 100), loss, delivered("d1", "k1", TopicRetry, true), fresh(won("d1", "m1")),
					call("d1", 100), answered("d1", true), absent("d1"), settled(Failed, "e1")),
				"the loss is another's": list(won("d0", "m1"), call("d0", 100), anothers, delivered("d1", "m1", TopicCommand, false), fresh(won("d1", "m1")),
					call("d1", 100), answered("d1", true), absent("d1"), settled(Failed, "e1")),
				"it was claimed before the loss": list(won("d0", "m1"), call("d0", 100), delivered("d1", "m1", TopicCommand, false), fresh(won("d1", "m1")), loss,
					call("d1", 100), answered("d1", true), absent("d1"), settled(Failed, "e1")),
			},
		},
		"a new command under an old number": {
			"R10q", list(command("m1", 100), at(150*hour, fresh(won("d1", "m1"))), at(150*hour, command("m2", 100)), its, at(150*hour, fresh(won("d2", "m2"))),
				at(150*hour, call("d2", 100))),
			map[string][]Fact{
				"a later claim of the old one": list(command("m1", 100), at(150*hour, fresh(won("d1", "m1"))), at(150*hour, won("d2", "m1")), at(150*hour, call("d2", 100))),
				"a new one that finds the old one's record": list(command("m1", 100), at(150*hour, fresh(won("d1", "m1"))), at(150*hour, command("m2", 100)),
					at(150*hour, won("d2", "m2")), at(150*hour, call("d2", 100))),
				"a loss, and the old one again": list(command("m1", 100), at(150*hour, fresh(won("d1", "m1"))), its, at(150*hour, fresh(won("d2", "m1"))), at(150*hour, call("d2", 100))),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if r := Check(test.excused, Options{Only: []string{test.invariant}}); len(r.Held) != 1 {
				t.Errorf("does not hold:\n%s", r)
			}
			for name, facts := range test.broken {
				if r := Check(facts, Options{Only: []string{test.invariant}}); r.Clean() {
					t.Errorf("%s: excused, and should not be:\n%s", name, r)
				}
			}
		})
	}
}
