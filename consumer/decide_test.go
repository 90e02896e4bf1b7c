package consumer

import (
	"testing"
	"time"

	"refundd/alipay"
	"refundd/producer"
)

// history builds a note step by step; seconds count from a fixed moment.
type history struct {
	n      note
	called bool
	asked  bool
}

const testQueryAfter = 10 * time.Second

func at(seconds float64) time.Time {
	return time.UnixMilli(1_800_000_000_000 + int64(seconds*1000))
}

func (h *history) call(a callAnswer, seconds float64, untried bool) *history {
	h.n.Authorised = "app"
	h.n = h.n.afterCall(a, at(seconds-0.1), at(seconds), untried)
	h.called, h.asked = true, false
	return h
}

func (h *history) query(f finding, seconds float64) *history {
	h.n = h.n.afterQuery(queryAnswer{Found: f}, at(seconds), at(seconds))
	h.asked = true
	return h
}

// delivery begins a new one.
func (h *history) delivery() *history { h.called, h.asked = false, false; return h }

func (h *history) decide(seconds float64) decision {
	return Decide(h.n, situation{
		Now: at(seconds), QueryAfter: testQueryAfter, Queryable: true, Called: h.called, Queried: h.asked, Authorised: "app",
	})
}

func refusedBy(signed, queryFirst bool) callAnswer {
	return callAnswer{Class: alipay.ClassRefused, Signed: signed, QueryFirst: queryFirst, Facts: facts{Code: "40004", SubCode: "ACQ.TRADE_NOT_EXIST"}}
}

func ended(c alipay.Class) callAnswer { return callAnswer{Class: c, Signed: c != alipay.ClassUnknown} }

// TestDecide is R1 and R3, a history a row.
func TestDecide(t *testing.T) {
	unknown := ended(alipay.ClassUnknown)
	moved := callAnswer{Class: alipay.ClassOK, Signed: true, Moved: true}
	notMoved := callAnswer{Class: alipay.ClassOK, Signed: true}
	definite, doubtful, unsigned := refusedBy(true, false), refusedBy(true, true), refusedBy(false, false)

	rows := []struct {
		name   string
		build  func(h *history)
		now    float64
		want   action
		reason producer.Reason
		before float64 // NotBefore, seconds; 0 = none
		free   bool
	}{
		{name: "nothing was ever done: call", build: func(*history) {}, want: actCall},
		{name: "fund_change Y proves success", build: func(h *history) { h.call(moved, 1, true) }, now: 1, want: actSucceed},
		{name: "fund_change N proves nothing: query", build: func(h *history) { h.call(notMoved, 1, true) }, now: 1, want: actQuery},
		{name: "unknown: query at once", build: func(h *history) { h.call(unknown, 1, true) }, now: 1, want: actQuery},
		{name: "unknown, then found", build: func(h *history) { h.call(unknown, 1, true).query(foundOurs, 1) }, now: 1, want: actSucceed},
		{
			name: "unknown, then absent: wait QueryAfter", build: func(h *history) { h.call(unknown, 1, true).query(foundAbsent, 2) }, now: 2,
			want: actWait, reason: producer.ReasonUnknownOutcome, before: 11,
		},
		{
			name: "too early in a new delivery: wait", build: func(h *history) { h.call(unknown, 1, true).query(foundAbsent, 2).delivery() }, now: 5,
			want: actWait, reason: producer.ReasonUnknownOutcome, before: 11,
		},
		{name: "QueryAfter is over: ask before repeating", build: func(h *history) { h.call(unknown, 1, true).query(foundAbsent, 2).delivery() }, now: 11, want: actQuery},
		{
			name: "absent QueryAfter behind the end: replay", build: func(h *history) { h.call(unknown, 1, true).query(foundAbsent, 2).delivery().query(foundAbsent, 11) },
			now: 11, want: actCall,
		},
		{name: "one call a delivery", build: func(h *history) {
			h.call(unknown, 1, true).query(foundAbsent, 2).delivery().query(foundAbsent, 11).call(unknown, 12, false).query(foundAbsent, 12)
		}, now: 12, want: actWait, reason: producer.ReasonUnknownOutcome, before: 22},
		{name: "the query failed: wait", build: func(h *history) { h.call(unknown, 1, true).query(foundNothing, 2) }, now: 2, want: actWait, reason: producer.ReasonUnknownOutcome},
		{name: "the query failed: ask again in a new delivery", build: func(h *history) { h.call(unknown, 1, true).query(foundNothing, 2).delivery() }, now: 3, want: actQuery},
		{name: "time alone proves nothing", build: func(h *history) { h.call(unknown, 1, true).query(foundNothing, 2).delivery() }, now: 1e6, want: actQuery},

		{name: "first call refused: query", build: func(h *history) { h.call(definite, 1, true) }, now: 1, want: actQuery},
		{name: "first call refused, absent at once: failed", build: func(h *history) { h.call(definite, 1, true).query(foundAbsent, 1) }, now: 1, want: actFail, reason: producer.ReasonRefused},
		{name: "first call refused, but it is there: succeeded", build: func(h *history) { h.call(definite, 1, true).query(foundOurs, 1) }, now: 1, want: actSucceed},
		{name: "first call refused, query failed: not failed", build: func(h *history) { h.call(definite, 1, true).query(foundNothing, 1) }, now: 1, want: actWait, reason: producer.ReasonUnknownOutcome},
		{
			name: "refused on a delivery tried before: the query must be late", build: func(h *history) { h.call(definite, 1, false).query(foundAbsent, 1) }, now: 1,
			want: actWait, reason: producer.ReasonUnknownOutcome, before: 11,
		},
		{name: "refused on a delivery tried before: ask late", build: func(h *history) { h.call(definite, 1, false).query(foundAbsent, 1).delivery() }, now: 11, want: actQuery},
		{name: "refused on a delivery tried before, absent late: failed", build: func(h *history) {
			h.call(definite, 1, false).query(foundAbsent, 1).delivery().query(foundAbsent, 11)
		}, now: 11, want: actFail, reason: producer.ReasonRefused},
		{name: "limited, then refused: earlier call not executed, one late query is enough", build: func(h *history) {
			h.call(ended(alipay.ClassLimited), 1, true).delivery().call(definite, 2, false).query(foundAbsent, 2).delivery().query(foundAbsent, 12)
		}, now: 12, want: actFail, reason: producer.ReasonRefused},
		{
			name: "q! on the first call: one round is not enough", build: func(h *history) { h.call(doubtful, 1, true).query(foundAbsent, 1) }, now: 1,
			want: actWait, reason: producer.ReasonUnknownOutcome, before: 11,
		},
		{name: "q!: a late query alone is not enough, a second round is needed", build: func(h *history) {
			h.call(doubtful, 1, true).query(foundAbsent, 1).delivery().query(foundAbsent, 12)
		}, now: 12, want: actCall},
		{name: "q!: two rounds QueryAfter apart: failed", build: func(h *history) {
			h.call(doubtful, 1, true).query(foundAbsent, 1).delivery().query(foundAbsent, 12).call(doubtful, 12.2, false).query(foundAbsent, 12.3)
		}, now: 12.3, want: actFail, reason: producer.ReasonRefused},
		{
			name: "unsigned refusal: one round is not enough", build: func(h *history) { h.call(unsigned, 1, true).query(foundAbsent, 1) }, now: 1,
			want: actWait, reason: producer.ReasonUnknownOutcome, before: 11,
		},
		// Found by the simulation: a query was answered late, and what it showed was old.
		{name: "unknown, then absent in an answer that took QueryAfter: wait", build: func(h *history) {
			h.call(unknown, 1, true)
			h.n = h.n.afterQuery(queryAnswer{Found: foundAbsent}, at(1), at(12))
			h.asked = true
			h.delivery()
		}, now: 12, want: actQuery},
		// Found by the simulation: the second call had moved the money, and a query may not show that at once.
		{name: "unsigned refusals: the second one says nothing about its own call", build: func(h *history) {
			h.call(unsigned, 1, true).query(foundAbsent, 1).delivery().query(foundAbsent, 12).call(unsigned, 12.2, false).query(foundAbsent, 12.3)
		}, now: 12.3, want: actWait, reason: producer.ReasonUnknownOutcome, before: 22.2},
		{name: "unsigned refusals: then a late query, not a third call", build: func(h *history) {
			h.call(unsigned, 1, true).query(foundAbsent, 1).delivery().query(foundAbsent, 12).call(unsigned, 12.2, false).query(foundAbsent, 12.3).delivery()
		}, now: 22.2, want: actQuery},
		{name: "unsigned refusals: two rounds, the second with a late query: failed", build: func(h *history) {
			h.call(unsigned, 1, true).query(foundAbsent, 1).delivery().query(foundAbsent, 12).call(unsigned, 12.2, false).query(foundAbsent, 12.3).
				delivery().query(foundAbsent, 22.2)
		}, now: 22.2, want: actFail, reason: producer.ReasonRefused},
		{name: "unknown before: one round with a late query is not enough", build: func(h *history) {
			h.call(unknown, 1, true).delivery().query(foundAbsent, 12).call(definite, 13, false).query(foundAbsent, 13).delivery().query(foundAbsent, 23)
		}, now: 23, want: actCall},
		{name: "unknown before: two rounds: failed", build: func(h *history) {
			h.call(unknown, 1, true).delivery().query(foundAbsent, 12).call(definite, 13, false).query(foundAbsent, 13).delivery().
				query(foundAbsent, 24).call(definite, 24.2, false).query(foundAbsent, 24.3)
		}, now: 24.3, want: actFail, reason: producer.ReasonRefused},
		{name: "an unknown call between two rounds: the rounds begin anew", build: func(h *history) {
			h.call(doubtful, 1, true).query(foundAbsent, 1).delivery().query(foundAbsent, 12).call(unknown, 13, false).query(foundAbsent, 13).delivery().
				query(foundAbsent, 24).call(doubtful, 24.2, false).query(foundAbsent, 24.3)
		}, now: 24.3, want: actWait, reason: producer.ReasonUnknownOutcome, before: 34.3},

		{name: "limited: wait, free", build: func(h *history) { h.call(ended(alipay.ClassLimited), 1, true) }, now: 1, want: actWait, reason: producer.ReasonRateLimited, free: true},
		{name: "limited: call again later without a query", build: func(h *history) { h.call(ended(alipay.ClassLimited), 1, true).delivery() }, now: 2, want: actCall},
		{name: "merchant blocked: wait", build: func(h *history) { h.call(ended(alipay.ClassBlockedMerchant), 1, true) }, now: 1, want: actWait, reason: producer.ReasonBlockedMerchant},
		{name: "configuration blocked: wait", build: func(h *history) { h.call(ended(alipay.ClassBlockedConfiguration), 1, true) }, now: 1, want: actWait, reason: producer.ReasonBlockedConfiguration},
		{name: "unsigned blocked: ask before repeating", build: func(h *history) {
			h.call(callAnswer{Class: alipay.ClassBlockedConfiguration}, 1, true).delivery()
		}, now: 20, want: actQuery},
		{name: "not sent: wait", build: func(h *history) { h.call(ended(alipay.ClassNotSent), 1, true) }, now: 1, want: actWait, reason: producer.ReasonGatewayUnavailable},
		{name: "not sent: call again", build: func(h *history) { h.call(ended(alipay.ClassNotSent), 1, true).delivery() }, now: 2, want: actCall},
		{name: "blocked after unknown: ask first again", build: func(h *history) {
			h.call(unknown, 1, true).delivery().query(foundAbsent, 12).call(ended(alipay.ClassBlockedMerchant), 13, false).delivery()
		}, now: 30, want: actQuery},

		{name: "other amount at Alipay: park", build: func(h *history) { h.call(ended(alipay.ClassConflict), 1, true).query(foundOther, 1) }, now: 1, want: actPark, reason: producer.ReasonConflictAtAlipay},
		{name: "discordant, but the query shows ours: succeeded", build: func(h *history) { h.call(ended(alipay.ClassConflict), 1, true).query(foundOurs, 1) }, now: 1, want: actSucceed},
		{
			name: "discordant, but absent: unknown", build: func(h *history) { h.call(ended(alipay.ClassConflict), 1, true).query(foundAbsent, 1) }, now: 1,
			want: actWait, reason: producer.ReasonUnknownOutcome, before: 11,
		},
		{name: "closed: failed", build: func(h *history) { h.call(unknown, 1, true).query(foundClosed, 1) }, now: 1, want: actFail, reason: producer.ReasonClosed},
		{name: "pending: wait", build: func(h *history) { h.call(unknown, 1, true).query(foundPending, 1) }, now: 1, want: actWait, reason: producer.ReasonUnknownOutcome},
		{name: "absent by an unproven number: replay is right", build: func(h *history) { h.call(unknown, 1, true).delivery().query(foundUnproven, 12) }, now: 12, want: actCall},
		{
			name: "absent by an unproven number never completes a round", build: func(h *history) {
				h.call(doubtful, 1, true).query(foundUnproven, 1).delivery().query(foundUnproven, 12).call(doubtful, 12.1, false).query(foundUnproven, 12.2)
			}, now: 12.2, want: actWait, reason: producer.ReasonUnknownOutcome, before: 22.1,
		},
		{
			name:  "absent by an unproven number: a first call's refusal stands",
			build: func(h *history) { h.call(definite, 1, true).query(foundUnproven, 1) }, now: 1, want: actFail, reason: producer.ReasonRefused,
		},
		{
			name:  "absent by an unproven number: a later refusal does not",
			build: func(h *history) { h.call(definite, 1, false).query(foundUnproven, 1) }, now: 1,
			want: actWait, reason: producer.ReasonUnknownOutcome, before: 11,
		},

		{name: "old form once: wait", build: func(h *history) { h.call(unknown, 1, true).query(foundOldForm, 2) }, now: 2, want: actWait, reason: producer.ReasonUnknownOutcome, before: 12},
		{
			name: "old form twice, too close: wait", build: func(h *history) { h.call(unknown, 1, true).query(foundOldForm, 2).delivery().query(foundOldForm, 5) }, now: 5,
			want: actWait, reason: producer.ReasonUnknownOutcome, before: 12,
		},
		{
			name: "old form twice, QueryAfter apart: succeeded", build: func(h *history) { h.call(unknown, 1, true).query(foundOldForm, 2).delivery().query(foundOldForm, 12) },
			now: 12, want: actSucceed,
		},
		{name: "old form, then absent: begins anew", build: func(h *history) {
			h.call(unknown, 1, true).query(foundOldForm, 2).delivery().query(foundAbsent, 5).query(foundOldForm, 12)
		}, now: 12, want: actWait, reason: producer.ReasonUnknownOutcome, before: 22},

		{name: "a lapsed claim counts as a call: query", build: func(h *history) { h.n.unknownCall(at(1)) }, now: 1, want: actQuery},
		{name: "a lapsed claim, absent too early: wait", build: func(h *history) { h.n.unknownCall(at(1)); h.query(foundAbsent, 3) }, now: 3, want: actWait, reason: producer.ReasonUnknownOutcome, before: 11},
		{name: "a lapsed claim, absent late: call", build: func(h *history) { h.n.unknownCall(at(1)); h.query(foundAbsent, 11) }, now: 11, want: actCall},
		{name: "a lapsed claim, then refused as if first: two rounds", build: func(h *history) {
			h.n.unknownCall(at(1))
			h.query(foundAbsent, 11).call(definite, 11.1, true).query(foundAbsent, 11.2)
		}, now: 11.2, want: actWait, reason: producer.ReasonUnknownOutcome, before: 21.2},

		{name: "too old: query only", build: func(h *history) { h.n.QueryOnly = true }, now: 1, want: actQuery},
		{name: "too old, found: succeeded", build: func(h *history) { h.n.QueryOnly = true; h.query(foundOurs, 1) }, now: 1, want: actSucceed},
		{name: "too old, absent: parked", build: func(h *history) { h.n.QueryOnly = true; h.query(foundAbsent, 1) }, now: 1, want: actPark, reason: producer.ReasonTooOld},
		{name: "too old, query failed: wait", build: func(h *history) { h.n.QueryOnly = true; h.query(foundNothing, 1) }, now: 1, want: actWait, reason: producer.ReasonUnknownOutcome},

		{
			name: "authorisation changed: blocked, no call", build: func(h *history) { h.call(unknown, 1, true).delivery(); h.n.Authorised = "someone else" }, now: 30,
			want: actWait, reason: producer.ReasonBlockedConfiguration,
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var h history
			row.build(&h)
			got := h.decide(row.now)
			want := decision{Do: row.want, Reason: row.reason, Free: row.free}
			if row.before != 0 {
				want.NotBefore = at(row.before).UnixMilli()
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestDecideUnqueryable: a coupon refund that nobody can ask for.
func TestDecideUnqueryable(t *testing.T) {
	rows := []struct {
		name  string
		build func(h *history)
		now   float64
		want  action
	}{
		{"first call refused: failed", func(h *history) { h.call(refusedBy(true, false), 1, true) }, 1, actFail},
		{"first call refused with q!: wait", func(h *history) { h.call(refusedBy(true, true), 1, true) }, 1, actWait},
		{"first call refused, unsigned: wait", func(h *history) { h.call(refusedBy(false, false), 1, true) }, 1, actWait},
		{"refused later: never failed", func(h *history) {
			h.call(ended(alipay.ClassUnknown), 1, true).delivery().call(refusedBy(true, false), 12, false)
		}, 12, actWait},
		{"unknown: replay after QueryAfter", func(h *history) { h.call(ended(alipay.ClassUnknown), 1, true).delivery() }, 11, actCall},
		{"unknown: not earlier", func(h *history) { h.call(ended(alipay.ClassUnknown), 1, true).delivery() }, 10, actWait},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var h history
			row.build(&h)
			got := Decide(h.n, situation{Now: at(row.now), QueryAfter: testQueryAfter, Called: h.called, Queried: h.asked, Authorised: "app"})
			if got.Do != row.want {
				t.Errorf("got %+v, want %v", got, row.want)
			}
		})
	}
}
