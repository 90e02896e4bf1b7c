package service

import (
	"context"
	"fmt"
	"strings"
	"time"

	"refundd/cmd/internal/admin"
	"refundd/cmd/internal/story"
	"refundd/consumer"
	"refundd/dedupe"
	"refundd/producer"
)

const (
	// lookUpTime bounds one look-up, and a second has no more than lookUpRate: a
	// page must not become a load on Redis.
	lookUpTime = 2 * time.Second
	lookUpRate = 10
)

// lookUp reads the records that a number may have. It changes nothing, and tells
// nothing of them that an event would not.
func (s *service) lookUp(ctx context.Context, q admin.Question) admin.Answer {
	ctx, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	if s.page.lookUps.Wait(ctx) != nil {
		return admin.Answer{Trouble: "Too many look-ups at once: try again in a moment."}
	}

	ids, searched, trouble := s.identities(q)
	a := admin.Answer{Trouble: trouble, Searched: searched}
	for _, id := range ids {
		record, err := s.store.Read(ctx, id)
		if err != nil {
			s.log.WithError(err).Debug("a look-up failed")
			a.Trouble = "Redis does not answer, so what it knows of this number cannot be told now."
			if ctx.Err() != nil {
				a.Trouble = "Redis did not answer in time: what is told here may not be all."
			}
			return a
		}
		if record.Exists {
			a.Found = append(a.Found, s.refund(ctx, id, record))
		}
	}
	return a
}

// identities are the refunds that a question may mean.
func (s *service) identities(q admin.Question) (ids []dedupe.Identity, searched, trouble string) {
	merchants := []string{q.Merchant}
	who := fmt.Sprintf("merchant %q", q.Merchant)
	switch q.Merchant {
	case "-":
		merchants, who = []string{""}, "the app itself"
	case "":
		names := s.changing.merchantNames()
		who = "the app itself"
		if len(names) > 0 {
			who = fmt.Sprintf("the app itself and every merchant (%d)", len(names))
		}
		if len(names) > mostMerchants {
			who = "the app itself only"
			trouble = fmt.Sprintf("There are %d merchants: name the one whose refund it is.", len(names))
			names = nil
		}
		merchants = append([]string{""}, names...)
	}
	kinds := []string{string(consumer.KindRefund), string(consumer.KindCouponRefund)}
	if q.Kind != "" {
		kinds = []string{q.Kind}
	}
	for _, kind := range kinds {
		for _, merchant := range merchants {
			ids = append(ids, dedupe.Identity{
				AppID: s.cfg.AlipayAppID, Merchant: merchant, Kind: kind, OutRequestNo: q.Number, Trade: q.Trade,
			})
		}
	}
	return ids, strings.Join(kinds, " and ") + " of " + who, trouble
}

func (s *service) refund(ctx context.Context, id dedupe.Identity, r dedupe.Record) admin.Refund {
	found := admin.Refund{Kind: id.Kind, Merchant: id.Merchant}
	if r.Decided {
		decided(&found, id.OutRequestNo, r)
		return found
	}
	m, err := consumer.Summarize(consumer.Kind(id.Kind), r.Note, time.Now(), s.cfg.QueryAfter)
	if err != nil {
		found.State, found.Bad, found.True = "undecided", true, "Its record cannot be read by this version: a newer one is needed"
		return found
	}
	var due time.Time
	if m.Command.OutRequestNo != "" {
		entry := s.store.Entry(m.Born, int64(m.Command.Amount), id)
		if entered, there, err := s.store.Entered(ctx, id.AppID, entry); err == nil && there {
			due = entered.Due
		}
	}
	conclude(&found, story.Facts{Number: id.OutRequestNo, Record: r, Summary: m, Due: due})
	found.Facts = []admin.Fact{
		{Name: "amount", Value: m.Command.Amount.String() + " yuan"},
		{Name: "first message", Value: moment(m.Born)},
		{Name: "tries spent", Value: fmt.Sprintf("%d of %d", m.Tries, len(s.cfg.RetryDelays)+1)},
		{Name: "asked of Alipay", Value: fmt.Sprintf("%d calls, %d queries", m.Calls, m.Queries)},
		{Name: "newest call ended", Value: orNone(strings.TrimSpace(m.Ended + " " + moment(m.LastCall)))},
		{Name: "newest query showed", Value: orNone(strings.TrimSpace(m.Found + " " + moment(m.LastQuery)))},
		{Name: "Alipay's codes", Value: orNone(strings.TrimSpace(m.Code + " " + m.SubCode))},
	}
	return found
}

// conclude tells what is true, what comes next and what a person should do.
func conclude(found *admin.Refund, facts story.Facts) {
	told := story.Conclude(facts, time.Now())
	found.State, found.Next, found.Do = string(told.Stands), told.Next, told.Do
	found.True = strings.ToUpper(told.True[:1]) + told.True[1:]
	found.Bad = told.Stands == story.Parked || told.Stands == story.Contradiction || told.Stands == story.Retrying && told.Do != "nothing"
}

// decided tells what the stored event tells, but for metadata, which are upstream's.
func decided(found *admin.Refund, number string, r dedupe.Record) {
	stored, err := producer.DecodeEncoded(r.Event)
	var e producer.Event
	if err == nil {
		e, err = producer.DecodeEvent(stored.Body)
	}
	if err != nil {
		found.State, found.Bad, found.True = "decided", true, "Its stored event cannot be read: a person has to mend the record"
		return
	}
	conclude(found, story.Facts{Number: number, Record: r, Events: []producer.Event{e}})
	found.Facts = []admin.Fact{
		{Name: "amount", Value: fmt.Sprintf("%d.%02d %s", e.AmountFen/100, e.AmountFen%100, e.Currency)},
		{Name: "decided", Value: moment(e.Time)},
		{Name: "proven by", Value: string(e.ConfirmedBy)},
		{Name: "reason", Value: orNone(string(e.Reason))},
		{Name: "Alipay's codes", Value: orNone(strings.TrimSpace(e.AlipayCode + " " + e.AlipaySubCode))},
		{Name: "asked of Alipay", Value: fmt.Sprintf("%d calls and queries", e.Calls)},
		{Name: "event", Value: e.ID},
	}
}

// moment is a time for a person, with how far it is away.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	text := t.UTC().Format("2006-01-02 15:04:05Z")
	if left := time.Until(t); left > 0 {
		return fmt.Sprintf("%s (in %s)", text, admin.Span(left))
	}
	return fmt.Sprintf("%s (%s ago)", text, admin.Span(time.Since(t)))
}
