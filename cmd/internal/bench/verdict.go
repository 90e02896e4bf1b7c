package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"refundd/consumer/history"
)

// clean begins the verdict of a run without a fault.
const clean = "clean"

// judge holds a run to the checker of refundd's own tests, by what the sender,
// Alipay's ledger and the event topic know, and to what is stricter here: every
// command has one event, and succeeded.
func judge(c *commands, g *gateway, e *events) string {
	facts := factsOf(c, g, e)
	report := history.Check(facts, history.Options{})
	if !report.Clean() {
		return report.String()
	}
	ends := map[string]map[string]string{} // by number and id: what is told again is one event
	for _, seen := range e.all() {
		if ends[seen.number] == nil {
			ends[seen.number] = map[string]string{}
		}
		ends[seen.number][seen.id] = seen.outcome
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range c.all() {
		if m := g.moved[s.number]; m.times != 1 || m.amount != amount || m.trade != s.trade {
			return fmt.Sprintf("the ledger has %+v for %s", m, s.number)
		}
		got := slices.Collect(maps.Values(ends[s.number]))
		if len(got) != 1 || got[0] != history.Succeeded {
			return fmt.Sprintf("%s has the events %v", s.number, got)
		}
	}
	if len(g.moved) != len(ends) {
		return fmt.Sprintf("%d refunds moved, %d have events", len(g.moved), len(ends))
	}
	return clean
}

func factsOf(c *commands, g *gateway, e *events) []history.Fact {
	const fen = 1600 // amount
	of := func(number string, f history.Fact) history.Fact {
		f.AppID, f.Kind, f.Number = appID, "refund", number
		return f
	}
	trades := map[string]string{}
	var facts []history.Fact
	for _, s := range c.all() {
		trades[s.number] = s.trade
		at := s.at.UnixMilli()
		facts = append(facts,
			history.Fact{At: at, What: history.Trade, AppID: appID, Kind: "refund", Trade: s.trade, Amount: 100_000},
			of(s.number, history.Fact{At: at, What: history.Command, Message: s.message, Fingerprint: s.trade, Trade: s.trade, Amount: fen}))
	}
	g.mu.Lock()
	moved := map[string]bool{}
	for i, k := range g.calls {
		at, method := k.at.UnixMilli(), history.MethodRefund
		if k.query {
			method = history.MethodQuery
		}
		facts = append(facts, of(k.name, history.Fact{
			At: at, What: history.Call, Process: "p", Call: fmt.Sprint(i), Method: method, Trade: trades[k.name], Amount: fen,
		}))
		if !k.query && !moved[k.name] {
			moved[k.name] = true
			facts = append(facts, of(k.name, history.Fact{At: at, What: history.Money, Trade: trades[k.name], Amount: fen}))
		}
	}
	g.mu.Unlock()
	for _, seen := range e.all() {
		cents := int64(0)
		_, _ = fmt.Sscan(strings.ReplaceAll(seen.amount, ".", ""), &cents)
		facts = append(facts, of(seen.number, history.Fact{
			At: seen.stored.UnixMilli(), What: history.Publish, Topic: history.TopicEvent, Result: history.Confirmed,
			Outcome: seen.outcome, Event: seen.id, Body: seen.body, Trade: seen.trade, Amount: cents,
		}))
	}
	slices.SortStableFunc(facts, func(a, b history.Fact) int { return int(a.At - b.At) })
	if len(facts) == 0 {
		return nil
	}
	first, last := facts[0].At, facts[len(facts)-1].At
	facts = append([]history.Fact{{At: first, What: history.Run, Settings: &history.Settings{Bound: limit.Milliseconds()}}}, facts...)
	return append(facts, history.Fact{At: last, What: history.Quiet}, history.Fact{At: last, What: history.End})
}
