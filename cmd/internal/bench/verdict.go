package main

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"refundd/consumer/history"
)

// clean begins the verdict of a run without a fault.
const clean = "clean"

// judgedAtOnce is of about how many refunds the facts are in memory together.
const judgedAtOnce = 50_000

// judge holds a run to the checker of refundd's own tests, by what the sender,
// Alipay's ledger and the event topic know, and to what is stricter here: every
// command has one event, and succeeded.
func judge(c *commands, g *gateway, e *events, bound time.Duration) string {
	return judgeIn(uint32(len(c.all())/judgedAtOnce+1), c, g, e, bound) //nolint:gosec // few
}

// judgeIn judges in so many parts. Every refund here is of a trade of its own, so no
// invariant looks at two of them.
func judgeIn(parts uint32, c *commands, g *gateway, e *events, bound time.Duration) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	refunds := 0
	for part := range parts {
		mine := func(number string) bool {
			hash := fnv.New32a()
			_, _ = hash.Write([]byte(number))
			return hash.Sum32()%parts == part
		}
		n, verdict := judgePart(c, g, e, bound, mine)
		if verdict != clean {
			return verdict
		}
		refunds += n
	}
	if len(g.moved) != refunds {
		return fmt.Sprintf("%d refunds moved, %d have events", len(g.moved), refunds)
	}
	return clean
}

// judgePart judges some refunds, and returns how many have events.
func judgePart(c *commands, g *gateway, e *events, bound time.Duration, mine func(number string) bool) (refunds int, verdict string) {
	report := history.Check(factsOf(c, g, e, bound, mine), history.Options{})
	if !report.Clean() {
		return 0, report.String()
	}
	ends := map[string]map[string]string{} // by number and id: what is told again is one event
	for _, seen := range e.all() {
		if !mine(seen.number) {
			continue
		}
		if ends[seen.number] == nil {
			ends[seen.number] = map[string]string{}
		}
		ends[seen.number][seen.id] = seen.outcome
	}
	for _, s := range c.all() {
		if !mine(s.number) {
			continue
		}
		if m := g.moved[s.number]; m.times != 1 || m.amount != amount || m.trade != s.trade {
			return 0, fmt.Sprintf("the ledger has %+v for %s", m, s.number)
		}
		got := slices.Collect(maps.Values(ends[s.number]))
		if len(got) != 1 || got[0] != history.Succeeded {
			return 0, fmt.Sprintf("%s has the events %v", s.number, got)
		}
	}
	return len(ends), clean
}

func factsOf(c *commands, g *gateway, e *events, bound time.Duration, mine func(number string) bool) []history.Fact {
	const fen = 1600 // amount
	of := func(number string, f history.Fact) history.Fact {
		f.AppID, f.Kind, f.Number = appID, "refund", number
		return f
	}
	trades := map[string]string{}
	var facts []history.Fact
	for _, s := range c.all() {
		if !mine(s.number) {
			continue
		}
		trades[s.number] = s.trade
		at := s.at.UnixMilli()
		facts = append(facts,
			history.Fact{At: at, What: history.Trade, AppID: appID, Kind: "refund", Trade: s.trade, Amount: 100_000},
			of(s.number, history.Fact{At: at, What: history.Command, Message: s.message, Fingerprint: s.trade, Trade: s.trade, Amount: fen}))
	}
	moved := map[string]bool{}
	for i, k := range g.calls {
		if !mine(k.name) {
			continue
		}
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
	for _, seen := range e.all() {
		if !mine(seen.number) {
			continue
		}
		cents := int64(0)
		_, _ = fmt.Sscan(strings.ReplaceAll(seen.amount, ".", ""), &cents)
		facts = append(facts, of(seen.number, history.Fact{
			At: seen.stored.UnixMilli(), What: history.Publish, Topic: history.TopicEvent, Result: history.Confirmed,
			Outcome: seen.outcome, Event: seen.id, Body: hex.EncodeToString(seen.body[:]), Trade: seen.trade, Amount: cents,
		}))
	}
	slices.SortStableFunc(facts, func(a, b history.Fact) int { return int(a.At - b.At) })
	if len(facts) == 0 {
		return nil
	}
	first, last := facts[0].At, facts[len(facts)-1].At
	facts = append([]history.Fact{{At: first, What: history.Run, Settings: &history.Settings{Bound: bound.Milliseconds()}}}, facts...)
	return append(facts, history.Fact{At: last, What: history.Quiet}, history.Fact{At: last, What: history.End})
}
