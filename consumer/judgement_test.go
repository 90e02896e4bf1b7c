package consumer

import (
	"reflect"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/producer"
)

// TestAfterCall: what each answer to a refund call leaves in the note, and that
// what was known before the call is no longer what is known after it.
func TestAfterCall(t *testing.T) {
	start, end := at(99), at(100)
	ms := end.UnixMilli()
	told := facts{Code: "40004", SubCode: "S", SubMsg: "M", TraceID: "T"}
	before := note{Calls: 2, Queries: 3, LastCall: at(50).UnixMilli(), LastQuery: at(60).UnixMilli(), Found: foundAbsent, OldForm: 7, Round: 8}
	// unknown is what a call whose end nobody knows leaves.
	unknown := note{Calls: 3, Queries: 3, Doubt: true, LastCall: ms, Ended: endedUnknown}
	with := func(n note, change func(*note)) note { change(&n); return n }

	rows := []struct {
		name   string
		before note
		answer callAnswer
		first  bool
		want   note // but for CallStart and Last
	}{
		{
			"not sent: no call, and nothing may have arrived", before,
			callAnswer{Class: alipay.ClassNotSent},
			false,
			note{Calls: 2, Queries: 3, LastCall: before.LastCall, Ended: endedNotSent, OldForm: 7, Round: 8},
		},
		{
			"limited", before,
			callAnswer{Class: alipay.ClassLimited, Signed: true},
			false,
			note{Calls: 3, Queries: 3, LastCall: before.LastCall, Ended: endedLimited, OldForm: 7, Round: 8},
		},
		{
			"merchant blocked", before,
			callAnswer{Class: alipay.ClassBlockedMerchant, Signed: true},
			false,
			note{Calls: 3, Queries: 3, LastCall: before.LastCall, Ended: endedBlocked, OldForm: 7, Round: 8},
		},
		{
			"configuration blocked", before,
			callAnswer{Class: alipay.ClassBlockedConfiguration, Signed: true},
			false,
			note{Calls: 3, Queries: 3, LastCall: before.LastCall, Ended: endedConfig, OldForm: 7, Round: 8},
		},
		{
			"limited, but nobody signed it", before,
			callAnswer{Class: alipay.ClassLimited},
			false,
			with(unknown, func(n *note) { n.Ended = endedLimited }),
		},
		{"unknown", before, callAnswer{Class: alipay.ClassUnknown}, false, unknown},
		{"signed and unknown", before, callAnswer{Class: alipay.ClassUnknown, Signed: true}, false, unknown},
		{"a conflict proves nothing", before, callAnswer{Class: alipay.ClassConflict, Signed: true}, false, unknown},
		{"10000 without a movement proves nothing", before, callAnswer{Class: alipay.ClassOK, Signed: true}, false, unknown},
		{"a class that this program does not know", before, callAnswer{Class: 99, Signed: true}, false, unknown},
		{
			"moved", before,
			callAnswer{Class: alipay.ClassOK, Signed: true, Moved: true},
			false,
			note{Calls: 3, Queries: 3, LastCall: ms, Ended: endedUnknown, OldForm: 7, Round: 8, Proof: provenByResponse},
		},
		{
			"refused", before,
			callAnswer{Class: alipay.ClassRefused, Signed: true, Facts: told},
			true,
			note{
				Calls: 3, Queries: 3, LastCall: ms, Ended: endedRefused, OldForm: 7, Round: 8,
				Refusal: &refusal{Code: "40004", SubCode: "S", SubMsg: "M", TraceID: "T", At: ms, Signed: true},
			},
		},
		{
			"refused, unsigned, with a code that may mean done", before,
			callAnswer{Class: alipay.ClassRefused, QueryFirst: true, Facts: told},
			false,
			note{
				Calls: 3, Queries: 3, LastCall: ms, Ended: endedRefused, OldForm: 7, Round: 8,
				Refusal: &refusal{Code: "40004", SubCode: "S", SubMsg: "M", TraceID: "T", At: ms, QueryFirst: true},
			},
		},
		{
			"the first call ever is refused",
			note{},
			callAnswer{Class: alipay.ClassRefused, Signed: true},
			true,
			note{Calls: 1, LastCall: ms, Ended: endedRefused, Refusal: &refusal{At: ms, Signed: true, First: true}},
		},
		{
			"the first call in this note is refused, and the delivery was tried before",
			note{},
			callAnswer{Class: alipay.ClassRefused, Signed: true},
			false,
			note{Calls: 1, LastCall: ms, Ended: endedRefused, Refusal: &refusal{At: ms, Signed: true}},
		},
		{
			"refused, and a call nobody counted may have been executed",
			note{Doubt: true},
			callAnswer{Class: alipay.ClassRefused, Signed: true},
			true,
			note{Calls: 1, Doubt: true, LastCall: ms, Ended: endedRefused, Refusal: &refusal{At: ms, Signed: true}},
		},
		{
			"limited, after an unsigned refusal: that one may have been executed",
			note{Calls: 1, Ended: endedRefused, Refusal: &refusal{}},
			callAnswer{Class: alipay.ClassLimited, Signed: true},
			false,
			note{Calls: 2, Ended: endedLimited, Doubt: true},
		},
		{
			"limited, after a signed refusal",
			note{Calls: 1, Ended: endedRefused, Refusal: &refusal{Signed: true}},
			callAnswer{Class: alipay.ClassLimited, Signed: true},
			false,
			note{Calls: 2, Ended: endedLimited},
		},
		{
			"limited, after an unknown end",
			note{Calls: 1, Ended: endedUnknown},
			callAnswer{Class: alipay.ClassLimited, Signed: true},
			false,
			note{Calls: 2, Ended: endedLimited, Doubt: true},
		},
		{
			"unknown, and an earlier call ended later",
			note{LastCall: ms + 5},
			callAnswer{Class: alipay.ClassUnknown},
			false,
			note{Calls: 1, Doubt: true, LastCall: ms + 5, Ended: endedUnknown},
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := row.before.afterCall(row.answer, start, end, row.first)
			row.want.CallStart, row.want.Last = start.UnixMilli(), row.answer.Facts
			if !reflect.DeepEqual(got, row.want) {
				t.Errorf("got  %+v (%+v)\nwant %+v (%+v)", got, got.Refusal, row.want, row.want.Refusal)
			}
		})
	}
}

// TestAfterQuery: the same of queries.
func TestAfterQuery(t *testing.T) {
	start, end := at(99), at(100)
	told := facts{Code: "10000", TradeNo: "N"}
	refused := &refusal{At: 1}
	rows := []struct {
		name   string
		before note
		found  finding
		want   note // but for Queries, LastQuery and Found
	}{
		{"ours", note{OldForm: 7}, foundOurs, note{OldForm: 7, Proof: provenByQuery, Last: told}},
		{"absent, nothing refused: no round", note{OldForm: 7}, foundAbsent, note{}},
		{"absent after a refusal: a round", note{OldForm: 7, Refusal: refused}, foundAbsent, note{Refusal: refused, Round: end.UnixMilli()}},
		{"absent after a refusal again: the first round stays", note{Refusal: refused, Round: 5}, foundAbsent, note{Refusal: refused, Round: 5}},
		{"unproven after a refusal: no round", note{OldForm: 7, Refusal: refused}, foundUnproven, note{Refusal: refused}},
		{"old form", note{}, foundOldForm, note{OldForm: end.UnixMilli(), Last: told}},
		{"old form again: the first one stays", note{OldForm: 7}, foundOldForm, note{OldForm: 7, Last: told}},
		{"other", note{OldForm: 7}, foundOther, note{Last: told}},
		{"closed", note{OldForm: 7}, foundClosed, note{Last: told}},
		{"pending", note{OldForm: 7}, foundPending, note{Last: told}},
		{"nothing", note{OldForm: 7}, foundNothing, note{OldForm: 7, Last: told}},
		{"configuration", note{OldForm: 7}, foundConfig, note{OldForm: 7, Last: told}},
		{"limited", note{OldForm: 7}, foundLimited, note{OldForm: 7, Last: told}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			row.before.Queries = 4
			got := row.before.afterQuery(queryAnswer{Found: row.found, Facts: told}, start, end)
			row.want.Queries, row.want.LastQuery, row.want.Found = 5, start.UnixMilli(), row.found
			if !reflect.DeepEqual(got, row.want) {
				t.Errorf("got  %+v\nwant %+v", got, row.want)
			}
		})
	}
}

// TestFactsAreKept: a number that only one answer named is there for the event and
// for later queries, whatever the later answers leave out.
func TestFactsAreKept(t *testing.T) {
	all := facts{
		Code: "10000", SubCode: "s", SubMsg: "m", TraceID: "t", TradeNo: "N", OutTradeNo: "O", OutOrderNo: "H", OperationID: "P",
		RefundedAt: "2026-03-19T00:00:00+08:00",
	}
	if got := all.with(facts{}); got != all {
		t.Errorf("an answer that tells nothing leaves %+v", got)
	}
	if got, want := all.with(facts{Code: "40004"}), (facts{Code: "40004", TradeNo: "N", OutTradeNo: "O", OutOrderNo: "H", OperationID: "P"}); got != want {
		t.Errorf("numbers that were named before: %+v, want %+v", got, want)
	}
	newer := facts{Code: "1", TradeNo: "n", OutTradeNo: "o", OutOrderNo: "h", OperationID: "p"}
	if got := all.with(newer); got != newer {
		t.Errorf("a newer answer's own numbers: %+v, want %+v", got, newer)
	}
	var n note
	n = n.afterCall(callAnswer{Class: alipay.ClassOK, Signed: true, Facts: facts{OperationID: "P", OutOrderNo: "H"}}, at(1), at(1), true)
	n = n.afterQuery(queryAnswer{Found: foundNothing, Facts: facts{Code: "20000"}}, at(2), at(2))
	if n.OperationID != "P" || !n.OrderNamed || n.Last.OutOrderNo != "H" || n.Last.Code != "20000" {
		t.Errorf("after an answer without them: %+v", n)
	}
	n = note{}.afterQuery(queryAnswer{Found: foundAbsent, Facts: facts{OperationID: "P", OutOrderNo: "H"}}, at(2), at(2))
	if n.OperationID != "P" || !n.OrderNamed {
		t.Errorf("after a query that named them: %+v", n)
	}
}

// TestAskAnew: what a person sends again is not judged by the answer that parked it.
func TestAskAnew(t *testing.T) {
	for _, row := range []struct {
		name   string
		n      note
		forget bool
	}{
		{"another amount", note{LastQuery: 5, Found: foundOther}, true},
		{"too old", note{LastQuery: 5, Found: foundAbsent, QueryOnly: true}, true},
		{"absent", note{LastQuery: 5, Found: foundAbsent}, false},
	} {
		was := row.n
		row.n.askAnew()
		if forgot := row.n.LastQuery == 0 && row.n.Found == foundNothing; forgot != row.forget || !forgot && !reflect.DeepEqual(row.n, was) {
			t.Errorf("%s: %+v", row.name, row.n)
		}
	}
}

// TestDecideMore is TestDecide's table carried on: what changes at random found to
// be decided by no row.
func TestDecideMore(t *testing.T) {
	unknown, limited, notSent := ended(alipay.ClassUnknown), ended(alipay.ClassLimited), ended(alipay.ClassNotSent)
	definite, doubtful, unsigned := refusedBy(true, false), refusedBy(true, true), refusedBy(false, false)
	rows := []struct {
		name        string
		build       func(h *history)
		now         float64
		unqueryable bool
		want        decision
		before      float64 // NotBefore, seconds; 0 = none
	}{
		// R1: an unsigned refusal proves nothing about its call.
		{name: "unsigned refusal, then not sent: its end is unknown", build: func(h *history) {
			h.call(unsigned, 1, true).query(foundAbsent, 1).delivery().query(foundAbsent, 12).call(notSent, 12.2, false)
		}, now: 12.2, want: decision{Do: actWait, Reason: producer.ReasonUnknownOutcome}},
		{name: "unsigned refusal without a round, then a signed one: one late round is not enough", build: func(h *history) {
			h.call(unsigned, 1, true).query(foundUnproven, 1).delivery().query(foundUnproven, 12).call(definite, 12.2, false).query(foundAbsent, 12.3).
				delivery().query(foundAbsent, 22.2)
		}, now: 22.2, want: decision{Do: actWait, Reason: producer.ReasonUnknownOutcome}, before: 22.3},
		{name: "limited, then refused: an early query is not enough", build: func(h *history) {
			h.call(limited, 1, true).delivery().call(definite, 2, false).query(foundAbsent, 11.9)
		}, now: 11.9, want: decision{Do: actWait, Reason: producer.ReasonUnknownOutcome}, before: 21.9},
		{name: "limited, then refused: a late query, no third call", build: func(h *history) {
			h.call(limited, 1, true).delivery().call(definite, 2, false).query(foundAbsent, 2).delivery()
		}, now: 30, want: decision{Do: actQuery}},
		{name: "two rounds, a moment too close: not failed", build: func(h *history) {
			h.call(doubtful, 1, true).query(foundAbsent, 3).delivery().query(foundAbsent, 13).call(doubtful, 13.05, false).query(foundAbsent, 13.1)
		}, now: 13.1, want: decision{Do: actWait, Reason: producer.ReasonUnknownOutcome}, before: 23.05},
		{name: "two rounds, just far enough apart: failed", build: func(h *history) {
			h.call(doubtful, 1, true).query(foundAbsent, 3).delivery().query(foundAbsent, 13).call(doubtful, 13.1, false).query(foundAbsent, 13.1)
		}, now: 13.1, want: decision{Do: actFail, Reason: producer.ReasonRefused}},

		// R3: a replay is QueryAfter behind the first round, too.
		{name: "the first round ended late: wait for it", build: func(h *history) {
			h.call(doubtful, 1, true).query(foundAbsent, 5)
		}, now: 6, want: decision{Do: actWait, Reason: producer.ReasonUnknownOutcome}, before: 15},
		{name: "the first round ended late: no replay before", build: func(h *history) {
			h.call(doubtful, 1, true).query(foundAbsent, 5).delivery().query(foundAbsent, 12)
		}, now: 12, want: decision{Do: actWait, Reason: producer.ReasonUnknownOutcome}, before: 15},
		{name: "the first round ended late: then replay", build: func(h *history) {
			h.call(doubtful, 1, true).query(foundAbsent, 5).delivery().query(foundAbsent, 15)
		}, now: 15, want: decision{Do: actCall}},
		{
			name: "cannot be asked: unknown, wait until", build: func(h *history) { h.call(unknown, 1, true) }, now: 1, unqueryable: true,
			want: decision{Do: actWait, Reason: producer.ReasonUnknownOutcome}, before: 11,
		},
		{
			name: "cannot be asked: one call a delivery", build: func(h *history) { h.call(unknown, 1, true) }, now: 30, unqueryable: true,
			want: decision{Do: actWait, Reason: producer.ReasonUnknownOutcome}, before: 11,
		},

		{
			name: "refused on a delivery tried before, absent by an unproven number: replay", build: func(h *history) {
				h.call(definite, 1, false).query(foundUnproven, 1).delivery().query(foundUnproven, 12)
			},
			now: 12, want: decision{Do: actCall},
		},

		// what is waited for
		{
			name: "the query was limited: wait, free", build: func(h *history) { h.call(unknown, 1, true).query(foundLimited, 2) }, now: 2,
			want: decision{Do: actWait, Reason: producer.ReasonRateLimited, Free: true},
		},
		{
			name: "the query met our configuration: blocked", build: func(h *history) { h.call(unknown, 1, true).query(foundConfig, 2) }, now: 2,
			want: decision{Do: actWait, Reason: producer.ReasonBlockedConfiguration},
		},
		{name: "old form, in a new delivery too early: wait", build: func(h *history) {
			h.call(unknown, 1, true).query(foundOldForm, 2).delivery()
		}, now: 11.9, want: decision{Do: actWait, Reason: producer.ReasonUnknownOutcome}, before: 12},
		{name: "old form, QueryAfter is over: ask again", build: func(h *history) {
			h.call(unknown, 1, true).query(foundOldForm, 2).delivery()
		}, now: 12, want: decision{Do: actQuery}},
		{
			name: "pending: ask again in a new delivery", build: func(h *history) { h.call(unknown, 1, true).query(foundPending, 2).delivery() }, now: 3,
			want: decision{Do: actQuery},
		},

		// R10
		{
			name: "too old, absent by an unproven number: parked", build: func(h *history) { h.n.QueryOnly = true; h.query(foundUnproven, 1) }, now: 1,
			want: decision{Do: actPark, Reason: producer.ReasonTooOld},
		},
		{
			name: "too old, and nobody can be asked: parked", build: func(h *history) { h.n.QueryOnly = true }, now: 1, unqueryable: true,
			want: decision{Do: actPark, Reason: producer.ReasonTooOld},
		},
		{
			name: "too old, another amount: parked for that", build: func(h *history) { h.n.QueryOnly = true; h.query(foundOther, 1) }, now: 1,
			want: decision{Do: actPark, Reason: producer.ReasonConflictAtAlipay},
		},
		{
			name: "too old, pending: wait", build: func(h *history) { h.n.QueryOnly = true; h.query(foundPending, 1) }, now: 1,
			want: decision{Do: actWait, Reason: producer.ReasonUnknownOutcome},
		},

		// R2
		{
			name: "another authorisation: not even asked", build: func(h *history) { h.n.Authorised = "someone else" }, now: 1,
			want: decision{Do: actWait, Reason: producer.ReasonBlockedConfiguration},
		},
		{name: "another authorisation, but it is proven", build: func(h *history) {
			h.call(unknown, 1, true).query(foundOurs, 2)
			h.n.Authorised = "someone else"
		}, now: 2, want: decision{Do: actSucceed}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var h history
			row.build(&h)
			if row.before != 0 {
				row.want.NotBefore = at(row.before).UnixMilli()
			}
			got := Decide(h.n, situation{
				Now: at(row.now), QueryAfter: testQueryAfter, Queryable: !row.unqueryable, Called: h.called, Queried: h.asked, Authorised: "app",
			})
			if got != row.want {
				t.Errorf("got %+v, want %+v; note %+v", got, row.want, h.n)
			}
		})
	}
}

// TestNotesOfOthers: a note of this version is read, one of a later version is not,
// and times are kept to the millisecond.
func TestNotesOfOthers(t *testing.T) {
	b, err := note{Calls: 1, LastCall: at(1.234).UnixMilli()}.encode()
	if err != nil {
		t.Fatal(err)
	}
	n, err := decodeNote(b)
	if err != nil || n.Version != noteVersion || n.LastCall != at(1.234).UnixMilli() {
		t.Errorf("read back as %+v, %v", n, err)
	}
	if n, err := decodeNote([]byte(`{"v":2}`)); err == nil {
		t.Errorf("a later version is read as %+v", n)
	}
	if got := fromMilli(1); !got.Equal(time.UnixMilli(1)) || !fromMilli(0).IsZero() {
		t.Errorf("1 ms is %v, none is %v", got, fromMilli(0))
	}
}

// TestRememberEnds: what a person is told comes next when nothing can be asked, or
// asking is of no use yet.
func TestRememberEnds(t *testing.T) {
	now := at(100)
	for _, row := range []struct {
		name, body string
		kind       Kind
		n          note
		next       string
	}{
		{
			"too old, and nobody can be asked", couponBody("C1", "H1", "3.00", false), KindCouponRefund,
			note{QueryOnly: true},
			"park",
		},
		{
			"absent a moment ago", refundBody("R1", "T1", "3.00"), KindRefund,
			note{Calls: 1, Ended: endedUnknown, LastCall: at(99).UnixMilli(), LastQuery: at(99).UnixMilli(), Found: foundAbsent},
			"wait",
		},
		{"made for another", refundBody("R1", "T1", "3.00"), KindRefund, note{Authorised: "x"}, "call"},
		{"unreadable", `{`, KindRefund, note{Calls: 1, Ended: endedUnknown, LastCall: at(99).UnixMilli()}, "wait"},
	} {
		row.n.Origin = origin{Body: []byte(row.body), MsgID: "M", Topic: "T", Traceparent: "P", Born: 1, First: 2}
		row.n.Try, row.n.Park, row.n.Last.TraceID = 3, 4, "trace"
		stored, err := row.n.encode()
		if err != nil {
			t.Fatal(err)
		}
		r, err := Summarize(row.kind, stored, now, testQueryAfter)
		if err != nil || r.Next != row.next {
			t.Errorf("%s: next %q, want %q; %v", row.name, r.Next, row.next, err)
		}
		if r.MsgID != "M" || r.Topic != "T" || r.Traceparent != "P" || r.Born != time.UnixMilli(1).UTC() || r.First != time.UnixMilli(2).UTC() ||
			r.Tries != 3 || r.Parks != 4 || r.TraceID != "trace" || (r.Command.OutRequestNo == "") != (row.body == "{") {
			t.Errorf("%s: remembered %+v", row.name, r)
		}
	}
}

// TestRequeueBeginsAnew: what a person sends again has its tries back, keeps the
// higher park number, and shows no control characters.
func TestRequeueBeginsAnew(t *testing.T) {
	for _, row := range []struct {
		deed        Deed
		parked      int // of the act
		tries, park int
		first       time.Time
	}{
		{Requeued, 1, 0, 2, at(7)},
		{Requeued, 5, 0, 5, at(7)},
		{Dropped, 5, 3, 2, at(1)},
	} {
		stored, err := note{Try: 3, Park: 2, Origin: origin{First: at(1).UnixMilli()}}.encode()
		if err != nil {
			t.Fatal(err)
		}
		if stored, err = WithAct(stored, Act{Deed: row.deed, By: "a\tb", Why: "退", At: at(7), Park: row.parked}); err != nil {
			t.Fatal(err)
		}
		r, err := Summarize(KindRefund, stored, at(8), testQueryAfter)
		if err != nil || r.Tries != row.tries || r.Parks != row.park || !r.First.Equal(row.first) || len(r.Acts) != 1 || r.Acts[0].By != "a b" ||
			r.Acts[0].Why != "退" || r.Acts[0].Park != row.parked || !r.Acts[0].At.Equal(at(7)) {
			t.Errorf("%s: remembered %+v, %v", row.deed, r, err)
		}
	}
}
