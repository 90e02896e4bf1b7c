//go:build !race

package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"refundd/alipay"
	"refundd/consumer"
	"refundd/producer"
)

// nameOf tells refunds apart as the service does: a number is one merchant's, for
// one kind. The name of a trade's refund for the app itself is its number.
func nameOf(kind, merchant, number string) string {
	if kind == string(consumer.KindRefund) && merchant == "" {
		return number
	}
	return kind + " " + merchant + " " + number
}

func nameOfEvent(e producer.Event) string { return nameOf(string(e.Kind), e.Merchant, e.OutRequestNo) }

func yuan(fen int64) string { return fmt.Sprintf("%d.%02d", fen/100, fen%100) }

// movement is what the ledger has of one refund.
type movement struct {
	times  int
	amount string
}

func (w *world) ledger() map[string]movement {
	ledger := map[string]movement{}
	for _, r := range w.alipay.State().Refunds {
		name := nameOf(r.Kind, merchantOf(r.AppAuthToken), r.OutRequestNo)
		ledger[name] = movement{ledger[name].times + r.Moved, r.Amount}
	}
	return ledger
}

func (w *world) events() []producer.Event {
	w.t.Helper()
	messages := w.reader.read(w.topic("event"))
	events := make([]producer.Event, 0, len(messages))
	for _, m := range messages {
		e, err := producer.DecodeEvent(m.Body)
		check(w.t, err)
		events = append(events, e)
	}
	return events
}

// verdict compares the ledger with the events. It tells what is missing, and
// fails the test for what must never be.
type verdict struct {
	missing                                      []string
	succeeded, failed, conflicts, events, parked int
	unprovable                                   int // refused, but there is nobody to ask; with a person
}

func (w *world) judge(names []string) verdict {
	w.t.Helper()
	events := w.events() // before the ledger: what they tell has happened by then
	ledger := w.ledger()
	v := verdict{events: len(events)}
	finals := map[string]map[string]producer.Event{} // name -> id -> event
	conflicts, unresolved := map[string]bool{}, map[string]bool{}
	for _, e := range events {
		name := nameOfEvent(e)
		m := ledger[name]
		switch {
		case e.Outcome == producer.Unresolved:
			v.parked++
			unresolved[name] = true
			if e.Reason == producer.ReasonConflictAtAlipay && m.times == 1 && m.amount != yuan(e.AmountFen) {
				conflicts[name] = true
			}
			continue
		case e.Outcome == producer.Succeeded && (m.times != 1 || m.amount != yuan(e.AmountFen)):
			w.t.Fatalf("%s: succeeded %s, but the ledger says moved %d, %s", name, yuan(e.AmountFen), m.times, m.amount)
		case e.Outcome == producer.Failed && m.times != 0 && !w.forgot:
			w.t.Fatalf("%s: failed, but the money moved", name)
		case e.Outcome != producer.Succeeded && e.Outcome != producer.Failed:
			continue
		}
		if finals[name] == nil {
			finals[name] = map[string]producer.Event{}
		}
		finals[name][e.ID] = e
	}
	refused := w.refusedCoupons()
	for _, name := range names {
		if times := ledger[name].times; times > 1 {
			w.t.Fatalf("%s: the money moved %d times", name, times)
		}
		switch {
		case len(finals[name]) == 2 && w.forgot && ledger[name].times == 1:
			v.succeeded++ // failed, forgotten, carried out
		case len(finals[name]) == 1 && w.forgot && ledger[name].times == 1 && failedOnly(finals[name]):
			v.missing = append(v.missing, name) // the late copy has still to tell
		case len(finals[name]) > 1:
			w.t.Fatalf("%s has %d final truths: %+v", name, len(finals[name]), finals[name])
		case len(finals[name]) == 1:
			for _, e := range finals[name] {
				if e.Outcome == producer.Succeeded {
					v.succeeded++
				} else {
					v.failed++
				}
			}
		case conflicts[name]:
			v.conflicts++
		case unresolved[name] && refused[name] && ledger[name].times == 0:
			v.unprovable++
		default:
			v.missing = append(v.missing, name)
		}
	}
	return v
}

func failedOnly(finals map[string]producer.Event) bool {
	for _, e := range finals {
		if e.Outcome != producer.Failed {
			return false
		}
	}
	return true
}

// requeue does for every newly parked command what an operator does once the
// cause is mended: a new age, no tries spent, the same number.
func (w *world) requeue(from int) int {
	w.t.Helper()
	parked := w.reader.read(w.topic("parked"))
	refused, ledger := w.refusedCoupons(), w.ledger()
	for _, m := range parked[from:] {
		c, err := producer.CopyFromProperties(m.Properties, m.Body)
		check(w.t, err)
		kind := consumer.KindRefund
		if c.Topic == w.topic("coupon") {
			kind = consumer.KindCouponRefund
		}
		cmd, err := consumer.DecodeCommand(kind, c.Body)
		check(w.t, err)
		name := nameOf(string(kind), cmd.Merchant, cmd.OutRequestNo)
		// Somebody else used this number with another amount (the fault discordant).
		foreign := ledger[name].times == 1 && ledger[name].amount != cmd.Amount.String()
		if c.Reason == string(producer.ReasonConflictAtAlipay) && foreign || refused[name] {
			continue // no try can help: a person has to ask Alipay
		}
		c.Try, c.First = 0, time.Now()
		w.wait("requeue", time.Minute, func() bool { return w.post(w.topic("retry"), c.Body, c.Properties(), 0) == nil })
	}
	return len(parked)
}

// refusedCoupons are coupon refunds that Alipay refuses for good. Where the
// refusal was not the first call's, or may mean that it was done before, and there
// is no query that Alipay's own number makes trustworthy, nothing proves that no
// money moved: such a refund stays with a person.
func (w *world) refusedCoupons() map[string]bool {
	refused := map[string]bool{}
	for _, c := range w.alipay.Calls() {
		if c.Method == alipay.MethodRefundCoupon && strings.HasPrefix(c.Fault, "refused-") {
			refused[nameOf(string(consumer.KindCouponRefund), merchantOf(c.AppAuthToken), c.OutRequestNo)] = true
		}
	}
	return refused
}

// judgeNotices waits until every notification was accepted or is a forged one. It
// wants exactly one event for each that was accepted and none for others, events
// that say what the ledger says, and one for each movement of money unless Alipay
// kept silent about it or it was only told by a forgery.
func (w *world) judgeNotices() {
	w.t.Helper()
	accepted, forgeries := map[string]bool{}, map[string]bool{}
	told := map[string]map[string]producer.Event{} // notify_id -> id -> event
	deliveries := 0
	w.wait("the end of every notification", 2*time.Minute, func() bool {
		clear(accepted)
		refused := map[string]bool{}
		notices := w.alipay.Notices()
		deliveries = len(notices)
		for _, n := range notices {
			accepted[n.NotifyID] = accepted[n.NotifyID] || n.Accepted
			refused[n.NotifyID] = refused[n.NotifyID] || n.Status == http.StatusBadRequest
			if n.Forged {
				forgeries[n.NotifyID] = true
			}
		}
		for id, yes := range accepted {
			if !yes && (!forgeries[id] || !refused[id]) {
				return false
			}
		}
		clear(told)
		for _, e := range w.events() {
			if e.Outcome != producer.Notified && e.Outcome != producer.DepositBack {
				continue
			}
			if told[e.NotifyID] == nil {
				told[e.NotifyID] = map[string]producer.Event{}
			}
			told[e.NotifyID][e.ID] = e
		}
		for id, yes := range accepted {
			if yes && told[id] == nil {
				return false
			}
		}
		return true
	})
	good := 0
	for id, yes := range accepted {
		switch {
		case yes:
			good++
			if len(told[id]) != 1 {
				w.t.Errorf("notification %s was accepted and has %d events", id, len(told[id]))
			}
		case told[id] != nil:
			w.t.Errorf("notification %s was never accepted and has an event", id)
		}
	}
	silent := w.compareNotices(told, accepted)
	forged, never := len(accepted)-good, w.alipay.FaultCounts()["notify-never"]
	if good == 0 || forged == 0 {
		w.t.Errorf("%d of %d notifications were genuine, want some of either", good, len(accepted))
	}
	if silent > never+forged {
		w.t.Errorf("%d movements were never told by a notification: Alipay kept silent about %d, and forged %d", silent, never, forged)
	}
	w.t.Logf("%d notifications in %d deliveries: %d accepted with one event each, %d forged without any; %d movements were not told, Alipay kept silent %d times",
		len(accepted), deliveries, good, forged, silent, never)
}

// compareNotices holds the events of notifications against the ledger, and
// returns how many movements none of them tells.
func (w *world) compareNotices(told map[string]map[string]producer.Event, sent map[string]bool) (silent int) {
	w.t.Helper()
	type key struct{ kind, order, number string } // numbers of orders are Alipay's, over all merchants
	untold := map[key]bool{}
	ledger := map[key]movement{}
	sellers := map[key]string{}
	for _, r := range w.alipay.State().Refunds {
		k := key{r.Kind, r.TradeNo + r.AuthNo, r.OutRequestNo}
		ledger[k] = movement{r.Moved, r.Amount}
		if untold[k] = r.Moved > 0; r.Kind == string(consumer.KindRefund) {
			sellers[k] = merchantOf(r.AppAuthToken)
		}
	}
	for id, events := range told {
		if _, ok := sent[id]; !ok {
			w.t.Errorf("an event tells of notification %s, which nobody sent", id)
		}
		for _, e := range events {
			k := key{string(e.Kind), e.TradeNo + e.AuthNo, e.OutRequestNo}
			m := ledger[k]
			amount := e.AmountFen
			if e.Outcome == producer.DepositBack {
				amount = e.DbackAmountFen
			} else {
				untold[k] = false
				if e.Merchant != sellers[k] {
					w.t.Errorf("%v is notified for merchant %q, want %q", k, e.Merchant, sellers[k])
				}
			}
			if m.times != 1 || amount != 0 && m.amount != yuan(amount) {
				w.t.Errorf("%v: %s %s, but the ledger says moved %d, %s", k, e.Outcome, yuan(amount), m.times, m.amount)
			}
		}
	}
	for _, yes := range untold {
		if yes {
			silent++
		}
	}
	return silent
}
