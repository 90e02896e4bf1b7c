package desk

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"refundd/cmd/internal/story"
	"refundd/cmd/internal/tap"
	"refundd/consumer"
	"refundd/dedupe"
	"refundd/producer"
)

// What messages and records tell of a story.

// skips tells cheaply that a message is about another number.
func (e *explainer) skips(m tap.Message) bool {
	keys, ok := m.Properties["KEYS"]
	return ok && keys != e.Number
}

func (e *explainer) event(m tap.Message) {
	if e.skips(m) {
		return
	}
	ev, err := producer.DecodeEvent(m.Body)
	if err != nil || ev.OutRequestNo != e.Number && ev.Subject != e.Number || ev.AppID != e.desk.appID || !e.wants(ev.Kind, ev.Merchant) {
		return
	}
	s := e.strays
	if ev.OutRequestNo == e.Number {
		id := dedupe.Identity{AppID: ev.AppID, Merchant: ev.Merchant, Kind: string(ev.Kind), OutRequestNo: ev.OutRequestNo}
		if e.desk.scopeTrade {
			id.Trade = e.tradeOf(id, ev)
		}
		s = e.refund(id)
	} else if s == nil {
		s = &refund{OutRequestNo: e.Number, Kind: ev.Kind, Merchant: ev.Merchant}
		e.strays = s
	}
	if slices.ContainsFunc(s.events, func(other producer.Event) bool { return other.ID == ev.ID }) {
		return
	}
	s.events = append(s.events, ev)
	what := strings.TrimSuffix(string(ev.Type()), ".v1")
	if ev.Reason != "" {
		what += ", " + string(ev.Reason) + ": " + ev.Detail
	}
	if ev.ConfirmedBy != "" {
		what += ", proven by " + string(ev.ConfirmedBy)
	}
	if ev.AlipaySubCode != "" {
		what += " (Alipay: " + ev.AlipaySubCode + ")"
	}
	s.add(m.Born, "event", what)
}

// tradeOf picks the trade under which a story is known already: an event may
// name two, and only one is the identity's.
func (e *explainer) tradeOf(id dedupe.Identity, ev producer.Event) string {
	candidates := []string{e.Trade, ev.TradeNo, ev.OutTradeNo}
	if ev.Kind == consumer.KindCouponRefund {
		candidates = []string{e.Trade, ev.AuthNo}
	}
	first := ""
	for _, trade := range candidates {
		if trade == "" {
			continue
		}
		first = cmp.Or(first, trade)
		id.Trade = trade
		if _, ok := e.stories[e.desk.store.Key(id)]; ok {
			return trade
		}
		ctx, cancel := context.WithTimeout(context.Background(), redisTime)
		r, err := e.desk.store.Read(ctx, id)
		cancel()
		if err == nil && r.Exists {
			return trade
		}
	}
	return first
}

// opened reads a retried or parked copy, if it is of a refund that is told.
func (e *explainer) opened(m tap.Message) (s *refund, p *parkedRefund, ours bool) {
	if e.skips(m) {
		return nil, p, false
	}
	p = e.desk.open(m)
	if p.cmd.OutRequestNo != e.Number || !e.wants(p.kind, p.cmd.Merchant) {
		return nil, p, false
	}
	s = e.refund(p.id)
	s.learn(p.cmd)
	return s, p, true
}

func (e *explainer) try(m tap.Message) {
	s, p, ours := e.opened(m)
	if !ours {
		return
	}
	s.tries = append(s.tries, p.copy)
	s.add(m.Born, "retry", fmt.Sprintf("sent to come back: %s, %d tries spent, generation %d", p.copy.Reason, p.copy.Try, p.copy.Generation))
}

func (e *explainer) park(m tap.Message) {
	s, p, ours := e.opened(m)
	if !ours {
		return
	}
	s.copies = append(s.copies, p)
	s.add(m.Born, "parked", fmt.Sprintf("parked for a person: %s, number %d, generation %d", p.copy.Reason, p.copy.Park, p.copy.Generation))
}

func (s *refund) learn(cmd consumer.Command) {
	if !s.known {
		s.cmd, s.known = cmd, true
		s.Amount = cmd.Amount.String()
	}
}

func (s *refund) add(at time.Time, where, what string) {
	if !at.IsZero() {
		s.Timeline = append(s.Timeline, moment{at.UTC(), where, what})
	}
}

// remember reads the record, the index and the brakes.
func (e *explainer) remember(ctx context.Context, s *refund) error {
	ctx, cancel := context.WithTimeout(ctx, redisTime)
	defer cancel()
	var err error
	if s.record, err = e.desk.store.Read(ctx, s.id); err != nil {
		return err
	}
	brakes, err := e.desk.store.Brakes(ctx, e.desk.appID)
	if err != nil {
		return err
	}
	for _, b := range brakes {
		if (b.Kind == "" || b.Kind == string(s.Kind)) && (b.Merchant == "" || b.Merchant == s.Merchant) {
			s.brakes = append(s.brakes, b)
		}
	}
	for _, p := range s.copies {
		if m, ok := e.desk.marks[p.markName()]; ok {
			s.add(m.At, "person", fmt.Sprintf("%s by %s: %s", m.Deed, m.By, m.Why))
		}
	}
	if !s.record.Exists {
		return nil
	}
	if s.record.Decided {
		return s.decidedRecord()
	}
	if s.memory, err = consumer.Summarize(s.Kind, s.record.Note, time.Now(), e.desk.queryAfter); err != nil {
		return err
	}
	m := s.memory
	if m.Command.OutRequestNo != "" {
		s.learn(m.Command)
	}
	s.add(m.Born, "record", "the command was born: message "+m.MsgID+" of "+m.Topic)
	s.add(m.CallStart, "record", fmt.Sprintf("newest refund call (of %d) began; it ended: %s%s", m.Calls, cmp.Or(m.Ended, "unknown"), subCode(m)))
	s.add(m.LastQuery, "record", fmt.Sprintf("newest query (of %d): %s", m.Queries, cmp.Or(story.Found(m.Found), "it proves nothing")))
	for _, act := range m.Acts {
		s.add(act.At, "person", fmt.Sprintf("%s by %s: %s", act.Deed, act.By, act.Why))
	}
	if s.known {
		var entered dedupe.Undecided
		entered, _, err = e.desk.store.Entered(ctx, e.desk.appID, e.desk.store.Entry(m.Born, int64(s.cmd.Amount), s.id))
		s.due = entered.Due
	}
	return err
}

func subCode(m consumer.Summary) string {
	if m.SubCode == "" {
		return ""
	}
	return ": " + m.SubCode
}

// decidedRecord adds what is stored if no event of the topic says it.
func (s *refund) decidedRecord() error {
	stored, err := producer.DecodeEncoded(s.record.Event)
	if err != nil {
		return fmt.Errorf("the event in the record: %w", err)
	}
	ev, err := producer.DecodeEvent(stored.Body)
	if err != nil {
		return fmt.Errorf("the event in the record: %w", err)
	}
	if slices.ContainsFunc(s.events, func(other producer.Event) bool { return other.ID == ev.ID }) {
		return nil
	}
	s.unpublished = s.indexed
	s.events = append(s.events, ev)
	s.add(ev.Time, "record", "decided: "+string(ev.Outcome)+", which is not among the events of this time")
	return nil
}
