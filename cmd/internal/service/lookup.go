package service

import (
	"context"
	"fmt"
	"strings"
	"time"

	"refundd/cmd/internal/admin"
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
		decided(&found, r)
		return found
	}
	m, err := consumer.Summarize(consumer.Kind(id.Kind), r.Note, time.Now(), s.cfg.QueryAfter)
	if err != nil {
		found.State, found.Bad = "undecided", true
		found.Next = "Its record cannot be read by this version: a newer one is needed."
		return found
	}
	var due time.Time
	if m.Command.OutRequestNo != "" {
		entry := s.store.Entry(m.Born, int64(m.Command.Amount), id)
		if entered, there, err := s.store.Entered(ctx, id.AppID, entry); err == nil && there {
			due = entered.Due
		}
	}
	found.State, found.Bad, found.Next = undecided(r, m, due)
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

// decided tells what the stored event tells, but for metadata, which are upstream's.
func decided(found *admin.Refund, r dedupe.Record) {
	found.Next = "Nothing: it is decided. A repeat of its command gets the same event again."
	stored, err := producer.DecodeEncoded(r.Event)
	var e producer.Event
	if err == nil {
		e, err = producer.DecodeEvent(stored.Body)
	}
	if err != nil {
		found.State, found.Bad = "decided", true
		found.Next = "Its stored event cannot be read: a person has to mend the record."
		return
	}
	found.State = string(e.Outcome)
	if r.Contradiction {
		found.State, found.Bad = found.State+", after failed had been published", true
		found.Next = "A person tells accounting: the money moved although failed was published before (contradiction)."
	}
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

// overdue is when a retry that did not come makes one wonder.
const overdue = 2 * time.Minute

func undecided(r dedupe.Record, m consumer.Summary, due time.Time) (state string, bad bool, next string) {
	switch {
	case r.HeldFor > 0:
		return "being worked on", false,
			fmt.Sprintf("A worker has it. Should that one die, its lease ends in %s and the command comes back.", r.HeldFor.Round(time.Second))
	case r.Parked:
		return "parked", true,
			"It waits for a person, nothing happens by itself: refundctl parked show tells why; once the cause is mended, refundctl parked requeue sends it again."
	}
	next = map[string]string{
		"call":  "Alipay is called.",
		"query": "Alipay is asked what became of the calls so far; only if it does not show the refund, the same call is made again.",
		"wait":  "Alipay is asked again once enough time has passed since the last call.",
		"park":  "It is handed to a person.",
	}[m.Next]
	if next == "" {
		next = "It is settled by what is known."
	}
	switch late := time.Since(due); {
	case due.IsZero():
		next = "Its next try is not written down. Then: " + next
	case late > overdue:
		bad = true
		next = fmt.Sprintf("Its try was due at %s and has not come: what waits in the retry topic comes late, and what the broker lost is sent again within hours. Then: %s", moment(due), next)
	default:
		next = fmt.Sprintf("The next try is due at %s. Then: %s", moment(due), next)
	}
	return "undecided", bad, next
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
