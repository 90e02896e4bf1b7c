package main

import (
	"strings"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
)

// ranWell is a run of so many refunds in which all went as it should.
func ranWell(n int) (*commands, []alipaytest.Movement, *events) {
	c, e := &commands{run: 1, sent: make([]time.Time, n)}, &events{seen: map[string][]event{}}
	var moves []alipaytest.Movement
	for i := range n {
		number := c.number(i)
		moves = append(moves, alipaytest.Movement{OutRequestNo: number, Trade: alipaytest.TradeNo(c.trade(i)), Amount: amountFen})
		one := event{ID: "of " + number}
		one.Data.Outcome, one.Data.Number, one.Data.Trade, one.Data.Amount = "succeeded", number, c.trade(i), amount
		e.seen[number] = []event{one}
	}
	return c, moves, e
}

func TestJudge(t *testing.T) {
	const third = "R-1-0000002"
	for name, c := range map[string]struct {
		spoil func(*events, []alipaytest.Movement) []alipaytest.Movement
		want  string // in the verdict
		// ofPart is the verdict where not all commands were worked off.
		ofPart string
	}{
		"as it should be": {func(_ *events, m []alipaytest.Movement) []alipaytest.Movement { return m }, clean, clean},
		"published again": {func(e *events, m []alipaytest.Movement) []alipaytest.Movement {
			e.seen[third] = append(e.seen[third], e.seen[third][0])
			return m
		}, clean, clean},
		"not worked off": {func(e *events, m []alipaytest.Movement) []alipaytest.Movement {
			delete(e.seen, third)
			return append(m[:2], m[3:]...)
		}, "40 commands, 39 have moved money, 39 have events", clean},
		"not published": {func(e *events, m []alipaytest.Movement) []alipaytest.Movement {
			delete(e.seen, third)
			return m
		}, "39 have events", "39 have events"},
		"published, not moved": {func(_ *events, m []alipaytest.Movement) []alipaytest.Movement {
			return append(m[:2], m[3:]...)
		}, "39 have moved", "39 have moved"},
		"published as two": {func(e *events, m []alipaytest.Movement) []alipaytest.Movement {
			other := e.seen[third][0]
			other.ID = "another"
			e.seen[third] = append(e.seen[third], other)
			return m
		}, third, third},
		"published as failed": {func(e *events, m []alipaytest.Movement) []alipaytest.Movement {
			e.seen[third][0].Data.Outcome = "failed"
			return m
		}, third, third},
		"moved twice": {func(_ *events, m []alipaytest.Movement) []alipaytest.Movement {
			return append(m, m[2])
		}, third, third},
		"moved another amount": {func(_ *events, m []alipaytest.Movement) []alipaytest.Movement {
			m[2].Amount++
			return m
		}, third, third},
		"moved of another trade": {func(_ *events, m []alipaytest.Movement) []alipaytest.Movement {
			m[2].Trade = m[3].Trade
			return m
		}, third, third},
		"moved for nobody": {func(_ *events, m []alipaytest.Movement) []alipaytest.Movement {
			return append(m, alipaytest.Movement{OutRequestNo: "R-9"})
		}, "41 have moved", "41 have moved"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, stopped := range []bool{false, true} {
				sent, moves, e := ranWell(40)
				moves = c.spoil(e, moves)
				want := c.want
				if stopped {
					want = c.ofPart
				}
				if got := judge(sent, moves, e, stopped); got != want && (want == clean || !strings.Contains(got, want)) {
					t.Errorf("stopped %v: the verdict is %q, want %q", stopped, got, want)
				}
			}
		})
	}
}
