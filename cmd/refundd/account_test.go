//go:build !race

package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"refundd/alipay"
	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/journal"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/consumer/history"
	"refundd/producer"
)

// account collects the facts that only the test itself knows, as they happen:
// processes, troubles and what Redis lost.
type account struct {
	mu    sync.Mutex
	lines []journal.Line
}

func (a *account) add(f history.Fact) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	f.At = now.UnixMilli()
	a.lines = append(a.lines, journal.Line{Nanos: now.UnixNano(), Fact: f})
}

const appID = "2021000000000001"

// facts are the history of the run: what the broker holds, what Alipay's ledger
// has, what befell the processes and the parts, and what each process has written
// down of its own acts.
func (c *long) facts(bound time.Duration) []history.Fact {
	lines := slices.Clone(c.account.lines)
	var all []history.Fact            // known to the millisecond
	said := map[string]journal.Line{} // what a process knows of a message that it sent
	for _, line := range c.journals() {
		if line.Fact.What == history.Publish {
			said[line.Fact.Copy] = line
			continue
		}
		lines = append(lines, line)
	}
	// publish puts together what the broker holds and what its sender knows. A message
	// that is read again is the same one.
	read := map[string]bool{}
	publish := func(id string, f history.Fact) {
		if read[id] {
			return
		}
		read[id] = true
		line, known := said[id]
		if !known {
			all = append(all, f)
			return
		}
		f.Process, f.Delivery = line.Fact.Process, line.Fact.Delivery
		if f.At = line.Fact.At; line.Fact.Result == history.Confirmed {
			f.Result = history.Confirmed
		}
		lines = append(lines, journal.Line{Nanos: line.Nanos, Fact: f})
	}
	messages := map[string]string{} // id of a rejected event -> message
	for topic, kind := range map[string]consumer.Kind{"refund": consumer.KindRefund, "coupon": consumer.KindCouponRefund} {
		for _, m := range c.commands.read(c.topic(topic)) {
			all = append(all, commandFact(kind, m))
			for _, reason := range []producer.Reason{producer.ReasonInvalid, producer.ReasonUnreadable, producer.ReasonConflict} {
				messages[producer.RejectedID(m.ID, m.Body, reason)] = m.ID
			}
		}
	}
	genuine := map[string]bool{} // notify_id -> success was answered
	for _, n := range c.alipay.Notices() {
		f := history.Fact{At: n.Sent.UnixMilli(), What: history.Notification, Notify: n.NotifyID, Result: history.Genuine}
		if n.Forged {
			f.Result = history.Forged
		}
		reply := history.Fact{At: n.At.UnixMilli(), What: history.Reply, Notify: n.NotifyID, Result: "fail"}
		if n.Accepted {
			reply.Result = history.Success
			genuine[n.NotifyID] = true
		}
		all = append(all, f, reply)
	}
	for i, e := range c.events() {
		m := c.reader.read(c.topic("event"))[i]
		publish(m.ID, eventFact(e, m, messages[e.ID], genuine[e.NotifyID]))
	}
	for _, m := range c.commands.read(c.topic("retry")) {
		publish(m.ID, c.copyFact(history.TopicRetry, m))
	}
	for _, m := range c.reader.read(c.topic("parked")) {
		publish(m.ID, c.copyFact(history.TopicParked, m))
	}
	for id, line := range said {
		// A copy whose delay is not over is on no topic yet.
		if !read[id] && line.Fact.Result == history.Confirmed && line.Fact.Topic != history.TopicRetry {
			c.t.Errorf("message %s was confirmed, and its topic does not have it", id)
		}
	}
	all = append(all, c.ofLedger()...)
	for _, f := range all {
		lines = append(lines, journal.Line{Nanos: f.At * int64(time.Millisecond), Fact: f})
	}
	slices.SortStableFunc(lines, func(a, b journal.Line) int {
		return cmp.Or(cmp.Compare(a.Nanos, b.Nanos), cmp.Compare(rank(a.Fact.What), rank(b.Fact.What)))
	})
	c.compareCalls(lines)
	judgeOrders(lines)
	all = all[:0]
	for _, line := range lines {
		all = append(all, line.Fact)
	}
	run := history.Fact{What: history.Run, At: all[0].At, Settings: &history.Settings{
		Seed: c.seed, Lease: 3000, Keep: 168 * time.Hour.Milliseconds(), MaxAge: 72 * time.Hour.Milliseconds(),
		Retention: 72 * time.Hour.Milliseconds(), Timeout: 1000, QueryAfter: 1000, Drain: 15_000, Rate: chaosRate, Bound: bound.Milliseconds(),
	}}
	return append([]history.Fact{run}, all...)
}

// journals are the lines of all processes, each in its own order, with trades spelt
// as Alipay spells them.
func (c *long) journals() []journal.Line {
	names, err := filepath.Glob(filepath.Join(c.journal, "*.jsonl"))
	check(c.t, err)
	var all []journal.Line
	for _, name := range names {
		file, err := os.Open(name)
		check(c.t, err)
		lines, err := journal.Read(file)
		check(c.t, err)
		check(c.t, file.Close())
		for i := range lines {
			f := &lines[i].Fact
			if out, theirs := strings.CutPrefix(f.Trade, journal.OutTrade); theirs {
				f.Trade = alipaytest.TradeNo(out)
			}
		}
		all = append(all, lines...)
	}
	return all
}

// judgeOrders: not to find a red packet's refund by its order proves nothing until
// Alipay has named that order.
func judgeOrders(lines []journal.Line) {
	named := map[string]bool{}
	for i := range lines {
		f := &lines[i].Fact
		if f.What != history.Answer && f.What != history.Call {
			continue
		}
		refund := f.Merchant + " " + f.Number
		named[refund] = named[refund] || f.Name == journal.OrderNamed
		if f.Name == journal.ByOrder && f.Result == history.Absent && !named[refund] {
			f.Result = history.Unproven
		}
		f.Name = ""
	}
}

// compareCalls: Alipay never heard a call from a place more often than the processes
// there began one, as it would if something below repeated it.
func (c *long) compareCalls(lines []journal.Line) {
	hosts := map[string]string{} // process -> its place
	for _, l := range append(slices.Clone(c.past), c.lives...) {
		hosts[l.name] = l.host
	}
	type who struct{ host, kind, merchant, number string }
	made := map[who]int{}
	for _, line := range lines {
		if f := line.Fact; f.What == history.Call && f.Method == history.MethodRefund {
			made[who{hosts[f.Process], f.Kind, f.Merchant, f.Number}]++
		}
	}
	for _, call := range c.alipay.Calls() {
		kind, refund := map[string]consumer.Kind{
			alipay.MethodRefund: consumer.KindRefund, alipay.MethodRefundCoupon: consumer.KindCouponRefund,
		}[call.Method]
		if !refund {
			continue
		}
		w := who{call.Host, string(kind), merchantOf(call.AppAuthToken), call.OutRequestNo}
		if made[w]--; made[w] == -1 {
			c.t.Errorf("Alipay heard a call of %+v that nobody began there", w)
		}
	}
}

// rank orders facts of one millisecond by what can cause what.
func rank(w history.What) int {
	order := []history.What{
		history.Trade, history.Command, history.Money, history.Notification, history.Publish, history.Reply,
	}
	if i := slices.Index(order, w); i >= 0 {
		return i
	}
	if w == history.End {
		return len(order) + 1
	}
	return len(order)
}

func about(kind, merchant, number string) history.Fact {
	return history.Fact{AppID: appID, Kind: kind, Merchant: merchant, Number: number}
}

// tradeOf spells a trade as Alipay does.
func tradeOf(tradeNo, outTradeNo, authNo string) string {
	if outTradeNo != "" && tradeNo == "" {
		return alipaytest.TradeNo(outTradeNo)
	}
	return tradeNo + authNo
}

func commandFact(kind consumer.Kind, m tap.Message) history.Fact {
	cmd, err := consumer.DecodeCommand(kind, m.Body)
	f := about(string(kind), cmd.Merchant, cmd.OutRequestNo)
	f.Fingerprint, f.Trade, f.Amount = cmd.Fingerprint(), tradeOf(cmd.TradeNo, cmd.OutTradeNo, cmd.AuthNo), int64(cmd.Amount)
	f.Askable = kind == consumer.KindRefund || cmd.OutOrderNo != ""
	if err != nil {
		f = history.Fact{Kind: string(kind)}
	}
	f.At, f.What, f.Message = m.Born.UnixMilli(), history.Command, m.ID
	return f
}

// eventFact: whether its sender knows that it is stored is not known here, unless
// an answer said so.
func eventFact(e producer.Event, m tap.Message, message string, known bool) history.Fact {
	f := about(string(e.Kind), e.Merchant, e.OutRequestNo)
	f.At, f.What, f.Topic, f.Result = m.Born.UnixMilli(), history.Publish, history.TopicEvent, history.Stored
	if known {
		f.Result = history.Confirmed
	}
	digest := sha256.Sum256(m.Body)
	f.Message, f.Event, f.Outcome, f.Reason, f.Notify = message, e.ID, string(e.Outcome), string(e.Reason), e.NotifyID
	f.Key, f.Body, f.Amount = e.RefundKey, hex.EncodeToString(digest[:8]), e.AmountFen
	f.Trade = tradeOf(e.TradeNo, e.OutTradeNo, e.AuthNo)
	return f
}

func (c *long) copyFact(topic string, m tap.Message) history.Fact {
	parked, err := producer.CopyFromProperties(m.Properties, m.Body)
	check(c.t, err)
	kind := consumer.KindRefund
	if parked.Topic == c.topic("coupon") {
		kind = consumer.KindCouponRefund
	}
	f := history.Fact{}
	if cmd, err := consumer.DecodeCommand(kind, m.Body); err == nil {
		f = about(string(kind), cmd.Merchant, cmd.OutRequestNo)
	}
	f.At, f.What, f.Topic, f.Result, f.Copy = m.Born.UnixMilli(), history.Publish, topic, history.Stored, m.ID
	f.Message, f.Generation, f.Reason, f.Claimed = parked.MsgID, parked.Generation, parked.Reason, parked.Claimed
	return f
}

// ofLedger is what was paid and what moved.
func (c *long) ofLedger() []history.Fact {
	var facts []history.Fact
	paid := map[string]history.Fact{}
	for _, m := range c.alipay.Movements() {
		f := about(m.Kind, merchantOf(m.AppAuthToken), m.OutRequestNo)
		f.At, f.Trade, f.Amount = m.At.UnixMilli(), m.Trade, m.Amount
		trade := history.Fact{
			At: f.At, What: history.Trade, AppID: f.AppID, Kind: f.Kind, Merchant: f.Merchant, Trade: f.Trade, Amount: m.Paid,
		}
		f.What = history.Money
		facts = append(facts, f)
		// Money that somebody else had moved is older than its place in the ledger.
		key := f.Kind + " " + f.Merchant + " " + f.Trade
		if was, known := paid[key]; !known || trade.At < was.At {
			paid[key] = trade
		}
	}
	return slices.AppendSeq(facts, maps.Values(paid))
}

// writeHistory keeps the history where REFUNDD_TEST_HISTORY says, or beside other
// temporary files, and returns the name.
func writeHistory(t *testing.T, name string, facts []history.Fact) string {
	t.Helper()
	path := os.Getenv("REFUNDD_TEST_HISTORY")
	if path == "" {
		path = filepath.Join(os.TempDir(), "refundd-"+name+"-history.jsonl")
	}
	file, err := os.Create(path)
	check(t, err)
	out := history.NewWriter(file)
	for _, f := range facts {
		check(t, out.Add(f))
	}
	check(t, file.Close())
	return path
}
