package main

import (
	"fmt"

	"refundd/alipay/alipaytest"
)

// clean is the verdict of a run without a fault.
const clean = "clean"

// judge holds the commands, Alipay's ledger and the events to each other: every
// command's money moved once, all of its events are one and say so, and there is
// nothing else. A run that was stopped on the way is judged by the money that moved.
func judge(c *commands, moves []alipaytest.Movement, e *events, stopped bool) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	moved := make(map[string]alipaytest.Movement, len(moves))
	for _, m := range moves {
		if _, twice := moved[m.OutRequestNo]; twice {
			return m.OutRequestNo + " has moved money twice"
		}
		moved[m.OutRequestNo] = m
	}
	commands := 0
	for i := range c.sent {
		number, trade := c.number(i), c.trade(i)
		m, ok := moved[number]
		if !ok && stopped {
			continue
		}
		commands++
		if ok && (m.Amount != amountFen || m.Trade != alipaytest.TradeNo(trade)) {
			return fmt.Sprintf("%s has moved %+v", number, m)
		}
		for _, one := range e.seen[number] {
			if one.ID != e.seen[number][0].ID || one.Data.Outcome != "succeeded" || one.Data.Amount != amount || one.Data.Trade != trade {
				return fmt.Sprintf("%s has the events %+v", number, e.seen[number])
			}
		}
	}
	if len(moved) != commands || len(e.seen) != commands {
		return fmt.Sprintf("%d commands, %d have moved money, %d have events", commands, len(moved), len(e.seen))
	}
	return clean
}
