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
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"refundd/alipay/alipaytest"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/consumer/history"
	"refundd/producer"
)

// account collects the facts that only the test itself knows, as they happen:
// processes, troubles and what Redis lost.
type account struct {
	mu    sync.Mutex
	facts []history.Fact
}

func (a *account) add(f history.Fact) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f.At = time.Now().UnixMilli()
	a.facts = append(a.facts, f)
}

const appID = "2021000000000001"

// facts are the history of the run, as far as it is known outside of the
// processes: what the broker holds, what Alipay heard, answered and moved, and
// what befell the processes and the parts. Deliveries, acknowledgements and the
// record's transitions are the processes' own.
func (c *long) facts(bound time.Duration) []history.Fact {
	all := slices.Clone(c.account.facts)
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
		all = append(all, eventFact(e, m, messages[e.ID], genuine[e.NotifyID]))
	}
	for _, m := range c.commands.read(c.topic("retry")) {
		all = append(all, c.copyFact(history.TopicRetry, m))
	}
	for _, m := range c.reader.read(c.topic("parked")) {
		all = append(all, c.copyFact(history.TopicParked, m))
	}
	all = append(all, c.ofAlipay()...)
	slices.SortStableFunc(all, func(a, b history.Fact) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(rank(a.What), rank(b.What)))
	})
	run := history.Fact{What: history.Run, At: all[0].At, Settings: &history.Settings{
		Seed: c.seed, Lease: 3000, Keep: 168 * time.Hour.Milliseconds(), MaxAge: 72 * time.Hour.Milliseconds(),
		Retention: 72 * time.Hour.Milliseconds(), Timeout: 1000, Drain: 15_000, Bound: bound.Milliseconds(),
	}}
	return append([]history.Fact{run}, all...)
}

// rank orders facts of one millisecond by what can cause what.
func rank(w history.What) int {
	order := []history.What{
		history.Trade, history.Command, history.Call, history.Money, history.Notification, history.Publish, history.Reply,
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
	f.Body, f.Amount = hex.EncodeToString(digest[:8]), e.AmountFen
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

// ofAlipay are the wire log and the ledger.
func (c *long) ofAlipay() []history.Fact {
	var facts []history.Fact
	methods := map[string][2]string{
		"alipay.trade.refund":                {history.MethodRefund, string(consumer.KindRefund)},
		"alipay.trade.fastpay.refund.query":  {history.MethodQuery, string(consumer.KindRefund)},
		"alipay.fund.coupon.order.refund":    {history.MethodRefund, string(consumer.KindCouponRefund)},
		"alipay.fund.coupon.operation.query": {history.MethodQuery, string(consumer.KindCouponRefund)},
	}
	for i, call := range c.alipay.Calls() {
		method, known := methods[call.Method]
		if !known || call.OutRequestNo == "" {
			continue // a query by the red packet's order alone names no number
		}
		f := about(method[1], merchantOf(call.AppAuthToken), call.OutRequestNo)
		f.At, f.What, f.Method, f.Call = call.Start.UnixMilli(), history.Call, method[0], "c"+strconv.Itoa(i)
		f.Trade, f.Amount, f.Name = call.Trade, call.Amount, call.Fault
		f.Result = strings.TrimSpace(call.Code + " " + call.SubCode)
		f.Process = c.processAt(call.Host, call.Start)
		facts = append(facts, f)
	}
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
