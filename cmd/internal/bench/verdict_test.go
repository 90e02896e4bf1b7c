package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// ranWell is a run of so many refunds in which all went as it should.
func ranWell(n int) (*commands, *gateway, *events) {
	c, g, e := &commands{}, &gateway{moved: map[string]movement{}}, newEvents()
	at := time.Unix(1_800_000_000, 0)
	for i := range n {
		number, trade := fmt.Sprintf("R-1-%07d", i), fmt.Sprintf("T-1-%07d", i)
		c.sent = append(c.sent, sentCommand{number, trade, fmt.Sprintf("M-%d", i), at})
		g.calls = append(g.calls, call{at: at.Add(time.Millisecond), name: number})
		g.moved[number] = movement{trade: trade, amount: amount, times: 1}
		e.seen = append(e.seen, seenEvent{
			id: fmt.Sprintf("%032x", i), number: number, trade: trade, outcome: "succeeded", amount: amount, stored: at.Add(2 * time.Millisecond),
		})
		e.numbers[number] = true
	}
	return c, g, e
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*commands, *gateway, *events)
		want  string // in the verdict
	}{
		"as it should be": {func(*commands, *gateway, *events) {}, clean},
		"told again":      {func(_ *commands, _ *gateway, e *events) { e.seen = append(e.seen, e.seen[3]) }, clean},
		"never told":      {func(_ *commands, _ *gateway, e *events) { e.seen = e.seen[:len(e.seen)-1] }, "R-1-0000039"},
		"told as two": {func(_ *commands, _ *gateway, e *events) {
			other := e.seen[3]
			other.id = "another"
			e.seen = append(e.seen, other)
		}, "R-1-0000003"},
		"failed":           {func(_ *commands, _ *gateway, e *events) { e.seen[7].outcome = "failed" }, "R-1-0000007"},
		"not moved":        {func(_ *commands, g *gateway, _ *events) { delete(g.moved, "R-1-0000005") }, "R-1-0000005"},
		"moved twice":      {func(_ *commands, g *gateway, _ *events) { g.moved["R-1-0000005"] = movement{"T-1-0000005", amount, 2} }, "R-1-0000005"},
		"of another trade": {func(_ *commands, g *gateway, _ *events) { g.moved["R-1-0000005"] = movement{"T-1-0000006", amount, 1} }, "R-1-0000005"},
		"of nobody": {func(_ *commands, g *gateway, _ *events) {
			g.moved["R-9"] = movement{"T-9", amount, 1}
		}, "41 refunds moved, 40 have events"},
	} {
		for _, parts := range []uint32{1, 7} {
			t.Run(fmt.Sprintf("%s in %d", name, parts), func(t *testing.T) {
				sent, g, e := ranWell(40)
				c.spoil(sent, g, e)
				got := judgeIn(parts, sent, g, e, time.Minute)
				if c.want == clean && got != clean || !strings.Contains(got, c.want) {
					t.Errorf("the verdict is %q, want %q", got, c.want)
				}
			})
		}
	}
}
