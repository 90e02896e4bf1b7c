package simulation

import (
	"fmt"
	"testing"

	"refundd/consumer"
	"refundd/consumer/history"
)

// tale is a run in which nothing happens but what it tells.
type tale struct {
	name    string
	told    []command
	answers []string // what Alipay's first calls meet
	refuses string   // every trade refuses with this sub_code
	end     string   // the first command's event
	moved   int      // fen
	or      int      // instead: which of two commands comes first is not told
	twice   bool     // worth two crashes
}

func tales() []tale {
	plain := command{kind: consumer.KindRefund, number: "R1", trade: "T1", amount: 300}
	coupon := command{kind: consumer.KindCouponRefund, number: "R1", trade: "H1", amount: 300, order: "OH1"}
	blind := coupon
	blind.order = ""
	more := plain
	more.amount = 400
	shop := plain
	shop.merchant = "shop"
	noFunds := []string{"no funds", "no funds", "no funds", "no funds", "no funds", "no funds", "no funds", "no funds", "no funds"}
	return []tale{
		{name: "plain refund", told: []command{plain}, end: history.Succeeded, moved: 300, twice: true},
		{name: "a merchant's refund", told: []command{shop}, end: history.Succeeded, moved: 300},
		{name: "the answer is lost", told: []command{plain}, answers: []string{"answer lost"}, end: history.Succeeded, moved: 300, twice: true},
		{name: "the request is lost", told: []command{plain}, answers: []string{"request lost"}, end: history.Succeeded, moved: 300, twice: true},
		{name: "SYSTEM_ERROR, and done", told: []command{plain}, answers: []string{"SYSTEM_ERROR after"}, end: history.Succeeded, moved: 300},
		{name: "not done, and N", told: []command{plain}, answers: []string{"10000 and not done"}, end: history.Succeeded, moved: 300},
		{name: "refused", told: []command{plain}, refuses: "ACQ.TRADE_STATUS_ERROR", end: history.Failed, twice: true},
		{name: "refused with a code that may mean done", told: []command{plain}, refuses: "ACQ.TRADE_HAS_CLOSE", end: history.Failed},
		{
			name: "an unsigned refusal, and then a signed one", told: []command{plain},
			answers: []string{"an unsigned refusal"}, refuses: "ACQ.TRADE_STATUS_ERROR", end: history.Failed,
		},
		{name: "no funds in any try", told: []command{plain}, answers: noFunds, end: history.Unresolved},
		{name: "sent twice", told: []command{plain, plain}, end: history.Succeeded, moved: 300, twice: true},
		{name: "the number is used for something else", told: []command{plain, more}, end: history.Succeeded, moved: 300, or: 400},
		{name: "red packet", told: []command{coupon}, end: history.Succeeded, moved: 300},
		{name: "red packet, later", told: []command{coupon}, answers: []string{"INIT, then SUCCESS"}, end: history.Succeeded, moved: 300},
		{name: "red packet, closed", told: []command{coupon}, answers: []string{"INIT, then CLOSED"}, end: history.Failed},
		{name: "red packet that cannot be asked for", told: []command{blind}, answers: []string{"answer lost"}, end: history.Succeeded, moved: 300},
	}
}

func (s tale) options(kills ...kill) options {
	return options{seed: 1, told: s.told, answers: s.answers, refuses: s.refuses, mute: true, kills: kills}
}

// wrong says what is wrong with a telling of the tale.
func (s tale) wrong(r result) string {
	if report := verdict(r); !report.Clean() {
		return report.String()
	}
	var moved int
	told := map[string]bool{}
	for _, f := range r.facts {
		switch {
		case f.What == history.Money:
			moved += int(f.Amount)
		case f.What == history.Publish && f.Topic == history.TopicEvent && f.Number == "R1":
			told[f.Outcome] = true
		}
	}
	switch {
	case !told[s.end]:
		return fmt.Sprintf("the events are %v, want %s", told, s.end)
	case moved != s.moved && (s.or == 0 || moved != s.or):
		return fmt.Sprintf("%d fen moved, want %d", moved, s.moved)
	}
	return ""
}

// TestCrashAtEveryAct kills the process at every outside act of every tale: before
// the act, and after it with its answer on the way; and so that the broker loses what
// it had in hand, if the command was released before. Every tale comes to the same end.
func TestCrashAtEveryAct(t *testing.T) {
	for _, s := range tales() {
		t.Run(s.name, func(t *testing.T) {
			r := run(t, s.options())
			if wrong := s.wrong(r); wrong != "" {
				t.Fatal(wrong)
			}
			if raced && s.name != "plain refund" {
				return
			}
			acts := r.acts
			for act := 1; act <= acts; act++ {
				for _, k := range []kill{{act: act}, {act: act, after: true}, {act: act, loses: true}, {act: act, after: true, loses: true}} {
					if wrong := s.wrong(run(t, s.options(k))); wrong != "" {
						t.Fatalf("killed at act %+v of %d: %s", k, acts, wrong)
					}
				}
			}
			t.Logf("%d acts", acts)
		})
	}
}

// TestCrashTwice kills the process twice, at every pair of acts.
func TestCrashTwice(t *testing.T) {
	if raced {
		t.Skip("thousands of runs: without the race detector only")
	}
	for _, s := range tales() {
		if !s.twice {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			runs := 0
			for first := 1; first <= run(t, s.options()).acts; first++ {
				one := kill{act: first, after: first%2 == 0, loses: first%5 == 0}
				for second, acts := first+1, run(t, s.options(one)).acts; second <= acts; second++ {
					runs++
					two := kill{act: second, after: second%3 == 0, loses: (first+second)%2 == 0}
					if wrong := s.wrong(run(t, s.options(one, two))); wrong != "" {
						t.Fatalf("killed at acts %+v and %+v: %s", one, two, wrong)
					}
				}
			}
			t.Logf("%d runs", runs)
		})
	}
}
